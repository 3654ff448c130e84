"""Saved states of a run: written atomically, verified when read, the newest few kept.

``checkpoints/step_<env_steps>.pt`` holds everything but the online episodes, which are appended to ``replay/`` in
segments as they come, so that a checkpoint costs what was added since the last one. Before the first step the name says
how many updates were made. Demonstrations are kept by reference.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zoomrl.data.replay import Replay, Segment
from zoomrl.errors import CheckpointError
from zoomrl.files import write_atomically

BEST = "best.pt"
"""File of the best evaluation's state, beside the checkpoints."""
_log = logging.getLogger("zoomrl.training")


class Checkpoints:
    """The checkpoints of one run directory."""

    def __init__(self, directory: Path, keep: int) -> None:
        self._states = directory / "checkpoints"
        self._segments = directory / "replay"
        self._keep = keep
        self._saved_until = 0
        self._oldest: dict[Path, int] = {}

    def save(self, env_steps: int, state: dict[str, Any], replay: Replay) -> Path:
        """Write a checkpoint; on any failure the earlier ones stay as they are.

        Raises:
            CheckpointError: it could not be written, for example because the disk is full.
        """
        # Before the first step, updates tell checkpoints apart.
        learnt = f"_update_{state['updates']:010d}" if not env_steps and state["updates"] else ""
        path = self._states / f"step_{env_steps:010d}{learnt}.pt"
        try:
            self._states.mkdir(parents=True, exist_ok=True)
            self._segments.mkdir(parents=True, exist_ok=True)
            if replay.added > self._saved_until:
                since = max(self._saved_until, replay.oldest)
                segment = replay.segment(since)
                target = self._segments / f"episodes_{since:08d}_{replay.added:08d}.npz"
                write_atomically(target, lambda file: np.savez(file, **segment))  # type: ignore[arg-type]
                self._saved_until = replay.added
            state = {**state, "replay": {"oldest": replay.oldest, "added": replay.added}}
            write_atomically(path, lambda file: torch.save(state, file))
        except OSError as error:
            last = self.newest()
            kept = f"The last good checkpoint is {last.name}." if last else "There is no earlier checkpoint."
            raise CheckpointError(
                f"could not write checkpoint {path.name}: {error.strerror or error}. {kept} "
                "Free some space and run the same command again to resume."
            ) from error
        self._oldest[path] = replay.oldest
        self._prune()
        return path

    def save_best(self, state: dict[str, Any]) -> None:
        """Write the state of the best evaluation so far over that of the one before.

        Raises:
            CheckpointError: it could not be written; the one before is still there.
        """
        try:
            self._states.mkdir(parents=True, exist_ok=True)
            write_atomically(self.best, lambda file: torch.save(state, file))
        except OSError as error:
            raise CheckpointError(f"could not write {self.best}: {error.strerror or error}") from error

    @property
    def best(self) -> Path:
        """File of the best evaluation's state."""
        return self._states / BEST

    def load_best(self) -> dict[str, Any] | None:
        """State of the best evaluation; None when there was none."""
        return read_state(self.best) if self.best.exists() else None

    def newest(self) -> Path | None:
        """File of the newest checkpoint."""
        return next(iter(self._files()), None)

    def load(self, *, repair: bool = True) -> tuple[dict[str, Any], Path] | None:
        """State and file of the newest readable checkpoint; damaged ones are named, and put aside if ``repair``."""
        files = self._files()
        for path in files:
            try:
                return read_state(path), path
            except CheckpointError as error:
                _log.warning("%s; trying the one before it", error)
                if repair:
                    path.rename(path.with_name(f"{path.name}.damaged"))
        if files:
            raise CheckpointError(
                f"none of the {len(files)} checkpoints in {self._states} can be read. "
                "Start again in another run directory."
            )
        return None

    def clear_replay(self) -> None:
        """Forget episodes of an earlier start that left no checkpoint."""
        for path in self._segments.glob("episodes_*.npz"):
            path.unlink()

    def restore_replay(self, state: dict[str, Any], replay: Replay) -> None:
        """Put the online episodes of a loaded checkpoint back, and forget what came after it."""
        oldest, added = state["replay"]["oldest"], state["replay"]["added"]
        needed = []
        for path in sorted(self._segments.glob("episodes_*.npz")):
            first, end = _span(path)
            if first >= added:
                path.unlink()
            elif end > oldest:
                needed.append(path)
        # One after the other: together they are as large as the replay.
        replay.load_segments((_read_segment(path) for path in needed), oldest)
        if replay.added != added or replay.oldest != oldest:
            raise CheckpointError(
                f"the checkpoint needs online episodes {oldest} to {added}, but {self._segments} holds "
                f"{replay.oldest} to {replay.added}: files are missing there"
            )
        self._saved_until = added

    def _files(self) -> list[Path]:
        return sorted(self._states.glob("step_*.pt"), reverse=True)

    def _prune(self) -> None:
        files = self._files()
        for path in files[self._keep :]:
            path.unlink(missing_ok=True)
        needed = min((self._oldest_episode(path) for path in files[: self._keep]), default=0)
        for path in self._segments.glob("episodes_*.npz"):
            if _span(path)[1] <= needed:
                path.unlink(missing_ok=True)

    def _oldest_episode(self, path: Path) -> int:
        """Serial number of the oldest online episode that a checkpoint refers to."""
        if path not in self._oldest:
            try:
                self._oldest[path] = read_state(path)["replay"]["oldest"]
            except CheckpointError as error:
                _log.warning("%s; put aside as %s.damaged", error, path.name)
                path.rename(path.with_name(f"{path.name}.damaged"))
                return sys.maxsize  # it needs no episode any more
        return self._oldest[path]


def read_state(path: Path) -> dict[str, Any]:
    """Load a checkpoint file; raises CheckpointError naming it when it is damaged."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"checkpoint {path} cannot be read ({type(error).__name__}: {error})") from error


def _span(path: Path) -> tuple[int, int]:
    _, first, end = path.stem.split("_")
    return int(first), int(end)


def _read_segment(path: Path) -> Segment:
    try:
        with np.load(path) as data:
            return {name: data[name] for name in data.files}
    except Exception as error:
        raise CheckpointError(f"replay file {path} cannot be read ({type(error).__name__}: {error})") from error
