"""ManiSkill's HDF5: ``traj_<k>`` with ``obs`` (T + 1 rows), ``actions``, ``terminated``, ``truncated``, perhaps
``success`` and ``rewards``; and a JSON file of the same name, which says what each episode was.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

from zoomrl.demos.entries import UNNAMED
from zoomrl.demos.formats.assemble import Assembly, Raw, reason
from zoomrl.demos.formats.base import MAX_HZ, Imported, ImportOptions
from zoomrl.demos.formats.hdf5.groups import (
    BROKEN,
    arrays_of,
    check_memory,
    choose,
    files_at,
    flag,
    images,
    numbered,
    opened,
    optional,
    stated_success,
)
from zoomrl.demos.formats.kinds import kinds
from zoomrl.demos.recorded import known_seed
from zoomrl.demos.store.hdf5 import load
from zoomrl.demos.store.limits import Budget, regular
from zoomrl.errors import DemonstrationError, plural
from zoomrl.files import read_json

_LISTED = 5
_COLOURS = re.compile(r"sensor_data/(.+)/rgb")
_FLAGS = ("terminated", "truncated", "success", "rewards")
_REPLAYED = "python -m mani_skill.trajectory.replay_trajectory --traj-path {} --obs-mode state --save-traj"


def read(path: Path, options: ImportOptions) -> Imported:
    """Read one file, or the only one of a folder.

    ``state`` joins all vectors below ``agent`` and ``extra`` in alphabetical order, unless ``options.state`` names some
    or the environment's entries are there by name; an ``obs`` that is one array is the state. Cameras are entries that
    hold images; ``sensor_data/NAME/rgb`` is called by its camera's name.

    Success is what the JSON file says of the episode, or else whether any flag of ``success`` is set.

    Raises:
        DemonstrationError: when no episode can be read; lists every fault.
        ConfigError: for a camera or entry that is not there.
    """
    files = files_at(path)
    if len(files) > 1:
        raise DemonstrationError(f"{path} holds {', '.join(file.name for file in files)}; name one of them")
    with opened(files[0], path if path.is_dir() else None, "one of ManiSkill") as (file, there, cut):
        return _read(files[0], file, there, cut, options)


def _read(path: Path, file: Any, there: int, cut: list[str], options: ImportOptions) -> Imported:
    names = numbered(file, "traj_")
    if not names:
        raise DemonstrationError(f"{path} holds no traj_0, traj_1 ...: it is none of ManiSkill")
    told, faults = _told(path.with_suffix(".json"))
    info = _object(told.get("env_info"))
    kwargs = _object(info.get("env_kwargs"))
    hz = _object(kwargs.get("sim_config")).get("control_freq", 0)
    hz = float(hz) if isinstance(hz, int | float) and 0 < hz < MAX_HZ else 0.0
    name = f"maniskill:{info.get('env_id', path.stem)}"
    assembly = Assembly("maniskill", path, options, control_hz=hz, name=name)
    assembly.faults.extend([*cut, *faults])
    if info:
        assembly.meta["env_info"] = info
    cameras, state = _choices(path, file, names, assembly)
    # Where obs is one array, there is nothing below it, and the others where it is a group.
    seen = ["obs", *(f"obs/{key}" for key in (*cameras, *state))]
    check_memory(path, Budget(), ((one, file[one]) for one in names), ["actions", *_FLAGS, *seen], there)
    episodes = {part.get("episode_id"): part for part in told.get("episodes", ()) if isinstance(part, dict)}
    for one in names:
        told_of = episodes.get(int(one.removeprefix("traj_")), {})
        assembly.add(f"{path.name}: {one}", partial(_episode, file, one, there, cameras, state, told_of, assembly))
    if lost := [number for number in episodes if isinstance(number, int) and f"traj_{number}" not in names]:
        lines = ", ".join(f"traj_{number}" for number in lost[:_LISTED])
        assembly.faults.append(f"{path.name}: {plural(len(lost), 'episode')} of its JSON file are not there: {lines}")
    return assembly.result()


def _told(path: Path) -> tuple[dict[str, Any], list[str]]:
    """What the JSON file says, and a line where it says nothing."""
    try:
        found = read_json(regular(path, path.parent), error=DemonstrationError)
        if not isinstance(found.get("episodes", []), list):
            raise DemonstrationError(f"{path} must hold a list of episodes")
        return found, []
    except FileNotFoundError:
        return {}, [f"{path.name} is not there: environment, seeds and outcomes are not taken from it"]
    except (DemonstrationError, OSError, ValueError) as error:
        return {}, [f"{path.name}: {reason(error)}; environment, seeds and outcomes are not taken from it"]


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _choices(path: Path, file: Any, names: list[str], assembly: Assembly) -> tuple[list[str], list[str]]:
    """Keys of the cameras and of the state, by the first episode whose observations can be listed."""
    for name in names:
        try:
            observed = file[name]["obs"]
            entries = {UNNAMED: observed} if hasattr(observed, "dtype") else arrays_of(observed)
        except BROKEN:
            continue
        if not entries:
            continue
        found = kinds(entries)
        cameras = {(short[1] if (short := _COLOURS.fullmatch(key)) else key): key for key in found.cameras}
        default = [key for key in found.vectors if key.startswith((UNNAMED, "agent/", "extra/"))]
        return choose(assembly, cameras, found.numbers, default)
    raise DemonstrationError(
        f"{path} holds no observations (obs_mode none): only actions and simulator states. ManiSkill replays it with "
        f"observations: {_REPLAYED.format(path.name)} (or --obs-mode rgb for images)"
    )


def _episode(
    file: Any, name: str, there: int, cameras: list[str], state: list[str], told: dict[str, Any], assembly: Assembly
) -> Raw:
    group = file[name]
    observed = group["obs"]
    taken, told_steps = group["actions"], told.get("elapsed_steps")
    if hasattr(taken, "keys"):
        raise ValueError("its actions are a group, of several robots; one array of actions is read")
    if isinstance(told_steps, int) and told_steps != len(taken):
        line = f"kept, but it has {len(taken)} actions, and elapsed_steps of its JSON file promises {told_steps}"
        assembly.faults.append(f"{name}: {line}")
    if hasattr(observed, "dtype"):
        parts = {UNNAMED: load(observed, there)} if state else {}
    else:
        parts = {key: load(observed[key], there) for key in state}
    success = told.get("success")
    terminated, truncated = flag(group, "terminated", there), flag(group, "truncated", there)
    return Raw(
        actions=load(taken, there),
        state=parts,
        views=[images(observed, key, there, assembly.sized(key)) for key in cameras],
        rewards=optional(group, "rewards", there),
        terminated=terminated,
        truncated=None if terminated is None else bool(truncated) or not terminated,
        success=success if isinstance(success, bool) else stated_success(group, there),
        seed=known_seed(told.get("episode_seed", -1)),
        meta={"demo": name},
        solved_last=flag(group, "success", there),
    )
