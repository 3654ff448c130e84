"""Choice of the OpenGL backend, made before a simulator picks one."""

from __future__ import annotations

import ctypes
import os
import sys

FRAME_SIZE = 240
"""Default height and width of a rendered frame, in pixels."""
_EGL_PLATFORM_DEVICE = 0x313F
_MAX_DEVICES = 16


def prefer_headless_gl() -> None:
    """Select a backend that needs no display on a Linux machine without one, unless MUJOCO_GL says otherwise.

    MuJoCo reads the variable once, when it is imported (torchrl does that in passing). With MUJOCO_GL=egl and no EGL
    library that import itself fails, so that a backend is named only if its libraries are there; glfw can always be
    imported, and fails when an image is asked for. Where both backends could be had, EGL is tried out first: its
    libraries may be there without a driver.
    """
    has_display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform != "linux" or has_display or "MUJOCO_GL" in os.environ:
        return
    osmesa = _loadable("libOSMesa.so.8")
    if _loadable("libEGL.so.1", "libOpenGL.so.0") and (not osmesa or egl_starts()):
        os.environ["MUJOCO_GL"] = "egl"
    elif osmesa:
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


def egl_starts() -> bool:
    """Whether EGL initialises on one of its devices, as MuJoCo will ask of it (about 20 ms)."""
    pointer, integer = ctypes.c_void_p, ctypes.c_int
    try:
        egl = ctypes.CDLL("libEGL.so.1")
        egl.eglGetProcAddress.restype = pointer
        egl.eglInitialize.argtypes, egl.eglTerminate.argtypes = [pointer] * 3, [pointer]
        query, display = (egl.eglGetProcAddress(name) for name in (b"eglQueryDevicesEXT", b"eglGetPlatformDisplayEXT"))
    except (OSError, AttributeError):
        return False
    if not query or not display:
        return False
    query_devices = ctypes.CFUNCTYPE(ctypes.c_uint, integer, ctypes.POINTER(pointer), ctypes.POINTER(integer))(query)
    get_display = ctypes.CFUNCTYPE(pointer, ctypes.c_uint, pointer, pointer)(display)
    devices, count = (pointer * _MAX_DEVICES)(), integer()
    if not query_devices(_MAX_DEVICES, devices, ctypes.byref(count)):
        return False
    for device in devices[: count.value]:
        found = get_display(_EGL_PLATFORM_DEVICE, device, None)
        if found and egl.eglInitialize(found, None, None):
            egl.eglTerminate(found)
            return True
    return False
