"""What makes iQRL's representation work: the ablations of its paper."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from zoomrl.recipes.latent import ABLATIONS
from zoomrl.reproduce.experiment import FULL, SMALL, Arm, Claim, Contrast, Experiment, Scale, from_options
from zoomrl.reproduce.experiments.papers import IQRL
from zoomrl.reproduce.read import final_numbers
from zoomrl.training.config import TrainConfig


def config(arm: Arm, task: str, seed: int, scale: Scale) -> TrainConfig:
    """iQRL on ``task`` with one part of its representation changed, as ``zoomrl ablate`` changes it.

    Other options, which that command takes from the task, are those of the preset.
    """
    options = dict(arm.options)
    ablation = options.pop("ablation", None)
    base = from_options(replace(arm, options=options), task, seed, scale)
    if ablation is None:
        return base
    agent: Any = base.agent
    return replace(base, agent=replace(agent, representation=ABLATIONS[ablation](agent.representation)))


_QUANTISED = Claim(
    "Quantised latents learn better than latents that are not.",
    f"{IQRL}, ablation of the quantisation (draft)",
    "at 500,000 frames acrobot-swingup 416 against 247; fish-swim 641 against 739, cheetah-run 794 against 824, "
    "humanoid-run 99 against 101",
)
_RECONSTRUCTED = Claim(
    "Reconstructing observations hurts.",
    f"{IQRL}, ablation of the losses (draft)",
    "dog-walk at 500,000 frames: 72 with reconstruction, 684 without",
)
_COSINE = Claim(
    "The cosine between latents is a better loss than their squared distance.",
    f"{IQRL}, ablation of the losses",
    "direction only",
)
_PLAIN = Claim(
    "Neither a predicted reward nor a projection is needed.",
    f"{IQRL}, ablation of the losses",
    "direction only: no better with them",
)
_CRITICS = Claim(
    "Five critics are better than two.",
    "results of the public repository of DC-MPC, the later method of the same group",
    "dog-run at 500,000 frames: 310 against 249",
)
EXPERIMENT = Experiment(
    name="iqrl-ablations",
    title="What makes iQRL's representation work?",
    claims=(_QUANTISED, _RECONSTRUCTED, _COSINE, _PLAIN, _CRITICS),
    arms=(
        Arm("iqrl", "nothing changed"),
        *(Arm(name, f"iQRL, {name.replace('_', ' ')}", {"ablation": name}) for name in ABLATIONS),
        Arm("critics-5", "five critics", {"agent.critics": 5}),
        Arm("critics-2", "two critics", {"agent.critics": 2}),
    ),
    scales={
        SMALL: Scale(
            ("dmc:acrobot-swingup", "dmc:walker-run"),
            (1, 2, 3, 4),
            seconds=2400,
            options={"preset": "iqrl-dmc-cpu", "eval.every": 20_000, "eval.final_episodes": 50},
            arms=("iqrl", *ABLATIONS, "critics-5"),
            guessed=True,
        ),
        FULL: Scale(
            ("dmc:acrobot-swingup", "dmc:dog-walk", "dmc:dog-run", "dmc:humanoid-walk"),
            tuple(range(1, 6)),
            seconds=40_000,
            options={"preset": "iqrl-dmc", "device": "auto", "eval.final_episodes": 50},
            arms=("iqrl", *ABLATIONS, "critics-2"),
            needs="a GPU, or patience",
            guessed=True,
        ),
    },
    contrasts=(
        Contrast("quantisation", "return", "iqrl", "no_quantisation", "above", _QUANTISED, methods=True),
        Contrast("reconstruction", "return", "reconstruction", "iqrl", "below", _RECONSTRUCTED, methods=True),
        Contrast("squared distance", "return", "mse", "iqrl", "below", _COSINE, methods=True),
        Contrast("predicted reward", "return", "reward", "iqrl", "below", _PLAIN, methods=True),
        Contrast("projection", "return", "projection", "iqrl", "below", _PLAIN, methods=True),
        Contrast("five critics, small", "return", "critics-5", "iqrl", "above", _CRITICS, methods=True),
        Contrast("two critics, full", "return", "critics-2", "iqrl", "below", _CRITICS, methods=True),
    ),
    metrics={"return": "mean return of the evaluation at the end"},
    stop_rule="All cells; none is added after the verdict.",
    deviations=(
        "Small: a 128-dimensional latent, two critics and networks of width 256; 100,000 frames.",
        "The horizon of predictions is not varied.",
    ),
    config=config,
    read=final_numbers,
)
