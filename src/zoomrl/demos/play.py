"""Sets of play, as files of OGBench's own form, made by as many processes as there is use for.

Each trajectory is a file of its own until all are there, so that a collection that was killed goes on where it was.
"""

from __future__ import annotations

import multiprocessing
import shutil
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache, partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.envs.suites.ogbench.play import NOISE, STEPS, Player
from zoomrl.errors import ConfigError, DemonstrationError
from zoomrl.files import read_json, write_atomically, write_json
from zoomrl.machine import end_with_parent_process

_ASKED = "asked.json"


def collect_play(
    scene: str,
    path: Path,
    *,
    trajectories: int = 1000,
    seed: int = 0,
    noise: float = NOISE,
    steps: int = STEPS,
    workers: int = 1,
    on_trajectory: Callable[[int], None] | None = None,
) -> None:
    """Play in a scene of OGBench, and write what was seen into ``path``.

    The bytes depend on scene, seed, noise and the two numbers alone, whatever ``workers`` there are.

    Args:
        scene: such as ``puzzle-3x3``.
        path: file to write, ``.npz``. Parts lie next to it in ``<name>.parts`` until it is whole.
        trajectories: in all.
        seed: of what is at random.
        noise: on the poses that are followed, as a fraction of the range of an action.
        steps: observations of a trajectory.
        workers: processes.
        on_trajectory: called with how many are there, after each.

    Raises:
        ConfigError: there is no such scene, or a number is out of its range.
        DemonstrationError: the file is there already, or parts of another set are.
        MissingDependencyError: OGBench is not installed.
    """
    for name, value, low in (("trajectories", trajectories, 1), ("seed", seed, 0), ("workers", workers, 1)):
        if value < low:
            raise ConfigError(f"{name} must be at least {low}, got {value}")
    if path.suffix != ".npz":
        raise ConfigError(f"play is written as one file of NumPy's; let its name end in .npz, got {path.name}")
    if path.exists():
        raise DemonstrationError(f"{path} is there already; name another file, or remove it")
    Player(scene, steps=steps, noise=noise)  # refuses what no worker could do
    parts = path.with_name(f"{path.name}.parts")
    parts.mkdir(parents=True, exist_ok=True)
    _claim(parts, {"scene": scene, "seed": seed, "noise": noise, "steps": steps})
    files = [parts / f"{number:06d}.npz" for number in range(trajectories)]
    missing = [number for number, file in enumerate(files) if not file.exists()]
    work = partial(_play_into, scene, steps, noise, seed)
    # Never fork: a child would inherit the locks of threads that it does not have.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(missing)) or 1, spawn, end_with_parent_process) as pool:
        done = [pool.submit(work, number, files[number]) for number in missing]
        try:
            for count, future in enumerate(as_completed(done), start=trajectories - len(missing) + 1):
                future.result()
                if on_trajectory is not None:
                    on_trajectory(count)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    write_atomically(path, partial(_join, files))
    shutil.rmtree(parts)


def _claim(parts: Path, asked: dict[str, Any]) -> None:
    """Note what the parts are of, or refuse to mix them with others."""
    note = parts / _ASKED
    if note.exists():
        if (held := read_json(note)) != asked:
            changed = ", ".join(f"{k} {held.get(k)!r} against {v!r}" for k, v in asked.items() if held.get(k) != v)
            raise DemonstrationError(f"{parts} holds parts of another set ({changed}); remove it, or name another file")
    else:
        write_json(note, asked)


@cache
def _player(scene: str, steps: int, noise: float) -> Player:
    return Player(scene, steps=steps, noise=noise)


def _play_into(scene: str, steps: int, noise: float, seed: int, number: int, file: Path) -> None:
    found = _player(scene, steps, noise).play(seed, number)
    write_atomically(file, lambda stream: np.savez(stream, **found))  # type: ignore[arg-type]  # of any name


def _join(files: list[Path], stream: IO[bytes]) -> None:
    """One file of all, an array at a time and a part at a time: the whole need not fit into memory.

    Stored, not packed: buttons pack better than readers believe (:mod:`zoomrl.demos.store.limits`).
    """
    with np.load(files[0]) as first:
        names = list(first.files)
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name in names:
            info = zipfile.ZipInfo(f"{name}.npy")  # without a date, which would make other bytes of the same set
            with archive.open(info, "w", force_zip64=True) as entry:
                _write_rows(entry, files, name)


def _write_rows(entry: IO[bytes], files: list[Path], name: str) -> None:
    shapes = [rows.shape for rows in _rows(files, name)]
    sample = next(_rows(files[:1], name))
    header = np.lib.format.header_data_from_array_1_0(sample)
    np.lib.format.write_array_header_1_0(entry, {**header, "shape": (sum(s[0] for s in shapes), *shapes[0][1:])})
    for rows in _rows(files, name):
        entry.write(rows.tobytes())


def _rows(files: list[Path], name: str) -> Iterator[NDArray[Any]]:
    for file in files:
        with np.load(file) as part:
            yield np.ascontiguousarray(part[name])
