"""Zoom levels and bins, kinds of values, and the margin: CQN's ablations."""

from __future__ import annotations

from zoomrl.reproduce.experiment import FULL, SMALL, Arm, Claim, Contrast, Experiment, Scale
from zoomrl.reproduce.experiments.papers import CQN, SMALL_METAWORLD, SMALL_TRAINING
from zoomrl.reproduce.read import final_numbers

GRIDS = ((1, 125), (2, 11), (3, 5), (7, 2))
"""Levels and bins with about equally many cells."""
_ZOOM = Claim(
    "Zooming in a few levels learns better than one level of as many cells.",
    f"{CQN}, ablation of levels and bins",
    "success with 3 levels of 5 bins above a single level (RLBench; figure only)",
)
_DISTRIBUTION = Claim(
    "Distributions of values learn better than scalar ones.",
    f"{CQN}, ablation of the distributional critic",
    "direction only",
)
_MARGIN = Claim(
    "The margin of the demonstrated bin is needed.",
    f"{CQN}, ablation of the imitation losses",
    "direction only",
)
_GRIDS = tuple(
    Arm(f"grid-{levels}x{bins}", f"{levels} levels of {bins} bins", {"agent.levels": levels, "agent.bins": bins})
    for levels, bins in GRIDS
)
_COMMON = (*(arm.name for arm in _GRIDS), "scalar", "margin-0")
EXPERIMENT = Experiment(
    name="cqn-ablations",
    title="What do zoom levels, distributions and the margin do for CQN?",
    claims=(_ZOOM, _DISTRIBUTION, _MARGIN),
    arms=(
        *(
            Arm(
                f"grid-{levels}x{bins}", f"{levels} levels of {bins} bins", {"agent.levels": levels, "agent.bins": bins}
            )
            for levels, bins in GRIDS
        ),
        Arm("scalar", "scalar values", {"agent.value": "scalar"}),
        Arm("margin-0", "no margin", {"agent.bc_margin": 0.0}),
        Arm("margin-0.01", "a margin of 0.01", {"agent.bc_margin": 0.01}),
        Arm("margin-0.1", "a margin of 0.1", {"agent.bc_margin": 0.1}),
    ),
    scales={
        SMALL: Scale(
            SMALL_METAWORLD[:2],
            (1, 2, 3, 4),
            seconds=80,
            options={**SMALL_TRAINING, "preset": "cqn-metaworld-hard"},
            arms=(*_COMMON, "margin-0.01"),  # the preset's is 0.1
            guessed=True,
        ),
        FULL: Scale(
            ("rlbench:take_lid_off_saucepan", "rlbench:open_drawer", "rlbench:stack_wine", "rlbench:toilet_seat_up"),
            tuple(range(1, 5)),
            seconds=24_000,
            options={"preset": "cqn-rlbench", "device": "auto", "eval.final_episodes": 50},
            arms=(*_COMMON, "margin-0.1"),  # published: 0.01
            needs="RLBench and a GPU",
            guessed=True,
        ),
    },
    contrasts=(
        Contrast("3x5 against one level", "success", "grid-3x5", "grid-1x125", "above", _ZOOM, methods=True),
        Contrast("3x5 against seven levels", "success", "grid-3x5", "grid-7x2", "above", _ZOOM, methods=True),
        Contrast("distributions", "success", "grid-3x5", "scalar", "above", _DISTRIBUTION, methods=True),
        Contrast("no margin", "success", "margin-0", "grid-3x5", "below", _MARGIN, methods=True),
    ),
    metrics={"success": "success rate of the evaluation at the end"},
    stop_rule="All cells; none is added after the verdict.",
    deviations=(
        "Cartpole is left out.",
        "Meta-World from state, a narrow network and 1,400 updates, in place of RLBench from four cameras.",
        "Scalar values have no dominance of distributions: their imitation is the margin alone.",
        "Values spread over neighbouring atoms (HL-Gauss) and the choice of the policy in targets are left out: "
        "there are no such options.",
    ),
    read=final_numbers,
)
