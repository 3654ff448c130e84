"""Where actions are torques, are chunks of no use? CQN-AS, DeepMind Control."""

from __future__ import annotations

from zoomrl.reproduce.experiment import FULL, SMALL, Arm, Claim, Contrast, Experiment, Scale
from zoomrl.reproduce.experiments.papers import CQN_AS
from zoomrl.reproduce.read import final_numbers

_BELOW = Claim(
    "With torques as actions, CQN-AS is worse than CQN.",
    f"{CQN_AS}, DeepMind Control in the discussion of limits",
    "return of CQN-AS below that of CQN",
)
_CHUNKED = {"agent": "cqn_as", "agent.chunk_length": 4}
EXPERIMENT = Experiment(
    name="torque",
    title="Are chunks of no use where actions are torques?",
    claims=(_BELOW,),
    arms=(
        Arm("cqn", "single actions"),
        Arm("cqn_as-1", "CQN-AS with chunks of 1", {**_CHUNKED, "agent.chunk_length": 1}),
        Arm("cqn_as-4", "CQN-AS with chunks of 4", _CHUNKED),
    ),
    scales={
        SMALL: Scale(
            ("dmc:walker-walk", "dmc:cheetah-run"),
            (1, 2, 3, 4),
            seconds=6000,
            options={
                "preset": "cqn-dmc",
                "steps": 50_000,
                "agent.hidden_dim": 128,
                "replay.batch_size": 128,
                "replay.capacity": 100_000,
                "eval.every": 10_000,
                "eval.num_envs": 5,
                "eval.final_episodes": 50,
            },
            guessed=True,
        ),
        FULL: Scale(
            ("dmc:walker-run", "dmc:cheetah-run", "dmc:dog-walk", "dmc:humanoid-walk"),
            tuple(range(1, 9)),
            seconds=60_000,
            options={"preset": "cqn-dmc", "device": "auto"},
            needs="a GPU, or patience",
            guessed=True,
        ),
    },
    contrasts=(
        Contrast("chunks of 4 against CQN", "return", "cqn_as-4", "cqn", "below", _BELOW, methods=True),
        Contrast("chunks of 4 against 1", "return", "cqn_as-4", "cqn_as-1", "below", _BELOW, methods=True),
    ),
    metrics={"return": "mean return of the evaluation at the end"},
    stop_rule="All cells; none is added after the verdict.",
    deviations=(
        "The interaction with the control mode is left out: there is no wrapper here whose actions are positions.",
        "Small: narrow networks and 50,000 steps.",
    ),
    read=final_numbers,
)
