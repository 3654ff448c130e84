"""The layout of LeRobot v2.0 and v2.1: a file for each episode and camera, and lists in lines of JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zoomrl.demos.formats.assemble import reason
from zoomrl.demos.formats.lerobot.files import filled
from zoomrl.demos.formats.lerobot.info import Info
from zoomrl.demos.formats.lerobot.jsonl import read_lines
from zoomrl.demos.formats.lerobot.listed import Listed, Video, listed

EPISODES = "meta/episodes.jsonl"
TASKS = "meta/tasks.jsonl"


class Version2:
    """See :class:`~zoomrl.demos.formats.lerobot.listed.Layout`.

    Args:
        root: of the data set.
        info: its ``info.json``.

    Raises:
        ValueError: a template of a path in it is none.
    """

    def __init__(self, root: Path, info: Info) -> None:
        self._root, self._info = root, info
        filled(info.data_path, episode_chunk=0, episode_index=0)

    def episodes(self) -> tuple[list[Listed], list[str]]:
        found, faults = read_lines(self._root / EPISODES, self._root, listed)
        return found, faults

    def tasks(self) -> tuple[dict[int, str], list[str]]:
        if not (self._root / TASKS).exists():
            return {}, []
        try:
            found, faults = read_lines(self._root / TASKS, self._root, _task)
        except Exception as error:  # a damaged file makes its parser fail in any way
            return {}, [f"{TASKS}: {reason(error)}"]
        return dict(found), faults

    def table(self, episode: Listed) -> str:
        return filled(self._info.data_path, **self._indices(episode))

    def video(self, episode: Listed, key: str) -> Video:
        return Video(filled(self._info.video_path, video_key=key, **self._indices(episode)), 0.0)

    def _indices(self, episode: Listed) -> dict[str, int]:
        return {"episode_chunk": episode.number // self._info.chunks_size, "episode_index": episode.number}


def _task(row: dict[str, Any]) -> tuple[int, str]:
    return int(row["task_index"]), str(row["task"])
