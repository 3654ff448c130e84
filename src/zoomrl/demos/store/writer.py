"""Writing a demonstration set in Minari's HDF5 layout: all of it, or nothing."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from zoomrl.data.episode import Episode
from zoomrl.demos.entries import align
from zoomrl.demos.store import layout
from zoomrl.demos.store.intact import description
from zoomrl.demos.store.limits import Budget, array_size
from zoomrl.demos.store.spaces import box_space_json, dict_space_json
from zoomrl.demos.store.staging import staged
from zoomrl.errors import DemonstrationError
from zoomrl.files import finite_or_null, write_json
from zoomrl.spec import EnvSpec

_IMAGES_PER_CHUNK = 4


def write_demos(
    path: str | Path,
    episodes: Iterable[Episode],
    spec: EnvSpec,
    *,
    overwrite: bool = False,
    meta: dict[str, Any] | None = None,
) -> None:
    """Write ``episodes`` to the folder ``path``, one at a time, so that a generator need not fit in memory.

    The new files appear under their names only when all of them are complete and on the disk. Whatever
    fails before leaves an existing set as it was and no partial files.

    Args:
        path: folder of the set; ``data/main_data.hdf5`` and ``data/metadata.json`` are written into it.
        episodes: actions in the environment's units, observations with T + 1 rows.
        spec: what the episodes were recorded under; every episode must have its shapes and dtypes. A state that was
            joined of the same entries in another order is stored in that of ``spec``; where ``spec`` knows none, the
            first episode's is kept.
        overwrite: replace a set that is already there.
        meta: provenance of the whole set; JSON-serialisable.

    Raises:
        DemonstrationError: when a set exists and ``overwrite`` is off, when there is no episode, when ``spec`` holds
            infinity, or when an episode does not have its shapes or state entries, is inconsistent or not finite.
    """
    root = Path(path)
    _check_finite(spec)
    if root.exists() and not root.is_dir():
        raise DemonstrationError(f"{root} is a file; a demonstration set is a folder, pass another path")
    target = root / layout.DATA_DIR
    if target.exists() and not overwrite:
        raise DemonstrationError(f"{root} already holds a demonstration set; pass overwrite or another path")
    if target.exists() and not (target / layout.METADATA_FILE).exists():
        raise DemonstrationError(f"{target} exists and is not a demonstration set; it is left alone")
    if (root / layout.METADATA_FILE).exists():
        raise DemonstrationError(f"{root} is itself the data folder of a set; pass the folder above it")
    created = not root.exists()
    root.mkdir(parents=True, exist_ok=True)
    try:
        with staged(target, overwrite) as folder:
            total_episodes, total_steps, spec = _write_arrays(folder / layout.MAIN_FILE, episodes, spec)
            metadata = _metadata(spec, total_episodes, total_steps, meta or {})
            metadata[layout.FILE_KEY] = description(folder / layout.MAIN_FILE)
            write_json(folder / layout.METADATA_FILE, metadata)
            for name in (layout.MAIN_FILE, layout.METADATA_FILE, "."):
                fsync(folder / name)
        fsync(root)
    except BaseException:
        if created and not any(root.iterdir()):
            root.rmdir()
        raise


def _write_arrays(file_path: Path, episodes: Iterable[Episode], spec: EnvSpec) -> tuple[int, int, EnvSpec]:
    """Numbers of episodes and steps, and the spec with the state entries that they are stored in."""
    import h5py

    total_episodes = total_steps = 0
    # What anybody believes, whatever factor is set here.
    budget = Budget(factor=1)
    with h5py.File(file_path, "w", track_order=True) as file:
        for index, episode in enumerate(episodes):
            episode = _fitting(index, episode, spec)
            if not spec.state_entries:
                spec = replace(spec, state_entries=episode.state_entries)
            _write_episode(file.create_group(layout.episode_key(index)), index, episode, budget)
            total_episodes += 1
            total_steps += len(episode)
    if total_episodes == 0:
        raise DemonstrationError("a demonstration set needs at least one episode; none came")
    return total_episodes, total_steps, spec


def _write_episode(group: Any, index: int, episode: Episode, budget: Budget) -> None:
    steps = len(episode)
    arrays = {
        "actions": episode.actions,
        "rewards": episode.rewards,
        "terminations": _last_only(steps, episode.terminated),
        "truncations": _last_only(steps, episode.truncated),
        **{f"observations/{name}": array for name, array in episode.observations.items()},
        # An episode knows whether it succeeded, not when: the last entry speaks for all of it.
        "infos/success": _last_only(steps, episode.success),
    }
    group.create_group("observations")
    for name, array in arrays.items():
        _dataset(group, name, array, budget)
    group.attrs["id"] = index
    group.attrs["total_steps"] = steps
    group.attrs["success"] = episode.success
    group.attrs["is_demo"] = episode.is_demo
    if episode.seed >= 0:
        group.attrs["seed"] = episode.seed
    if "policy" in episode.meta:
        group.attrs["policy"] = str(episode.meta["policy"])
    group.attrs[layout.META_KEY] = json.dumps(finite_or_null(episode.meta), allow_nan=False)


def _dataset(group: Any, name: str, array: np.ndarray, budget: Budget) -> None:
    # A few whole images per chunk: neighbours compress well together, and one is read without unpacking many.
    chunks = (min(_IMAGES_PER_CHUNK, len(array)), *array.shape[1:]) if array.ndim > 2 else True
    # The checksum turns a flipped bit into a read error instead of a wrong number.
    made = group.create_dataset(
        name, data=array, chunks=chunks, compression="gzip", compression_opts=1, shuffle=True, fletcher32=True
    )
    packed, size = made.id.get_storage_size(), array_size(array.shape, array.dtype)
    budget.add(name, size.kept, packed, size.ratio, group.name, read=size.read)
    if budget.exceeded and array.nbytes > packed:
        # A reader takes what packs better for a file that wants to fill its memory: the rest is stored as it is.
        del group[name]
        group.create_dataset(name, data=array, chunks=chunks, fletcher32=True)
        budget.add(name, 0, array.nbytes - packed, size.ratio, group.name)


def _check_finite(spec: EnvSpec) -> None:
    try:
        json.dumps(spec.to_dict(), allow_nan=False)
    except ValueError as error:
        raise DemonstrationError(
            f"the spec of {spec.id} holds NaN or infinity, which a set cannot. Leave infinite bounds out, and give a "
            "finite control rate: 0 where it is unknown (--control-hz of an import)"
        ) from error


def _last_only(steps: int, value: bool) -> np.ndarray:
    flags = np.zeros(steps, np.bool_)
    flags[-1] = value
    return flags


def _fitting(index: int, episode: Episode, spec: EnvSpec) -> Episode:
    """``episode`` as it can be stored under ``spec``, with the order of its state; DemonstrationError otherwise."""
    try:
        episode.validate()
    except ValueError as error:
        raise DemonstrationError(f"episode {index} cannot be stored: {error}") from error
    episode = align(episode, spec, f"episode {index}")
    parts = [("actions", episode.actions, spec.action.shape, spec.action.dtype)]
    for name in sorted(set(spec.observations) | set(episode.observations)):
        if name not in episode.observations or name not in spec.observations:
            raise DemonstrationError(
                f"episode {index} has the observations {sorted(episode.observations)}, "
                f"but the set is declared with {sorted(spec.observations)}"
            )
        expected = spec.observations[name]
        parts.append((f"observation {name!r}", episode.observations[name], expected.shape, expected.dtype))
    parts.append(("rewards", episode.rewards, (), "float32"))
    for what, array, shape, dtype in parts:
        if array.shape[1:] != tuple(shape) or array.dtype != np.dtype(dtype):
            raise DemonstrationError(
                f"episode {index}: {what} must be {dtype}{list(shape)} per step, "
                f"got {array.dtype}{list(array.shape[1:])}"
            )
    return episode


def _metadata(spec: EnvSpec, total_episodes: int, total_steps: int, meta: dict[str, Any]) -> dict[str, Any]:
    name = re.sub(r"[^\w-]+", "-", spec.id, flags=re.ASCII)
    return {
        "total_episodes": total_episodes,
        "total_steps": total_steps,
        "data_format": "hdf5",
        "jpeg_encoding": False,  # images are stored as they are: what was recorded is what is read
        "observation_space": dict_space_json(spec.observations),
        "action_space": box_space_json(spec.action),
        "dataset_id": f"zoomrl/{name}-v0",
        "minari_version": layout.MINARI_VERSION,
        layout.SPEC_KEY: spec.to_dict(),
        layout.META_KEY: finite_or_null(meta),
    }


def fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
