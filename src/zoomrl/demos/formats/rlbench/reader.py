"""RLBench's demonstrations: ``<root>/<task>/variation0/episodes/episode0/{low_dim_obs.pkl, front_rgb/0.png, ...}``.

Neither RLBench nor its simulator is needed. Files hold what was measured, and no actions: these are derived.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from zoomrl.demos.formats.assemble import Assembly, Raw, reason
from zoomrl.demos.formats.base import USUAL_SIZE, Imported, ImportOptions
from zoomrl.demos.formats.images import Frames, Sized, SizedOf, decode, one_by_one
from zoomrl.demos.formats.rlbench.pickles import read_frames
from zoomrl.demos.store.limits import IMAGES, Budget, regular
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.suites.rlbench.backend import Backend
from zoomrl.envs.suites.rlbench.env import CAMERAS, MAX_DELTA, RLBenchEnv
from zoomrl.envs.suites.rlbench.tasks import LIMITS
from zoomrl.errors import ConfigError, DemonstrationError
from zoomrl.spec import EnvSpec

STATE = ("joint_positions", "gripper_open")
"""Entries of the robot's state: 7 angles in radians, and 1 for an open gripper."""
ENTRIES = (
    *STATE,
    "joint_velocities",
    "joint_forces",
    "gripper_pose",
    "gripper_joint_positions",
    "gripper_touch_forces",
    "task_low_dim_state",
)

_JOINTS = 7
_VARIATION, _EPISODES = "variation0", "episodes"


def read(path: Path, options: ImportOptions) -> Imported:
    """Read the episodes at ``path``: RLBench's root, the folder of a task, of a variation, or of episodes.

    Variation 0 is read where the path names none. Without ``options.env`` the task is the one that the folders name.

    Raises:
        ConfigError: for options that do not fit the files.
        DemonstrationError: when no episode can be read; lists every fault.
    """
    task = _task_asked(options.env)
    folder = _episodes_folder(path, task)
    named = _task_named(folder)
    if task and named in LIMITS and named != task:
        raise DemonstrationError(f"{folder} holds demonstrations of {named}; rlbench:{task} was asked for")
    task = task or named
    config = _shown(task, options)
    assembly = Assembly("rlbench", path, replace(options, env=None), own=_spec(task, config))
    assembly.meta |= {"task": task, "actions": "derived: joint targets less measured joints, gripper of the next frame"}
    assembly.meta["success"] = "by the format: RLBench records until the task is solved, and keeps no failure"
    cameras = assembly.choose_cameras({name: f"{name}_rgb" for name in CAMERAS})
    entries = assembly.choose_state(ENTRIES, (*STATE, "task_low_dim_state") if config.state == "full" else STATE)
    budget = Budget()
    for episode in _numbered(folder, r"episode(\d+)"):
        assembly.add(str(episode), partial(_load, episode, cameras, entries, budget, assembly.sized))
    return assembly.result()


# ---- what is read ------------------------------------------------------------------------------------------


def _task_asked(env: EnvConfig | None) -> str:
    if env is None:
        return ""
    domain, _, name = env.id.partition(":")
    if domain != "rlbench" or not name:
        raise ConfigError(f"RLBench's demonstrations are for --env.id rlbench:<task>, got {env.id!r}")
    if env.action_repeat != 1:
        raise ConfigError(
            f"RLBench's demonstrations have one action per frame; action_repeat {env.action_repeat} has not"
        )
    return name.replace("-", "_")


def _episodes_folder(path: Path, task: str) -> Path:
    below = Path(_VARIATION, _EPISODES)
    tasks = [task] if task else sorted(one.parent.name for one in path.glob(f"*/{_VARIATION}"))
    places = [path, path / _EPISODES, path / below, *(path / name / below for name in tasks)]
    found = [place for place in places if _numbered(place, r"episode(\d+)")]
    if not found:
        raise DemonstrationError(
            f"no RLBench demonstrations at {path}. Expected episode0, episode1 ... there or in "
            f"{path / (task or '<task>') / below}"
        )
    if len(found) > 1:
        raise ConfigError(f"{path} holds the tasks {', '.join(tasks)}; choose one with --env.id rlbench:<task>")
    return found[0]


def _task_named(folder: Path) -> str:
    """The task by RLBench's layout: ``<task>/variation0/episodes``; the folder's own name in another."""
    folder = folder.resolve()
    regular = folder.name == _EPISODES and re.fullmatch(r"variation\d+", folder.parent.name)
    return folder.parent.parent.name if regular else folder.name


def _numbered(folder: Path, pattern: str) -> list[Path]:
    """What in ``folder`` is called ``pattern``, in the order of its numbers: they are not padded with zeros."""
    matches = [(re.fullmatch(pattern, one.name), one) for one in folder.iterdir()] if folder.is_dir() else []
    return [one for _, one in sorted((int(match[1]), one) for match, one in matches if match)]


def _shown(task: str, options: ImportOptions) -> EnvConfig:
    """The environment's options, with the images and the state that are wanted of it."""
    config = options.env or EnvConfig(id=f"rlbench:{task}", state="robot")
    cameras = options.cameras or config.cameras
    size = config.image_size if config.cameras else options.image_size or USUAL_SIZE
    state = config.state if config.state != "auto" else "robot" if cameras else "full"
    return replace(config, cameras=cameras, image_size=size, state=state)


def _spec(task: str, config: EnvConfig) -> EnvSpec:
    """What the environment will show and accept, found without the simulator."""
    limited = task in LIMITS or config.time_limit is not None
    # The length of the full state is that in the files.
    state: Literal["none", "robot"] = "none" if config.state == "none" else "robot"
    config = replace(config, state=state, time_limit=config.time_limit if limited else 1)
    nothing = Backend(*(None,) * 7, find_task=lambda name: None, no_task=LookupError, failures=())
    spec = RLBenchEnv(task, config, backend=nothing).env_spec
    return spec if limited else replace(spec, time_limit=0)


# ---- one episode -------------------------------------------------------------------------------------------


def _load(folder: Path, cameras: Sequence[str], entries: Sequence[str], budget: Budget, sized: SizedOf) -> Raw:
    frames = read_frames(folder / "low_dim_obs.pkl")
    if len(frames) < 2:
        raise ValueError(f"it has {len(frames)} frames; an action lies between two")
    actions, commanded = derive_actions(frames)
    moves = np.abs(actions[:, :_JOINTS])
    if beyond := int((moves > MAX_DELTA).sum()):
        raise ValueError(f"dropped: {beyond} joint changes exceed {MAX_DELTA} rad, the largest is {moves.max():.3f}")
    rewards = np.zeros(len(actions))
    rewards[-1] = 1.0
    return Raw(
        actions=actions,
        state={name: _column(frames, name) for name in entries},
        views=[_images(folder / name, len(frames), budget, sized(name)) for name in cameras],
        rewards=rewards,
        terminated=True,
        truncated=False,
        success=True,
        is_demo=True,
        meta={"policy": "recorded", "episode": folder.name, "commanded": commanded},
    )


def derive_actions(frames: Sequence[Mapping[str, Any]]) -> tuple[NDArray[np.float64], int]:
    """What was done between the frames, and how many of these actions are known as commands.

    A joint's change is the target that the next frame was recorded with, less the position measured in this one; where
    no target was recorded, the measured difference. The gripper is that of the next frame.

    Deviation: T frames give T - 1 actions. The published code puts an action of zero before the first, which nobody
    took, and which then counts in the range of the actions.

    Returns:
        [T - 1, 8]: seven changes in radians, and the gripper.
    """
    joints, gripper = _column(frames, "joint_positions"), _column(frames, "gripper_open")
    if joints.shape[1] != _JOINTS or gripper.shape[1] != 1:
        raise ValueError(f"it has {joints.shape[1]} joints and {gripper.shape[1]} grippers; 7 and 1 are expected")
    targets, commanded = joints[1:].copy(), 0
    for target, frame in zip(targets, frames[1:], strict=True):
        command = (frame.get("misc") or {}).get("joint_position_action")
        if command is not None:
            target[:] = np.asarray(command, np.float64)[:_JOINTS]
            commanded += 1
    return np.concatenate([targets - joints[:-1], gripper[1:]], axis=1), commanded


def _column(frames: Sequence[Mapping[str, Any]], name: str) -> NDArray[np.float64]:
    """Entry ``name`` of all frames, [T, size]."""
    found = [frame.get(name) for frame in frames]
    lacking = [index for index, value in enumerate(found) if value is None]
    if lacking:
        raise ValueError(f"frame {lacking[0]} was recorded without {name}")
    # Lists within lists could be one list many times over.
    if nested := [value for value in found if isinstance(value, list | tuple | dict)]:
        raise ValueError(f"{name} must be an array or a number, got {type(nested[0]).__name__}")
    rows = [np.asarray(value, np.float64).ravel() for value in found]
    if len({len(row) for row in rows}) > 1:
        raise ValueError(f"{name} changes its length between frames")
    return np.stack(rows)


def _images(folder: Path, frames: int, budget: Budget, sized: Sized) -> Frames:
    """The images of one camera, uint8 [T, H, W, 3], as ``sized`` makes them."""
    files = _numbered(folder, r"(\d+)\.png")
    numbers = [int(file.stem) for file in files]
    if numbers != list(range(frames)):
        lacking = sorted(set(range(frames)) - set(numbers))
        what = f"; {lacking[0]}.png is missing" if lacking else ""
        raise ValueError(f"{folder.name} holds {len(files)} images for {frames} frames{what}")

    def kept(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        small = sized(images)
        budget.add("its images", small.nbytes, 0, part=str(folder.parent))
        budget.check()
        return small

    found = one_by_one(((file.name, _image(file, budget)) for file in files), frames, kept)

    def read_into(out: NDArray[np.uint8]) -> None:
        try:
            found.read_into(out)
        except ValueError as error:
            raise ValueError(f"{folder.name}: {error}") from error

    return Frames(frames, read_into)


def _image(file: Path, budget: Budget) -> NDArray[np.uint8]:
    try:
        budget.file(regular(file, file.parents[2]), IMAGES)
        return decode(file.read_bytes())
    except Exception as error:  # a damaged image makes its decoder fail in any way
        raise ValueError(f"{file.parent.name}/{file.name} cannot be read ({reason(error)})") from error
