"""What are steps of a chunk worth that lie beyond its episode's end? Masked, valued alone, or trained as if data."""

from __future__ import annotations

from zoomrl.reproduce.experiment import FULL, SMALL, Arm, Claim, Contrast, Experiment, Scale
from zoomrl.reproduce.experiments.papers import CQN_AS, on_bigym
from zoomrl.reproduce.experiments.sequence_length import LONGER, TASKS, TRAINING
from zoomrl.reproduce.read import final_numbers

_LONG = 16
_VALUED = Claim(
    "Long chunks learn better where steps beyond a terminal state learn that nothing follows, and are not masked.",
    "a question of our own: with masks no target of a step t > n holds a reward that ends an episode",
    "none",
)
_PADDED = Claim(
    "Steps beyond an episode's end can be trained as if they were data.",
    f"{CQN_AS}: its published configuration of BiGym and HumanoidBench",
    "none: what the paper does, and compares with nothing",
)


def _long(padding: str, about: str) -> Arm:
    return Arm(padding, about, {"agent.chunk_length": _LONG, "replay.padding": padding})


EXPERIMENT = Experiment(
    name="padding",
    title="What are the steps of a chunk worth that lie beyond its episode's end?",
    claims=(_VALUED, _PADDED, LONGER),
    arms=(
        Arm("single", "chunks of 1 step", {"agent.chunk_length": 1}),
        _long("mask", "chunks of 16 steps, masked beyond the end"),
        _long("absorbing", "chunks of 16 steps, valued beyond a terminal state and not imitated"),
        _long("last_action", "chunks of 16 steps, padded with the last action and trained like data"),
    ),
    scales={SMALL: Scale(TASKS, tuple(range(1, 9)), seconds=74, options=TRAINING), FULL: on_bigym()},
    contrasts=(
        Contrast("absorbing against masks", "success", "absorbing", "mask", "above", _VALUED, methods=True),
        Contrast("trained padding against masks", "success", "last_action", "mask", "above", _PADDED, methods=True),
        Contrast("masks: 16 against 1", "success", "mask", "single", "above", LONGER, methods=True),
        Contrast("absorbing: 16 against 1", "success", "absorbing", "single", "above", LONGER, methods=True),
    ),
    metrics={
        "success": "success rate of the evaluation at the end",
        "auc": "probability that a state of a successful episode is valued above one of a failed one",
        "overestimation": "predicted minus realised value of the first state",
    },
    stop_rule="All cells; none is added after the verdict.",
    deviations=(
        "Tasks and training are those of the small scale of sequence-length, with eight seeds in place of four: "
        "Meta-World from state with a narrow network, ten demonstrations with noise 0.3, and 1,000 updates.",
        "Seeds 1 to 4 of the arms single and mask repeat cells of sequence-length, to the same numbers, which were "
        "known when this was registered; all others are new.",
        "All arms make equally many updates and steps; longer chunks take longer.",
        "That 16 steps are better than 1 on average is read off a figure about BiGym.",
    ),
    read=final_numbers,
)
