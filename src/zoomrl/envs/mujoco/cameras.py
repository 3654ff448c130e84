"""Images of a MuJoCo scene, taken by the cameras of its model."""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.envs.config import EnvConfig
from zoomrl.errors import ConfigError, MissingDependencyError, unknown_name
from zoomrl.spec import ArraySpec

EVERYTHING = ("shadows", "reflections", "antialiasing")
"""What an image can be rendered with."""

_MAX_GEOMS = 10_000


class SceneCameras:
    """Some cameras of one MuJoCo model, rendered by one renderer.

    The OpenGL context is created at the first image, and thereby in the process that renders.

    Args:
        env_id: for messages.
        model: ``mujoco.MjModel``; left as it is.
        data: ``mujoco.MjData`` whose current poses are rendered.
        cameras: names or numbers of the V cameras.
        size: height and width of an image, in pixels.
        effects: those of :data:`EVERYTHING` that are on.
        rolled: names of cameras that are mounted upside down; their images are righted.

    Raises:
        ConfigError: for a camera that the model lacks.
    """

    def __init__(
        self,
        env_id: str,
        model: Any,
        data: Any,
        cameras: Sequence[str],
        size: int,
        *,
        effects: Collection[str] = EVERYTHING,
        rolled: Collection[str] = (),
    ) -> None:
        self._model, self._data, self._size = model, data, size
        self._effects = effects
        self._ids = [_camera_id(env_id, model, camera) for camera in cameras]
        self._rolled = [model.camera(index).name in rolled for index in self._ids]
        self._gl: Any = None
        self._context: Any = None
        self._free: Any = None
        self._stale = False

    def render(self) -> NDArray[np.uint8]:
        """The current scene in each camera, uint8 [V, size, size, 3]: a new array, its first row the top one.

        Raises:
            MissingDependencyError: when OpenGL does not work here.
        """
        import mujoco

        if self._context is None:
            self._open()
        self._gl.make_current()
        if self._stale:
            for index in range(self._model.nhfield):
                mujoco.mjr_uploadHField(self._model, self._context, index)
            self._stale = False
        images = np.empty((len(self._ids), self._size, self._size, 3), np.uint8)
        for index, rolled, image in zip(self._ids, self._rolled, images, strict=True):
            self._camera.fixedcamid = index
            mujoco.mjv_updateScene(
                self._model, self._data, self._option, None, self._camera, mujoco.mjtCatBit.mjCAT_ALL.value, self._scene
            )
            mujoco.mjr_render(self._rect, self._scene, self._context)
            mujoco.mjr_readPixels(image, None, self._rect, self._context)
            # OpenGL's first row is the lowest. An image rolled by 180 degrees then lacks the mirroring alone.
            image[:] = image[:, ::-1] if rolled else image[::-1]
        return images

    def new_episode(self) -> None:
        """Say that a reset may have changed what the renderer holds a copy of: the heights of a terrain."""
        self._stale = True

    def close(self) -> None:
        """Free the renderer; another image makes a new one. Safe to call twice."""
        if self._free is not None:
            self._free()
            atexit.unregister(self._free)
        self._gl = self._context = self._free = None

    def _open(self) -> None:
        import mujoco

        try:
            # Absent where MUJOCO_GL is "disable".
            from mujoco.gl_context import GLContext

            self._gl = GLContext(self._size, self._size)
            self._gl.make_current()
            with _buffer(self._model, self._size, "antialiasing" in self._effects):
                self._context = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_150.value)
            mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        except Exception as error:
            self._gl = self._context = None
            raise no_opengl(error) from error
        # For those who never call close(). MuJoCo ends EGL at exit, and what is freed after that complains.
        self._free = weakref.finalize(self, _free, self._gl, self._context)
        atexit.register(self._free)
        self._scene = mujoco.MjvScene(self._model, maxgeom=_MAX_GEOMS)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = "shadows" in self._effects
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = "reflections" in self._effects
        self._option = mujoco.MjvOption()
        # The rays of a distance sensor are no part of the scene; dm_control hides them too.
        self._option.flags[mujoco.mjtVisFlag.mjVIS_RANGEFINDER] = 0
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._rect = mujoco.MjrRect(0, 0, self._size, self._size)


def render_effects(config: EnvConfig) -> tuple[str, ...]:
    """Those of :data:`EVERYTHING` that observed images are rendered with; none without cameras."""
    on = (config.shadows, config.reflections, config.antialiasing)
    return tuple(name for name, is_on in zip(EVERYTHING, on, strict=True) if is_on and config.cameras)


def observed(cameras: Sequence[str], size: int, state_dim: int) -> dict[str, ArraySpec]:
    """Arrays of an observation: ``state`` unless it has no entry, ``rgb`` where there are cameras."""
    arrays = {}
    if state_dim:
        arrays["state"] = ArraySpec((state_dim,))
    if cameras:
        arrays["rgb"] = ArraySpec((len(cameras), size, size, 3), "uint8")
    return arrays


def check_cameras(config: EnvConfig) -> None:
    """ConfigError for a camera named twice."""
    if len(set(config.cameras)) < len(config.cameras):
        raise ConfigError(f"each camera can be observed once, got cameras {', '.join(config.cameras)}")


def no_opengl(error: Exception) -> MissingDependencyError:
    """Build the error for a renderer that failed with ``error``."""
    return MissingDependencyError(
        f"no image can be rendered here, OpenGL failed with {type(error).__name__}: {error}\n"
        "`zoomrl doctor` tries every way of rendering and names what is missing"
    )


def _free(gl: Any, context: Any) -> None:
    # Made current first: MuJoCo frees by number, in whatever context is current, another renderer's perhaps.
    gl.make_current()
    context.free()
    gl.free()


@contextmanager
def _buffer(model: Any, size: int, antialiasing: bool) -> Iterator[None]:
    """Let a render context created meanwhile use these options; then restore the model, which others render too."""
    buffer, quality = model.vis.global_, model.vis.quality
    before = buffer.offwidth, buffer.offheight, quality.offsamples
    buffer.offwidth = buffer.offheight = size
    if not antialiasing:
        quality.offsamples = 0
    try:
        yield
    finally:
        buffer.offwidth, buffer.offheight, quality.offsamples = before


def _camera_id(env_id: str, model: Any, camera: str) -> int:
    names = [model.camera(index).name for index in range(model.ncam)]
    if camera and camera in names:
        return names.index(camera)
    if camera.isdecimal() and int(camera) < len(names):
        return int(camera)
    listed = ", ".join(f"{name} ({index})" if name else str(index) for index, name in enumerate(names))
    raise ConfigError(f"{unknown_name('camera', camera, filter(None, names))} {env_id} has: {listed}")
