"""Scalar schedules over steps or updates, written as short strings (DrQ-v2's notation)."""

from __future__ import annotations

import math
import re

_FORM = re.compile(r"(\w+)\(([^)]*)\)")


def schedule(text: str, step: int) -> float:
    """Value of the schedule ``text`` at ``step``.

    Forms: a number, ``linear(init, final, duration)``, ``cosine(init, final, duration)`` (half a wave), or
    ``step_linear(init, final1, duration1, final2, duration2)`` (two linear pieces one after the other).

    Raises:
        ValueError: the text is none of these.
    """
    kind, numbers = parse_schedule(text)
    if kind == "constant":
        return numbers[0]
    if kind == "cosine":
        init, final, duration = numbers
        return final + (init - final) * (1 + math.cos(math.pi * min(max(step / duration, 0.0), 1.0))) / 2
    start, value = 0.0, numbers[0]
    for final, duration in zip(numbers[1::2], numbers[2::2], strict=True):
        if step <= start + duration:
            return value + (final - value) * min(max((step - start) / duration, 0.0), 1.0)
        start, value = start + duration, final
    return value


def parse_schedule(text: str) -> tuple[str, tuple[float, ...]]:
    """Kind and numbers of a schedule; raises ValueError when ``text`` is malformed."""
    expected = (
        "expected a number, linear(init, final, duration), cosine(init, final, duration) or "
        "step_linear(init, f1, d1, f2, d2)"
    )
    match = _FORM.fullmatch(text.strip())
    try:
        numbers = tuple(float(part) for part in (match[2].split(",") if match else [text]))
    except ValueError:
        numbers = ()
    kind = match[1] if match else "constant"
    if {"constant": 1, "linear": 3, "cosine": 3, "step_linear": 5}.get(kind) != len(numbers):
        raise ValueError(f"{expected}; got {text!r}")
    if not all(0 <= number < float("inf") for number in numbers):
        raise ValueError(f"schedule values must be finite and not negative; got {text!r}")
    if any(duration <= 0 for duration in numbers[2::2]):
        raise ValueError(f"schedule durations must be positive; got {text!r}")
    return kind, numbers
