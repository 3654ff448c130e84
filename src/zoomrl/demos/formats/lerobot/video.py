"""Videos of LeRobot data sets: one file per camera holds many episodes, one after another."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.demos.formats.images import MAX_VIDEO_PIXELS, Sized
from zoomrl.demos.formats.lerobot.layout import FILES_PER_CHUNK, VIDEO, av

FILE_BYTES = 200 * 2**20
"""Size after which a new file is begun."""

CODEC, PIXELS, QUALITY = "libx264", "yuv444p", "12"
"""Colour at full resolution, at a constant rate factor below what can be seen. Not bit-equal."""


class VideoWriter:
    """Writes the episodes of one camera."""

    def __init__(self, root: Path, key: str, fps: int) -> None:
        self._root, self._key, self._fps = root, key, fps
        self._number = -1
        self._frames = self._bytes = 0
        self._output: Any = None
        self._stream: Any = None

    def add(self, images: NDArray[np.uint8]) -> dict[str, Any]:
        """Append ``images`` [T, H, W, 3]; where they lie, as the table of episodes tells it."""
        if self._output is None or self._bytes > FILE_BYTES:
            self._begin(*images.shape[1:3])
        first = self._frames
        for image in images:
            frame = av().VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = self._frames, Fraction(1, self._fps)
            self._mux(frame)
            self._frames += 1
        place = {
            "chunk_index": self._number // FILES_PER_CHUNK,
            "file_index": self._number % FILES_PER_CHUNK,
            "from_timestamp": first / self._fps,
            "to_timestamp": self._frames / self._fps,
        }
        return {f"videos/{self._key}/{name}": value for name, value in place.items()}

    def close(self) -> None:
        """Finish the file."""
        if self._output is not None:
            self._mux(None)
            self._output.close()
            self._output = None

    def _mux(self, frame: Any) -> None:
        packets = self._stream.encode(frame)
        self._bytes += sum(packet.size for packet in packets)
        self._output.mux(packets)

    def _path(self) -> Path:
        chunk, file = divmod(self._number, FILES_PER_CHUNK)
        return self._root / VIDEO.format(video_key=self._key, chunk_index=chunk, file_index=file)

    def _begin(self, height: int, width: int) -> None:
        self.close()
        self._number, self._frames, self._bytes = self._number + 1, 0, 0
        self._path().parent.mkdir(parents=True, exist_ok=True)
        self._output = av().open(str(self._path()), "w")
        # A key frame at every second frame, as LeRobot has it: readers jump to any frame.
        self._stream = self._output.add_stream(CODEC, self._fps, options={"crf": QUALITY, "g": "2"})
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, PIXELS
        self._stream.thread_count = 1


def read_frames(path: Path, start: float, fps: float, sized: Sized, out: NDArray[np.uint8]) -> None:
    """Fill ``out`` [T, h, w, 3] with the images from ``start`` seconds on, as ``sized`` makes them.

    One at a time has its full size: thousands of large ones fit into a small file.

    Raises:
        ValueError: when one of them is not there; any error of PyAV for a file that cannot be decoded.
    """
    count = len(out)
    wanted = start + np.arange(count) / fps
    off = np.full(count, 0.5 / fps)  # seconds between an image and the one taken for it
    # By its content, a file could also be a playlist of other files and addresses.
    with av().open(str(path), format="mp4") as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        stream.codec_context.options = {"max_pixels": str(MAX_VIDEO_PIXELS)}
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > MAX_VIDEO_PIXELS:
            raise ValueError(f"frames of {width} x {height} are too large: {MAX_VIDEO_PIXELS:,} pixels are read")
        container.seek(max(0, int(start / stream.time_base)), stream=stream, backward=True)
        for frame in container.decode(stream):
            place = round((frame.time - start) * fps)
            if place >= count:
                break
            if place >= 0 and abs(frame.time - wanted[place]) < off[place]:
                out[place : place + 1] = sized(frame.to_ndarray(format="rgb24")[None])
                off[place] = abs(frame.time - wanted[place])
    if (missing := off >= 0.5 / fps).any():
        raise ValueError(f"{path.name} has no image at {wanted[int(np.argmax(missing))]:.3f} s")
