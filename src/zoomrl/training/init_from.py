"""Weights of another run, to begin with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from zoomrl.agents.contract import Agent
from zoomrl.control.scaling import ActionScaler
from zoomrl.errors import ConfigError, plural
from zoomrl.training.config import TrainConfig
from zoomrl.training.misfits import misfits
from zoomrl.training.policy import load_agent


def init_from(config: TrainConfig, agent: Agent, scaler: ActionScaler, say: Callable[[str], None]) -> None:
    """Give ``agent``, which has not learnt yet, the weights of the run ``config.init_from``; its optimizers stay new.

    Args:
        config: of the run that begins.
        agent: of that run.
        scaler: of its actions.
        say: prints a line for the user.

    Raises:
        CheckpointError: that run has no readable checkpoint.
        ConfigError: weights are missing, or have another shape; names them.
    """
    theirs = load_agent(config.init_from)
    held, own = (one.weights(config.init_part) for one in (theirs.agent, agent))
    if not own:
        raise ConfigError(f"init_part=encoder: {config.agent.name} has no encoder here, since it observes no images")
    wrong = misfits(held, own, all_of_them=config.init_part == "all")
    if wrong:
        encoders = theirs.agent.weights("encoder"), agent.weights("encoder")
        hint = ", or --init-part encoder" if config.init_part == "all" and all(encoders) else ""
        raise ConfigError(
            f"the weights of {config.init_from} do not fit this agent:{wrong}\n"
            "Take the same agent, widths and observations" + hint
        )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(held[name])
    say(f"{plural(len(own), 'tensor')} of weights come from {Path(config.init_from)}, step {theirs.env_steps:,}")
    ranges = [(one.low.tolist(), one.high.tolist()) for one in (theirs.scaler, scaler)]
    if config.init_part == "all" and ranges[0] != ranges[1]:
        say("the range of actions is another one there: the same output of a network is another action here")
    atoms = [
        one.agent.support and (one.agent.support, getattr(one.agent, "atom_spacing", "even"), one.agent.least_value)
        for one in (theirs.config, config)
    ]
    if config.init_part == "all" and atoms[0] != atoms[1]:
        say("the atoms of values are others there: the same output of a network is another value here")
