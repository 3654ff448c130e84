"""Rows of metrics: JSON lines always, TensorBoard and Weights & Biases on request."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from zoomrl.errors import CheckpointError, ConfigError, MissingDependencyError, import_optional
from zoomrl.files import finite_or_null
from zoomrl.training.config import TrainConfig
from zoomrl.training.rows import METRICS, sealed_row
from zoomrl.training.run_files import wandb_id

_log = logging.getLogger("zoomrl.training")


class Sink(Protocol):
    """Where numbers go besides the JSON lines."""

    name: str
    """By which the user knows it."""

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
        sha256: of those bytes; empty when unknown.
        say: prints a line for the user: rows that are lost, or not those that were written, are told.
    """

    def __init__(
        self,
        directory: Path,
        position: int,
        sinks: list[Sink],
        sha256: str = "",
        say: Callable[[str], None] = _log.warning,
    ) -> None:
        self.path = directory / METRICS
        self._say = say
        kept = self._kept(position)
        self._digest = hashlib.sha256(kept)
        if len(kept) == position and sha256 not in ("", self._digest.hexdigest()):
            say(f"{self.path} is damaged: its rows are not those that were written. The run itself is not affected")
        with open(self.path, "ab") as file:
            file.truncate(len(kept))
        self._file = open(self.path, "ab")  # noqa: SIM115 - lives as long as the logger
        self._sinks = sinks

    def _kept(self, position: int) -> bytes:
        """What stays of the file: ``position`` bytes, or the whole lines where it has become shorter."""
        if not position:
            return b""
        found = b""
        if self.path.exists():
            with open(self.path, "rb") as file:
                found = file.read(position)
        if len(found) < position:
            whole = found[: found.rfind(b"\n") + 1]
            self._say(
                f"{self.path} has {len(found):,} bytes where the checkpoint counts {position:,}: rows are lost. The "
                f"run goes on behind the {len(whole.splitlines())} rows that are left"
            )
            return whole
        return found

    def write(self, kind: str, row: Mapping[str, Any]) -> None:
        """Append one row. Every row carries ``env_steps``, ``agent_steps`` and ``updates``.

        A number that is NaN or infinite is written as null, and not passed on. The line carries its hash, by which a
        reader notices a changed digit.
        """
        finite = finite_or_null({"kind": kind, **row})
        try:
            line = (sealed_row(finite) + "\n").encode()
            self._file.write(line)
            self._file.flush()
            self._digest.update(line)
        except OSError as error:
            raise self._unwritable(error) from error
        numbers = {k: float(v) for k, v in finite.items() if isinstance(v, int | float)}
        for sink in list(self._sinks):
            try:
                sink.scalars(kind, numbers, int(row["env_steps"]))
            except Exception as error:  # a service or library of others: learning does not depend on it
                self._sinks.remove(sink)
                self._say(f"{sink.name} gets no more rows ({_brief(error)}); {self.path} goes on")

    def sync(self) -> dict[str, Any]:
        """Make the rows durable; the file's length in bytes and its hash, as a checkpoint keeps them."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._unwritable(error) from error
        return {"log_position": self._file.tell(), "log_sha256": self._digest.hexdigest()}

    def _unwritable(self, error: OSError) -> CheckpointError:
        return CheckpointError(
            f"could not write {self.path}: {error.strerror or error}. Earlier checkpoints are intact. "
            "Free some space and run the same command again to resume."
        )

    def close(self) -> None:
        """Close all places."""
        self._file.close()
        for sink in self._sinks:
            try:
                sink.close()
            except Exception as error:
                self._say(f"{sink.name} did not end well: {_brief(error)}")


def make_sinks(config: TrainConfig, directory: Path, env_steps: int) -> list[Sink]:
    """The sinks that ``config.log`` asks for; ``env_steps`` is where a resumed run continues."""
    sinks: list[Sink] = []
    if config.log.tensorboard:
        sinks.append(_TensorBoard(directory / "tensorboard", env_steps))
    if config.log.wandb:
        sinks.append(_WandB(config, directory))
    return sinks


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]


class _TensorBoard:
    name = "TensorBoard"

    def __init__(self, directory: Path, env_steps: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(directory), purge_step=env_steps or None)

    def scalars(self, kind: str, values: Mapping[str, float], env_steps: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(f"{kind}/{name}", value, env_steps)

    def close(self) -> None:
        self._writer.close()


class _WandB:
    name = "Weights & Biases"

    def __init__(self, config: TrainConfig, directory: Path) -> None:
        wandb = import_optional("wandb", "wandb")
        if not hasattr(wandb, "init"):  # an old run's ./wandb folder can shadow the package
            raise MissingDependencyError("a folder named 'wandb' hides the package; run from another directory")
        try:
            self._run = wandb.init(
                project=config.log.wandb,
                id=wandb_id(directory),
                name=directory.resolve().name,
                dir=str(directory),
                config=config.to_dict(),
                resume="allow",
            )
        except CheckpointError:
            raise
        except Exception as error:
            raise ConfigError(
                f"Weights & Biases could not start ({_brief(error)}). Without a network use WANDB_MODE=offline; "
                "to do without it, leave log.wandb empty"
            ) from error

    def scalars(self, kind: str, values: Mapping[str, float], env_steps: int) -> None:
        self._run.log({f"{kind}/{name}": value for name, value in values.items()} | {"env_steps": env_steps})

    def close(self) -> None:
        self._run.finish()
