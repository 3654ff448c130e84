"""What a place for numbers must do, besides the JSON lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Sink(Protocol):
    """Where numbers go besides the JSON lines. What it raises ends it, and nothing else."""

    name: str
    """By which the user knows it."""

    def scalars(self, kind: str, values: Mapping[str, float], env_steps: int, updates: int) -> None:
        """Take the numbers of one row. Before the first environment step, ``updates`` alone tell rows apart."""
        ...

    def close(self) -> None:
        """Flush."""
        ...


def in_brief(error: Exception) -> str:
    """Type and first line of an error of somebody else's code."""
    return f"{type(error).__name__}: {error}".partition("\n")[0]
