"""What every reader of a foreign demonstration format takes and gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from zoomrl.data.episode import Episode
from zoomrl.envs.config import EnvConfig
from zoomrl.errors import ConfigError
from zoomrl.spec import EnvSpec, StateEntry

MAX_HZ = 1e6
"""What files call a control rate is none from here on."""


@dataclass(frozen=True)
class ImportOptions:
    """What to take of a foreign set, and what the set does not say by itself."""

    env: EnvConfig | None = None
    """Environment the set is for: its spec gives action bounds, meaning, control rate, id; None derives them."""
    cameras: tuple[str, ...] = ()
    """The source's cameras to take, in this order; () takes none unless the environment's spec has cameras."""
    state: tuple[str, ...] = ()
    """The source's low-dimensional entries to join into ``state``, in this order; () takes those of the environment by
    their names, or else the format's default."""
    entries: tuple[StateEntry, ...] = ()
    """The parts of the joined ``state`` in its order, for sources that give them no names; () is the source's."""
    image_size: int = 84
    """Images of another size are resized to this square."""
    action_meaning: tuple[str, ...] = ()
    """Meaning per action dimension, or one for all; () is the format's or the environment's."""
    control_hz: float = 0.0
    """Agent steps per second; 0 takes the format's or the environment's rate."""
    episodes: int = 0
    """At most so many episodes; 0 is all."""

    def __post_init__(self) -> None:
        for name, value, low in (
            ("episodes", self.episodes, 0),
            ("image_size", self.image_size, 1),
            ("control_hz", self.control_hz, 0),
        ):
            if not value >= low:
                raise ConfigError(f"{name} must be at least {low}, got {value}")


@dataclass(frozen=True)
class Imported:
    """What a reader found.

    Attributes:
        spec: what the episodes are stored under.
        episodes: those that could be read.
        faults: one line per episode or file left out: file, episode, reason.
        meta: provenance: format, source, versions, what was resized, derived, renamed or assumed.
    """

    spec: EnvSpec
    episodes: list[Episode]
    faults: list[str] = field(default_factory=list)
    meta: dict[str, Any] = field(default_factory=dict)
