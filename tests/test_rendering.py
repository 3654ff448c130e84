"""The choice of the OpenGL backend."""

import pytest

from zoomrl.envs.mujoco import backend as rendering


@pytest.fixture
def machine(monkeypatch):
    """A headless Linux machine on which these libraries load and EGL starts or not; the backend that is chosen."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(rendering.sys, "platform", "linux")

    def chosen(*libraries, egl_starts=True):
        monkeypatch.delenv("MUJOCO_GL", raising=False)
        monkeypatch.setattr(rendering, "_loadable", lambda *wanted: set(wanted) <= set(libraries))
        monkeypatch.setattr(rendering, "egl_starts", lambda: egl_starts)
        rendering.prefer_headless_gl()
        return rendering.os.environ.get("MUJOCO_GL")

    return chosen


EGL, OSMESA = ("libEGL.so.1", "libOpenGL.so.0"), "libOSMesa.so.8"


def test_what_works_is_chosen(machine):
    assert machine(*EGL) == "egl"
    assert machine(OSMESA) == "osmesa"
    assert machine(*EGL, OSMESA) == "egl"
    assert machine(*EGL, OSMESA, egl_starts=False) == "osmesa"
    # Nothing else to turn to: the error of the first image names EGL.
    assert machine(*EGL, egl_starts=False) == "egl"
    assert machine("libEGL.so.1") == "glfw"


def test_a_display_or_a_choice_is_left_alone(machine, monkeypatch):
    monkeypatch.setenv("DISPLAY", ":0")
    assert machine(*EGL) is None


def test_egl_that_cannot_be_loaded_does_not_start(monkeypatch):
    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(rendering.ctypes, "CDLL", missing)
    assert not rendering.egl_starts()


def test_egl_starts_where_mujoco_renders_with_it():
    if not rendering._loadable(*EGL):
        pytest.skip("no EGL library here")
    mujoco = pytest.importorskip("mujoco")
    if rendering.os.environ.get("MUJOCO_GL") != "egl":
        pytest.skip("MuJoCo draws by another backend here")
    try:
        mujoco.Renderer(mujoco.MjModel.from_xml_string("<mujoco/>"), 8, 8).close()
    except Exception as error:
        pytest.skip(f"EGL does not work here: {error}")
    assert rendering.egl_starts()
