"""What can be learnt from play alone? OGBench's scenes offline, with and without proposals of a cloned policy."""

from __future__ import annotations

from zoomrl.reproduce.experiment import FULL, SMALL, Arm, Claim, Contrast, Experiment, Scale
from zoomrl.reproduce.experiments.papers import QC
from zoomrl.reproduce.read import final_numbers

_PLAY = "play/{task}"
"""Where play is expected, imported for the task."""
_MADE = "play of the scenes in play/<task>: zoomrl demos collect-play, then import (docs/environments/ogbench.md)"
_OPTIONS = {"preset": "cqn_as-ogbench", "demos.source": _PLAY}
_PROPOSED = {"preset": "cqn_as-ogbench-proposals"}
_CHOICE = Claim(
    "On play, choosing the best of several chunks that a cloned policy proposes learns what imitation does not.",
    f"{QC}: 100,000 offline updates (its released evaluations)",
    "success 0.95 on puzzle-3x3-task4 and 0.97 on scene-task2; without chunks 0.10 and 0.91, FQL 0.00 and 0.22. "
    "Means of five tasks of the scenes: 0.98 and 0.58; 0.24 and 0.56; 0.07 and 0.21",
)
_CRITIC = Claim(
    "It is the critic's choice that does it, and not the restriction to what was done in play.",
    "a control of our own; an independent laboratory found the restriction to be all of the gain in CQN-AS",
    "none",
)
EXPERIMENT = Experiment(
    name="play",
    title="What can be learnt from play alone?",
    claims=(_CHOICE, _CRITIC),
    arms=(
        Arm("bc", "behaviour cloning of all of play", {"preset": "bc-ogbench"}),
        Arm("cqn", "CQN, all of play imitated", {"preset": "cqn-ogbench"}),
        Arm("cqn_as", "CQN-AS, all of play imitated"),
        Arm("flow", "one chunk that the cloned policy proposes", {**_PROPOSED, "agent.proposals.count": 1}),
        Arm("proposals", "the best of 16 such chunks", _PROPOSED),
        Arm("proposals-random", "any of them, also in the targets", {**_PROPOSED, "agent.proposals.choose": "random"}),
    ),
    scales={
        SMALL: Scale(
            ("ogbench:puzzle-3x3-task4",),
            (1, 2, 3, 4),
            seconds=900,
            options={**_OPTIONS, "offline_updates": 20_000, "offline_eval_every": 5_000},
            needs=_MADE,
            guessed=True,
        ),
        FULL: Scale(
            ("ogbench:puzzle-3x3-task4", "ogbench:scene-task2"),
            (1, 2, 3, 4),
            seconds=4_500,
            options=_OPTIONS,
            needs=_MADE,
            guessed=True,
        ),
    },
    contrasts=(
        Contrast("proposals against CQN-AS", "success", "proposals", "cqn_as", "above", _CHOICE, 0.3, methods=True),
        Contrast("proposals against cloning", "success", "proposals", "flow", "above", _CHOICE, methods=True),
        Contrast("the critic's choice", "success", "proposals", "proposals-random", "above", _CRITIC, methods=True),
    ),
    metrics={
        "success": "success rate of the evaluation at the end",
        "predicted": "predicted value of the first state",
        "realised": "discounted return from there",
    },
    stop_rule="All cells; none is added after the verdict.",
    deviations=(
        "The default task of each scene in place of five; play of the published recipe made anew; small networks.",
        "The small scale has a fifth of the updates and puzzle-3x3 alone.",
        "Critics are CQN-AS's, with the value of a chunk read at its finest level. With proposals the policy is what "
        "imitates: the critic's own imitation losses are off and its temporal-difference loss weighs 1 and not 0.1, "
        "so that the first contrast is of both changes together.",
    ),
    read=final_numbers,
)
