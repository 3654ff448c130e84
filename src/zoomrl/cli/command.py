"""What every command is."""

from __future__ import annotations

from typing import Protocol


class Command(Protocol):
    """A frozen dataclass whose fields are the command's options, and which can be run."""

    def run(self) -> int:
        """Do it; returns the exit code."""
        ...
