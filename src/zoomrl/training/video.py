"""Pictures to a film."""

from __future__ import annotations

import gc
import sys
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoomrl.envs.vector_base import VectorEnv


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


def probe_picture(envs: VectorEnv, seed: int) -> NDArray[np.uint8] | str:
    """A picture of environment 0, or why there is none. What renderers print while failing is kept quiet."""
    envs.reset(0, seed)
    hook = sys.unraisablehook
    sys.unraisablehook = lambda _: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return envs.render(0)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        gc.collect()
        sys.unraisablehook = hook
