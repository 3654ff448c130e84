"""How many rewards should a target hold, and how many steps of a chunk be executed? CQN-AS, n-step returns."""

from __future__ import annotations

from zoomrl.reproduce.experiment import FULL, SMALL, Arm, Claim, Contrast, Experiment, Scale
from zoomrl.reproduce.experiments.papers import CQN_AS, INDEPENDENT, SMALL_METAWORLD, SMALL_TRAINING, on_bigym
from zoomrl.reproduce.read import final_numbers

STEPS = (1, 2, 4, 8)
_LARGE = Claim(
    "Many rewards in a target hurt; one to four are best.",
    f"{CQN_AS}, ablation of n-step returns",
    "direction only (BiGym; figure)",
)
_RANK = Claim(
    "More rewards in a target rank states better, and do not make the policy better.",
    INDEPENDENT,
    "Spearman's rank correlation 0.60 to 0.87, success -3.25 points with n=3",
)
_COMMIT = Claim(
    "Executing n steps of a chunk as they stand is another thing than a target of n rewards, and hurts by itself.",
    f"{INDEPENDENT}: 16 steps executed with n=16",
    "0 to 17 successes in 160 training episodes, 80 to 112 with the ensemble and n=1",
)


def _ensemble(count: int) -> Arm:
    return Arm(f"n-{count}", f"{count} rewards in a target, temporal ensemble", {"replay.n_step": count})


def _commit(count: int) -> Arm:
    options = {"control.executor": "receding_horizon", "control.replan_every": count, "replay.n_step": count}
    return Arm(f"n-{count}-commit", f"{count} rewards in a target, {count} steps of each chunk executed", options)


def _replan(count: int) -> Arm:
    options = {"control.executor": "receding_horizon", "control.replan_every": 1, "replay.n_step": count}
    return Arm(f"n-{count}-replan", f"{count} rewards in a target, 1 step of each chunk executed", options)


EXPERIMENT = Experiment(
    name="n-step",
    title="How many rewards should a target hold, and how many steps be executed?",
    claims=(_LARGE, _RANK, _COMMIT),
    arms=(*map(_ensemble, STEPS), *map(_commit, (4, 8)), *map(_replan, (1, 4, 8))),
    scales={
        SMALL: Scale(
            SMALL_METAWORLD[:2],
            (1, 2, 3, 4),
            seconds=110,
            options={**SMALL_TRAINING, "agent.chunk_length": 8, "offline_updates": 800, "steps": 1000}
            | {"eval.every": 1000},
            guessed=True,
        ),
        FULL: on_bigym(),
    },
    contrasts=(
        Contrast("8 rewards against 1", "success", "n-8", "n-1", "below", _LARGE, methods=True),
        Contrast("4 rewards against 1: rank", "rank", "n-4", "n-1", "above", _RANK),
        Contrast("4 rewards against 1: success", "success", "n-4", "n-1", "below", _RANK, methods=True),
        Contrast("as published", "success", "n-8-commit", "n-1", "below", _COMMIT, methods=True),
        Contrast("8 steps executed against 1", "success", "n-8-commit", "n-8-replan", "below", _COMMIT, methods=True),
        Contrast("4 steps executed against 1", "success", "n-4-commit", "n-4-replan", "below", _COMMIT, methods=True),
        Contrast("no ensemble", "success", "n-1-replan", "n-1", "below", _COMMIT, methods=True),
    ),
    metrics={
        "success": "success rate of the evaluation at the end",
        "rank": "Spearman's rank correlation of predicted values and realised returns",
        "auc": "probability that a state of a success is valued higher than one of a failure",
    },
    stop_rule="All cells; none is added after the verdict.",
    deviations=(
        "Meta-World from state with chunks of 8, a narrow network and 1,000 updates, in place of BiGym; n up to 8.",
        "Training and evaluation use one executor. Steps executed and the ensemble are told apart by arms that "
        "execute one step of each chunk.",
    ),
    read=final_numbers,
)
