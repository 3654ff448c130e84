"""Options of an environment. No simulator is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from zoomrl.errors import ConfigError

ALL_CAMERAS = "all"
"""In place of camera names: every image of the observation (Gymnasium)."""
NO_CAMERAS = "none"
"""In place of camera names: the state vector alone."""


@dataclass(frozen=True)
class EnvConfig:
    """Which environment, and how it is run."""

    id: str = "metaworld:drawer-open"
    """Environment id: metaworld:<task>, dmc:<domain>-<task>, bigym:<task>, humanoidbench:<robot>-<task>, rlbench:<task>
    or gym:<Gymnasium id>."""
    reward: Literal["auto", "sparse", "dense", "native"] = "auto"
    """Reward signal. Meta-World offers sparse (1 on success; what auto means there) and dense; the others are
    native."""
    time_limit: int | None = None
    """Agent steps per episode; None keeps the environment's own limit."""
    action_repeat: int = 1
    """Simulator control steps per agent step; rewards are summed."""
    terminate_on_success: bool = True
    """End the episode at the first success (Meta-World)."""
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
    """Height and width of rendered images, in pixels."""
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
