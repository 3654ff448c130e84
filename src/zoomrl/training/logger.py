"""Rows of metrics: JSON lines always, TensorBoard and Weights & Biases on request."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from zoomrl.errors import CheckpointError, MissingDependencyError, missing_extra
from zoomrl.training.config import TrainConfig

WALL_FIELDS = ("seconds", "updates_per_s", "env_steps_per_s")
"""Fields that depend on the clock; all others are equal in a run that was killed and resumed."""


class Sink(Protocol):
    """A place beside the JSON lines that numbers go to."""

    def scalars(self, kind: str, values: Mapping[str, float], env_steps: int) -> None:
        """Take the numbers of one row."""
        ...

    def close(self) -> None:
        """Flush."""
        ...


class Logger:
    """Appends rows to ``metrics.jsonl`` and passes their numbers on.

    Args:
        directory: the run directory.
        position: bytes of the file to keep; rows beyond it were written after the checkpoint that is being resumed.
        sinks: further places.
    """

    def __init__(self, directory: Path, position: int, sinks: list[Sink]) -> None:
        self.path = directory / "metrics.jsonl"
        with open(self.path, "ab") as file:
            file.truncate(min(position, file.tell()))
        self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115 - lives as long as the logger
        self._sinks = sinks

    def write(self, kind: str, row: Mapping[str, Any]) -> None:
        """Append one row. Every row carries ``env_steps``, ``agent_steps`` and ``updates``."""
        try:
            self._file.write(json.dumps({"kind": kind, **row}) + "\n")
            self._file.flush()
        except OSError as error:
            raise self._unwritable(error) from error
        numbers = {k: float(v) for k, v in row.items() if isinstance(v, int | float)}
        for sink in self._sinks:
            sink.scalars(kind, numbers, int(row["env_steps"]))

    def sync(self) -> int:
        """Make the rows durable and return the file's length in bytes."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._unwritable(error) from error
        return self._file.tell()

    def _unwritable(self, error: OSError) -> CheckpointError:
        return CheckpointError(
            f"could not write {self.path}: {error.strerror or error}. Earlier checkpoints are intact. "
            "Free some space and run the same command again to resume."
        )

    def close(self) -> None:
        """Close all places."""
        self._file.close()
        for sink in self._sinks:
            sink.close()


def make_sinks(config: TrainConfig, directory: Path, env_steps: int) -> list[Sink]:
    """The sinks that ``config.log`` asks for; ``env_steps`` is where a resumed run continues."""
    sinks: list[Sink] = []
    if config.log.tensorboard:
        sinks.append(_TensorBoard(directory / "tensorboard", env_steps))
    if config.log.wandb:
        sinks.append(_WandB(config, directory))
    return sinks


class _TensorBoard:
    def __init__(self, directory: Path, env_steps: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(directory), purge_step=env_steps or None)

    def scalars(self, kind: str, values: Mapping[str, float], env_steps: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(f"{kind}/{name}", value, env_steps)

    def close(self) -> None:
        self._writer.close()


class _WandB:
    def __init__(self, config: TrainConfig, directory: Path) -> None:
        try:
            import wandb
        except ImportError as error:
            raise missing_extra("wandb", "wandb") from error
        if not hasattr(wandb, "init"):  # an old run's ./wandb folder can shadow the package
            raise MissingDependencyError("a folder named 'wandb' hides the package; run from another directory")
        # The run directory names the run, so that resuming continues the same one.
        self._run = wandb.init(
            project=config.log.wandb,
            id=directory.name,
            name=directory.name,
            dir=str(directory),
            config=config.to_dict(),
            resume="allow",
        )

    def scalars(self, kind: str, values: Mapping[str, float], env_steps: int) -> None:
        self._run.log({f"{kind}/{name}": value for name, value in values.items()} | {"env_steps": env_steps})

    def close(self) -> None:
        self._run.finish()
