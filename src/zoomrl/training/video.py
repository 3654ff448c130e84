"""Pictures to a film."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def write_video(path: Path, frames: list[NDArray[np.uint8]], fps: float) -> None:
    """Write frames [H, W, 3] to ``path``; its suffix (.mp4 or .gif) names the format.

    H.264 wants even sides: an odd last row or column is dropped.
    """
    import imageio

    even = [frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2] for frame in frames]
    if path.suffix == ".gif":
        imageio.mimwrite(path, even, duration=1000 / fps, loop=0)
    else:
        imageio.mimwrite(path, even, fps=fps, macro_block_size=1, ffmpeg_log_level="error")
