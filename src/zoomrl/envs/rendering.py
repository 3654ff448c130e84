"""Choice of the OpenGL backend, made before a simulator picks one."""

from __future__ import annotations

import ctypes
import os
import sys

FRAME_SIZE = 240
"""Default height and width of a rendered frame, in pixels."""


def prefer_headless_gl() -> None:
    """Select a backend that needs no display on a Linux machine without one, unless MUJOCO_GL says otherwise.

    MuJoCo reads the variable once, when it is imported (torchrl does that in passing). With MUJOCO_GL=egl and no EGL
    library that import itself fails, so that a backend is named only if its libraries are there; glfw can always be
    imported, and fails when a picture is asked for.
    """
    has_display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform != "linux" or has_display or "MUJOCO_GL" in os.environ:
        return
    if _loadable("libEGL.so.1", "libOpenGL.so.0"):
        os.environ["MUJOCO_GL"] = "egl"
    elif _loadable("libOSMesa.so.8"):
        os.environ["MUJOCO_GL"] = "osmesa"
    else:
        os.environ["MUJOCO_GL"] = "glfw"


def _loadable(*libraries: str) -> bool:
    try:
        for library in libraries:
            ctypes.CDLL(library)
    except OSError:
        return False
    return True
