"""Does anything learn the hard tasks of Meta-World better than CQN-AS? Options of our own against what is published."""

from __future__ import annotations

from zoomrl.recipes.hard import TASKS
from zoomrl.reproduce.experiment import FULL, SMALL, Arm, Claim, Contrast, Experiment, Scale
from zoomrl.reproduce.experiments.hard_options import (
    BASE,
    CHOSEN,
    CLAIMS,
    OPTIONS,
    OWN,
    PRESET,
    PROPOSALS,
    against_base,
)
from zoomrl.reproduce.experiments.papers import CQN_AS
from zoomrl.reproduce.read import practice_numbers

_SIX = tuple(
    f"metaworld:{task}"
    for task in ("disassemble", "lever-pull", "push-wall", "box-close", "coffee-push", "pick-place-wall")
)
_OPTIONS = {**PRESET, "eval.final_episodes": 200}
_CHUNKS = Claim(
    "Values of action chunks learn better than values of single actions.",
    f"{CQN_AS}, on BiGym and RLBench",
    "CQN-AS above CQN (figures only)",
)
_PRACTISE = Claim(
    "CQN-AS practises beyond what imitation of the same demonstrations achieves.",
    f"{CQN_AS}, on BiGym and RLBench",
    "CQN-AS above ACT and behaviour cloning (figures only)",
)
_OPEN, _PROPOSED, _RANDOM = "open-loop", "proposals", "proposals-random"
_WHOLE: dict[str, object] = {"control.executor": "open_loop"}
"""What is proposed is executed as it is: the temporal ensemble would average chunks that were proposed apart."""
_ALONE = tuple(arm for arm in OPTIONS if arm.name != _PROPOSED)
_PROPOSALS = {**_WHOLE, **next(arm for arm in OPTIONS if arm.name == _PROPOSED).options}
EXPERIMENT = Experiment(
    name="hard-tasks",
    title="Does anything learn hard tasks better than CQN-AS?",
    claims=(_CHUNKS, _PRACTISE, *CLAIMS.values(), OWN),
    arms=(
        Arm("bc", "behaviour cloning of chunks", {"preset": "bc-metaworld-hard"}),
        Arm("act", "ACT", {"preset": "act-metaworld-hard"}),
        Arm("cqn", "CQN", {"preset": "cqn-metaworld-hard"}),
        Arm(BASE, "CQN-AS with chunks of 4"),
        *_ALONE,
        Arm(_OPEN, "CQN-AS of which whole chunks are executed", _WHOLE),
        Arm(_PROPOSED, "the same with the best of 16 chunks that a flow proposes", _PROPOSALS),
        Arm(_RANDOM, "any of these chunks", {**_PROPOSALS, "agent.proposals.choose": "random"}),
    ),
    scales={
        SMALL: Scale(
            _SIX,
            (1, 2, 3, 4),
            seconds=340,
            options=_OPTIONS,
            arms=("bc", "act", "cqn", BASE, CHOSEN),
            guessed=True,
        ),
        FULL: Scale(TASKS, tuple(range(1, 9)), seconds=400, options=_OPTIONS, guessed=True),
    },
    contrasts=(
        Contrast("CQN-AS against CQN", "success", BASE, "cqn", "above", _CHUNKS, methods=True),
        Contrast("CQN-AS against ACT", "success", BASE, "act", "above", _PRACTISE, methods=True),
        Contrast("CQN-AS against cloning", "success", BASE, "bc", "above", _PRACTISE, methods=True),
        *(against_base(arm.name) for arm in _ALONE),
        Contrast("proposals against whole chunks", "success", _PROPOSED, _OPEN, "above", PROPOSALS, methods=True),
        Contrast("the critic's choice", "success", _PROPOSED, _RANDOM, "above", PROPOSALS, methods=True),
    ),
    metrics={
        "success": "success rate of the 200 episodes at the end",
        "first_quarter": "success rate of the episodes of training that ended in the first quarter of the steps",
        "last_quarter": "the same of the last quarter",
        "solved": "episodes of training that were solved",
        "auc": "probability that a state of a successful episode is valued above one of a failed one",
        "rank": "rank correlation of predicted values with returns",
        "overestimation": "predicted minus realised value of the first state",
    },
    stop_rule="All cells; none is added after the verdict.",
    deviations=(
        "Three scripted demonstrations with noise 0.3 for each task, sparse rewards, 20,000 steps from state: no "
        "experiment of a paper, and the place of all of them.",
        "All arms of a task learn from the same three demonstrations, those by which hard-options has chosen.",
        "A target for each step of a chunk leaves no choice of n: that arm has n=1 and all others n=3, so that it "
        "may differ by n alone.",
        "Cloning and ACT make their updates on demonstrations alone, and keep the best of their evaluations.",
    ),
    read=practice_numbers,
)
