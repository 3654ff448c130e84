"""The agent, and whether what is asked of it can work."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from rich.console import Console

from zoomrl.agents.build import make_agent
from zoomrl.agents.contract import Agent
from zoomrl.agents.engine import accelerate
from zoomrl.control.scaling import ActionScaler
from zoomrl.data.episode import Episode
from zoomrl.errors import ConfigError
from zoomrl.spec import EnvSpec
from zoomrl.training.config import TrainConfig
from zoomrl.training.measure.parity import compare
from zoomrl.training.measure.trial import Trial
from zoomrl.training.seeds import derive

PRECISION_UPDATES = 3
"""Updates that decide whether bfloat16 is precise enough."""
GRADIENT_RATIO = 10
"""Tolerance of the gradient over that of the loss."""


def choose_device(name: str) -> torch.device:
    """The device that ``name`` stands for, a GPU with its number; refuses a GPU that PyTorch does not find."""
    if name == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    if name == "auto":
        return torch.device("cpu")
    raise ConfigError(
        "device=cuda, but PyTorch finds no CUDA device. `zoomrl doctor` says more; device=cpu works everywhere"
    )


def check_agent(config: TrainConfig, spec: EnvSpec, device: torch.device, console: Console) -> None:
    """Refuse what cannot work before anything slow is done, such as collecting demonstrations."""
    if config.demos.source == "scripted":
        Trial(config, spec, device, config.precision, config.speed)
    check_precision(config, spec, device, console)


def check_precision(config: TrainConfig, spec: EnvSpec, device: torch.device, console: Console) -> None:
    """Refuse bfloat16 where it changes the loss too much for this agent."""
    if config.precision != "bf16":
        return
    (result,) = compare(config, spec, device, PRECISION_UPDATES, [("eager", "bf16")])
    measured = f"the loss by {result.loss_difference:.1%} and the gradient by {result.gradient_difference:.1%}"
    console.print(f"bf16 changes {measured} over {PRECISION_UPDATES} updates", highlight=False)
    allowed = config.precision_tolerance
    if not result.within(allowed, GRADIENT_RATIO * allowed):
        raise ConfigError(
            f"precision=bf16 changes {measured} over {PRECISION_UPDATES} updates; {allowed:.0%} and "
            f"{GRADIENT_RATIO * allowed:.0%} are allowed (precision_tolerance={allowed}). Use precision=float32 (or "
            "tf32 on a GPU), or a larger precision_tolerance."
        )


def build_agent(
    config: TrainConfig, spec: EnvSpec, episodes: Sequence[Episode], device: torch.device, scaler: ActionScaler
) -> Agent:
    """The agent, before any learning."""
    agent = make_agent(
        config.agent,
        spec,
        frame_stack=config.replay.frame_stack,
        demos=episodes,
        seed=derive(config.seed, "agent"),
        device=device,
        movable=scaler.movable,
    )
    accelerate(agent, config.speed, config.precision)
    return agent
