"""Renders a small MuJoCo scene and prints what came of it as JSON.

A program of its own: MuJoCo fixes its OpenGL backend when it is imported, and a broken driver may crash the
process.
"""

from __future__ import annotations

import json
import time

_SCENE = """
<mujoco>
  <worldbody>
    <light pos="0 0 3"/>
    <geom type="plane" size="2 2 .1" rgba=".3 .5 .7 1"/>
    <geom type="box" size=".2 .2 .2" pos="0 0 .2" rgba=".9 .3 .1 1"/>
    <camera name="eye" pos="1.5 -1.5 1.5" xyaxes="1 1 0 -.4 .4 .8"/>
  </worldbody>
</mujoco>
"""
_SIZE = 240
_SECONDS = 0.5


def main() -> None:
    """Print one JSON object: ``ok``, and either frames per second and driver, or the reason of failure."""
    try:
        print(json.dumps({"ok": True, **_render()}))
    except Exception as error:
        print(json.dumps({"ok": False, "reason": f"{type(error).__name__}: {error}"}))


def _render() -> dict[str, object]:
    import mujoco

    model = mujoco.MjModel.from_xml_string(_SCENE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    renderer = mujoco.Renderer(model, _SIZE, _SIZE)
    renderer.update_scene(data, camera="eye")
    image = renderer.render()
    if image.std() < 1:
        raise RuntimeError("the image is blank: the driver renders nothing")
    frames, started = 0, time.perf_counter()
    while time.perf_counter() - started < _SECONDS:
        renderer.update_scene(data, camera="eye")
        renderer.render()
        frames += 1
    result = {"fps": round(frames / (time.perf_counter() - started)), **_driver()}
    renderer.close()
    return result


def _driver() -> dict[str, str]:
    """Vendor and renderer of the current context; nothing where PyOpenGL cannot ask."""
    try:
        from OpenGL import GL  # type: ignore[import-untyped]

        return {
            "vendor": GL.glGetString(GL.GL_VENDOR).decode(),
            "renderer": GL.glGetString(GL.GL_RENDERER).decode(),
        }
    except Exception:
        return {}


if __name__ == "__main__":
    main()
