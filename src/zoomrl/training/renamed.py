"""Options that have another name now: old configs are read by it, and a command that has the old one is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RENAMED = {
    "agent.horizon": "agent.chunk_length",
    "agent.representation.levels": "agent.representation.fsq_levels",
    "agent.refresh": "agent.target_interval",
    "agent.later": "agent.checkpoint_after",
    "agent.forgetting": "agent.reset_weight",
}
"""Full name before -> full name now."""


def with_new_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config as a dictionary, its old field names replaced."""
    fields = _copied(config)
    for old, new in RENAMED.items():
        *path, last = old.split(".")
        place: Any = fields
        for name in path:
            place = place.get(name) if isinstance(place, dict) else None
        if isinstance(place, dict) and last in place:
            place[new.rpartition(".")[2]] = place.pop(last)
    return fields


def _copied(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copied(value) if isinstance(value, Mapping) else value for key, value in config.items()}
