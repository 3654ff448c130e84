"""Options of an environment. No simulator is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


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
    """Decisions per episode; None keeps the environment's own limit."""
    action_repeat: int = 1
    """Simulator control steps per decision; rewards are summed."""
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
    """Cameras observed, by the simulator's names or numbers; none learns from the state vector. For Gymnasium:
    entries of the observation that are pictures, or "render" for the picture the environment draws of itself."""
    image_size: int = 84
    """Height and width of rendered pictures, in pixels."""
    state: Literal["auto", "full", "robot", "none"] = "auto"
    """Vector observed: everything, what the robot knows of itself (Meta-World: hand and gripper), or none. auto is
    full without cameras; with cameras full for Gymnasium, none for DeepMind Control, and robot elsewhere."""
    shadows: bool = True
    """Draw shadows in observed pictures. Off, with reflections and antialiasing off too, draws ten to twenty
    times faster. RLBench draws by itself, with everything on."""
    reflections: bool = True
    """Draw reflections in observed pictures."""
    antialiasing: bool = True
    """Smooth edges in observed pictures."""
