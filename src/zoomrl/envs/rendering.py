"""Choice of the OpenGL backend, made before a simulator picks one."""

from __future__ import annotations

import os
import sys

FRAME_SIZE = 240
"""Default height and width of a rendered frame, in pixels."""


def prefer_headless_gl() -> None:
    """Select EGL on a Linux machine without a display, unless MUJOCO_GL says otherwise.

    MuJoCo reads the variable once, when it is imported, and its default needs a display.
    """
    has_display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform == "linux" and not has_display:
        os.environ.setdefault("MUJOCO_GL", "egl")
