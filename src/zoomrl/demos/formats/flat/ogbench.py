"""OGBench's NumPy files: ``observations``, ``actions`` and ``terminals`` [N, ...] of all trajectories, one after the
other; perhaps ``qpos``, ``qvel`` and ``button_states``.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zoomrl.demos.entries import UNNAMED
from zoomrl.demos.formats.assemble import Assembly, Raw, reason
from zoomrl.demos.formats.base import Imported, ImportOptions
from zoomrl.demos.formats.flat.arrays import Long, Rows, count_sliced, count_whole, declared, of_length, ranges, within
from zoomrl.demos.formats.flat.npz_rows import NpzRows, open_rows
from zoomrl.demos.formats.images import in_slices
from zoomrl.demos.formats.kinds import kinds
from zoomrl.demos.store.limits import Budget, regular
from zoomrl.envs.registry import make_env
from zoomrl.envs.suites.ogbench.env import OGBenchEnv
from zoomrl.errors import DemonstrationError, ZoomrlError, plural

OBSERVED = "observations"
NEEDED = (OBSERVED, "actions", "terminals")
_PLACES = ("qpos", "button_states")
_NOT_SEEN = ("actions", "terminals", "rewards", "masks", "next_observations", "valids")


class _Outcome(NamedTuple):
    """What came of an episode of play: whether it solves the task, and rewards [T]."""

    success: bool
    rewards: NDArray[np.float32]


def read(path: Path, options: ImportOptions) -> Imported:
    """Read one file. ``terminals`` marks the last observation of a trajectory, whose action was not executed.

    A trajectory of T + 1 rows is an episode of T actions. ``observations`` are the state, one vector without names, or
    the camera ``observations`` where they are images; ``qpos``, ``qvel`` and others may be named in ``options.state``.
    No outcome is recorded. For an environment ``ogbench:<task>`` it is worked out from ``qpos`` and ``button_states``,
    as the benchmark does it: each first state that solves the task ends an episode, and the next one begins where the
    task is unsolved again. Rewards are those of ``options.env``. All are to be imitated (``is_demo``): it is play.

    Raises:
        DemonstrationError: when no episode can be read; lists every fault.
        ConfigError: for a camera or entry that is not there.
    """
    try:
        with zipfile.ZipFile(regular(path)) as file:
            return _read(path, dict(open_rows(file, path)), options)
    except ZoomrlError:
        raise
    except OSError as error:
        raise DemonstrationError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a damaged file makes its parser fail in any way
        raise DemonstrationError(
            f"{path} cannot be read as one of OGBench ({reason(error)}). It is damaged, or of another format"
        ) from error


def _read(path: Path, found: dict[str, NpzRows], options: ImportOptions) -> Imported:
    if lacking := [name for name in NEEDED if name not in found]:
        raise DemonstrationError(f"{path} lacks {', '.join(lacking)}: it is none of OGBench")
    count = found["actions"].shape[0]
    arrays = of_length(found, count)
    if not count or found["terminals"].dtype.kind not in "biuf":
        what = f"terminals of type {found['terminals'].dtype}, and must say 0 or 1" if count else "no rows"
        raise DemonstrationError(f"{path} holds {what}")
    if wrong := [name for name in (*NEEDED, "rewards", *_PLACES) if name in found and name not in arrays]:
        raise DemonstrationError(f"{path}: {', '.join(wrong)} must have {count:,} rows, as actions has")
    assembly = Assembly("ogbench", path, options)
    sorts = kinds(declared({name: array for name, array in arrays.items() if name not in _NOT_SEEN}))
    cameras = assembly.choose_cameras({name: name for name in sorts.cameras})
    default = [OBSERVED] if OBSERVED in sorts.numbers else []
    state = assembly.choose_state(sorts.numbers, default, sorts.numbers)
    budget = Budget()
    with within(budget, path):
        count_whole(budget, {"terminals": arrays["terminals"]})
    episodes, rest = ranges(arrays["terminals"][:].astype(bool).ravel())
    if rest:
        assembly.meta["without_end"] = f"the last {plural(rest, 'row')}: kept as an episode"
    vectors = {name: arrays[name] for name in ("actions", "rewards", *state) if name in arrays}
    images = {name: arrays[name] for name in cameras}
    with within(budget, path):
        count_sliced(budget, vectors, images, max(end - first for first, end in episodes), assembly.image_size)
    task = _task(options, arrays, path)
    successes = 0
    for number, (first, end) in enumerate(episodes):
        if assembly.full:
            break
        where = f"{path.name}: trajectory {number}"
        places = {name: arrays[name][first:end] for name in _PLACES if name in arrays and task is not None}
        if task is not None and not np.isfinite(places["qpos"]).all():
            assembly.faults.append(f"{where}: qpos holds NaN or infinity, so that it is not known where it is solved")
            continue
        for begin, stop, outcome in _parts(task, places, first, end, path):
            load = partial(_episode, arrays, cameras, state, assembly, number, begin, stop, outcome)
            if assembly.add(f"{where} (row {begin})", load):
                successes += outcome is not None and outcome.success
    for name in {*vectors, *images, *(() if task is None else _PLACES)} & found.keys():
        found[name].finish()
    if task is not None:
        task.close()
        if not successes:
            assembly.faults.append(
                f"{path.name}: no state of it solves {task.env_spec.id}, so that no reward is in the set"
            )
        assembly.meta["solved"] = f"{plural(successes, 'time')}, by where the objects are; each ends an episode"
    return assembly.result()


def parts_of(solved: NDArray[np.bool_], first: int) -> list[tuple[int, int, bool]]:
    """The episodes of a trajectory whose states [T] solve the task or not: first row, end, and whether it is solved.

    Rows are counted from ``first``. States that follow a solved one and are solved too belong to none, nor does what is
    left where there is no action.
    """
    found, begin, count = [], 0, len(solved)
    while begin < count:
        if solved[begin]:
            begin += 1
            continue
        later = np.flatnonzero(solved[begin:])
        end = begin + int(later[0]) + 1 if len(later) else count
        if end - begin > 1:
            found.append((first + begin, first + end, bool(len(later))))
        begin = end
    return found


def _task(options: ImportOptions, arrays: dict[str, Long], path: Path) -> OGBenchEnv | None:
    """The task that outcomes are worked out of; None where another environment, or none, is named."""
    if options.env is None or not options.env.id.startswith("ogbench:"):
        return None
    if "qpos" not in arrays:
        raise DemonstrationError(
            f"{path} lacks qpos, by which it is told where {options.env.id} is solved. Of the benchmark's files take "
            "those of its manipulation scenes"
        )
    if options.env.action_repeat > 1:
        raise DemonstrationError(
            f"{path} was recorded with an action for each step of the simulator: leave out "
            f"--env.action-repeat {options.env.action_repeat}"
        )
    env = make_env(options.env, num_envs=1, workers="serial")
    assert isinstance(env, OGBenchEnv)
    return env


def _parts(
    task: OGBenchEnv | None, places: dict[str, NDArray[Any]], first: int, end: int, path: Path
) -> Iterator[tuple[int, int, _Outcome | None]]:
    """The episodes of a trajectory: first row, end, and what came of them as far as that is known."""
    if task is None:
        yield first, end, None
        return
    try:
        placed = task.in_place(places["qpos"], places.get("button_states"))
    except ValueError as error:
        raise DemonstrationError(f"{path} is of another scene than {task.env_spec.id}: {error}") from error
    for begin, stop, success in parts_of(np.asarray(placed.all(axis=1)), first):
        yield begin, stop, _Outcome(success, task.rewards(placed[begin - first + 1 : stop - first]))


def _episode(
    arrays: dict[str, Long],
    cameras: list[str],
    state: list[str],
    assembly: Assembly,
    number: int,
    first: int,
    end: int,
    outcome: _Outcome | None,
) -> Raw:
    recorded = np.ravel(arrays["rewards"][first : end - 1]) if "rewards" in arrays else None
    success = None if outcome is None else outcome.success
    return Raw(
        actions=arrays["actions"][first : end - 1],
        state={UNNAMED if state == [OBSERVED] else name: arrays[name][first:end] for name in state},
        views=[in_slices(Rows(arrays[name], first, end), assembly.sized(name)) for name in cameras],
        rewards=recorded if outcome is None else outcome.rewards,
        success=success,
        terminated=success,
        is_demo=None if outcome is None else True,
        meta={"episode": number, "first_row": first},
    )
