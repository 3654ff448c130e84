"""A sweep on the disk: its runs by name, each with its config, and where they lie.

``sweep.json`` holds them. ``runs/<name>`` are ordinary run directories, ``logs/<name>.log`` is what each run said.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zoomrl.errors import CheckpointError, ConfigError
from zoomrl.files import read_json, write_json
from zoomrl.training.config import TrainConfig, differences, flat
from zoomrl.version import __version__

FILE = "sweep.json"
STOP = "stop"
"""A file that asks all workers to end."""
_FORMAT = 1


@dataclass(frozen=True)
class Sweep:
    """A sweep.

    Attributes:
        directory: of all its files.
        runs: config of each run, by its name, in the order in which they are begun.
    """

    directory: Path
    runs: Mapping[str, TrainConfig]

    def run_dir(self, name: str) -> Path:
        """Directory of a run."""
        return self.directory / "runs" / name

    def log(self, name: str) -> Path:
        """What a run has said."""
        return self.directory / "logs" / f"{name}.log"

    def failure(self, name: str) -> Path:
        """What ended a run that failed; not there for others."""
        return self.directory / "failed" / f"{name}.json"

    def config(self, name: str) -> TrainConfig:
        """The config with which a run is trained."""
        return replace(self.runs[name], run_dir=str(self.run_dir(name)))

    @property
    def stop_file(self) -> Path:
        """It lies there while the sweep is asked to stop."""
        return self.directory / STOP


def plan(directory: Path, runs: Mapping[str, TrainConfig], *, write: bool = True, repeats: bool = False) -> Sweep:
    """The sweep in ``directory`` with ``runs``; more runs than it had before are added to it.

    Args:
        directory: of the sweep.
        runs: config of each by its name; one that has not begun yet may have others than before.
        write: keep it; else nothing is written.
        repeats: a run may be that of another name once more, as trials of a search are.

    Raises:
        CheckpointError: it has a run of the same name with another config; nothing is changed then.
        ConfigError: the directory holds something else, or a run under another name.
    """
    path = directory / FILE
    if not path.exists():
        if directory.exists() and any(directory.iterdir()):
            raise ConfigError(f"{directory} holds no sweep, and is not empty; choose another directory with --out")
        held: Mapping[str, TrainConfig] = {}
    else:
        held = read_sweep(directory).runs
    for name, config in runs.items():
        begun = (directory / "runs" / name / "config.json").exists()
        if begun and name in held and (changed := differences(held[name], config)):
            raise CheckpointError(
                f"{directory} has a run {name} with other options: {'; '.join(changed)}. Choose another directory with "
                "--out"
            )
    if not repeats:
        _check_not_trained_twice(directory, held, runs)
    every = {**held, **runs}
    if write and (not path.exists() or dict(every) != dict(held)):
        directory.mkdir(parents=True, exist_ok=True)
        listed = {name: config.to_dict() for name, config in every.items()}
        write_json(path, {"format": _FORMAT, "zoomrl": __version__, "runs": listed})
    return Sweep(directory, every)


def _check_not_trained_twice(directory: Path, held: Mapping[str, TrainConfig], runs: Mapping[str, TrainConfig]) -> None:
    """Refuse runs that are there under other names: an axis is part of a name once it has several values."""
    written = {name: json.dumps(flat(config.to_dict()), sort_keys=True) for name, config in {**held, **runs}.items()}
    by_config = {written[name]: name for name in held}
    for name in runs:
        other = by_config.get(written[name])
        if other is not None and other != name and name not in held:
            raise ConfigError(
                f"the run {name} is in {directory} already, as {other}: names hold an axis once it has several values. "
                "Sweep the values that are new in a directory of their own, with --out"
            )


def read_sweep(directory: Path) -> Sweep:
    """The sweep in ``directory``.

    Raises:
        CheckpointError: there is none, or its file is damaged or of a later version.
    """
    path = directory / FILE
    if not path.exists():
        raise CheckpointError(f"{directory} holds no sweep: {path} is missing. `zoomrl sweep` begins one")
    data = read_json(path)
    runs: Any = data.get("runs")
    if data.get("format") != _FORMAT or not isinstance(runs, dict):
        raise CheckpointError(f"{path} is of another version of zoomrl ({data.get('zoomrl', 'unknown')})")
    try:
        return Sweep(directory, {name: TrainConfig.from_dict(config) for name, config in runs.items()})
    except (ConfigError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} holds what this version does not take: {error}") from error
