"""Options of corrections while training. Plain data: loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from zoomrl.errors import ConfigError
from zoomrl.field_docs import with_field_docs
from zoomrl.ranges import at_least, within


@with_field_docs
@dataclass(frozen=True)
class InterventionConfig:
    """Corrections by a person while training (human in the loop).

    Idea: Luo et al., "Precise and Dexterous Robotic Manipulation via Human-in-the-Loop Reinforcement Learning" (2024).

    Raises:
        ConfigError: a number is out of its range.
    """

    source: str = "none"
    """Who may take over: ``none``; ``keyboard``, through a page in a browser; or a file of recorded corrections, whose
    path this is."""
    env: int = 0
    """Training environment that is corrected, counted from 0."""
    capacity: int = 10_000
    """Frames reserved for corrections, besides the demonstrations. They are never evicted; when they are full, later
    corrections are executed and no longer kept apart."""
    port: int = 8642
    """Port of the page, on this machine alone (keyboard)."""
    step: float = 0.25
    """How far a held key moves a dimension, as a fraction of half its range: of a delta at once, of an absolute
    position per agent step (keyboard)."""

    def __post_init__(self) -> None:
        at_least(self, "intervene.", env=0, capacity=1)
        within(self, "intervene.", 65_535, "port")
        if not 0 < self.step <= 2:
            raise ConfigError(f"intervene.step must lie above 0 and be 2 at most, got {self.step}")
