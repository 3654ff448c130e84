"""Reading a LeRobot data set of version 2.0, 2.1 or 3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from zoomrl.demos.formats.assemble import Assembly, reason
from zoomrl.demos.formats.base import Imported, ImportOptions
from zoomrl.demos.formats.lerobot import columns, layout
from zoomrl.demos.formats.lerobot.files import Tables
from zoomrl.demos.formats.lerobot.info import Info, read_info
from zoomrl.demos.formats.lerobot.listed import Layout, Listed
from zoomrl.demos.formats.lerobot.source import Columns, Source
from zoomrl.demos.formats.lerobot.v2 import Version2
from zoomrl.demos.formats.lerobot.v3 import Version3
from zoomrl.demos.formats.output import Provenance, read_provenance
from zoomrl.demos.store.limits import Budget
from zoomrl.errors import DemonstrationError, plural


def read(path: Path, options: ImportOptions) -> Imported:
    """Read a data set in the order of its episodes.

    Which columns are taken is said in :mod:`~zoomrl.demos.formats.lerobot.columns`; ``options`` and the environment's
    entries come first. Where ``info.json`` names the dimensions of a column, its entries are those. ``tasks`` of an
    episode's meta lists its texts; ``task_index`` there says which of several each frame has, as run lengths.

    Success is ``next.success``, or a ``next.reward`` of 1 among 0 and 1. ``next.done`` flags the ends of recordings
    too: it makes no success, and a terminal state only with a success at that step.

    Raises:
        DemonstrationError: when no episode can be read; lists every fault.
        ConfigError: for a camera, column, task or split that is not there.
        MissingDependencyError: without pyarrow, or for videos without av.
    """
    layout.parquet()
    info = read_info(path)
    places = _layout(path, info)
    split = info.split(options.subset, path.name) if options.subset else None
    own, rows, faults = _own(path)
    cameras = columns.cameras(info.features)
    asked = replace(options, cameras=columns.camera_names(options.cameras, cameras))
    assembly = Assembly(
        "lerobot", path, asked, own=own.spec if own else None, own_state=layout.STATE, control_hz=info.fps
    )
    assembly.faults.extend(faults)
    if own:
        assembly.meta["recorded"] = own.meta
    taken = _columns(info, cameras, options, path.name, assembly)
    texts, damaged = places.tasks()
    assembly.faults.extend(damaged)
    source = Source(path, info, places, taken, texts, own, assembly)
    for entry in _chosen(places, info, split, options.subset, assembly):
        where = source.where(entry)
        if _takes(source, entry, where, bool(options.tasks), assembly):
            assembly.add(where, partial(source.episode, entry, rows.get(entry.number)))
    return assembly.result()


def _layout(path: Path, info: Info) -> Layout:
    try:
        return Version2(path, info) if info.version == 2 else Version3(path, info)
    except ValueError as error:
        raise DemonstrationError(
            f"{path / layout.INFO} cannot be read as that of a LeRobot data set ({reason(error)})"
        ) from error


def _columns(info: Info, cameras: dict[str, str], options: ImportOptions, where: str, assembly: Assembly) -> Columns:
    """What is taken, which is noted where it is not what everyone expects."""
    actions = columns.actions(info.features, options.action, where)
    views = assembly.choose_cameras(cameras)
    state = assembly.choose_state(*columns.states(info.features, actions))
    if actions != [layout.ACTION]:
        order = " in this order" if len(actions) > 1 else ""
        assembly.meta["actions"] = f"{', '.join(actions)}{order} (--action names others)"
    if unread := columns.unread(info.features):
        assembly.meta["not_read"] = unread
    return Columns(actions, state, views)


def _chosen(places: Layout, info: Info, split: range | None, name: str, assembly: Assembly) -> Sequence[Listed]:
    """The episodes listed, in order, each once; those of the ``split`` alone where one is given."""
    listed, damaged = places.episodes()
    assembly.faults.extend(damaged)
    if len(listed) < info.total_episodes:
        missing = info.total_episodes - len(listed)
        assembly.faults.append(f"{missing} of {info.total_episodes} episodes are not in the table of episodes")
    numbered = {episode.number: episode for episode in listed}
    if twice := len(listed) - len(numbered):
        assembly.faults.append(f"{plural(twice, 'episode')} listed twice: the last counts")
    found = [numbered[number] for number in sorted(numbered)]
    if split is None:
        return found
    inside = [episode for episode in found if episode.number in split]
    if left := len(found) - len(inside):
        others = [other for other in info.splits if other != name]
        assembly.meta["subset_left_out"] = f"{plural(left, 'episode')} outside of {name}" + (
            f"; the other splits are {', '.join(others)}" if others else ""
        )
    return inside


def _takes(source: Source, entry: Listed, where: str, asked: bool, assembly: Assembly) -> bool:
    """Whether an episode is asked for by its tasks; its table is read for them only where any are ``asked`` for."""
    try:
        return assembly.takes(source.tasks(entry) if asked else entry.tasks)
    except Exception as error:  # a damaged file makes its parser fail in any way
        assembly.faults.append(f"{where}: {reason(error)}")
        return False


def _own(path: Path) -> tuple[Provenance | None, dict[int, dict[str, Any]], list[str]]:
    """Spec and rows that zoomrl added, as far as they are there and can be read."""
    own, rows, faults = None, {}, []
    if not (path / layout.OWN_SPEC).is_file():
        return None, {}, []
    try:
        own = read_provenance(path / layout.OWN_SPEC, path)
    except (DemonstrationError, OSError, ValueError) as error:
        faults.append(f"{layout.OWN_SPEC}: {reason(error)}; bounds and rates are derived instead")
    try:
        tables = Tables(path, Budget())
        table = tables.open(path / layout.OWN_ROWS)
        table = tables.read(table, table.schema_arrow.names)
        rows = {int(row["episode_index"]): row for row in table.to_pylist()}
    except Exception as error:  # a damaged file makes its parser fail in any way
        faults.append(f"{layout.OWN_ROWS}: {reason(error)}; the last observations are lost")
    return own, rows, faults
