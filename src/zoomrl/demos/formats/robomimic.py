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

from zoomrl.demos.formats.assemble import Assembly, Raw, reason
from zoomrl.demos.formats.base import Imported, ImportOptions
from zoomrl.demos.formats.hdf5 import load, open_hdf5
from zoomrl.demos.outcome import SUCCESS_NAMES, truth
from zoomrl.envs.base import MAX_SEED
from zoomrl.errors import DemonstrationError

_PICTURE = "_image"


def read(path: Path, options: ImportOptions) -> Imported:
    """Read one file.

    ``state`` joins all floating-point vectors of ``obs`` in alphabetical order, unless ``options.state`` names some or
    the environment's entries are there by name. Groups in ``obs`` are flattened: their keys are joined by "/". Cameras
    are entries uint8 [T, H, W, 3], and keys that end in ``_image``, asked for with or without that ending.

    Success is what the attribute or array ``success`` of a demo says, or else a reward of 1 among rewards of 0 and 1.
    ``dones`` flags the ends of recordings too: it makes no success, and a terminal state only with a reward of 1.

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
    return assembly.result()


def _settings(data: Any) -> dict[str, Any]:
    try:
        found = json.loads(data.attrs["env_args"])
    except (KeyError, OSError, ValueError, TypeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _name(settings: dict[str, Any], path: Path) -> str:
    return f"robomimic:{settings.get('env_name', path.stem)}"


def _choices(data: Any, names: list[str], assembly: Assembly) -> tuple[list[str], list[str]]:
    """Keys of the cameras and of the state, by the first episode whose observations can be listed."""
    for name in names:
        try:
            entries = _arrays(data[name]["obs"])
        except (KeyError, OSError, RuntimeError, AttributeError, TypeError):
            continue
        pictures = [key for key in entries if key.endswith(_PICTURE) or _is_picture(*entries[key])]
        shorter = {key: key.removesuffix(_PICTURE) for key in pictures}
        cameras = {key if short in entries else short: key for key, short in shorter.items()}
        vectors = [
            key
            for key, (dtype, shape) in sorted(entries.items())
            if dtype.kind in "biuf" and len(shape) in (1, 2) and key not in pictures
        ]
        floating = [key for key in vectors if entries[key][0].kind == "f"]
        return assembly.choose_cameras(cameras), assembly.choose_state(vectors, floating, vectors)
    return [], []


def _arrays(group: Any) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """Name -> dtype and shape of all arrays in a group and the groups below it."""
    found: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}

    def visit(name: str, part: Any) -> None:
        if hasattr(part, "dtype"):
            found[name] = part.dtype, part.shape

    group.visititems(visit)
    return found


def _is_picture(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bool:
    return dtype == np.uint8 and len(shape) == 4 and shape[-1] == 3


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
    return Raw(
        actions=actions,
        state={key: _with_next(group, key, there) for key in state},
        views=[_with_next(group, key, there) for key in cameras],
        rewards=rewards,
        success=_success(group, there),
        seed=_seed(group),
        meta={"demo": name},
        done=bool(dones[-1]) if dones is not None and len(dones) else None,
    )


def _success(group: Any, there: int) -> bool | None:
    """The recorded outcome: an attribute, or an array with one flag per step; None without either."""
    for name in SUCCESS_NAMES:
        if name in group.attrs:
            return truth(group.attrs[name], f"its attribute {name}")
        if name in group:
            return truth(load(group[name], there), name)
    return None


def _seed(group: Any) -> int:
    """The recorded reset seed; -1 without one that an environment takes."""
    seed = np.asarray(group.attrs.get("seed", -1))
    known = seed.dtype.kind in "iu" and seed.size == 1 and 0 <= int(seed.ravel()[0]) < MAX_SEED
    return int(seed.ravel()[0]) if known else -1


def _with_next(group: Any, key: str, there: int) -> NDArray[Any]:
    """Observations [T + 1, ...] with the last of ``next_obs``, or [T, ...] without it."""
    now = load(group["obs"][key], there)
    if "next_obs" not in group or key not in group["next_obs"]:
        return now
    return np.concatenate([now, load(group["next_obs"][key], there)[-1:]])
