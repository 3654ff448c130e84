"""Writing a LeRobot v3 data set."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.data.episode import Episode
from zoomrl.demos.formats.images import encode
from zoomrl.demos.formats.lerobot import layout
from zoomrl.demos.formats.lerobot.stats import Stats, episode_stats, joined
from zoomrl.demos.formats.lerobot.tables import FILE_BYTES, open_tables, save_table, table_of, task_table
from zoomrl.demos.formats.lerobot.tasks import TaskTable
from zoomrl.demos.formats.lerobot.video import FILE_BYTES as VIDEO_BYTES
from zoomrl.demos.formats.lerobot.video import VideoWriter
from zoomrl.demos.formats.output import check_exportable, exported, provenance_text
from zoomrl.demos.store.reader import DemoSet
from zoomrl.files import finite_or_null

_INDICES = ("timestamp", "frame_index", "episode_index", "index", "task_index")
_RATE_UNKNOWN = 30


def write(path: Path, demos: DemoSet, overwrite: bool, video: bool = False) -> list[str]:
    """Write ``demos``; images as PNG in the tables, which is exact, or as ``video``, which is small and is not.

    LeRobot keeps T observations of an episode and a whole number of frames per second. The last observation, the flags,
    the seed and the exact spec go into files of ours, so that reading the set again gives it back. Each episode has the
    tasks of its meta, or else that of the set's, or else the id of the environment.

    Returns:
        A line for each thing that LeRobot cannot hold as it is.

    Raises:
        DemonstrationError: when something lies at ``path`` that may not be replaced, or observations have other names
            than ``state`` and ``rgb``.
        MissingDependencyError: without pyarrow, or for videos without av.
    """
    check_exportable(demos)
    layout.parquet()
    with exported(path, layout.OWN_SPEC, overwrite) as folder:
        return _Writer(folder, demos, video).run()


class _Writer:
    def __init__(self, root: Path, demos: DemoSet, video: bool) -> None:
        self._root, self._demos = root, demos
        self._fps, self._notes = _rate(demos.spec.control_hz)
        self._tasks = TaskTable()
        self._cameras = [layout.IMAGES + name for name in demos.spec.cameras]
        self._features = _features(demos, self._cameras, self._fps, video)
        self._video = video and bool(self._cameras)

    def run(self) -> list[str]:
        task = str(self._demos.meta.get("task", self._demos.spec.id))
        rows: list[dict[str, Any]] = []
        stats: list[dict[str, Stats]] = []
        with open_tables(self._root, self._features) as tables, self._videos() as videos:
            first = 0
            for number, episode in enumerate(self._demos.episodes):
                tasks, indices, kept = self._tasks.add(episode.meta, len(episode), task)
                if not kept:
                    self._notes.append(
                        f"tasks of episode {number}: what its meta says in task_index does not fit its {len(episode)} "
                        "frames; all of them have its first task"
                    )
                arrays = _arrays(episode, self._cameras, self._fps, number, first) | {"task_index": indices}
                stats.append({key: episode_stats(_two(array)) for key, array in arrays.items()})
                place = tables.add({key: arrays[key] for key in self._features if key not in videos})
                for key, writer in videos.items():
                    place |= writer.add(arrays[key])
                rows.append(_row(number, episode, first, tasks, place, stats[-1]))
                first += len(episode)
        self._meta(rows, stats, first)
        return self._notes

    @contextmanager
    def _videos(self) -> Iterator[dict[str, VideoWriter]]:
        keys = self._cameras if self._video else []
        if keys:
            layout.av()
        writers = {key: VideoWriter(self._root, key, self._fps) for key in keys}
        try:
            yield writers
        finally:
            for writer in writers.values():
                writer.close()

    def _meta(self, rows: list[dict[str, Any]], stats: list[dict[str, Stats]], frames: int) -> None:
        whole = {key: joined([part[key] for part in stats]) for key in self._features}
        listed = {key: {name: value.tolist() for name, value in part.items()} for key, part in whole.items()}
        _save_json(self._root / layout.STATS, listed)
        _save_json(self._root / layout.INFO, self._info(len(rows), frames))
        save_table(self._root / layout.EPISODES.format(chunk_index=0, file_index=0), table_of(rows))
        save_table(self._root / layout.TASKS, task_table(list(self._tasks.numbers)))
        own = [_own_row(number, episode) for number, episode in enumerate(self._demos.episodes)]
        save_table(self._root / layout.OWN_ROWS, table_of(own))
        (self._root / layout.OWN_SPEC).write_text(provenance_text(self._demos), encoding="utf-8")

    def _info(self, episodes: int, frames: int) -> dict[str, Any]:
        return {
            "codebase_version": layout.VERSION,
            "robot_type": None,
            "total_episodes": episodes,
            "total_frames": frames,
            "total_tasks": len(self._tasks.numbers),
            "chunks_size": layout.FILES_PER_CHUNK,
            "data_files_size_in_mb": FILE_BYTES // 2**20,
            "video_files_size_in_mb": VIDEO_BYTES // 2**20,
            "fps": self._fps,
            "splits": {"train": f"0:{episodes}"},
            "data_path": layout.DATA,
            "video_path": layout.VIDEO if self._video else None,
            "features": self._features,
        }


def _rate(control_hz: float) -> tuple[int, list[str]]:
    """The frames per second to write, a whole number as LeRobot has it; and a line where this is another rate."""
    fps = max(1, round(control_hz or _RATE_UNKNOWN))
    if fps == control_hz:
        return fps, []
    known = f"{control_hz:g}" if control_hz else "unknown"
    return fps, [
        f"control hz: {layout.INFO} says {fps} frames per second, since LeRobot declares a whole number. The set's "
        f"rate is {known}, and {layout.OWN_SPEC} keeps that; other programs see {fps}"
    ]


def _features(demos: DemoSet, cameras: list[str], fps: int, video: bool) -> dict[str, Any]:
    """What ``info.json`` says of each column."""

    def vector(dtype: str, length: int = 1) -> dict[str, Any]:
        return {"dtype": dtype, "shape": [length], "names": None}

    features = {}
    if demos.spec.state_dim:
        features[layout.STATE] = vector("float32", demos.spec.state_dim)
        features[layout.STATE]["names"] = layout.dimension_names(demos.spec.state_entries)
    for key in cameras:
        height, width = demos.spec.observations["rgb"].shape[1:3]
        image = {"shape": [height, width, 3], "names": ["height", "width", "channels"]}
        about = {"video.fps": fps, "video.codec": "h264", "video.pix_fmt": "yuv444p", "video.is_depth_map": False}
        about |= {"video.height": height, "video.width": width, "video.channels": 3, "has_audio": False}
        features[key] = {"dtype": "video", **image, "info": about} if video else {"dtype": "image", **image}
    features[layout.ACTION] = vector("float32", demos.spec.action_dim)
    features["next.reward"] = vector("float32")
    features |= {"next.done": vector("bool"), "next.success": vector("bool")}
    return features | {name: vector("float32" if name == "timestamp" else "int64") for name in _INDICES}


def _arrays(episode: Episode, cameras: list[str], fps: int, number: int, first: int) -> dict[str, NDArray[Any]]:
    """Column -> one row per action; all but that of tasks."""
    steps = len(episode)
    last = np.arange(steps) == steps - 1
    arrays: dict[str, NDArray[Any]] = {layout.ACTION: episode.actions, "next.reward": episode.rewards}
    if "state" in episode.observations:
        arrays[layout.STATE] = episode.observations["state"][:-1]
    for view, key in enumerate(cameras):
        arrays[key] = episode.observations["rgb"][:-1, view]
    arrays |= {"next.done": last, "next.success": last & episode.success}
    arrays["timestamp"] = (np.arange(steps) / fps).astype(np.float32)
    arrays["frame_index"] = np.arange(steps)
    arrays["index"] = first + np.arange(steps)
    return arrays | {"episode_index": np.full(steps, number)}


def _two(array: NDArray[Any]) -> NDArray[Any]:
    return array[:, None] if array.ndim == 1 else array


def _row(
    number: int, episode: Episode, first: int, tasks: list[str], place: dict[str, Any], stats: dict[str, Stats]
) -> dict[str, Any]:
    """One line of the table of episodes."""
    row = {"episode_index": number, "tasks": tasks, "length": len(episode), **place}
    row |= {"dataset_from_index": first, "dataset_to_index": first + len(episode)}
    row |= {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
    return row | {f"stats/{key}/{name}": v.tolist() for key, part in stats.items() for name, v in part.items()}


def _own_row(number: int, episode: Episode) -> dict[str, Any]:
    last = {name: array[-1] for name, array in episode.observations.items()}
    meta = json.dumps(finite_or_null(episode.meta), allow_nan=False)
    row: dict[str, Any] = {"episode_index": number, "seed": episode.seed, "meta": meta}
    row |= {name: bool(getattr(episode, name)) for name in ("terminated", "truncated", "success", "is_demo")}
    if "state" in last:
        row["state"] = last["state"].tolist()
    if "rgb" in last:
        row["rgb"] = [encode(image) for image in last["rgb"]]
    return row


def _save_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=4, allow_nan=False), encoding="utf-8")
