"""Frames to a video. Whatever fails over it is named, and costs the video alone."""

from __future__ import annotations

import gc
import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.envs.image import as_image
from zoomrl.envs.vector.base import VectorEnv
from zoomrl.errors import ZoomrlError, plural
from zoomrl.files import write_atomically

MAX_BYTES = 2_000_000_000
"""Memory that the frames of one video may take; a longer episode is cut there."""
STOPPED = "the run was stopped before the video was written"
"""Why there is no video where nothing is wrong."""

_log = logging.getLogger("zoomrl.training")


class VideoRecorder:
    """Keeps the frames of one episode, and the first thing that went wrong with them.

    No renderer, encoder or disk makes :meth:`take` or :meth:`save` raise.

    Args:
        max_bytes: memory that the frames may take.

    Attributes:
        problem: why there will be no video, in one line; None so far.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.problem: str | None = None
        self._frames: list[NDArray[np.uint8]] = []
        self._max_bytes = max_bytes
        self._cut = False

    def begin(self) -> None:
        """The episode begins, perhaps anew: frames of an attempt that was broken off are dropped."""
        self._frames, self._cut = [], False

    def take(self, render: Callable[[], Any]) -> None:
        """Add the frame that ``render`` returns, in any form that :func:`~zoomrl.envs.image.as_image` reads."""
        if self.problem is not None or self._cut:
            return
        try:
            frame = as_image(render())
            first = self._frames[0] if self._frames else frame
            if frame.shape != first.shape:
                sizes = " and then ".join(f"{image.shape[1]}x{image.shape[0]}" for image in (first, frame))
                raise ValueError(f"the renderer changed the size of its images: {sizes} pixels")
        except (Exception, SystemExit) as error:  # renderers raise what they like
            self._fail(f"frame {len(self._frames) + 1} could not be rendered: {in_one_line(error)}")
            return
        self._cut = (len(self._frames) + 1) * frame.nbytes > self._max_bytes
        if not self._cut:
            self._frames.append(frame)

    def save(self, path: Path, fps: float) -> Path | None:
        """Write the video to ``path``, whose suffix (.mp4 or .gif) names the format.

        Returns:
            ``path``; None with a :attr:`problem`. There is the whole file or none.
        """
        if self.problem is None and not self._frames:
            self._fail("no frame was rendered: the episode of the video was lost at its reset")
        if self.problem is not None:
            return None
        if self._cut:
            _log.warning(
                "the video ends after %d frames: those of one episode may take %d MB of memory",
                len(self._frames),
                self._max_bytes // 1_000_000,
            )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            video = encode(self._frames, path.suffix, fps)
            write_atomically(path, lambda file: file.write(video))
        except Exception as error:  # a codec that is missing, a disk that is full
            self._fail(f"it could not be written: {in_one_line(error)}")
            return None
        return path

    def _fail(self, problem: str) -> None:
        self.problem, self._frames = problem, []


def announcement(path: Path, time_limit: int) -> str:
    """What is said before the first frame: without a GPU a long episode takes minutes.

    Args:
        path: the video that will be written.
        time_limit: of the episode, in agent steps, each of which is a frame; 0 when unknown.
    """
    many = f" of at most {plural(time_limit, 'frame')}" if time_limit else ""
    return f"rendering a video{many} for {path} ..."


def encode(frames: list[NDArray[np.uint8]], suffix: str, fps: float) -> bytes:
    """The video file of frames [H, W, 3] in the format that ``suffix`` (.mp4 or .gif) names.

    H.264 wants even sides: an odd last row or column is dropped.
    """
    import imageio

    even = [frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2] for frame in frames]
    options: dict[str, Any] = {"fps": fps, "macro_block_size": 1, "ffmpeg_log_level": "error"}
    if suffix == ".gif":
        options = {"duration": 1000 / fps, "loop": 0}
    video: bytes = imageio.mimwrite("<bytes>", even, format=suffix, **options)
    return video


def in_one_line(error: BaseException) -> str:
    """Type and message of ``error``, without the traceback that a worker's error carries below its first line.

    Messages of our own say enough without a type.
    """
    told = str(error) if isinstance(error, ZoomrlError) else f"{type(error).__name__}: {error}"
    return told.partition("\n")[0]


def probe_image(envs: VectorEnv, seed: int) -> NDArray[np.uint8] | str:
    """An image of environment 0, or why there is none. What renderers print while failing is kept quiet."""
    envs.reset(0, seed)
    hook = sys.unraisablehook
    sys.unraisablehook = lambda _: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return as_image(envs.render(0))
    except (Exception, SystemExit) as error:
        return in_one_line(error)
    finally:
        gc.collect()
        sys.unraisablehook = hook
