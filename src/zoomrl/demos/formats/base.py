"""What every reader of a foreign demonstration format takes and gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from zoomrl.data.episode import Episode
from zoomrl.envs.config import FITS, EnvConfig, check_image_crop, check_image_fit
from zoomrl.errors import ConfigError
from zoomrl.spec import EnvSpec, StateEntry

USUAL_SIZE = 84
"""Height and width of images where nothing says another size."""
MAX_HZ = 1e6
"""What files call a control rate is none from here on."""


@dataclass(frozen=True)
class ImportOptions:
    """What to take of a foreign set, and what the set does not say by itself.

    Raises:
        ConfigError: a number is out of its range, or ``image_fit`` or ``image_crop`` is none that there is.
    """

    env: EnvConfig | None = None
    """Environment the set is for: its spec gives action bounds, meaning, control rate, id; None derives them."""
    cameras: tuple[str, ...] = ()
    """The source's cameras to take, in this order; () takes none unless the environment's spec has cameras."""
    state: tuple[str, ...] = ()
    """The source's low-dimensional entries to join into ``state``, in this order; () takes those of the environment by
    their names, or else the format's default."""
    action: tuple[str, ...] = ()
    """The source's columns to join into actions, in this order, where their names are free (LeRobot); () is the
    format's default."""
    entries: tuple[StateEntry, ...] = ()
    """The parts of the joined ``state`` in its order, for sources that give them no names; () is the source's."""
    image_size: int = 0
    """Images of another size are fitted to this square, in pixels; 0 keeps the size of a set that zoomrl wrote, and is
    84 for others. The environment's size comes first."""
    image_fit: Literal["auto", "stretch", "letterbox", "crop"] = "auto"
    """How images of another size are fitted; auto is as the environment fits its own, or else stretch."""
    image_crop: tuple[int, ...] = ()
    """Part of the source's images that is kept before: top, left, height, width in pixels, once or for each camera
    (0 0 0 0 is the whole image); () is as the environment crops its own."""
    action_meaning: tuple[str, ...] = ()
    """Meaning per action dimension, or one for all; () is the format's or the environment's."""
    control_hz: float = 0.0
    """Agent steps per second; 0 takes the format's or the environment's rate."""
    episodes: int = 0
    """At most so many episodes; 0 is all."""
    tasks: tuple[str, ...] = ()
    """Texts of the tasks whose episodes are taken, for sets of several; () takes all."""
    subset: str = ""
    """Named part of the set that is taken: a filter key of robomimic, a split of LeRobot; "" takes all."""
    spool: Path | None = None
    """Folder, which exists, in which episodes wait until all are read: one at a time is then in memory. None keeps all
    of them there."""

    def __post_init__(self) -> None:
        for name, value, low in (
            ("episodes", self.episodes, 0),
            ("image_size", self.image_size, 0),
            ("control_hz", self.control_hz, 0),
        ):
            if not value >= low:
                raise ConfigError(f"{name} must be at least {low}, got {value}")
        check_image_fit(self.image_fit, ("auto", *FITS[1:]))
        check_image_crop(self.image_crop)


@dataclass(frozen=True)
class Imported:
    """What a reader found.

    Attributes:
        spec: what the episodes are stored under.
        episodes: those that could be read; in files where the options name a spool.
        faults: one line per episode or file left out: file, episode, reason.
        meta: provenance: format, source, versions, what was resized, derived, renamed or assumed.
    """

    spec: EnvSpec
    episodes: Sequence[Episode]
    faults: list[str] = field(default_factory=list)
    meta: dict[str, Any] = field(default_factory=dict)
