"""Does CQN-AS go on from offline to online learning? CQN-AS, outlook; the calibrated loss of Cal-QL is not here."""

from __future__ import annotations

from zoomrl.reproduce.experiment import FULL, SMALL, Arm, Claim, Contrast, Experiment, Scale
from zoomrl.reproduce.experiments.papers import CAL_QL, CQN_AS, SMALL_METAWORLD, SMALL_TRAINING, on_bigym
from zoomrl.reproduce.read import final_numbers

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
EXPERIMENT = Experiment(
    name="cal-ql",
    title="Does CQN-AS go on from offline to online learning?",
    claims=(_PRACTICE, _OFFLINE),
    arms=(
        Arm("offline", "1,500 updates on the demonstrations alone", {"offline_updates": 1500, "steps": 0}),
        Arm("offline-online", "1,000 of them, and 500 while practising", {"offline_updates": 1000}),
        Arm("online", "500 updates while practising, with the demonstrations", {"offline_updates": 0}),
    ),
    scales={
        SMALL: Scale(
            SMALL_METAWORLD,
            (1, 2, 3, 4),
            seconds=100,
            options={**SMALL_TRAINING, "steps": 2500, "eval.every": 2500},
            guessed=True,
        ),
        FULL: on_bigym(("move_plate", "sandwich_remove")),
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
        "Meta-World in place of BiGym; all arms but the last make equally many updates.",
    ),
    read=final_numbers,
)
