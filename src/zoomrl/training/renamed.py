"""Options and presets that have another name now: old configs are read by it, and commands are told."""

from __future__ import annotations

import re
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
_OF_A_TASK = (
    (r"(?:cqn_as|cqn|drqv2_plus|drqv2_as)-bigym-(?!cpu$)(.+)", "bigym:", "_"),
    (r"(?:cqn_as|cqn|drqv2_plus|drqv2_as)-rlbench-(.+)", "rlbench:", "_"),
    (r"(?:cqn_as|cqn)-humanoid-(?!cpu$)(.+)", "humanoidbench:h1hand-", "_"),
    (r"(?:iqrl-dmc|td3-dmc-matched)-(?!cpu)(.+)", "dmc:", "-"),
    (r"(?:drqv2-dmc|cqn-dmc|cqn-dmc-pixels|tcrl-dmc)-(walker|medium|hard)", "dmc:", "-"),
)
"""Presets that each task had: pattern with the task, beginning of its environment, and what joins its words."""
_OF_A_CLASS = {"walker": "walker-walk", "medium": "cheetah-run", "hard": "humanoid-walk"}


def renamed_preset(name: str) -> tuple[str, str] | None:
    """Preset and environment that the preset ``name`` of earlier versions stood for; None for any other."""
    for pattern, domain, joint in _OF_A_TASK:
        if found := re.fullmatch(pattern, name):
            task = _OF_A_CLASS.get(found[1], found[1])
            return name.removesuffix(f"-{found[1]}"), domain + task.replace("-", joint)
    return None


def with_new_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config as a dictionary, its old names of fields and of the preset replaced."""
    fields = _copied(config)
    now = renamed_preset(str(fields.get("preset", "")))
    if now is not None:
        fields["preset"] = now[0]
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
