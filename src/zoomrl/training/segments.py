"""Online episodes of a run on disk: one file for those that came between two checkpoints.

``replay/episodes_<first>_<end>.npz`` holds the episodes with serial numbers first to end - 1. A checkpoint names the
files that it stands on, with their hashes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zoomrl.data.replay import ReplayBuffer, Segment
from zoomrl.errors import CheckpointError, DamagedFileError
from zoomrl.files import write_atomically
from zoomrl.seal import check_archive, seal_archive

_NAME = re.compile(r"episodes_(\d+)_(\d+)\.npz")


@dataclass(frozen=True, order=True)
class _File:
    first: int
    end: int
    path: Path


class Segments:
    """The segments of one run directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._saved_until = 0
        self._digests: dict[str, str] = {}
        """Of the files that are this run's: others that lie in the folder are not looked at."""

    def save(self, replay: ReplayBuffer) -> dict[str, Any]:
        """Write the episodes that came since the last call; returns the entries of a checkpoint that name them.

        Raises:
            OSError: they could not be written.
        """
        self.folder.mkdir(exist_ok=True)
        if replay.added > self._saved_until:
            since = max(self._saved_until, replay.oldest)
            segment = replay.segment(since)
            path = self.folder / f"episodes_{since:08d}_{replay.added:08d}.npz"

            def write(file: Any) -> None:
                np.savez(file, **segment)  # type: ignore[arg-type]
                self._digests[path.name] = seal_archive(file)

            write_atomically(path, write)
            self._saved_until = replay.added
        files = self._needed(replay.oldest, replay.added, self._digests)
        hashes = {file.path.name: self._digests[file.path.name] for file in files}
        return {"replay": {"oldest": replay.oldest, "added": replay.added}, "segments": hashes}

    def check(self, state: Mapping[str, Any]) -> None:
        """Return when the episodes that a checkpoint's ``state`` needs are all there, whole and its own.

        Raises:
            DamagedFileError: naming the episodes that are missing, or the file that is damaged.
            OSError: a file cannot be read now.
        """
        hashes = state.get("segments", {})
        for file in self._needed(**state["replay"], names=state.get("segments")):
            found = self._digests[file.path.name] = check_archive(file.path)
            if found != hashes.get(file.path.name, found):
                raise DamagedFileError(f"{file.path} holds other episodes than the checkpoint was saved with")

    def load(self, state: Mapping[str, Any], replay: ReplayBuffer) -> None:
        """Put the online episodes of a checkpoint's ``state`` back into an empty ring, and remove what came after.

        Raises:
            CheckpointError: the files do not hold the episodes that their names promise.
            OSError: a file cannot be read now.
        """
        oldest, added = state["replay"]["oldest"], state["replay"]["added"]
        for file in self._files():
            if file.first >= added:
                file.path.unlink()
        files = self._needed(oldest, added, state.get("segments"))
        # One after the other: together they are as large as the replay.
        replay.load_segments((_read(file.path) for file in files), oldest)
        if replay.added != added or replay.oldest != oldest:
            raise CheckpointError(
                f"the checkpoint needs the online episodes {oldest} to {added - 1}, but the files in {self.folder} "
                f"hold {replay.oldest} to {replay.added - 1}"
            )
        self._saved_until = added
        self._digests |= {f.path.name: check_archive(f.path) for f in files if f.path.name not in self._digests}

    def prune(self, oldest: int) -> None:
        """Remove the files of which no episode from ``oldest`` on is part."""
        for file in self._files():
            if file.end <= oldest:
                file.path.unlink(missing_ok=True)

    def __len__(self) -> int:
        return len(self._files())

    def _needed(self, oldest: int, added: int, names: Collection[str] | None) -> list[_File]:
        """Files of the episodes ``oldest`` to ``added - 1``; DamagedFileError where the serial numbers have a hole.

        Those called ``names`` alone; all, for checkpoints of earlier versions, which name none.
        """
        files = [file for file in self._files() if file.end > oldest and file.first < added]
        files = [file for file in files if names is None or file.path.name in names]
        reached = oldest
        for file in files:
            if file.first > reached:
                break
            reached = max(reached, file.end)
        if reached < added:
            behind = next((file.first for file in files if file.first > reached), added)
            raise DamagedFileError(
                f"no file in {self.folder} holds the online episodes {reached} to {behind - 1}, which are needed"
            )
        return files

    def _files(self) -> list[_File]:
        found = ((path, _NAME.fullmatch(path.name)) for path in listed(self.folder))
        return sorted(_File(int(name[1]), int(name[2]), path) for path, name in found if name)


def listed(folder: Path) -> list[Path]:
    """What lies in ``folder``; nothing where it does not exist.

    Raises:
        OSError: it cannot be listed now, which ``Path.glob`` takes for an empty folder.
    """
    try:
        with os.scandir(folder) as entries:
            return [folder / entry.name for entry in entries]
    except FileNotFoundError:
        return []


def _read(path: Path) -> Segment:
    try:
        with np.load(path) as data:
            return {name: data[name] for name in data.files}
    except OSError:
        raise
    except Exception as error:
        raise CheckpointError(f"replay file {path} cannot be read ({type(error).__name__}: {error})") from error


def stored_episodes(folder: Path) -> Iterator[dict[str, Any]]:
    """Observations of the online episodes in ``folder``, oldest first: name -> [T + 1, ...] of each.

    Raises:
        CheckpointError: a file is damaged. OSError for one that cannot be read now.
    """
    for file in Segments(folder)._files():
        segment = _read(file.path)
        ends = np.cumsum(segment["length"] + 1)
        for length, end in zip(segment["length"], ends, strict=True):
            rows = slice(end - length - 1, end)
            yield {name.removeprefix("obs/"): part[rows] for name, part in segment.items() if name.startswith("obs/")}
