"""Rows of metrics: JSON lines always, and where else the numbers are wanted."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Callable, Mapping
from io import BufferedWriter
from pathlib import Path
from typing import Any

from zoomrl.data.episode import Episode
from zoomrl.errors import CheckpointError
from zoomrl.files import finite_or_null
from zoomrl.training.callbacks import Callback, Run
from zoomrl.training.evaluate import Evaluation
from zoomrl.training.rows import METRICS, sealed_row
from zoomrl.training.sinks.sink import Sink, in_brief

_log = logging.getLogger("zoomrl.training")


class Logger(Callback):
    """Appends the rows of a run to ``metrics.jsonl`` and passes their numbers on.

    Args:
        directory: of the run.
        make_sinks: makes the further places, given the environment step and the update that a resumed run continues at.
        say: prints a line for the user: rows that are lost, or not those that were written, are told.
    """

    def __init__(
        self,
        directory: Path,
        make_sinks: Callable[[int, int], list[Sink]] = lambda env_steps, updates: [],
        say: Callable[[str], None] = _log.warning,
    ) -> None:
        self.path = directory / METRICS
        self._make_sinks = make_sinks
        self._say = say
        self._position, self._sha256 = 0, ""
        self._digest = hashlib.sha256()
        self._file: BufferedWriter | None = None
        self._sinks: list[Sink] = []

    def open(self, env_steps: int = 0, updates: int = 0) -> None:
        """Begin to write, behind the rows that the loaded state counts; later ones are no part of the run."""
        kept = self._kept(self._position)
        self._digest = hashlib.sha256(kept)
        if len(kept) == self._position and self._sha256 not in ("", self._digest.hexdigest()):
            self._say(
                f"{self.path} is damaged: its rows are not those that were written. The run itself is not affected"
            )
        with open(self.path, "ab") as file:
            file.truncate(len(kept))
        self._file = open(self.path, "ab")  # noqa: SIM115 - lives as long as the logger
        self._sinks = self._make_sinks(env_steps, updates)

    def on_start(self, run: Run) -> None:
        """Open the file and the further places."""
        self.open(run.counters["env_steps"], run.counters["updates"])

    def on_episode(self, run: Run, episode: Episode, row: Mapping[str, Any]) -> None:
        """Write its row."""
        self.write("episode", row)

    def on_metrics(self, run: Run, row: Mapping[str, float]) -> None:
        """Write the row."""
        self.write("train", row)

    def on_evaluation(self, run: Run, evaluation: Evaluation, row: Mapping[str, Any]) -> None:
        """Write its row."""
        self.write("eval", row)

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
        file = self._opened()
        try:
            line = (sealed_row(finite) + "\n").encode()
            file.write(line)
            file.flush()
            self._digest.update(line)
        except OSError as error:
            raise self._unwritable(error) from error
        numbers = {k: float(v) for k, v in finite.items() if isinstance(v, int | float)}
        for sink in list(self._sinks):
            try:
                sink.scalars(kind, numbers, int(row["env_steps"]), int(row["updates"]))
            except Exception as error:  # a service or library of others: learning does not depend on it
                self._sinks.remove(sink)
                self._say(f"{sink.name} gets no more rows ({in_brief(error)}); {self.path} goes on")

    def state_dict(self) -> dict[str, Any]:
        """Make the rows durable; the file's length in bytes and its hash."""
        if self._file is None:
            return {"log_position": self._position, "log_sha256": self._sha256}
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._unwritable(error) from error
        return {"log_position": self._file.tell(), "log_sha256": self._digest.hexdigest()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`, before the file is opened; other entries are left alone."""
        self._position, self._sha256 = state["log_position"], state.get("log_sha256", "")

    def close(self) -> None:
        """Close all places. Safe to call twice, and where nothing was opened."""
        file, sinks = self._file, self._sinks
        self._file, self._sinks = None, []
        if file is not None:
            with contextlib.suppress(OSError):  # only what could not be written is still there, and that was said
                file.close()
        for sink in sinks:
            try:
                sink.close()
            except Exception as error:
                self._say(f"{sink.name} did not end well: {in_brief(error)}")

    def _opened(self) -> BufferedWriter:
        if self._file is None:
            raise RuntimeError(f"{self.path} was not opened")
        return self._file

    def _unwritable(self, error: OSError) -> CheckpointError:
        return CheckpointError(
            f"could not write {self.path}: {error.strerror or error}. Earlier checkpoints are intact. "
            "Free some space and run the same command again to resume."
        )
