"""Ranges of options: each config refuses, by full name, what lies outside of its own."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import typing
from typing import Any

from zoomrl.errors import ConfigError


def choices(config: Any, prefix: str = "") -> None:
    """Refuse values other than those that the types of the fields list; arguments and errors as of :func:`at_least`."""
    kind: Any = type(config)
    for name, known in _choices(kind).items():
        value = getattr(config, name)
        if value not in known:
            near = difflib.get_close_matches(str(value), map(str, known), n=1, cutoff=0.5)
            hint = f". Did you mean {near[0]}?" if near else ""
            raise ConfigError(f"{prefix}{name} must be one of {', '.join(map(repr, known))}, got {value!r:.40}{hint}")


@functools.cache
def _choices(kind: type) -> dict[str, tuple[Any, ...]]:
    """Field -> the values that its ``Literal`` lists."""
    hints = typing.get_type_hints(kind)
    found = {field.name: hints[field.name] for field in dataclasses.fields(kind)}
    return {name: typing.get_args(hint) for name, hint in found.items() if typing.get_origin(hint) is typing.Literal}


def at_least(config: Any, prefix: str = "", **lows: float) -> None:
    """Refuse fields below their lowest value, and NaN.

    Args:
        config: has the fields.
        prefix: of their full names, as in ``replay.``.
        lows: lowest value by name of the field.

    Raises:
        ConfigError: names the field, what was expected and what came.
    """
    for name, low in lows.items():
        if not getattr(config, name) >= low:
            raise ConfigError(f"{prefix}{name} must be at least {low}, got {getattr(config, name)}")


def within(config: Any, prefix: str, high: float, *names: str) -> None:
    """Refuse fields that do not lie in 0 .. ``high``; arguments and errors as of :func:`at_least`."""
    for name in names:
        if not 0 <= getattr(config, name) <= high:
            raise ConfigError(f"{prefix}{name} must lie in 0 .. {high:g}, got {getattr(config, name)}")


def positive(config: Any, prefix: str = "", *names: str, most: float = math.inf) -> None:
    """Refuse fields that are not above 0, or above ``most``; arguments and errors as of :func:`at_least`."""
    wanted = "positive" if most == math.inf else f"above 0 and at most {most:g}"
    for name in names:
        if not 0 < getattr(config, name) <= most:
            raise ConfigError(f"{prefix}{name} must be {wanted}, got {getattr(config, name)}")


def widths(config: Any, prefix: str = "", *names: str) -> None:
    """Refuse hidden layers without units; arguments and errors as of :func:`at_least`."""
    for name in names:
        if any(width < 1 for width in getattr(config, name)):
            raise ConfigError(f"{prefix}{name}: layers need at least one unit, got {getattr(config, name)}")


def refuse_idle(config: Any, place: str, used: bool, needs: str, *names: str) -> None:
    """Refuse other values than the defaults in the fields ``names`` unless they are ``used``; says what they need."""
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    for name in names:
        if not used and getattr(config, name) != defaults[name]:
            raise ConfigError(
                f"{place}{name}={getattr(config, name)} has no effect without {needs}; leave it at {defaults[name]}"
            )


def refuse_idle_decay(config: Any, place: str) -> None:
    """Refuse a ``weight_decay`` with ``optimizer`` Adam, which takes none, unless it is 0 or the default."""
    if config.weight_decay:
        refuse_idle(
            config, place, config.optimizer == "adamw", f"{place}optimizer=adamw (0 says so, too)", "weight_decay"
        )


def check_seed(seed: int) -> int:
    """A seed of random numbers, refused where their generators do not take it.

    Raises:
        ConfigError: it is below 0, or has more than 64 bits.
    """
    if not 0 <= seed < 2**64:
        raise ConfigError(f"a seed must lie in 0 .. 2^64 - 1, got {seed}")
    return seed
