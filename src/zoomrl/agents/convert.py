"""Hyperparameters of one agent taken over by another."""

from __future__ import annotations

from dataclasses import fields
from typing import TypeVar

from zoomrl.agents.config import AgentConfig

Config = TypeVar("Config", bound=AgentConfig)


def convert(config: AgentConfig, kind: type[Config]) -> Config:
    """The hyperparameters of ``config`` for another algorithm; those that are not taken over are its defaults.

    Within a family all that both have, or, where the variants of a family differ by their defaults, what ``config``
    changed of its own; between families what belongs to the task.
    """
    shared = {field.name for field in fields(config)} & {field.name for field in fields(kind)}
    if config.family and config.family == kind.family:
        names = shared
        if kind.variants_differ_by_defaults:
            default, target = type(config)(), kind()
            names = {name for name in shared if getattr(config, name) != getattr(default, name)}
            if default.representation.kind != target.representation.kind:
                names.discard("representation")  # whether there is one is what tells these two apart
    else:
        names = shared & {"normalize", "chunk_length"}
        # A scalar value has no support that would mean anything.
        if config.support is not None:
            names |= shared & {"v_min", "v_max"}
    names -= set(kind.unused)
    return kind(**{name: getattr(config, name) for name in names})
