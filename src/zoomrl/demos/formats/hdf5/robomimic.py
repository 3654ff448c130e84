"""robomimic's HDF5 and its relatives (MimicGen, LIBERO, IsaacLab): ``data/demo_<k>`` with ``actions``, ``obs/<key>``,
and perhaps ``next_obs/<key>``, ``rewards``, ``dones``, ``success``.

The layout is that of robomimic's documentation (datasets, "Dataset Structure").
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    text_of,
)
from zoomrl.demos.formats.images import Frames, SizedOf, as_levels
from zoomrl.demos.formats.kinds import kinds
from zoomrl.demos.recorded import gaps, known_seed
from zoomrl.demos.store.hdf5 import checked, load
from zoomrl.demos.store.limits import Budget
from zoomrl.errors import ConfigError, DemonstrationError, unknown_name
from zoomrl.files import parse_json

_IMAGE = "_image"
_STATES_ONLY = (
    "holds simulator states and no observations: it is a raw recording of robosuite, or one of robomimic before "
    "observations were extracted. robomimic makes them: python -m robomimic.scripts.conversion.convert_robosuite "
    "--dataset FILE, then python -m robomimic.scripts.dataset_states_to_obs --dataset FILE --output_name obs.hdf5 "
    "--done_mode 2, with --camera_names agentview for images"
)


def read(path: Path, options: ImportOptions) -> Imported:
    """Read one file, or all files of a folder as one set.

    ``state`` joins all floating-point vectors of ``obs`` in alphabetical order, unless ``options.state`` names some or
    the environment's entries are there by name. Groups in ``obs`` are flattened: their keys are joined by "/". Cameras
    are entries that hold images, and keys that end in ``_image``, asked for with or without that ending.

    Success is what the attribute or array ``success`` of a demo says, or else a reward of 1 among rewards of 0 and 1.
    ``dones`` flags the ends of recordings too: it makes no success, and a terminal state only with a reward of 1.
    ``options.subset`` is a filter key of ``mask``; ``options.tasks`` are instructions, as LIBERO's files keep them.

    Raises:
        DemonstrationError: when no episode can be read; lists every fault.
        ConfigError: for a camera, entry, filter key or task that is not there.
    """
    demos = _Set(path, options)
    for file in files_at(path):
        demos.add(file)
    return demos.result()


class _Set:
    """What is collected of the files of one set. The first that can be read says what is taken of all."""

    def __init__(self, path: Path, options: ImportOptions) -> None:
        self._path, self._options = path, options
        self._assembly: Assembly | None = None
        self._cameras: list[str] = []
        self._state: list[str] = []
        self._faults: list[str] = []
        self._error: DemonstrationError | None = None
        self._masks: dict[str, int] = {}
        self._listed = self._count = 0
        self._hz = 0.0
        self._budget = Budget()

    def add(self, file: Path) -> None:
        """Take the episodes of one file; of one that cannot be read, note why."""
        if self._assembly is not None and self._assembly.full:
            return
        try:
            self._read(file)
        except DemonstrationError as error:
            self._error = error
            self._faults.append(str(error))

    def result(self) -> Imported:
        """Everything read."""
        if self._options.subset and self._options.subset not in self._masks and (self._count or not self._error):
            raise unknown_name(f"subset (filter key) of {self._path.name}", self._options.subset, self._masks)
        if self._assembly is None:
            if self._error and not self._path.is_dir():
                raise self._error
            raise DemonstrationError("\n  - ".join([f"no file of {self._path} can be read:", *self._faults]))
        self._assembly.faults.extend(self._faults)
        if self._options.subset:
            self._assembly.meta["subset"] = f"{self._options.subset}: {self._listed} of {self._count} episodes"
        elif self._masks:
            listed = ", ".join(f"{name} {count}" for name, count in sorted(self._masks.items()))
            self._assembly.meta["subsets"] = f"not used; with their episodes: {listed} (--subset takes one)"
        return self._assembly.result()

    def _read(self, path: Path) -> None:
        root = self._path if self._path.is_dir() else None
        with opened(path, root, "a robomimic file") as (file, there, cut):
            self._episodes(path, file, there, cut)

    def _episodes(self, path: Path, file: Any, there: int, cut: list[str]) -> None:
        data = file.get("data")
        names = numbered(data, "demo_")
        if not names:
            raise DemonstrationError(f"{path} holds no data/demo_0, data/demo_1 ...: it is not a robomimic file")
        if not any("obs" in _group(data, name) for name in names) and any("states" in _group(data, n) for n in names):
            raise DemonstrationError(f"{path} {_STATES_ONLY}")
        faults = [*cut, *gaps(names, f"{path.name}: ")]
        env_args = _json(data, "env_args", "the name of the environment and its control rate are not taken", faults)
        task = _task(data, faults)
        chosen = self._listed_in(file, names, there)
        assembly = self._begun(data, names, env_args)
        assembly.faults.extend(faults)
        if (hz := _rate(env_args)) != self._hz:
            assembly.faults.append(f"{path.name}: its control rate is {hz:g}, that of the set {self._hz:g}")
        # Known from here on, and refused as a whole: nothing has been read.
        check_memory(path, self._budget, ((name, _group(data, name)) for name in chosen), self._read_of_each(), there)
        folder = self._path.is_dir()
        for name in chosen:
            tasks = [own] if (own := _own_task(data, name) or task) else []
            if not assembly.takes(tasks):
                continue
            meta = {"demo": name} | ({"file": path.name} if folder else {}) | ({"tasks": tasks} if tasks else {})
            load = partial(_episode, data, name, self._cameras, self._state, there, assembly.sized, meta)
            assembly.add(f"{path.name}: {name}", load)

    def _begun(self, data: Any, names: list[str], env_args: dict[str, Any]) -> Assembly:
        if self._assembly is not None:
            return self._assembly
        whole = self._path.is_dir()
        name = self._path.resolve().stem if whole else env_args.get("env_name", self._path.stem)
        self._hz = _rate(env_args)
        assembly = Assembly("robomimic", self._path, self._options, control_hz=self._hz, name=f"robomimic:{name}")
        if env_args:
            assembly.meta["env_args_of_the_first_file" if whole else "env_args"] = env_args
        if convention := text_of(_attribute(data, "macros_image_convention")):
            upside_down = ": the first row is the lowest" if convention == "opengl" else ""
            assembly.meta["image_convention"] = f"{convention}{upside_down}; images are kept as they are"
        self._cameras, self._state = _choices(data, names, assembly)
        self._assembly = assembly
        return assembly

    def _read_of_each(self) -> list[str]:
        """Arrays of a demo that are read."""
        seen = [f"{group}/{key}" for group in ("obs", "next_obs") for key in (*self._cameras, *self._state)]
        return ["actions", "rewards", "dones", *seen]

    def _listed_in(self, file: Any, names: list[str], there: int) -> list[str]:
        """Those of ``names`` that the filter key asked for lists: all without one."""
        found = _masks(file, names, there)
        for key, listed_names in found.items():
            self._masks[key] = self._masks.get(key, 0) + len(listed_names)
        self._count += len(names)
        if not self._options.subset:
            return names
        chosen = found.get(self._options.subset, [])
        self._listed += len(chosen)
        if self._options.subset not in found and not self._path.is_dir():
            if not found:
                raise ConfigError(f"{self._path.name} has no subsets (filter keys in mask); leave --subset out")
            raise unknown_name(f"subset (filter key) of {self._path.name}", self._options.subset, found)
        return chosen


def _masks(file: Any, names: list[str], there: int) -> dict[str, list[str]]:
    """Filter key -> those of ``names`` that it lists. What is damaged is left out."""
    found: dict[str, list[str]] = {}
    with suppress(*BROKEN):
        for key, listed in file["mask"].items():
            with suppress(*BROKEN):
                texts = {text_of(name) for name in load(listed, there).ravel().tolist()}
                found[key] = [name for name in names if name in texts]
    return found


def _group(data: Any, name: str) -> Any:
    """A demo, or nothing where it is damaged: that is said when it is read."""
    try:
        return data[name]
    except BROKEN:
        return ()


def _attribute(group: Any, name: str) -> Any:
    try:
        return group.attrs.get(name)
    except BROKEN:
        return None


def _json(data: Any, name: str, without: str, faults: list[str]) -> dict[str, Any]:
    """The JSON object in an attribute of ``data``; {}, and a line in ``faults``, where it cannot be read."""
    try:
        if name not in data.attrs:
            return {}
        return parse_json(data.attrs[name], f"data, attribute {name}", error=DemonstrationError)
    except (DemonstrationError, *BROKEN) as error:
        faults.append(f"{reason(error)}; {without} from it")
        return {}


def _rate(env_args: dict[str, Any]) -> float:
    """Control steps per second: robosuite's ``control_freq``, or IsaacLab's step and decimation; 0 without."""
    kwargs, sim = (part if isinstance(part := env_args.get(name), dict) else {} for name in ("env_kwargs", "sim_args"))
    rate, seconds = _number(kwargs.get("control_freq")), _number(sim.get("dt")) * _number(sim.get("decimation"))
    if not rate and seconds > 0:
        rate = 1 / seconds
    return float(rate) if 0 < rate < MAX_HZ else 0.0


def _number(value: Any) -> float:
    return value if isinstance(value, int | float) and abs(value) < MAX_HZ else 0.0


def _task(data: Any, faults: list[str]) -> str:
    """The instruction that LIBERO's files keep; "" without one."""
    if own := text_of(_attribute(data, "language_instruction")):
        return own.strip().strip('"')
    told = _json(data, "problem_info", "the task is not taken", faults).get("language_instruction", "")
    # Its own reader joins a list of letters.
    text = "".join(map(str, told)) if isinstance(told, list) else told
    return text.strip().strip('"') if isinstance(text, str) else ""


def _own_task(data: Any, name: str) -> str:
    return text_of(_attribute(_group(data, name), "language_instruction")) if _group(data, name) != () else ""


def _choices(data: Any, names: list[str], assembly: Assembly) -> tuple[list[str], list[str]]:
    """Keys of the cameras and of the state, by the first episode whose observations can be listed."""
    for name in names:
        try:
            entries = arrays_of(data[name]["obs"])
        except BROKEN:
            continue
        found = kinds(entries, [key for key in entries if key.endswith(_IMAGE)])
        shorter = {key: key.removesuffix(_IMAGE) for key in found.cameras}
        cameras = {key if short in entries else short: key for key, short in shorter.items()}
        return choose(assembly, cameras, found.numbers, found.floating)
    return [], []


def _episode(
    data: Any,
    name: str,
    cameras: list[str],
    state: list[str],
    there: int,
    sized: SizedOf,
    meta: dict[str, Any],
) -> Raw:
    group = data[name]
    if "obs" not in group:
        raise ValueError(
            "it has no obs, only simulator states: extract observations with robomimic's dataset_states_to_obs.py"
        )
    actions = load(group["actions"], there)
    told = int(group.attrs.get("num_samples", len(actions)))
    if told != len(actions):
        raise ValueError(f"it has {len(actions)} actions, but num_samples promises {told}")
    return Raw(
        actions=actions,
        state={key: _with_next(group, key, there) for key in state},
        views=[_images(group, key, there, sized) for key in cameras],
        rewards=optional(group, "rewards", there),
        success=stated_success(group, there),
        seed=known_seed(group.attrs.get("seed", -1)),
        meta=meta,
        done=flag(group, "dones", there),
    )


def _with_next(group: Any, key: str, there: int) -> NDArray[Any]:
    """Observations [T + 1, ...] with the last of ``next_obs``, or [T, ...] without it."""
    now, last = checked(group["obs"][key], there), _last(group, key, there)
    if last is None:
        return np.asarray(now[()])
    # Read to its place: a large array is there once.
    joined = np.empty((len(now) + 1, *now.shape[1:]), np.result_type(now.dtype, last.dtype))
    if len(now):
        now.read_direct(joined, dest_sel=np.s_[:-1])
    joined[-1:] = last
    return joined


def _images(group: Any, key: str, there: int, sized: SizedOf) -> Frames:
    """Images [T or T + 1, H, W, 3] of one camera as they are kept."""
    frames, last = images(group["obs"], key, there, sized(key)), _last(group, key, there)
    if last is None:
        return frames
    return frames.followed_by(sized(key)(as_levels(last)))


def _last(group: Any, key: str, there: int) -> NDArray[Any] | None:
    """The last entry [1, ...] of ``next_obs``, where there is one."""
    if "next_obs" not in group or key not in group["next_obs"]:
        return None
    shape = group["obs"][key].shape
    last = np.asarray(checked(group["next_obs"][key], there)[-1:])
    if last.shape[1:] != shape[1:] or not len(last):
        raise ValueError(f"next_obs/{key} must have the shape {list(shape[1:])} per step, got {list(last.shape)}")
    return last
