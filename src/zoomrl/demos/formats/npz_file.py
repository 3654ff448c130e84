"""One episode as a file of NumPy arrays (see :mod:`zoomrl.demos.formats.npz`)."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.data.episode import Episode
from zoomrl.errors import DemonstrationError

FLAGS = ("terminated", "truncated", "success", "is_demo")


def episode_arrays(episode: Episode, cameras: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Everything in ``episode`` by name; each view of ``rgb`` under its camera's."""
    arrays: dict[str, Any] = {"actions": episode.actions, "rewards": episode.rewards, "seed": episode.seed}
    arrays |= {name: getattr(episode, name) for name in FLAGS}
    arrays["meta"] = json.dumps(episode.meta)
    if "state" in episode.observations:
        arrays["state"] = episode.observations["state"]
    for view, camera in enumerate(cameras):
        arrays[camera] = episode.observations["rgb"][:, view]
    return {name: np.asarray(array) for name, array in arrays.items()}


def write_episode(path: Path, episode: Episode, cameras: Sequence[str]) -> None:
    """Write ``episode`` to ``path``: all of it, or nothing."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            np.savez_compressed(file, **episode_arrays(episode, cameras))  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_episode(path: Path, cameras: Sequence[str]) -> Episode:
    """Read what :func:`write_episode` wrote.

    Raises:
        DemonstrationError: the file is missing, damaged or of another kind.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            observations = {"state": arrays["state"]} if "state" in arrays else {}
            if cameras:
                observations["rgb"] = np.stack([arrays[camera] for camera in cameras], 1)
            flags: dict[str, Any] = {name: bool(arrays[name]) for name in FLAGS}
            episode = Episode(
                observations,
                arrays["actions"],
                arrays["rewards"],
                seed=int(arrays["seed"]),
                meta=json.loads(str(arrays["meta"])),
                **flags,
            )
        episode.validate()
    except Exception as error:  # whatever the readers of a damaged file make of it
        raise DemonstrationError(f"{path} cannot be read as an episode ({type(error).__name__}: {error})") from error
    return episode
