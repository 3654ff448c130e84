"""n-step returns, the size of the replay, and exploration noise: the ablations of DrQ-v2."""

from __future__ import annotations

from zoomrl.reproduce.experiment import FULL, SMALL, Arm, Claim, Contrast, Experiment, Scale
from zoomrl.reproduce.experiments.papers import DRQV2
from zoomrl.reproduce.read import final_numbers

_N_STEP = Claim(
    "Three rewards in a target learn faster than one.",
    f"{DRQV2}, ablation of n-step returns",
    "n=3 above n=1; n=5 about as good as 3 (figure only)",
)
_BUFFER = Claim("A larger replay is better.", f"{DRQV2}, ablation of the replay", "direction only (figure)")
_NOISE = Claim(
    "Exploration noise that falls is better than noise that stays.",
    f"{DRQV2}, ablation of the exploration schedule",
    "direction only (figure)",
)
_FULL = (
    *("dmc:cartpole-swingup", "dmc:finger-spin", "dmc:quadruped-walk", "dmc:cheetah-run"),
    *("dmc:hopper-hop", "dmc:reacher-hard", "dmc:acrobot-swingup"),
)
EXPERIMENT = Experiment(
    name="drqv2-ablations",
    title="What do n-step returns, a large replay and falling noise do for DrQ-v2?",
    claims=(_N_STEP, _BUFFER, _NOISE),
    arms=(
        Arm("n-3", "three rewards in a target, as published", {"replay.n_step": 3}),
        Arm("n-1", "one reward in a target", {"replay.n_step": 1}),
        Arm("n-5", "five rewards in a target", {"replay.n_step": 5}),
        Arm("replay-5k", "a replay of 5,000 steps", {"replay.capacity": 5000}),
        Arm("replay-100k", "a replay of 100,000 steps", {"replay.capacity": 100_000}),
        Arm("fixed-noise", "noise of 0.2 throughout", {"control.noise": "0.2"}),
    ),
    scales={
        SMALL: Scale(
            ("dmc:cartpole-swingup", "dmc:finger-spin"),
            (1, 2, 3, 4),
            seconds=4500,
            options={"preset": "drqv2-dmc-cpu", "eval.every": 20_000, "eval.final_episodes": 50},
            arms=("n-3", "n-1", "n-5", "replay-5k", "fixed-noise"),
            guessed=True,
        ),
        FULL: Scale(
            _FULL,
            tuple(range(1, 6)),
            seconds=30_000,
            options={"preset": "drqv2-dmc", "device": "auto", "eval.final_episodes": 50},
            arms=("n-3", "n-1", "n-5", "replay-100k", "fixed-noise"),
            needs="a GPU",
            guessed=True,
        ),
    },
    contrasts=(
        Contrast("n=3 against 1", "return", "n-3", "n-1", "above", _N_STEP, methods=True),
        Contrast("a replay of 5,000", "return", "replay-5k", "n-3", "below", _BUFFER, methods=True),
        Contrast("a replay of 100,000", "return", "replay-100k", "n-3", "below", _BUFFER, methods=True),
        Contrast("noise that stays", "return", "fixed-noise", "n-3", "below", _NOISE, methods=True),
    ),
    metrics={"return": "mean return of the evaluation at the end"},
    stop_rule="All cells; none is added after the verdict.",
    deviations=(
        "Small: images of 64 pixels, narrow networks, 100,000 frames; a replay of a tenth of their steps "
        "stands for 100,000 of 1,000,000.",
        "SAC in place of the deterministic actor is left out: its other hyperparameters differ too.",
        "Full: seven of the 24 tasks.",
    ),
    read=final_numbers,
)
