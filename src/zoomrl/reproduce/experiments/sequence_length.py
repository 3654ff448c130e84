"""How long should action chunks be? CQN-AS, ablation of the chunk length."""

from __future__ import annotations

from zoomrl.reproduce.experiment import FULL, SMALL, Arm, Claim, Contrast, Experiment, Scale
from zoomrl.reproduce.experiments.papers import CQN_AS, SMALL_METAWORLD, SMALL_TRAINING, on_bigym
from zoomrl.reproduce.read import final_numbers

LENGTHS = (1, 2, 4, 8, 16)
TASKS = (*SMALL_METAWORLD[:2], "metaworld:drawer-open")
TRAINING = {**SMALL_TRAINING, "offline_updates": 800, "steps": 1000, "eval.every": 1000}
LONGER = Claim(
    "Values of action chunks learn better than values of single actions.",
    f"{CQN_AS}, ablation of the chunk length",
    "success with 16 steps above success with 1 (BiGym; figure only)",
)
_TOO_LONG = Claim(
    "Chunks that are too long can hurt.",
    f"{CQN_AS}, ablation of the chunk length",
    "on some tasks; direction only",
)
EXPERIMENT = Experiment(
    name="sequence-length",
    title="How long should action chunks be?",
    claims=(LONGER, _TOO_LONG),
    arms=tuple(Arm(f"T-{length}", f"chunks of {length} steps", {"agent.chunk_length": length}) for length in LENGTHS),
    scales={
        SMALL: Scale(TASKS, (1, 2, 3, 4), seconds=60, options=TRAINING),
        FULL: on_bigym(),
    },
    contrasts=(
        Contrast("4 against 1", "success", "T-4", "T-1", "above", LONGER, methods=True),
        Contrast("16 against 1", "success", "T-16", "T-1", "above", LONGER, methods=True),
        Contrast("16 against 4", "success", "T-16", "T-4", "below", _TOO_LONG, methods=True),
    ),
    metrics={"success": "success rate of the evaluation at the end", "return": "mean return of it"},
    stop_rule="All cells; none is added after the verdict.",
    deviations=(
        "Meta-World from state with a narrow network, ten demonstrations with noise 0.3, and 1,000 updates, in place "
        "of BiGym from three cameras and 100,000.",
        "All lengths make equally many updates and steps; longer chunks take longer.",
        "That 16 steps are better than 1 on average is read off a figure. BiGym's reach tasks and OGBench are left "
        "out.",
        "That long chunks hurt is published of some tasks, and judged here over all: the table shows each.",
    ),
    read=final_numbers,
)
