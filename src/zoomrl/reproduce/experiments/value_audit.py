"""What do learnt values tell, by the kind of target? Numbers to compare with are those of an independent laboratory."""

from __future__ import annotations

from zoomrl.reproduce.experiment import FULL, SMALL, Arm, Claim, Contrast, Experiment, Scale
from zoomrl.reproduce.experiments.papers import INDEPENDENT, SMALL_METAWORLD, SMALL_TRAINING, on_bigym
from zoomrl.reproduce.read import final_numbers

_MONTE_CARLO = Claim(
    "Values of whole returns tell successes from failures better than bootstrapped ones.",
    INDEPENDENT,
    "area under the curve 0.72 with whole returns, 0.56 with temporal differences (sandwich_remove, one seed; chance "
    "0.5)",
)
_IMITATION = Claim(
    "Without imitation losses values tell less.",
    INDEPENDENT,
    "the critic's bins become equal; no number of this kind",
)
EXPERIMENT = Experiment(
    name="value-audit",
    title="What do learnt values tell, by the kind of target?",
    claims=(_MONTE_CARLO, _IMITATION),
    arms=(
        Arm("td", "one reward and a bootstrapped value", {"replay.n_step": 1}),
        Arm("n-3", "three rewards and a bootstrapped value", {"replay.n_step": 3}),
        Arm("whole", "the whole return to the end of the episode", {"replay.n_step": 150}),
        Arm("no-bc", "three rewards, no imitation losses", {"replay.n_step": 3, "agent.bc_lambda": 0.0}),
    ),
    scales={
        SMALL: Scale(
            SMALL_METAWORLD[:2],
            (1, 2, 3, 4),
            seconds=110,
            options=SMALL_TRAINING,
            guessed=True,
        ),
        FULL: on_bigym(("sandwich_remove", "move_plate"), arms=("td", "n-3", "no-bc")),
    },
    contrasts=(
        Contrast("whole returns: successes", "auc", "whole", "td", "above", _MONTE_CARLO),
        Contrast("whole returns: ranks", "rank", "whole", "td", "above", _MONTE_CARLO),
        Contrast("no imitation: successes", "auc", "no-bc", "n-3", "below", _IMITATION),
    ),
    metrics={
        "auc": "probability that a state of a success is valued higher than one of a failure (chance 0.5)",
        "rank": "Spearman's rank correlation of predicted values and realised returns",
        "value_error": "mean absolute difference of both",
        "overestimation": "predicted minus realised value of the first state",
        "success": "success rate of the evaluation at the end",
    },
    stop_rule="All cells; none is added after the verdict. A run without successes, or without failures, has no auc.",
    deviations=(
        "Values are judged on the states of each policy's own final episodes, not on frozen data.",
        "Targets of the best observed return and of bins within the data are left out: there are no such options. So "
        "is the probe of sibling bins, which needs restored states of the simulator.",
        "Whole returns are targets of 150 rewards, the time limit; at the full scale episodes are longer, and there "
        "is no such arm.",
    ),
    read=final_numbers,
)
