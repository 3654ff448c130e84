"""Known failures of off-screen rendering, and what mends them. Loads no OpenGL."""

from __future__ import annotations

import os

from zoomrl.errors import install_command

APT = "apt-get install --no-install-recommends"
EGL_PACKAGES = "libegl1 libopengl0 libgl1-mesa-dri"
OSMESA_PACKAGES = "libosmesa6"

_FIXES = {
    "egl": f"Install EGL: {APT} {EGL_PACKAGES}",
    "osmesa": f"Install OSMesa: {APT} {OSMESA_PACKAGES}",
    "glfw": f"Without a display, rendering takes EGL: {APT} {EGL_PACKAGES}. Leave MUJOCO_GL unset, or egl",
}

# Part of a message -> the backend that it comes from. The first that occurs counts.
_SIGNS = (
    ("OSMesa", "osmesa"),
    ("eglQueryString", "egl"),  # libegl1 is missing
    ("glGetError", "egl"),  # libopengl0 is missing
    ("headless EGL display", "egl"),  # libgl1-mesa-dri is missing: no driver that renders without a GPU
    ("EGL", "egl"),
    ("GLFW", "glfw"),
    ("mjr_makeContext", "glfw"),
)


def broken_backend(error: AttributeError) -> str | None:
    """What to do when ``error`` comes from an OpenGL backend without its libraries, else None.

    MuJoCo, PyOpenGL to be exact, fails in this way as soon as it is imported.
    """
    text = str(error)
    if "eglQueryString" in text or "glGetError" in text:
        backend = os.environ.get("MUJOCO_GL", "egl")
        fix = rendering_fix(text, backend)
        return f"MUJOCO_GL is {backend}, whose libraries are missing. {fix}; or unset MUJOCO_GL"
    return None


def rendering_fix(reason: str, backend: str | None = None) -> str:
    """What to do about a rendering failure.

    Args:
        reason: the error's text, type included.
        backend: the OpenGL backend that failed, where known; some texts are the same for several.
    """
    if "No module named 'mujoco'" in reason:
        return f"Install a simulator: {install_command('metaworld')}"
    found = backend or next((name for sign, name in _SIGNS if sign in reason), "")
    return _FIXES.get(found, "`zoomrl doctor` tries every way of rendering and names what is missing")
