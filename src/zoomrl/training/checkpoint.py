"""Saved states of a run: written atomically, verified when read, the newest few kept.

``checkpoints/step_<env_steps>.pt`` holds everything but the online episodes, which are appended to ``replay/`` in
segments as they come, so that a checkpoint costs what was added since the last one. Before the first step the name says
how many updates were made. Demonstrations are kept by reference.
"""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch

from zoomrl.data.replay import ReplayBuffer
from zoomrl.errors import CheckpointError, DamagedFileError
from zoomrl.files import write_atomically
from zoomrl.seal import check_archive, seal_archive
from zoomrl.training.lock import Held
from zoomrl.training.run_place import CHECKPOINTS
from zoomrl.training.segments import Segments, listed

BEST = "best.pt"
"""File of the best evaluation's state, next to the checkpoints."""
_NAME = re.compile(r"step_(\d+)(?:_update_(\d+))?\.pt")
_log = logging.getLogger("zoomrl.training")


class Checkpoints:
    """The checkpoints of one run directory.

    Args:
        directory: of the run.
        keep: how many are kept.
        run: the run's own id: files that carry another are refused. Empty for a run of earlier versions.
        held: the directory's lock, for a process that writes.
    """

    def __init__(self, directory: Path, keep: int, run: str = "", held: Held | None = None) -> None:
        self.directory = directory
        self._run = run
        self._held = held
        self._states = directory / CHECKPOINTS
        self._segments = Segments(directory / "replay")
        self._keep = keep
        self._oldest: dict[Path, int] = {}

    def save(self, env_steps: int, state: dict[str, Any], replay: ReplayBuffer) -> Path:
        """Write a checkpoint; on any failure the earlier ones stay as they are.

        Raises:
            CheckpointError: it could not be written, for example because the disk is full.
        """
        # Before the first step, updates tell checkpoints apart.
        learnt = f"_update_{state['updates']:010d}" if not env_steps and state["updates"] else ""
        path = self._states / f"step_{env_steps:010d}{learnt}.pt"
        self._check_held()
        try:
            self._states.mkdir(exist_ok=True)
            _write_state(path, {**state, **self._segments.save(replay), "run": self._run})
        except OSError as error:
            last = self.newest()
            kept = f"The last good checkpoint is {last.name}." if last else "There is no earlier checkpoint."
            raise CheckpointError(f"could not write checkpoint {path.name}: {self._reason(error)} {kept}") from error
        self._oldest[path] = replay.oldest
        self._prune()
        return path

    def plant(self, name: str, state: dict[str, Any]) -> None:
        """Write a checkpoint called ``name`` with the ``state`` of another run, whose episodes are here already.

        Raises:
            CheckpointError: it could not be written.
        """
        self._check_held()
        try:
            self._states.mkdir(exist_ok=True)
            _write_state(self._states / name, {**state, "run": self._run})
        except OSError as error:
            raise CheckpointError(f"could not write checkpoint {name}: {self._reason(error)}") from error

    def save_best(self, state: dict[str, Any]) -> None:
        """Write the state of the best evaluation so far over that of the one before.

        Raises:
            CheckpointError: it could not be written; the one before is still there.
        """
        self._check_held()
        try:
            self._states.mkdir(exist_ok=True)
            _write_state(self.best, {**state, "run": self._run})
        except OSError as error:
            raise CheckpointError(f"could not write {self.best}: {self._reason(error)}") from error

    def _check_held(self) -> None:
        if self._held is not None:
            self._held.check()

    def read(self, path: Path) -> dict[str, Any]:
        """State of a checkpoint file of this run; errors as in :func:`read_state`, and for one of another run."""
        state = read_state(path)
        if self._run and state.get("run") and state["run"] != self._run:
            raise CheckpointError(
                f"{path} was saved by another run than that of {self.directory}. Nothing was changed; move that file "
                "away, or restore this run's from a copy"
            )
        return state

    def _reason(self, error: OSError) -> str:
        if not self.directory.exists():
            return f"{self.directory} was removed or renamed while the run was writing to it."
        remedy = "Free some space and" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else "Mend that and"
        return f"{error.strerror or error} ({error.filename}). {remedy} run the same command again to resume."

    @property
    def best(self) -> Path:
        """File of the best evaluation's state."""
        return self._states / BEST

    def load_best(self, state: dict[str, Any], *, ended: bool = False) -> dict[str, Any] | None:
        """State of the best evaluation; None when the run in ``state``, a checkpoint's, has had none.

        While a run goes on it may be of a later evaluation than that checkpoint knows.

        Args:
            state: of the run.
            ended: the run ends with ``state``: its best evaluation must be the one that ``state`` names.

        Raises:
            CheckpointError: it is missing, damaged, or with ``ended`` another.
        """
        if state.get("best") is None:
            return None
        self._list()  # a folder that cannot be read is not one without the file
        if not self.best.exists():
            raise CheckpointError(
                f"{self.best}, the weights of the best evaluation, is missing. Restore it, or use the last weights "
                "with --eval.no-keep-best"
            )
        best = self.read(self.best)
        if ended and state["best_at"] and state["best_at"] != [best["env_steps"], best["updates"]]:
            raise CheckpointError(
                f"{self.best} is of step {best['env_steps']:,}, and the best evaluation of this run was after step "
                f"{state['best_at'][0]:,}: a process was killed between an evaluation and the checkpoint behind it. Go "
                f"on beyond step {best['env_steps']:,}, or use the last weights with --eval.no-keep-best"
            )
        return best

    def newest(self) -> Path | None:
        """File of the newest checkpoint."""
        return next(iter(self._files()), None)

    def load(self, *, resuming: bool = True) -> tuple[dict[str, Any], Path] | None:
        """State and file of the newest checkpoint that is whole; None when there is none at all.

        Args:
            resuming: the online episodes of the checkpoint must be there and whole too, and newer checkpoints that
                cannot be used are put aside, as ``.damaged``.

        Raises:
            CheckpointError: there are some but none can be used, or one cannot be read now. No file is touched then.
        """
        files, damaged = self._files(), []
        for path in files:
            try:
                state = self.read(path)
                if resuming:
                    self._segments.check(state)
            except DamagedFileError as error:
                damaged.append((path, error))
                continue
            except OSError as error:
                raise _unreadable(error) from error
            for other, why in damaged:
                _log.warning("%s: %s. %s is used instead", other.name, why, path.name)
                if resuming:
                    other.rename(other.with_name(f"{other.name}.damaged"))
            return state, path
        if damaged:
            lines = "\n".join(f"  - {path.name}: {error}" for path, error in damaged)
            raise CheckpointError(
                f"none of the {len(damaged)} checkpoints in {self._states} can be used:\n{lines}\n"
                "Nothing was changed. Restore the files from a copy, or choose another --run-dir."
            )
        return None

    def restore_replay(self, state: dict[str, Any], replay: ReplayBuffer) -> None:
        """Put the online episodes of a loaded checkpoint back, and remove what came after it, or is not needed.

        Raises:
            CheckpointError: they are not what they should be, or cannot be read now.
        """
        try:
            self._segments.load(state, replay)
        except OSError as error:
            raise _unreadable(error) from error
        # A process that was killed after its last checkpoint may not have come to that.
        self._prune()

    def traces(self) -> list[str]:
        """What of an earlier run is there, for a directory without any checkpoint."""
        try:
            found = [f"{len(self._segments)} replay files"] if len(self._segments) else []
        except OSError as error:
            raise _unreadable(error) from error
        return found + sorted(path.name for path in self._list() if not path.name.startswith("."))

    def _files(self) -> list[Path]:
        """Newest first."""
        found = ((path, _NAME.fullmatch(path.name)) for path in self._list())
        numbered = [(int(name[1]), int(name[2] or 0), path) for path, name in found if name]
        return [path for *_, path in sorted(numbered, reverse=True)]

    def _list(self) -> list[Path]:
        try:
            return listed(self._states)
        except OSError as error:
            raise _unreadable(error) from error

    def _prune(self) -> None:
        files = self._files()
        for path in files[self._keep :]:
            path.unlink(missing_ok=True)
        self._segments.prune(min((self._oldest_episode(path) for path in files[: self._keep]), default=0))

    def _oldest_episode(self, path: Path) -> int:
        """Serial number of the oldest online episode that a checkpoint refers to."""
        if path not in self._oldest:
            try:
                self._oldest[path] = read_state(path)["replay"]["oldest"]
            except CheckpointError as error:
                _log.warning("%s; replay files that it may need are kept", error)
                self._oldest[path] = 0
        return self._oldest[path]


def read_state(path: Path) -> dict[str, Any]:
    """Load a checkpoint file.

    Raises:
        DamagedFileError: its content is not what was written.
        CheckpointError: it cannot be read now, or is no checkpoint of this version.
    """
    try:
        check_archive(path)
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except DamagedFileError:
        raise
    except (OSError, MemoryError) as error:
        raise _unreadable(error, path) from error
    except Exception as error:
        text = str(error).partition("\n")[0]
        raise CheckpointError(f"checkpoint {path} cannot be loaded ({type(error).__name__}: {text})") from error
    if not isinstance(state, dict) or not {"agent", "env_steps", "updates"} <= state.keys():
        raise CheckpointError(f"{path} holds no state of a run")
    for name, is_right in _ENTRIES.items():
        if name in state and not is_right(state[name]):
            raise CheckpointError(f"{path} holds no state of a run: its {name} is {state[name]!r:.60}")
    return state


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_numbers(counts: Collection[int], value: Any) -> bool:
    return isinstance(value, list) and len(value) in counts and all(isinstance(one, int | float) for one in value)


def _is_range(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"oldest", "added"} and all(map(_is_count, value.values()))


_ENTRIES: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("env_steps", "agent_steps", "updates", "log_position", "episodes_lost"), _is_count),
    **dict.fromkeys(("run", "log_sha256"), lambda value: isinstance(value, str)),
    "best": lambda value: value is None or _is_numbers((2, 3), value),
    "best_at": lambda value: value is None or _is_numbers((2,), value),
    "replay": _is_range,
    "segments": lambda value: isinstance(value, dict) and all(isinstance(v, str) for v in value.values()),
    **dict.fromkeys(("agent", "callbacks"), lambda value: isinstance(value, dict)),
    "end_reason": lambda value: isinstance(value, str),
}
"""What is read of a state before its run is built, and whether it is what it should be."""


def _unreadable(error: OSError | MemoryError, path: Path | None = None) -> CheckpointError:
    cause = (error.strerror or str(error)) if isinstance(error, OSError) else "not enough memory"
    where = path or getattr(error, "filename", None) or "a file of the run"
    return CheckpointError(
        f"{where} cannot be read now: {cause}. Nothing was changed; run the same command again when it can be"
    )


def _write_state(path: Path, state: dict[str, Any]) -> None:
    def write(file: Any) -> None:
        torch.save(state, file)
        seal_archive(file)

    write_atomically(path, write)
