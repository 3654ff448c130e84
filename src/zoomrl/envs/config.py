"""Options of an environment. No simulator is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from zoomrl.errors import ConfigError, unknown_name
from zoomrl.field_docs import with_field_docs
from zoomrl.ranges import at_least, choices, positive
from zoomrl.spec import FITS

ALL_CAMERAS = "all"
"""In place of camera names: every image of the observation (Gymnasium)."""
NO_CAMERAS = "none"
"""In place of camera names: the state vector alone."""


@with_field_docs
@dataclass(frozen=True)
class EnvConfig:
    """Which environment, and how it is run.

    Whether the environment honours an option shows when it is built.

    Raises:
        ConfigError: a number is out of its range; cameras "all" or "none" stand with others; nothing is left to
            observe; ``image_fit`` is unknown; ``image_crop`` holds no rectangles.
    """

    id: str = "metaworld:drawer-open"
    """Environment id: metaworld:<task>, dmc:<domain>-<task>, bigym:<task>, humanoidbench:<robot>-<task>,
    rlbench:<task>, ogbench:<scene>-task<number> or gym:<Gymnasium id>."""
    reward: Literal["auto", "sparse", "dense", "native"] = "auto"
    """Reward signal. Meta-World offers sparse (1 on success; what auto means there) and dense; OGBench sparse (auto)
    and native; the others are native."""
    time_limit: int | None = None
    """Agent steps per episode; None keeps the environment's own limit."""
    action_repeat: int = 1
    """Simulator control steps per agent step; rewards are summed."""
    terminate_on_success: bool = True
    """End the episode at the first success (Meta-World, OGBench)."""
    num_envs: int = 1
    """Training environments stepped together."""
    workers: Literal["serial", "process"] = "serial"
    """Step them in this process, or each in a worker process of its own."""
    control_hz: float = 0.0
    """Control steps per second, where the simulator leaves the choice (BiGym); 0 is the task's own rate."""
    python: str = ""
    """Python interpreter of another environment, in which the simulator runs: a path. Empty is this one."""
    timeout: float = 60.0
    """Seconds after which a worker process or isolated simulator that does not answer counts as hung."""
    cameras: tuple[str, ...] = ()
    """Cameras observed, by the simulator's names or numbers; without any, or with "none", the state vector alone. For
    Gymnasium: entries of the observation that are images, "all" for all of them, or "render" for the image that the
    environment renders of itself."""
    image_size: int = 84
    """Height and width of rendered images, in pixels; with an image_fit, of all images."""
    image_fit: Literal["none", "stretch", "letterbox", "crop"] = "none"
    """How images of a camera become squares of image_size (Gymnasium): stretch changes the aspect ratio, letterbox
    keeps it and fills the rest with black bars, crop keeps it and cuts off what the square does not hold, equally at
    both ends. none leaves images at the size that they have; "render" is averaged down to image_size."""
    image_crop: tuple[int, ...] = ()
    """Part of the camera's image that is kept before it is fitted: top, left, height and width in pixels. Four numbers
    for all cameras, or four for each in their order, where 0 0 0 0 is the whole image; empty is the whole of all."""
    state: Literal["auto", "full", "robot", "none"] = "auto"
    """Vector observed: everything, what the robot knows of itself (Meta-World: hand and gripper), or none. auto is
    full without cameras; with cameras full for Gymnasium, none for DeepMind Control, and robot elsewhere."""
    shadows: bool = True
    """Render shadows in observed images. Without shadows, reflections and antialiasing, rendering is ten to twenty
    times faster. RLBench renders by itself, with everything on."""
    reflections: bool = True
    """Render reflections in observed images."""
    antialiasing: bool = True
    """Smooth edges in observed images."""

    def __post_init__(self) -> None:
        choices(self, "env.")
        at_least(self, "env.", action_repeat=1, num_envs=1, image_size=1, control_hz=0)
        positive(self, "env.", "timeout")
        if self.time_limit is not None:
            at_least(self, "env.", time_limit=1)
        # One name alone is easily written without its tuple, whose letters would then be cameras.
        given: Any = self.cameras
        cameras = (given,) if isinstance(given, str) else tuple(given)
        for word in (ALL_CAMERAS, NO_CAMERAS):
            if word in cameras and len(cameras) > 1:
                raise ConfigError(
                    f"cameras {word!r} stands alone, got {', '.join(cameras)}; leave one or the other out"
                )
        if cameras == (NO_CAMERAS,):
            if self.state == "none":
                raise ConfigError("cameras 'none' and state 'none' leave nothing to observe; ask for one of them")
            # Said in so many words, it holds for an environment that observes images alone too: refused there.
            cameras = ()
            if self.state == "auto":
                object.__setattr__(self, "state", "full")
        object.__setattr__(self, "cameras", cameras)
        check_image_fit(self.image_fit, FITS)
        check_image_crop(self.image_crop)


def check_image_fit(fit: str, known: Sequence[str]) -> None:
    """ConfigError unless ``fit`` is one of ``known``."""
    if fit not in known:
        raise unknown_name("image_fit", str(fit), known)


def check_image_crop(crop: Sequence[int]) -> None:
    """ConfigError unless ``crop`` is a value of ``image_crop``: rectangles that could lie within an image."""
    whole = all(isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in crop)
    parts = [tuple(crop[first : first + 4]) for first in range(0, len(crop), 4)]
    if not whole or len(crop) % 4 or not all(part == _WHOLE or min(part[2:]) >= 1 for part in parts):
        raise ConfigError(
            f"image_crop must be top, left, height and width in pixels, four whole numbers for all cameras or four for "
            f"each (0 0 0 0 is the whole image), got {' '.join(map(str, crop))}"
        )


def crops_of(crop: Sequence[int], views: int) -> list[tuple[int, ...]]:
    """The part of each of ``views`` images that ``image_crop`` names: (top, left, height, width), or () for the whole.

    Raises:
        ConfigError: for another number of rectangles than one or ``views``.
    """
    parts = [tuple(crop[first : first + 4]) for first in range(0, len(crop), 4)] or [_WHOLE]
    if len(parts) not in (1, views):
        raise ConfigError(
            f"image_crop has {len(parts)} rectangles for {views} cameras; give one for all of them, or one for each"
        )
    return [() if part == _WHOLE else part for part in parts * (views if len(parts) == 1 else 1)]


_WHOLE = (0, 0, 0, 0)
