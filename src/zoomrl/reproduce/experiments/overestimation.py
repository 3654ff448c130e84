"""Do actor-critics over-estimate the values of action chunks, and CQN-AS not? CQN-AS, figures 2b and 2c."""

from __future__ import annotations

from typing import Any

from zoomrl.reproduce.experiment import FULL, SMALL, Arm, Claim, Contrast, Experiment, Scale
from zoomrl.reproduce.experiments.papers import CQN_AS, SMALL_METAWORLD, SMALL_TRAINING, on_bigym
from zoomrl.reproduce.read import final_numbers

RATIO = 5.0
"""How many times as large the actor-critic's bias must be."""
_ACTOR_CRITIC: dict[str, Any] = {
    "agent": "drqv2_as",
    "agent.value": "scalar",
    "agent.bc_lambda": 0.0,
    "agent.lr": 3e-4,
    "agent.target_tau": 0.01,
    "agent.target_interval": 1,
}
"""Learning rate and targets are those of the preset drqv2_as-metaworld."""
_SCALAR = {"agent.value": "scalar"}
_NO_IMITATION = {"agent.bc_lambda": 0.0}
_LONG = {"agent.chunk_length": 16}

_SMALL = {name: value for name, value in SMALL_TRAINING.items() if name != "agent.double_q"}
"""As published, CQN-AS learns by double Q-learning; actor-critics have no such option."""


def _actor_critic(length: int) -> Arm:
    about = f"DrQ-v2 over chunks of {length} with scalar values, without imitation loss"
    return Arm(f"actor-critic-{length}", about, {**_ACTOR_CRITIC, "agent.chunk_length": length})


_EXPLODES = Claim(
    "Values of an actor-critic over long action chunks are far too high, and those of CQN-AS are not.",
    f"{CQN_AS}, figures 2b and 2c",
    "values of SAC with chunks grow without bound, success near 0; CQN-AS's do not (figure only)",
)
_LONGER = Claim(
    "An actor-critic over-estimates the more, the longer its chunks are.",
    f"{CQN_AS}, section on the motivation",
    "direction only",
)
_IMITATION = Claim(
    "It is the critic without an actor that keeps values low, and not the imitation losses.",
    "a control of our own; the paper has none",
    "none",
)
_SUPPORT = Claim(
    "It is the critic without an actor that keeps values low, and not the support of its distribution.",
    "a control of our own; the paper has none",
    "none",
)
EXPERIMENT = Experiment(
    name="overestimation",
    title="Do actor-critics over-estimate action chunks, and CQN-AS not?",
    claims=(_EXPLODES, _LONGER, _IMITATION, _SUPPORT),
    arms=(
        Arm("cqn_as-16", "CQN-AS with chunks of 16", _LONG),
        Arm("cqn_as-16-no-bc", "the same without imitation losses", _LONG | _NO_IMITATION),
        Arm("cqn_as-16-scalar", "CQN-AS with chunks of 16 and scalar values", _LONG | _SCALAR),
        Arm("cqn_as-16-scalar-no-bc", "the same without imitation losses", _LONG | _SCALAR | _NO_IMITATION),
        _actor_critic(1),
        _actor_critic(16),
    ),
    scales={
        SMALL: Scale(
            SMALL_METAWORLD[:2],
            (1, 2, 3, 4),
            seconds=134,
            options={**_SMALL, "steps": 4000, "updates_per_step": 0.5},
        ),
        FULL: on_bigym(("move_plate", "sandwich_remove"), seeds=4),
    },
    contrasts=(
        Contrast(
            "bias at 16",
            "overestimation",
            "actor-critic-16",
            "cqn_as-16",
            "above",
            _EXPLODES,
            threshold=RATIO,
            ratio=True,
        ),
        Contrast("bias at 16, difference", "overestimation", "actor-critic-16", "cqn_as-16", "above", _EXPLODES),
        Contrast("success at 16", "success", "actor-critic-16", "cqn_as-16", "below", _EXPLODES, methods=True),
        Contrast("16 against 1", "overestimation", "actor-critic-16", "actor-critic-1", "above", _LONGER),
        Contrast("without imitation", "overestimation", "actor-critic-16", "cqn_as-16-no-bc", "above", _IMITATION),
        Contrast("scalar values", "overestimation", "actor-critic-16", "cqn_as-16-scalar", "above", _SUPPORT),
        Contrast(
            "scalar values, without imitation",
            "overestimation",
            "actor-critic-16",
            "cqn_as-16-scalar-no-bc",
            "above",
            _SUPPORT,
        ),
        Contrast("support", "overestimation", "cqn_as-16-scalar", "cqn_as-16", "above", _SUPPORT),
    ),
    metrics={
        "overestimation": "predicted minus realised value of the first state, mean over the final episodes",
        "predicted": "predicted value of the first state",
        "realised": "discounted return from there",
        "success": "success rate of the evaluation at the end",
    },
    stop_rule="All cells; none is added after the verdict.",
    deviations=(
        "SAC and TD3 have no chunks here: the actor-critic is DrQ-v2 with a recurrent network over the chunk (the "
        "baseline DrQ-v2-AS), with scalar values and no imitation loss, as the paper's actor-critics have.",
        "CQN-AS has categorical values, which cannot leave their support of 0 to 1, and begins at its middle, 0.5; "
        "actor-critics begin near 0. Arms of scalar values tell what that does.",
        "Each has the learning rate and targets of its own preset for Meta-World: 3e-4 and 0.01 for actor-critics (at "
        "the full scale too), 1e-3 and 0.02 for CQN-AS. Actor-critics are therefore slower: with chunks of 16 their "
        "values still grew at the end of the small scale.",
        "The contrast 'support' stands under a claim that it speaks against: where it agrees, the support is a part of "
        "what keeps values low.",
        "What is predicted is compared at the first states of the last episodes alone. That longer chunks of "
        "actor-critics are worse is read off figures.",
        "Meta-World from state, ten demonstrations with noise 0.3, 3,000 updates, in place of BiGym. Values that "
        "grow without bound may need more: what the small scale says of growth is said of the first 3,000 updates "
        "alone. A pilot of one seed (101) on one task chose that number.",
    ),
    read=final_numbers,
)
