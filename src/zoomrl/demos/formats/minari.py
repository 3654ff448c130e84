"""Minari's data sets: ours, and those of others."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path

from zoomrl.data.episode import Episode
from zoomrl.demos.entries import set_entries
from zoomrl.demos.formats.arrow import FORMAT, ArrowSet, data_format
from zoomrl.demos.formats.assemble import Assembly, Raw
from zoomrl.demos.formats.base import Imported, ImportOptions
from zoomrl.demos.recorded import ASSUMED
from zoomrl.demos.store.reader import DemoSet, read_intact
from zoomrl.demos.store.writer import write_demos
from zoomrl.envs.camera import is_image_array
from zoomrl.errors import DemonstrationError
from zoomrl.spec import ArraySpec, EnvSpec


def read(path: Path, options: ImportOptions) -> Imported:
    """Read a data set; see :func:`zoomrl.demos.store.reader.read_demos` for what is derived.

    A set that shows ``state`` and ``rgb`` is taken as it is. Of others, ``state`` joins all vectors, and all
    floating-point arrays, in the order of the space that the metadata describe, which is that of the environment they
    come from; unless ``options.state`` names some. Entries that are images are its cameras.

    Raises:
        DemonstrationError: when no episode can be read; lists every fault.
        ConfigError: for a camera or entry that is not there.
    """
    if (found := data_format(path)) == FORMAT:
        return _arrow(path, options)
    if found != "hdf5":
        raise DemonstrationError(
            f"{path} has the data format {found!r:.40}; hdf5 and arrow are read. Minari itself converts it: load the "
            "set, and make one of its episodes with data_format='hdf5'"
        )
    demos, numbers, faults = read_intact(path)
    entries = _entries(demos.spec)
    images = {name: name for name, (array, _) in entries.items() if _is_image(array)}
    vectors = [name for name in entries if name not in images]
    default = [name for name in vectors if len(entries[name][0].shape) < 2 or entries[name][0].dtype == "float32"]
    own = replace(demos.spec, state_entries=set_entries(demos.spec, demos.meta))
    assembly = Assembly("minari", path, options, own=_usual(own), name=demos.spec.id)
    assembly.faults.extend(faults)
    if demos.meta:
        assembly.meta["recorded"] = demos.meta
    cameras, state = assembly.choose_cameras(images), assembly.choose_state(vectors, default, vectors)
    views = [(entries[name][1], name) for name in cameras]
    for number in numbers:
        # Taken out of the list: what was read and what is made of it are not both kept.
        assembly.add(f"{path.name}: episode {number}", partial(_raw, demos.episodes.pop(0), views, state))
    return assembly.result()


def _arrow(path: Path, options: ImportOptions) -> Imported:
    """Read a set in Arrow: the same, one episode after the other."""
    source = ArrowSet(path)
    entries = {name: array for name, (array, _) in _entries(source.spec).items()}
    images = {name: name for name, array in entries.items() if _is_image(array)}
    vectors = [name for name in entries if name not in images]
    default = [name for name in vectors if len(entries[name].shape) < 2 or entries[name].dtype == "float32"]
    assembly = Assembly("minari", path, options, own=_usual(source.spec), name=source.spec.id)
    assembly.faults.extend(source.faults)
    cameras, state = assembly.choose_cameras(images), assembly.choose_state(vectors, default, vectors)
    sized = {name: assembly.sized(name) for name in cameras}
    image_bytes = 3 * math.prod(assembly.image_size)

    def load(number: int) -> Raw:
        return Raw(**source.episode(number, state, sized, image_bytes))

    for number in source.numbers:
        assembly.add(f"{path.name}: episode {number}", partial(load, number))
    return assembly.result()


def write(path: Path, demos: DemoSet, overwrite: bool) -> None:
    """Write ``demos`` as :func:`zoomrl.demos.store.writer.write_demos` does; Minari's own reader loads it."""
    write_demos(path, demos.episodes, demos.spec, overwrite=overwrite, meta=demos.meta)


def _entries(spec: EnvSpec) -> dict[str, tuple[ArraySpec, int | None]]:
    """Name -> array and, for the views of ``rgb``, which view it is."""
    found: dict[str, tuple[ArraySpec, int | None]] = {}
    for name, array in spec.observations.items():
        if name == "rgb" and spec.cameras:
            view = ArraySpec(array.shape[1:], array.dtype)
            found |= {camera: (view, index) for index, camera in enumerate(spec.cameras)}
        else:
            found[name] = (array, None)
    return found


def _is_image(array: ArraySpec) -> bool:
    return is_image_array(array.shape, array.dtype)


def _usual(spec: EnvSpec) -> EnvSpec:
    """``spec``, with a state of unknown length in place of observations under other names."""
    names = set(spec.observations)
    if names <= {"state", "rgb"} and ("rgb" in names) == bool(spec.cameras):
        return spec
    return replace(spec, observations={"state": ArraySpec((0,))}, state_entries=())


def _raw(episode: Episode, views: list[tuple[int | None, str]], state: list[str]) -> Raw:
    arrays = episode.observations
    known = episode.meta.get("success") != ASSUMED
    return Raw(
        actions=episode.actions,
        state={name: arrays[name] for name in state},
        views=[arrays[name] if view is None else arrays["rgb"][:, view] for view, name in views],
        rewards=episode.rewards,
        terminated=episode.terminated,
        truncated=episode.truncated,
        success=episode.success if known else None,
        is_demo=episode.is_demo,
        seed=episode.seed,
        meta=episode.meta,
    )
