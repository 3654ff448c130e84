"""Where the parts of a LeRobot v3 data set lie, and what we add.

The layout is that of LeRobot's documentation, version 3.0. Ours are ``meta/zoomrl.json`` (spec and provenance) and
``meta/zoomrl.parquet`` (one row per episode: the last observation, how it ended, seed); other readers do not look
there.
"""

from __future__ import annotations

from typing import Any

from zoomrl.errors import missing_extra

VERSION = "v3.0"
INFO = "meta/info.json"
STATS = "meta/stats.json"
TASKS = "meta/tasks.parquet"
EPISODES = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
FILES_PER_CHUNK = 1000

OWN_SPEC = "meta/zoomrl.json"
OWN_ROWS = "meta/zoomrl.parquet"

STATE = "observation.state"
IMAGES = "observation.images."
ACTION = "action"


def parquet() -> Any:
    """The module ``pyarrow.parquet``; MissingDependencyError when it is not installed."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise missing_extra("pyarrow", "lerobot") from None
    return pyarrow.parquet


def av() -> Any:
    """The module ``av``, which reads and writes videos; MissingDependencyError when it is not installed."""
    try:
        import av
    except ImportError:
        raise missing_extra("av", "lerobot") from None
    return av
