"""diffusion-policy's zarr: ``data/<name>`` [N, ...] of all episodes, one after the other; ``meta/episode_ends`` [K].

A folder or a ZIP file (``.zarr.zip``), version 2 or 3 of zarr.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from zoomrl.demos.entries import UNNAMED
from zoomrl.demos.formats.assemble import Assembly, Raw
from zoomrl.demos.formats.base import Imported, ImportOptions
from zoomrl.demos.formats.flat.arrays import (
    Rows,
    checked_ends,
    count_sliced,
    count_whole,
    declared,
    of_length,
    within,
)
from zoomrl.demos.formats.flat.zarr_array import Store, ZarrArray, arrays_in
from zoomrl.demos.formats.images import in_slices
from zoomrl.demos.formats.kinds import kinds
from zoomrl.demos.store.limits import Budget
from zoomrl.errors import DemonstrationError, ZoomrlError, plural

ENDS = "meta/episode_ends"
_ACTIONS = ("action", "actions")
_REWARDS = ("reward", "rewards")


def read(path: Path, options: ImportOptions) -> Imported:
    """Read one store.

    ``state`` is the array ``state``, or without it all floating-point vectors in alphabetical order, unless
    ``options.state`` names some or the environment's entries are there by name. Cameras are arrays that hold images,
    with the channels in the last axis or the first, also as floating-point numbers. No outcome is recorded.

    Raises:
        DemonstrationError: when no episode can be read; lists every fault.
        ConfigError: for a camera or entry that is not there.
        MissingDependencyError: when its arrays are packed by what numcodecs unpacks, which is not installed.
    """
    with Store(path) as store:
        found, faults = arrays_in(store)
        try:
            return _read(path, found, faults, options)
        except ZoomrlError:
            raise
        except ValueError as error:
            raise DemonstrationError(f"{path}: {error}") from error


def _read(path: Path, found: dict[str, ZarrArray], faults: list[str], options: ImportOptions) -> Imported:
    below: dict[str, ZarrArray] = {n.removeprefix("data/"): a for n, a in found.items() if n.startswith("data/")}
    action = next((name for name in _ACTIONS if name in below), None)
    if action is None or ENDS not in found:
        lines = "".join(f"\n  - {fault}" for fault in faults)
        raise DemonstrationError(f"{path} must hold data/action and {ENDS}, as diffusion-policy writes them{lines}")
    count = below[action].shape[0]
    arrays = {name: below[name] for name in of_length(below, count)}
    budget = Budget()
    with within(budget, path):
        count_whole(budget, {ENDS: found[ENDS]})
    episodes = checked_ends(found[ENDS][:], count, f"{path}: {ENDS}")
    assembly = Assembly("zarr", path, options)
    assembly.faults.extend(faults)
    assembly.faults.extend(f"data/{name}: it must have {count:,} rows" for name in below if name not in arrays)
    if rest := count - episodes[-1][1]:
        assembly.meta["frames_dropped"] = f"{plural(rest, 'row')} after the end of the last episode"
    rewards = next((name for name in _REWARDS if name in arrays), None)
    sorts = kinds(declared({name: a for name, a in arrays.items() if name not in (*_ACTIONS, *_REWARDS)}))
    if not sorts.cameras and not sorts.numbers:
        raise DemonstrationError("\n  - ".join([f"{path} holds no observations that can be read:", *assembly.faults]))
    cameras = assembly.choose_cameras({name: name for name in sorts.cameras})
    default = [UNNAMED] if UNNAMED in sorts.vectors else sorts.floating
    state = assembly.choose_state(sorts.numbers, default, sorts.numbers)
    vectors = {name: arrays[name] for name in (action, rewards, *state) if name}
    images = {name: arrays[name] for name in cameras}
    if left := [lacking for name in (*state, rewards) if name and (lacking := arrays[name].lacking(0, count))]:
        assembly.meta["not_stored"] = f"{', '.join(left)}: read as their fill value, which a lost chunk would be, too"
    with within(budget, path):
        count_sliced(budget, vectors, images, max(end - first for first, end in episodes), assembly.image_size)
    for number, (first, end) in enumerate(episodes):
        load = partial(_episode, arrays, action, rewards, cameras, state, assembly, number, first, end)
        assembly.add(f"{path.name}: episode {number} (row {first})", load)
    return assembly.result()


def _episode(
    arrays: dict[str, ZarrArray],
    action: str,
    rewards: str | None,
    cameras: list[str],
    state: list[str],
    assembly: Assembly,
    number: int,
    first: int,
    end: int,
) -> Raw:
    # A writer may leave out chunks of zeros. Nobody records such actions or images: there a chunk was lost.
    for name in (action, *cameras):
        if lost := arrays[name].lacking(first, end):
            raise ValueError(f"{lost} are not stored. Copy the set whole, or write empty chunks, too")
    return Raw(
        actions=arrays[action][first:end],
        state={name: arrays[name][first:end] for name in state},
        views=[in_slices(Rows(arrays[name], first, end), assembly.sized(name)) for name in cameras],
        rewards=arrays[rewards][first:end] if rewards else None,
        meta={"episode": number, "first_row": first},
    )
