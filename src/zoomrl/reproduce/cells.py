"""The cells of an experiment on the disk: where each one lies, and what came of it.

``cells/<cell>.json`` are the numbers of the cells that are done, ``training`` is a sweep with a run for each cell that
trains, ``failed/`` holds why measurements failed, and ``demos/`` the demonstrations that all of them use. The numbers
are enough to go on elsewhere: a cell that has them is not run again, with or without its run.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from zoomrl.envs.versions import installed_version
from zoomrl.errors import CheckpointError, ConfigError, ZoomrlError
from zoomrl.files import read_json, read_sealed, write_json
from zoomrl.machine import hardware
from zoomrl.reproduce.experiment import Arm, Cell, Experiment, Numbers, Scale, named_for
from zoomrl.reproduce.sources import source_digest
from zoomrl.sweep.plan import FILE as SWEEP
from zoomrl.sweep.plan import Sweep, read_sweep
from zoomrl.sweep.state import finished
from zoomrl.training.config import KNOWN_BY_CONTENT, TrainConfig, flat
from zoomrl.version import __version__

DEMOS = "demos"
TRAINING = "training"


@dataclass(frozen=True)
class Outcome:
    """What came of a cell.

    Attributes:
        cell: which.
        numbers: metric -> value; None where there are none.
        problem: why there are none; empty otherwise.
        over: it will not be run again by itself: it has numbers, or has failed.
        seconds: that it took.
    """

    cell: Cell
    numbers: Numbers | None
    problem: str = ""
    over: bool = True
    seconds: float = 0.0


def result_file(directory: Path, cell: Cell) -> Path:
    """Of a cell that is done."""
    return directory / "cells" / f"{cell.name}.json"


def failure_file(directory: Path, cell: Cell) -> Path:
    """Why a measurement failed; not there for others."""
    return directory / "failed" / f"{cell.name}.json"


def measured_cells(experiment: Experiment, scale: str) -> list[Cell]:
    """The cells without a training run, in their order."""
    return [cell for cell in experiment.cells(experiment.scale(scale)) if experiment.arm(cell.arm).measured]


def runs(experiment: Experiment, scale: str, directory: Path) -> dict[str, TrainConfig]:
    """Name of a cell -> config of its run, for the cells that train.

    Raises:
        ConfigError: a cell cannot be built; it is named.
    """
    size, found = experiment.scale(scale), {}
    for cell in experiment.cells(size):
        arm = experiment.arm(cell.arm)
        if arm.measured:
            continue
        try:
            config = experiment.config(arm, cell.task, cell.seed, size)
        except ConfigError as error:
            raise ConfigError(f"the cell {cell.name} of {experiment.name} cannot be: {error}") from error
        if config.demos.source == "scripted":
            config = replace(config, demos=replace(config.demos, directory=str(directory / DEMOS)))
        found[cell.name] = config
    return found


def demo_sources(experiment: Experiment, scale: str, directory: Path) -> list[str]:
    """Folders of the demonstrations that no script makes, of all cells."""
    size = experiment.scale(scale)
    found = {config.demos.source for config in runs(experiment, scale, directory).values()}
    for cell in measured_cells(experiment, scale):
        options = {**size.options, **experiment.arm(cell.arm).options}
        found.add(named_for(str(options.get("demos.source", "none")), cell.task))
    return sorted(found - {"scripted", "none"})


def training(experiment: Experiment, scale: str, directory: Path) -> Sweep:
    """The sweep of the cells that train; nothing is written."""
    return Sweep(directory / TRAINING, runs(experiment, scale, directory))


def check_configs(experiment: Experiment, scale: str, directory: Path) -> None:
    """Compare the configs of all cells with those that were kept before the first one ran.

    Raises:
        CheckpointError: one is another now, as when a preset has changed since: what was registered is no longer what
            would run.
    """
    if not (directory / TRAINING / SWEEP).exists():
        return
    held = read_sweep(directory / TRAINING).runs
    for name, config in runs(experiment, scale, directory).items():
        before, after = (_compared(one) for one in (held.get(name, config), config))
        changed = [
            f"{key}: {before.get(key)!r} -> {after.get(key)!r}"
            for key in sorted(before | after)
            if before.get(key) != after.get(key)
        ]
        if changed:
            raise CheckpointError(
                f"the cell {name} would not run as it was registered: {'; '.join(changed)}. Go on with the version of "
                "zoomrl that registered it, or choose another directory with --out"
            )


def outcomes(experiment: Experiment, scale: str, directory: Path, part: str = "") -> list[Outcome]:
    """Of all cells, or those of a :meth:`~Experiment.part`, in their order. Those that are not at their end say so."""
    sweep, size = training(experiment, scale, directory), experiment.scale(scale)

    def outcome(cell: Cell) -> Outcome:
        arm = experiment.arm(cell.arm)
        if arm.measured:
            return _measured(directory, cell, measured_with(arm, size))
        return _trained(experiment, sweep, directory, cell)

    return [outcome(cell) for cell in experiment.part(size, part)]


def seconds_left(found: Sequence[Outcome], slots: int) -> float | None:
    """Until all cells are over, at most ``slots`` at once: each takes the mean of its arm so far, or that of all.

    None where no cell is done.
    """
    done: dict[str, list[float]] = {}
    for one in found:
        if one.numbers is not None:
            done.setdefault(one.cell.arm, []).append(one.seconds)
    if not done:
        return None
    mean = fmean(seconds for each in done.values() for seconds in each)
    left = [fmean(done.get(one.cell.arm, [mean])) for one in found if not one.over]
    return max(sum(left) / slots, *left) if left else 0.0


def keep(directory: Path, cell: Cell, numbers: Numbers, seconds: float, made_with: str) -> None:
    """Write the numbers of a cell, with :func:`trained_with` or :func:`measured_with`, and where they were made."""
    path = result_file(directory, cell)
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {
        "zoomrl": __version__,
        "config": made_with,
        "made_on": {"source": source_digest(), "hardware": hardware(), "torch": installed_version("torch")},
        "numbers": dict(numbers),
        "seconds": round(seconds, 2),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_json(path, asdict(cell) | told)


def made_on(directory: Path) -> list[dict[str, Any]]:
    """Where the kept cells of ``directory`` were made: source, hardware and version of torch, each once."""
    found: list[dict[str, Any]] = []
    for path in sorted((directory / "cells").glob("*.json")):
        told = read_json(path).get("made_on")  # files of earlier versions do not say
        if told and told not in found:
            found.append(told)
    return found


def trained_with(config: TrainConfig) -> str:
    """Hash of the config of a cell that is trained."""
    return _hash(_compared(config))


def measured_with(arm: Arm, scale: Scale) -> str:
    """Hash of the options of a cell that is measured."""
    return _hash({"arm": dict(arm.options), "scale": dict(scale.options)})


def keep_trained(experiment: Experiment, sweep: Sweep, cells: Sequence[Cell], directory: Path) -> None:
    """Write the numbers of those ``cells`` whose runs have come to their end, and that are not written yet."""
    for cell in cells:
        if not result_file(directory, cell).exists():
            done = _run(experiment, sweep, cell)
            if done is not None and done.numbers is not None:
                keep(directory, cell, done.numbers, done.seconds, trained_with(sweep.runs[cell.name]))


def drop_stale(found: Sequence[Outcome], directory: Path) -> None:
    """Remove the files of numbers that are read otherwise from their runs today, as after a change of what is read."""
    for one in found:
        path = result_file(directory, one.cell)
        if one.numbers is not None and path.exists() and _stored(path) != one.numbers:
            path.unlink()


def _stored(path: Path) -> Any:
    """The numbers in a file; None where it cannot be read."""
    try:
        return read_json(path).get("numbers")
    except (CheckpointError, OSError):
        return None


def check_numbers(numbers: Numbers) -> dict[str, float]:
    """``numbers`` as they are kept.

    Raises:
        ValueError: one is NaN or infinite, or there are none.
    """
    if not numbers:
        raise ValueError("there is no number")
    for name, value in numbers.items():
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}")
    return {name: float(value) for name, value in numbers.items()}


def _measured(directory: Path, cell: Cell, made_with: str) -> Outcome:
    failure = failure_file(directory, cell)
    if result_file(directory, cell).exists():
        return _kept(directory, cell, {made_with, None})  # of earlier versions
    if failure.exists():
        return Outcome(cell, None, f"failed: {read_json(failure).get('message')}")
    return Outcome(cell, None, "not run yet", over=False)


def _trained(experiment: Experiment, sweep: Sweep, directory: Path, cell: Cell) -> Outcome:
    done, kept = _run(experiment, sweep, cell), result_file(directory, cell).exists()
    if done is not None and (done.numbers is not None or not kept):
        return done
    if kept:
        return _kept(directory, cell, {trained_with(sweep.runs[cell.name])})
    if sweep.failure(cell.name).exists():
        return Outcome(cell, None, f"failed: {read_json(sweep.failure(cell.name)).get('message')}")
    begun = sweep.run_dir(cell.name).exists()
    return Outcome(cell, None, "not at its end" if begun else "not run yet", over=False)


def _run(experiment: Experiment, sweep: Sweep, cell: Cell) -> Outcome | None:
    """What came of the run of a cell; None where it has not come to its end here."""
    directory = sweep.run_dir(cell.name)
    result = finished(directory, sweep.runs[cell.name])
    if result is None:
        return None
    assert experiment.read is not None  # or it would have no cells that train
    seconds = float(result.get("training_seconds") or 0.0)
    try:
        return Outcome(cell, check_numbers(experiment.read(directory)), seconds=seconds)
    except (ZoomrlError, ValueError, KeyError, IndexError, TypeError) as error:
        return Outcome(cell, None, f"its run cannot be read: {error}", seconds=seconds)


def _kept(directory: Path, cell: Cell, made_with: Collection[str | None]) -> Outcome:
    path = result_file(directory, cell)
    data = read_sealed(path, "Remove it to run the cell again")
    if (told := {name: data.get(name) for name in asdict(cell)}) != asdict(cell):
        raise CheckpointError(f"{path} is of another cell, {told}; remove it to run this one")
    if data.get("config") not in made_with:
        raise CheckpointError(
            f"{path} was made with another config, as that of another version's preset or another scale; remove it to "
            "run the cell again, or go on with the version of zoomrl that made it"
        )
    return Outcome(cell, _numbers(path, data), seconds=float(data["seconds"]))


def _numbers(path: Path, data: Mapping[str, Any]) -> Numbers:
    numbers = data.get("numbers")
    if not isinstance(numbers, dict) or not all(type(value) in (int, float) for value in numbers.values()):
        raise CheckpointError(f"{path} holds no numbers; remove it to run the cell again")
    return numbers


def _compared(config: TrainConfig) -> dict[str, Any]:
    """The fields of ``config`` by which its run is known: all but where demonstrations lie."""
    return {key: value for key, value in flat(config.to_dict()).items() if key not in KNOWN_BY_CONTENT}


def _hash(options: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(options, sort_keys=True, default=str).encode()).hexdigest()
