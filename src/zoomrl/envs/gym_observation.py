"""From a Gymnasium observation to ``state`` and the views of ``rgb``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from zoomrl.envs.base import Observation
from zoomrl.envs.cameras import check_cameras
from zoomrl.envs.config import EnvConfig
from zoomrl.errors import ConfigError, unknown_name
from zoomrl.spec import ArraySpec, StateEntry

RENDER = "render"
"""Name of the view that the environment draws of itself."""

_BARE = "pixels"
_CHANNELS = (1, 3)
_SMALLEST_SIDE = 16
"""A box with two sides as long as this is meant to be looked at."""


class GymObserver:
    """Takes what ``config`` asks for from the observations of one environment.

    A picture is a uint8 box [H, W, C] or [C, H, W] with 1 or 3 channels. It is called by its key, joined by "/" where
    dicts are nested, and "pixels" where it is the whole observation. All other boxes are vectors, but for those that
    look like pictures of another form: such a box is refused, unless ``config.state`` is none.

    Attributes:
        arrays: what is observed; ``state`` where there are vectors, ``rgb`` where there are views.
        state_entries: the vectors that ``state`` is joined of, in key order; one without a key is called "state".
        cameras: names of the views.

    Raises:
        ConfigError: for options or spaces that cannot be used, a box that looks like a picture of another form, an
            unknown camera, or views of several sizes.
    """

    def __init__(self, env_id: str, space: spaces.Space[Any], config: EnvConfig) -> None:
        _check_options(config)
        entries = list(_entries(space))
        pictures = {entry.name: entry for entry in entries if entry.is_picture}
        self.cameras = tuple(config.cameras or pictures)
        for name in self.cameras:
            if name not in (RENDER, *pictures):
                _check_known(env_id, name, entries)
                raise unknown_name(f"picture of {env_id}", name, (RENDER, *pictures))
        # An entry of that name comes first.
        self._views = [pictures.get(name) for name in self.cameras]
        self._size = config.image_size
        self._vectors = [] if config.state == "none" else [e for e in entries if e.name not in pictures]
        for entry in self._vectors:
            if entry.looks_like_picture:
                raise _no_picture(env_id, entry)
        if config.state == "full" and not self._vectors:
            raise ConfigError(f"{env_id} observes pictures alone and has no vector; leave state at 'auto'")
        self.arrays = self._arrays(env_id)
        sizes = [int(np.prod(entry.space.shape or ())) for entry in self._vectors]
        names = ["/".join(entry.path) or "state" for entry in self._vectors]
        self.state_entries = tuple(map(StateEntry, names, sizes))

    def __call__(self, observation: Any, render: Callable[[], NDArray[np.uint8]]) -> Observation:
        """``state`` float32 [S] and ``rgb`` uint8 [V, H, W, 3], as far as they are observed.

        Args:
            observation: an element of the space.
            render: draws the environment, uint8 [H, W, 3]; called where that is a view.
        """
        found: Observation = {}
        if self._vectors:
            parts = [np.ravel(np.asarray(entry.of(observation), entry.space.dtype)) for entry in self._vectors]
            found["state"] = np.concatenate(parts).astype(np.float32)
        if self._views:
            found["rgb"] = np.stack(
                [_resized(render(), self._size) if view is None else view.picture(observation) for view in self._views]
            )
        return found

    @property
    def renders(self) -> bool:
        """Whether a view is what the environment draws of itself."""
        return None in self._views

    def _arrays(self, env_id: str) -> dict[str, ArraySpec]:
        arrays = {}
        length = 0
        for entry in self._vectors:
            if not isinstance(entry.space, spaces.Box):
                raise ConfigError(
                    f"{env_id} has {type(entry.space).__name__} observations; zoomrl needs Box, or Dict of Box"
                )
            length += int(np.prod(entry.space.shape))
        if self._vectors:
            arrays["state"] = ArraySpec((length,))
        sizes = [(self._size, self._size) if view is None else view.size for view in self._views]
        if len(set(sizes)) > 1:
            listed = ", ".join(f"{name} {h} x {w}" for name, (h, w) in zip(self.cameras, sizes, strict=True))
            raise ConfigError(
                f"all views of {env_id} must have one size, got {listed}. Choose some of them with cameras; "
                f"image_size sets that of {RENDER!r} alone"
            )
        if sizes:
            arrays["rgb"] = ArraySpec((len(sizes), *sizes[0], 3), "uint8")
        return arrays


@dataclass(frozen=True)
class _Entry:
    """One leaf of an observation space, and the keys that lead to it."""

    path: tuple[str, ...]
    space: spaces.Space[Any]

    @property
    def name(self) -> str:
        return "/".join(self.path) or _BARE

    @property
    def is_picture(self) -> bool:
        box = self.space
        if not isinstance(box, spaces.Box) or box.dtype != np.uint8 or len(box.shape) != 3:
            return False
        return box.shape[-1] in _CHANNELS or box.shape[0] in _CHANNELS

    @property
    def looks_like_picture(self) -> bool:
        """Whether it is no vector by its shape, and no picture that can be used: grey planes, RGBA, stacks, floats."""
        box = self.space
        if not isinstance(box, spaces.Box) or self.is_picture:
            return False
        shape = box.shape
        if box.dtype == np.uint8:
            return sum(side >= _SMALLEST_SIDE for side in shape) >= 2
        # Matrices of numbers exist; with an axis of channels they are colours.
        if len(shape) != 3 or not np.issubdtype(box.dtype, np.floating):
            return False
        return any(
            channels in _CHANNELS and min(sides) >= _SMALLEST_SIDE
            for channels, sides in ((shape[-1], shape[:-1]), (shape[0], shape[1:]))
        )

    @property
    def _channels_first(self) -> bool:
        assert self.space.shape is not None
        return self.space.shape[-1] not in _CHANNELS

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a picture, in pixels."""
        assert self.space.shape is not None
        height, width = self.space.shape[1:] if self._channels_first else self.space.shape[:2]
        return int(height), int(width)

    def of(self, observation: Any) -> Any:
        """This entry's value."""
        for key in self.path:
            observation = observation[key]
        return observation

    def picture(self, observation: Any) -> NDArray[np.uint8]:
        """This entry's value as uint8 [H, W, 3]; grey is repeated."""
        value = np.asarray(self.of(observation), np.uint8)
        if self._channels_first:
            value = np.moveaxis(value, 0, -1)
        return np.broadcast_to(value, (*value.shape[:2], 3))


def _entries(space: spaces.Space[Any], path: tuple[str, ...] = ()) -> Iterator[_Entry]:
    """The leaves of a space, in key order."""
    if isinstance(space, spaces.Dict):
        for key, part in space.spaces.items():
            yield from _entries(part, (*path, key))
    else:
        yield _Entry(path, space)


def _check_known(env_id: str, name: str, entries: Iterable[_Entry]) -> None:
    """Say why an entry that exists cannot be a view."""
    for entry in entries:
        if entry.name == name and entry.looks_like_picture:
            raise _no_picture(env_id, entry)


def _no_picture(env_id: str, entry: _Entry) -> ConfigError:
    box = entry.space
    return ConfigError(
        f"entry {entry.name!r} of {env_id} is {box.dtype}{list(box.shape or ())}, which is no picture that can be "
        "used: pictures are uint8 [H, W, 3], [H, W, 1], [3, H, W] or [1, H, W]. For stacks let the environment show "
        "single frames, and set --replay.frame-stack; convert the others with gymnasium.wrappers.TransformObservation. "
        "To learn without it, name the cameras to use and set --env.state none (from Python: "
        "EnvConfig(cameras=(...), state='none'))"
    )


def _check_options(config: EnvConfig) -> None:
    check_cameras(config)
    if config.state == "robot":
        raise ConfigError("state 'robot' is not available for gym; choose 'full' or 'none'")
    for name, on in (
        ("shadows", config.shadows),
        ("reflections", config.reflections),
        ("antialiasing", config.antialiasing),
    ):
        if not on:
            raise ConfigError(
                f"{name} cannot be switched off for gym: the environment itself draws its pictures. Presets for a CPU "
                "switch them off: add --env.shadows --env.reflections --env.antialiasing (from Python: "
                "EnvConfig(shadows=True, reflections=True, antialiasing=True))"
            )


def _resized(picture: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """``picture`` [H, W, 3] as [size, size, 3], each pixel the mean of the area that it covers."""
    if picture.shape[:2] == (size, size):
        return picture
    from PIL import Image

    return np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BOX))
