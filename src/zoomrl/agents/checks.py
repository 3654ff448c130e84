"""What the hyperparameters of several agents must fulfil."""

from __future__ import annotations

import dataclasses
from typing import Any

from zoomrl.errors import ConfigError
from zoomrl.ranges import at_least, positive


def refuse_unused(config: Any) -> None:
    """Refuse other values than the defaults in options that the agent has no use for (``unused`` of its class)."""
    for name in config.unused:
        *path, last = name.split(".")
        owner = config
        for part in path:
            owner = getattr(owner, part)
        default = next(field.default for field in dataclasses.fields(owner) if field.name == last)
        if getattr(owner, last) != default:
            raise ConfigError(f"agent.{name} has no effect on {config.name}; leave it at {default}")


def check_learning(config: Any) -> None:
    """Refuse rates that cannot work: ``lr``, ``weight_decay``, ``target_tau``."""
    positive(config, "agent.", "lr")
    at_least(config, "agent.", weight_decay=0)
    positive(config, "agent.", "target_tau", most=1)


def check_support(config: Any) -> None:
    """Refuse a support of values, ``v_min`` to ``v_max``, that is empty."""
    if not config.v_max > config.v_min:
        raise ConfigError(f"agent.v_max must exceed agent.v_min, got {config.v_max} and {config.v_min}")


def check_supervised(config: Any) -> None:
    """Refuse what an agent without rewards cannot learn with: ``chunk_length``, ``weight_decay``, ``lr``."""
    at_least(config, "agent.", chunk_length=1, weight_decay=0)
    positive(config, "agent.", "lr")
