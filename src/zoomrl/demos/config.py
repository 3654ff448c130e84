"""Where demonstrations come from. Plain data: loads no h5py."""

from __future__ import annotations

from dataclasses import dataclass

from zoomrl.field_docs import with_field_docs
from zoomrl.ranges import at_least, within


@with_field_docs
@dataclass(frozen=True)
class DemoConfig:
    """Demonstrations to learn from.

    Raises:
        ConfigError: a number is out of its range.
    """

    source: str = "scripted"
    """A demonstration set's path; ``scripted`` collects from the environment's expert; ``none`` learns without."""
    episodes: int = 20
    """Successful demonstrations to collect (scripted), or to use of a set (0: all)."""
    validation: float = 0.0
    """Fraction of the demonstrations, the last ones, that is held out: each evaluation measures the losses on them
    (imitation)."""
    noise: float = 0.0
    """Standard deviation of noise on the scripted expert's actions, as a fraction of half the action range."""
    seed: int = 0
    """Seed of scripted demonstrations."""
    directory: str = "demos"
    """Where scripted demonstrations are kept, to be used again."""

    def __post_init__(self) -> None:
        at_least(self, "demos.", episodes=0, noise=0, seed=0)
        within(self, "demos.", 1, "validation")
