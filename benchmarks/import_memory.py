"""Memory of `zoomrl demos import`: five minutes of three 640x480 cameras at 30 frames a second, kept at 84x84.

Usage: python benchmarks/import_memory.py FOLDER [--name import_memory]

Writes a LeRobot v2.1 data set into FOLDER, once as one episode of 9,000 frames and once as ten of 900, and measures the
peak of the process that imports each.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from provenance import keep, provenance

FRAMES, FPS, HEIGHT, WIDTH, SIZE = 9000, 30, 480, 640, 84
CAMERAS = ("front", "left", "right")
BAR = 1e9
"""Bytes, of the whole process."""
ABOVE = 300e6
"""Bytes above the finished episode."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", default="")
    options = parser.parse_args()
    rows = [measure(options.folder, episodes) for episodes in (1, 10)]
    print(json.dumps(rows, indent=1))
    if options.name:
        origin = provenance(["python", "benchmarks/import_memory.py", "FOLDER"])
        keep({"name": options.name, **origin, "bars": {"peak": BAR, "above_the_episode": ABOVE}, "runs": rows})


def measure(folder: Path, episodes: int) -> dict[str, Any]:
    """Peak memory of the import of a data set of so many episodes."""
    source, out = folder / f"source-{episodes}", folder / f"out-{episodes}"
    if not (source / "meta" / "info.json").exists():
        write_set(source, episodes)
    words = [sys.executable, "-m", "zoomrl", "demos", "import", "lerobot", source, "--out", out, "--overwrite"]
    words += ["--cameras", *CAMERAS, "--image-size", SIZE]
    child = subprocess.Popen(list(map(str, words)), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    assert status == 0, f"the import ended with {status}"
    peak, episode = usage.ru_maxrss * 1024, FRAMES // episodes * len(CAMERAS) * SIZE * SIZE * 3
    held = peak <= BAR and peak - episode <= ABOVE
    return {"episodes": episodes, "peak_bytes": peak, "finished_episode_bytes": episode, "holds": held}


def write_set(root: Path, episodes: int) -> None:
    """A data set in the layout of LeRobot v2.1, frame by frame."""
    length = FRAMES // episodes
    (root / "meta").mkdir(parents=True)
    (root / "data" / "chunk-000").mkdir(parents=True)
    lines = []
    for number in range(episodes):
        index = np.arange(length)
        columns = {
            "observation.state": vectors(np.stack([np.sin(index / 9), np.cos(index / 9)], 1)),
            "action": vectors(np.stack([np.cos(index / 9), -np.sin(index / 9)], 1)),
            "timestamp": pa.array((index / FPS).astype(np.float32)),
            "frame_index": pa.array(index),
            "episode_index": pa.array(np.full(length, number)),
            "index": pa.array(number * length + index),
            "task_index": pa.array(np.zeros(length, np.int64)),
        }
        pq.write_table(pa.table(columns), root / "data" / "chunk-000" / f"episode_{number:06d}.parquet")
        for camera in CAMERAS:
            path = root / "videos" / "chunk-000" / f"observation.images.{camera}" / f"episode_{number:06d}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_video(path, length, number)
        lines.append(json.dumps({"episode_index": number, "tasks": ["move"], "length": length}))
    (root / "meta" / "episodes.jsonl").write_text("\n".join(lines) + "\n")
    (root / "meta" / "tasks.jsonl").write_text(json.dumps({"task_index": 0, "task": "move"}) + "\n")
    image = {"dtype": "video", "shape": [HEIGHT, WIDTH, 3], "names": ["height", "width", "channels"]}
    vector = {"dtype": "float32", "shape": [2], "names": None}
    counters = {name: {"dtype": "int64", "shape": [1], "names": None} for name in ("frame_index", "episode_index")}
    features = {"observation.state": vector, "action": vector, **counters}
    features |= {f"observation.images.{camera}": image for camera in CAMERAS}
    info = {
        "codebase_version": "v2.1",
        "fps": FPS,
        "total_episodes": episodes,
        "chunks_size": 1000,
        "splits": {"train": f"0:{episodes}"},
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        "features": features,
    }
    (root / "meta" / "info.json").write_text(json.dumps(info))


def vectors(array: Any) -> Any:
    return pa.FixedSizeListArray.from_arrays(pa.array(array.astype(np.float32).ravel()), array.shape[1])


def write_video(path: Path, length: int, seed: int) -> None:
    """A pattern that moves."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", FPS, options={"crf": "28", "preset": "ultrafast", "g": "2"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(length):
            shade = ((rows + columns + 3 * index + seed) % 256).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(np.repeat(shade[..., None], 3, 2), format="rgb24")
            output.mux(stream.encode(frame))
        output.mux(stream.encode())


if __name__ == "__main__":
    main()
