"""Folders as RLBench's dataset generator writes them, made without RLBench."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image

CAMERAS = ("left_shoulder", "right_shoulder", "overhead", "wrist", "front")
KINDS = ("rgb", "depth", "mask", "point_cloud")


class Demo:
    def __init__(self, observations: list[Any]) -> None:
        self._observations = observations
        self.random_seed = np.random.RandomState(0).get_state()
        self.num_reset_attempts = 1


class Observation:
    def __init__(self, **entries: Any) -> None:
        self.__dict__.update({f"{camera}_{kind}": None for camera in CAMERAS for kind in KINDS}, **entries)


Demo.__module__, Observation.__module__ = "rlbench.demo", "rlbench.backend.observation"


def pickled(demo: object, protocol: int = 4) -> bytes:
    """The bytes that RLBench would write: they name its modules, which are only there meanwhile."""
    modules = {name: ModuleType(name) for name in ("rlbench", "rlbench.demo", "rlbench.backend.observation")}
    modules["rlbench.demo"].Demo = Demo  # type: ignore[attr-defined]
    modules["rlbench.backend.observation"].Observation = Observation  # type: ignore[attr-defined]
    with patch.dict(sys.modules, modules):
        return pickle.dumps(demo, protocol)


def observations(frames: int, seed: int = 0, *, commanded: bool = True, step: float = 0.1) -> list[Observation]:
    """Joints that move by at most ``step``, and targets a little beyond them; the first frame has no target."""
    random = np.random.default_rng(seed)
    joints = np.cumsum(random.uniform(-step, step, (frames, 7)), axis=0)
    grippers = (random.random(frames) > 0.5).astype(float)
    found = []
    for index in range(frames):
        misc: dict[str, Any] = {"variation_index": 0, "joint_poses": [random.random(7) for _ in range(7)]}
        for camera in CAMERAS:
            misc |= {f"{camera}_camera_extrinsics": np.eye(4), f"{camera}_camera_near": 0.01}
        if commanded and index:
            target = joints[index] + random.uniform(-0.05, 0.05, 7)
            misc["joint_position_action"] = np.append(target, grippers[index])
        found.append(
            Observation(
                joint_positions=joints[index],
                joint_velocities=random.random(7),
                joint_forces=random.random(7),
                gripper_open=float(grippers[index]),
                gripper_pose=random.random(7),
                gripper_matrix=np.eye(4),
                gripper_joint_positions=random.random(2),
                gripper_touch_forces=random.random(6),
                task_low_dim_state=random.random(5),
                misc=misc,
            )
        )
    return found


def images(frames: int, seed: int = 0, size: int = 12) -> dict[str, np.ndarray]:
    """Per camera, uint8 [frames, size, size, 3]."""
    random = np.random.default_rng(seed + 1000)
    return {camera: random.integers(0, 256, (frames, size, size, 3), np.uint8) for camera in CAMERAS}


def write_episode(folder: Path, demo: list[Observation], views: dict[str, np.ndarray], protocol: int = 4) -> Path:
    """``folder`` with the pickle and a folder of numbered PNG files per camera."""
    folder.mkdir(parents=True)
    (folder / "low_dim_obs.pkl").write_bytes(pickled(Demo(demo), protocol))
    for camera, view in views.items():
        (folder / f"{camera}_rgb").mkdir()
        for index, image in enumerate(view):
            Image.fromarray(image).save(folder / f"{camera}_rgb" / f"{index}.png")
    return folder


def write_task(root: Path, task: str, episodes: int = 2, frames: int = 5, size: int = 12, variation: int = 0) -> Path:
    """``episodes`` episodes of a task; number k is made with the seed k. Returns their folder."""
    folder = root / task / f"variation{variation}" / "episodes"
    for k in range(episodes):
        write_episode(folder / f"episode{k}", observations(frames, k), images(frames, k, size))
    return folder
