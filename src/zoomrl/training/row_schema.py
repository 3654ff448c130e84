"""What the rows of ``metrics.jsonl`` hold, by kind: names, types, and which of them are always there.

Loads no torch. What each name means is told in the reference of metrics.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

COUNT: Final = "a whole number"
NUMBER: Final = "a number or null"
FLAG: Final = "true or false"
COUNTS: Final = "a list of whole numbers"
NUMBERS: Final = "a list of numbers or nulls"
FLAGS: Final = "a list of truth values"

_COUNTERS = {"env_steps": COUNT, "agent_steps": COUNT, "updates": COUNT}
_RESULT = {"episodes": COUNT, "episodes_lost": COUNT, "returns": NUMBERS, "lengths": COUNTS, "seeds": COUNTS}
_RESULT |= {"seeds_lost": COUNTS}
_SUMMARY = ("success_rate", "success_low", "success_high", "return_mean", "return_std", "return_low", "return_high")
_VALUES = (
    *("value_predicted", "value_realised", "value_overestimation", "value_overestimation_std"),
    *("value_error", "value_rank", "value_auc"),
)

ALWAYS: dict[str, dict[str, str]] = {
    "train": {
        **_COUNTERS,
        "episodes_lost": COUNT,
        "seconds": NUMBER,
        "updates_per_s": NUMBER,
        "env_steps_per_s": NUMBER,
    },
    "episode": {**_COUNTERS, "env": COUNT, "return": NUMBER, "length": COUNT},
    "eval": {**_COUNTERS, **_RESULT, "seconds": NUMBER},
    "final": {**_COUNTERS, **_RESULT},
}
"""Kind of row -> what each of them has."""
SOMETIMES: dict[str, dict[str, str]] = {
    "train": {},
    "episode": {"success": FLAG, "corrected": NUMBER, "terminated": FLAG},
    "eval": {**dict.fromkeys((*_SUMMARY, "length_mean", *_VALUES), NUMBER), "successes": FLAGS},
    "final": {
        **dict.fromkeys((*_SUMMARY, "length_mean", *_VALUES), NUMBER),
        "successes": FLAGS,
        "best_env_steps": COUNT,
        "best_updates": COUNT,
    },
}
"""Kind of row -> what some of them have."""
OTHERS = {"train": "", "episode": "log/", "eval": "", "final": "validation_"}
"""Kinds of rows that may have other numbers too, of agents, callbacks and environments; how their names begin."""


def row_faults(row: Mapping[str, Any]) -> list[str]:
    """What is wrong with a row of ``metrics.jsonl``, in words; nothing where it is as it should be."""
    kind = row.get("kind")
    if kind not in ALWAYS:
        return [f"kind is {kind!r}, not one of {', '.join(ALWAYS)}"]
    known = ALWAYS[kind] | SOMETIMES[kind]
    faults = [f"{name} is missing" for name in ALWAYS[kind] if name not in row]
    for name, value in row.items():
        if name == "kind":
            continue
        if name in known:
            wanted = known[name]
        elif kind in OTHERS and name.startswith(OTHERS[kind]):
            wanted = NUMBER
        else:
            faults.append(f"{name} is unknown in rows of kind {kind}")
            continue
        if not _is(wanted, value):
            faults.append(f"{name} is {value!r:.60}, and should be {wanted}")
    return faults


def _is(wanted: str, value: Any) -> bool:
    if wanted in (COUNTS, NUMBERS, FLAGS):
        one = {COUNTS: COUNT, NUMBERS: NUMBER, FLAGS: FLAG}[wanted]
        return isinstance(value, list) and all(_is(one, entry) for entry in value)
    if wanted == FLAG:
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    return isinstance(value, int) if wanted == COUNT else value is None or isinstance(value, int | float)
