"""Does CQN-AS go on from offline to online learning? CQN-AS, outlook; the calibrated loss of Cal-QL is not here."""

from __future__ import annotations

from dataclasses import replace

from zoomrl.reproduce.experiment import FULL, SMALL, Arm, Claim, Contrast, Experiment, Scale, from_options
from zoomrl.reproduce.experiments.papers import CAL_QL, CQN_AS, SMALL_METAWORLD, SMALL_TRAINING, on_bigym
from zoomrl.reproduce.read import final_numbers
from zoomrl.training.config import TrainConfig


def config(arm: Arm, task: str, seed: int, scale: Scale) -> TrainConfig:
    """CQN-AS with ``updates`` of the scale in all, of which the arm makes the fraction ``offline`` before practice."""
    options, arms = dict(scale.options), dict(arm.options)
    total = options.pop("updates")
    offline = round(total * arms.pop("offline"))
    split = {"offline_updates": offline}
    if offline == total:
        split["steps"] = 0
    else:
        split["updates_per_step"] = (total - offline) / options["steps"]
    return from_options(replace(arm, options={**arms, **split}), task, seed, replace(scale, options=options))


_PRACTICE = Claim(
    "Practice after offline learning makes the policy better.",
    f"{CQN_AS}, outlook; {CAL_QL}",
    "direction only for CQN-AS; Cal-QL on AntMaze 53.0 to 97.3",
)
_OFFLINE = Claim(
    "Offline learning before practice is worth its updates.",
    f"{CQN_AS}, outlook",
    "direction only",
)
_FULL = on_bigym(("move_plate", "sandwich_remove"))
EXPERIMENT = Experiment(
    name="cal-ql",
    title="Does CQN-AS go on from offline to online learning?",
    claims=(_PRACTICE, _OFFLINE),
    arms=(
        Arm("offline", "all updates on the demonstrations alone", {"offline": 1.0}),
        Arm("offline-online", "two thirds of them so, the others while practising", {"offline": 2 / 3}),
        Arm("online", "all of them while practising, with the demonstrations", {"offline": 0.0}),
    ),
    scales={
        SMALL: Scale(
            SMALL_METAWORLD,
            (1, 2, 3, 4),
            seconds=100,
            options={**SMALL_TRAINING, "updates": 1500, "steps": 2500, "eval.every": 2500},
            guessed=True,
        ),
        FULL: replace(_FULL, options={**_FULL.options, "updates": 100_000, "steps": 50_000}),
    },
    contrasts=(
        Contrast("practice", "success", "offline-online", "offline", "above", _PRACTICE, methods=True),
        Contrast("offline first", "success", "offline-online", "online", "above", _OFFLINE, methods=True),
    ),
    metrics={
        "success": "success rate of the evaluation at the end",
        "overestimation": "predicted minus realised value of the first state",
    },
    stop_rule="All cells; none is added after the verdict.",
    deviations=(
        "The calibrated lower bound of Cal-QL is left out: CQN-AS has no such loss here. What is measured is the way "
        "from offline to online learning as it is.",
        "Meta-World in place of BiGym at the small scale. All arms make equally many updates: 1,500, or 100,000 at "
        "the full scale.",
    ),
    config=config,
    read=final_numbers,
)
