"""robomimic's HDF5: ``data/demo_<k>`` with ``actions``, ``obs/<key>``, ``next_obs/<key>``, ``rewards``, ``dones``.

The layout is that of robomimic's documentation (datasets, "Dataset Structure"). Filter keys (``mask/``) are not used.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.demos.formats.assemble import Assembly, Raw, reason
from zoomrl.demos.formats.base import MAX_HZ, Imported, ImportOptions
from zoomrl.demos.formats.images import Frames, Sized, SizedOf, in_slices
from zoomrl.demos.outcome import SUCCESS_NAMES, truth
from zoomrl.demos.store.hdf5 import checked, load, open_hdf5
from zoomrl.envs.base import MAX_SEED
from zoomrl.envs.camera import is_image_array
from zoomrl.errors import DemonstrationError
from zoomrl.files import parse_json

_IMAGE = "_image"


def read(path: Path, options: ImportOptions) -> Imported:
    """Read one file.

    ``state`` joins all floating-point vectors of ``obs`` in alphabetical order, unless ``options.state`` names some or
    the environment's entries are there by name. Groups in ``obs`` are flattened: their keys are joined by "/". Cameras
    are entries uint8 [T, H, W, C] or [T, C, H, W], and keys that end in ``_image``, asked for with or without that
    ending.

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
    env_args, fault = _env_args(data)
    kwargs = env_args.get("env_kwargs")
    rate = (kwargs if isinstance(kwargs, dict) else {}).get("control_freq")
    hz = float(rate) if isinstance(rate, int | float) and 0 < rate < MAX_HZ else 0.0
    assembly = Assembly("robomimic", path, options, control_hz=hz, name=_name(env_args, path))
    assembly.faults.extend([*cut, *fault])
    if env_args:
        assembly.meta["env_args"] = env_args
    cameras, state = _choices(data, names, assembly)
    for name in names:
        assembly.add(f"{path.name}: {name}", partial(_episode, data, name, cameras, state, there, assembly.sized))
    return assembly.result()


def _env_args(data: Any) -> tuple[dict[str, Any], list[str]]:
    """What the file says of its environment, and one line where it cannot be read."""
    try:
        if "env_args" not in data.attrs:
            return {}, []
        return parse_json(data.attrs["env_args"], "data, attribute env_args", error=DemonstrationError), []
    except (DemonstrationError, KeyError, OSError, ValueError, TypeError, AttributeError) as error:
        return {}, [f"{reason(error)}; the name of the environment and its control rate are not taken from it"]


def _name(env_args: dict[str, Any], path: Path) -> str:
    return f"robomimic:{env_args.get('env_name', path.stem)}"


def _choices(data: Any, names: list[str], assembly: Assembly) -> tuple[list[str], list[str]]:
    """Keys of the cameras and of the state, by the first episode whose observations can be listed."""
    for name in names:
        try:
            entries = _arrays(data[name]["obs"])
        except (KeyError, OSError, RuntimeError, AttributeError, TypeError):
            continue
        images = [key for key in entries if key.endswith(_IMAGE) or _is_image(*entries[key])]
        shorter = {key: key.removesuffix(_IMAGE) for key in images}
        cameras = {key if short in entries else short: key for key, short in shorter.items()}
        vectors = [
            key
            for key, (dtype, shape) in sorted(entries.items())
            if dtype.kind in "biuf" and len(shape) in (1, 2) and key not in images
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


def _is_image(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bool:
    return len(shape) in (3, 4) and is_image_array(shape[1:], dtype)


def _episode(data: Any, name: str, cameras: list[str], state: list[str], there: int, sized: SizedOf) -> Raw:
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
        views=[_images(group, key, there, sized(key)) for key in cameras],
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
    now, last = _now_and_last(group, key, there)
    if last is None:
        return np.asarray(now[()])
    # Read to its place: a large array is there once.
    joined = np.empty((len(now) + 1, *now.shape[1:]), np.result_type(now.dtype, last.dtype))
    if len(now):
        now.read_direct(joined, dest_sel=np.s_[:-1])
    joined[-1:] = last
    return joined


def _images(group: Any, key: str, there: int, sized: Sized) -> Frames:
    """Images [T or T + 1, H, W, 3] of one camera as ``sized`` makes them."""
    now, last = _now_and_last(group, key, there)
    if not len(now):
        raise ValueError(f"obs/{key} holds no images")
    frames = in_slices(now, sized, now.chunks[0] if now.chunks else 1)  # a chunk is unpacked as a whole
    return frames if last is None else frames.followed_by(sized(last))


def _now_and_last(group: Any, key: str, there: int) -> tuple[Any, NDArray[Any] | None]:
    """The array ``key`` of ``obs``, all of which is there, and the last entry of ``next_obs`` where there is one."""
    now = checked(group["obs"][key], there)
    if "next_obs" not in group or key not in group["next_obs"]:
        return now, None
    last = checked(group["next_obs"][key], there)[-1:]
    if last.shape[1:] != now.shape[1:] or not len(last):
        raise ValueError(f"next_obs/{key} must have the shape {list(now.shape[1:])} per step, got {list(last.shape)}")
    return now, last
