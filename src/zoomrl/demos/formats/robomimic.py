"""robomimic's HDF5: ``data/demo_<k>`` with ``actions``, ``obs/<key>``, ``next_obs/<key>``, ``rewards``, ``dones``.

The layout is that of robomimic's documentation (datasets, "Dataset Structure"). Filter keys (``mask/``) are not used.
"""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.demos.formats.assemble import Assembly, Raw, reason, sparse_success
from zoomrl.demos.formats.base import Imported, ImportOptions
from zoomrl.demos.formats.hdf5 import load, open_hdf5
from zoomrl.errors import DemonstrationError

_PICTURE = "_image"


def read(path: Path, options: ImportOptions) -> Imported:
    """Read one file.

    ``state`` joins all floating-point vectors of ``obs`` in alphabetical order, unless ``options.state`` names some.
    Cameras are the keys that end in ``_image``, asked for with or without that ending. A reward of 1 among rewards of 0
    and 1 means success; with other rewards, ``dones`` tells.

    Raises:
        DemonstrationError: when no episode can be read; lists every fault.
        ConfigError: for a camera or entry that is not there.
    """
    cut: list[str] = []
    try:
        file, there, cut = open_hdf5(path)
        with file:
            return _read(path, file, there, cut, options)
    except (OSError, KeyError, RuntimeError) as error:
        raise DemonstrationError(
            f"{path} cannot be read as a robomimic file ({'; '.join([*cut, reason(error)])}). It is damaged, or of "
            "another format"
        ) from error


def _read(path: Path, file: Any, there: int, cut: list[str], options: ImportOptions) -> Imported:
    data = file.get("data")
    names = sorted((name for name in data or () if re.fullmatch(r"demo_\d+", name)), key=lambda n: int(n[5:]))
    if not names:
        raise DemonstrationError(f"{path} holds no data/demo_0, data/demo_1 ...: it is not a robomimic file")
    settings = _settings(data)
    kwargs = settings.get("env_kwargs")
    rate = float((kwargs if isinstance(kwargs, dict) else {}).get("control_freq") or 0.0)
    assembly = Assembly("robomimic", path, options, control_hz=rate, name=_name(settings, path))
    assembly.faults.extend(cut)
    if settings:
        assembly.meta["env_args"] = settings
    cameras, state = _choices(data, names, assembly)
    for name in names:
        assembly.add(f"{path.name}: {name}", partial(_episode, data, name, cameras, state, there))
    result = assembly.result()
    if not any(episode.is_demo for episode in result.episodes):
        result.faults.append(
            f"{path.name}: no episode has a reward of 1, so that none counts as a success. If rewards were not "
            "recorded, remove data/*/rewards from a copy: dones tell then"
        )
    return result


def _settings(data: Any) -> dict[str, Any]:
    try:
        found = json.loads(data.attrs["env_args"])
    except (KeyError, OSError, ValueError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def _name(settings: dict[str, Any], path: Path) -> str:
    return f"robomimic:{settings.get('env_name', path.stem)}"


def _choices(data: Any, names: list[str], assembly: Assembly) -> tuple[list[str], list[str]]:
    """Keys of the cameras and of the state, by the first episode whose observations can be listed."""
    for name in names:
        try:
            entries = {key: (data[name]["obs"][key].dtype, data[name]["obs"][key].ndim) for key in data[name]["obs"]}
        except (KeyError, OSError, RuntimeError, AttributeError, TypeError):
            continue
        pictures = {key.removesuffix(_PICTURE): key for key in entries if key.endswith(_PICTURE)}
        vectors = [key for key, (_, axes) in entries.items() if axes <= 2 and key not in pictures.values()]
        floating = sorted(key for key in vectors if np.issubdtype(entries[key][0], np.floating))
        return assembly.choose_cameras(pictures), assembly.choose_state(sorted(vectors), floating)
    return [], []


def _episode(data: Any, name: str, cameras: list[str], state: list[str], there: int) -> Raw:
    group = data[name]
    if "obs" not in group:
        raise ValueError(
            "it has no obs, only simulator states: extract observations with robomimic's dataset_states_to_obs.py"
        )
    actions = load(group["actions"], there)
    told = int(group.attrs.get("num_samples", len(actions)))
    if told != len(actions):
        raise ValueError(f"it has {len(actions)} actions, but num_samples promises {told}")
    rewards = load(group["rewards"], there) if "rewards" in group else None
    dones = load(group["dones"], there) if "dones" in group else None
    success = sparse_success(rewards)
    if success is None and dones is not None:
        success = bool(dones.any())
    ended = bool(dones[-1]) if dones is not None and len(dones) else None
    vectors = [_with_next(group, key, there) for key in state]
    return Raw(
        actions=actions,
        state=np.concatenate([v.reshape(len(v), -1) for v in vectors], axis=1) if vectors else None,
        views=[_with_next(group, key, there) for key in cameras],
        rewards=rewards,
        # `dones` also marks the ends of recordings that did not succeed, which the task did not end.
        terminated=None if ended is None or success is None else ended and success,
        success=success,
        meta={"demo": name},
    )


def _with_next(group: Any, key: str, there: int) -> NDArray[Any]:
    """Observations [T + 1, ...] with the last of ``next_obs``, or [T, ...] without it."""
    now = load(group["obs"][key], there)
    if "next_obs" not in group or key not in group["next_obs"]:
        return now
    return np.concatenate([now, load(group["next_obs"][key], there)[-1:]])
