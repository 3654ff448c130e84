"""Does anything learn the hard tasks of Meta-World better than CQN-AS? Options of our own against what is published."""

from __future__ import annotations

from zoomrl.recipes.hard import TASKS
from zoomrl.reproduce.experiment import FULL, SMALL, Arm, Claim, Contrast, Experiment, Scale
from zoomrl.reproduce.experiments.papers import CQN_AS, QC, SEAR
from zoomrl.reproduce.read import final_numbers

_SIX = tuple(
    f"metaworld:{task}"
    for task in ("disassemble", "lever-pull", "push-wall", "box-close", "coffee-push", "pick-place-wall")
)
_OPTIONS = {"preset": "cqn_as-metaworld-hard", "eval.final_episodes": 200, "checkpoint.keep": 1}
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
_REPLAN = Claim(
    "Executing random prefixes of chunks makes practice more efficient.",
    SEAR,
    "about 20 % fewer samples on twenty tasks of Meta-World, dense rewards, no demonstrations",
)
_PREFIXES = Claim("Targets of their own for the prefixes of a chunk help.", SEAR, "direction only")
_PROPOSALS = Claim(
    "Choosing among chunks that imitation proposes is better than choosing among all.",
    QC,
    "19 points above RLPD over five domains of OGBench (offline data first)",
)
_OWN = Claim("An option of our own makes CQN-AS better.", "a question of our own", "none")


def _changed(name: str, about: str, **options: object) -> Arm:
    return Arm(name, f"CQN-AS with {about}", {field.replace("__", "."): value for field, value in options.items()})


_EIGHT = {"agent__chunk_length": 8}
_PROPOSED = {"agent__proposals__count": 16, "agent__proposals__greedy": False}
_NEW = {
    "chunks-of-8": _OWN,
    "random-prefix": _REPLAN,
    "prefix-targets": _PREFIXES,
    "proposals": _PROPOSALS,
    "exploring": _OWN,
    "geometric": _OWN,
}
EXPERIMENT = Experiment(
    name="hard-tasks",
    title="Does anything learn hard tasks better than CQN-AS?",
    claims=(_CHUNKS, _PRACTISE, _REPLAN, _PREFIXES, _PROPOSALS, _OWN),
    arms=(
        Arm("bc", "behaviour cloning of chunks", {"preset": "bc-metaworld-hard"}),
        Arm("act", "ACT", {"preset": "act-metaworld-hard"}),
        Arm("cqn", "CQN", {"preset": "cqn-metaworld-hard"}),
        Arm("cqn_as", "CQN-AS with chunks of 4"),
        _changed("chunks-of-8", "chunks of 8", **_EIGHT),
        _changed("random-prefix", "chunks of 8, of which training executes 1 to 4", **_EIGHT, control__random_prefix=4),
        _changed("prefix-targets", "a target for each step of a chunk", agent__prefix_targets=True, replay__n_step=1),
        _changed("proposals", "the best of 16 chunks that a flow proposes", **_PROPOSED),
        _changed("proposals-random", "any of these chunks", **_PROPOSED, agent__proposals__choose="random"),
        _changed("exploring", "ten times the exploration noise, 0.1", control__noise="0.1"),
        _changed("geometric", "atoms by steps to go", agent__atom_spacing="geometric", agent__v_least=0.1),
    ),
    scales={
        SMALL: Scale(_SIX, (1, 2, 3, 4), seconds=400, options=_OPTIONS, guessed=True),
        FULL: Scale(TASKS, tuple(range(1, 9)), seconds=400, options=_OPTIONS, guessed=True),
    },
    contrasts=(
        Contrast("CQN-AS against CQN", "success", "cqn_as", "cqn", "above", _CHUNKS, methods=True),
        Contrast("CQN-AS against ACT", "success", "cqn_as", "act", "above", _PRACTISE, methods=True),
        Contrast("CQN-AS against cloning", "success", "cqn_as", "bc", "above", _PRACTISE, methods=True),
        *(
            Contrast(f"{name} against CQN-AS", "success", name, "cqn_as", "above", claim, methods=True)
            for name, claim in _NEW.items()
        ),
        Contrast("the critic's choice", "success", "proposals", "proposals-random", "above", _PROPOSALS, methods=True),
    ),
    metrics={
        "success": "success rate of the 200 episodes at the end",
        "auc": "probability that a state of a successful episode is valued above one of a failed one",
        "rank": "rank correlation of predicted values with returns",
        "overestimation": "predicted minus realised value of the first state",
    },
    stop_rule="All cells; none is added after the verdict.",
    deviations=(
        "Three scripted demonstrations with noise 0.3 for each task, sparse rewards, 20,000 steps from state, small "
        "networks: no experiment of a paper, and the place of all of them.",
        "All arms of a task learn from the same three demonstrations.",
        "Cloning and ACT make their updates on demonstrations alone, and keep the best of their evaluations.",
    ),
    read=final_numbers,
)
