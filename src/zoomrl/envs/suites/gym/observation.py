"""From a Gymnasium observation to ``state`` and the views of ``rgb``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from zoomrl.envs.answers import brief
from zoomrl.envs.base import Observation
from zoomrl.envs.config import ALL_CAMERAS, EnvConfig
from zoomrl.envs.mujoco.cameras import check_cameras
from zoomrl.envs.options import DEFAULTS
from zoomrl.errors import ConfigError, SimulatorError, unknown_name
from zoomrl.spec import ArraySpec, StateEntry

RENDER = "render"
"""Name of the view that the environment renders of itself."""

_BARE = "pixels"
_CHANNELS = (1, 3)
_log = logging.getLogger("zoomrl.envs")
_SMALLEST_SIDE = 16
"""A box with two sides as long as this is meant to be looked at."""


class GymObserver:
    """Takes what ``config`` asks for from the observations of one environment.

    An image is a uint8 box [H, W, C] or [C, H, W] with 1 or 3 channels. It is called by its key, joined by "/" where
    dicts are nested, and "pixels" where it is the whole observation. All other boxes are vectors, but for those that
    look like images of another form: such a box is refused, unless ``config.state`` is none.

    They are observed where ``config.cameras`` names them, or says "all". Where it is empty, only an environment that
    observes nothing else shows them.

    Attributes:
        arrays: what is observed; ``state`` where there are vectors, ``rgb`` where there are views.
        state_entries: the vectors that ``state`` is joined of, in key order; one without a key is called "state".
        cameras: names of the views.

    Raises:
        ConfigError: for options or spaces that cannot be used, a box that looks like an image of another form, an
            unknown camera, or views of several sizes.
    """

    def __init__(self, env_id: str, space: spaces.Space[Any], config: EnvConfig) -> None:
        check_cameras(config)
        self._id = env_id
        entries = list(_entries(space))
        names = [entry.name for entry in entries]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ConfigError(f"{env_id} observes several entries of one name: {', '.join(sorted(twice))}; rename one")
        images = {entry.name: entry for entry in entries if entry.is_image}
        vectors = [entry for entry in entries if entry.name not in images]
        self.cameras = _chosen(env_id, config, tuple(images), alone=not vectors)
        for name in self.cameras:
            if name not in (RENDER, *images):
                _check_known(env_id, name, entries)
                raise unknown_name(f"image of {env_id}", name, (RENDER, *images))
        # An entry of that name comes first.
        self._views = [images.get(name) for name in self.cameras]
        self._size = config.image_size
        self._vectors = [] if config.state == "none" else vectors
        for entry in self._vectors:
            if entry.looks_like_image:
                raise _no_image(env_id, entry)
        if config.state == "full" and not self._vectors:
            raise ConfigError(
                f"{env_id} observes images alone ({', '.join(images)}) and has no vector; leave state at 'auto', or "
                "name cameras (and not 'none')"
            )
        self.arrays = self._arrays(env_id)
        sizes = [int(np.prod(entry.space.shape or ())) for entry in self._vectors]
        names = ["/".join(map(str, entry.path)) or "state" for entry in self._vectors]
        self.state_entries = tuple(map(StateEntry, names, sizes))
        self._check_size(config)

    def __call__(self, observation: Any, render: Callable[[], NDArray[np.uint8]]) -> Observation:
        """``state`` float32 [S] and ``rgb`` uint8 [V, H, W, 3], as far as they are observed.

        Args:
            observation: an element of the space.
            render: renders the environment, uint8 [H, W, 3]; called where that is a view.
        """
        found: Observation = {}
        if self._vectors:
            parts = [np.ravel(entry.vector(observation, self._id)) for entry in self._vectors]
            found["state"] = np.concatenate(parts).astype(np.float32)
        if self._views:
            found["rgb"] = np.stack(
                [
                    _resized(render(), self._size) if view is None else view.image(observation, self._id)
                    for view in self._views
                ]
            )
        return found

    @property
    def renders(self) -> bool:
        """Whether a view is what the environment renders of itself."""
        return None in self._views

    def _arrays(self, env_id: str) -> dict[str, ArraySpec]:
        arrays = {}
        length = 0
        for entry in self._vectors:
            if not isinstance(entry.space, spaces.Box):
                under = f" in entry {entry.name!r}" if entry.path else ""
                raise ConfigError(
                    f"{env_id} has {type(entry.space).__name__} observations{under}; zoomrl needs Box, or Dict of Box. "
                    "Show choices as a Box of zeros and a one, or leave such an entry out with "
                    "gymnasium.wrappers.FilterObservation"
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

    def _check_size(self, config: EnvConfig) -> None:
        """Refuse another size of images than that in which the environment observes them."""
        if self._views and not self.renders and config.image_size != DEFAULTS["image_size"]:
            height, width = self.arrays["rgb"].shape[1:3]
            if (height, width) != (config.image_size, config.image_size):
                raise ConfigError(
                    f"image_size {config.image_size} is not available for {self._id}, which observes images of "
                    f"{height} x {width}: it sets the size of {RENDER!r} alone. Leave it at {DEFAULTS['image_size']}, "
                    "or resize them with gymnasium.wrappers.TransformObservation"
                )


@dataclass(frozen=True)
class _Entry:
    """One leaf of an observation space, and the keys that lead to it."""

    path: tuple[Any, ...]
    space: spaces.Space[Any]

    @property
    def name(self) -> str:
        return "/".join(map(str, self.path)) or _BARE

    @property
    def is_image(self) -> bool:
        box = self.space
        if not isinstance(box, spaces.Box) or box.dtype != np.uint8 or len(box.shape) != 3:
            return False
        return box.shape[-1] in _CHANNELS or box.shape[0] in _CHANNELS

    @property
    def looks_like_image(self) -> bool:
        """Whether it is no vector by its shape, and no image that can be used: grey planes, RGBA, stacks, floats."""
        box = self.space
        if not isinstance(box, spaces.Box) or self.is_image:
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
        """Height and width of an image, in pixels."""
        assert self.space.shape is not None
        height, width = self.space.shape[1:] if self._channels_first else self.space.shape[:2]
        return int(height), int(width)

    def vector(self, observation: Any, env_id: str) -> NDArray[Any]:
        """This entry's value in the shape and dtype of its space; SimulatorError for one that does not fit them."""
        given = self._given(observation, env_id)
        value = given.astype(self.space.dtype) if given.dtype.kind in "biuf" else given
        # More precision may be lost, as from float64 to float32, but not what lies between whole numbers.
        if value.dtype != self.space.dtype or not (
            np.can_cast(given.dtype, value.dtype, "same_kind") or np.array_equal(given, value)
        ):
            raise self._unlike(env_id, given)
        return value

    def image(self, observation: Any, env_id: str) -> NDArray[np.uint8]:
        """This entry's value as uint8 [H, W, 3], grey repeated; SimulatorError for one that its space does not hold."""
        value = self._given(observation, env_id)
        if value.dtype != np.uint8:  # floats up to 1 would all be black
            raise self._unlike(env_id, value)
        if self._channels_first:
            value = np.moveaxis(value, 0, -1)
        return np.broadcast_to(value, (*value.shape[:2], 3))

    def _given(self, observation: Any, env_id: str) -> NDArray[Any]:
        """This entry's value, of the shape of its space."""
        try:
            for key in self.path:
                observation = observation[key]
            value = np.asarray(observation)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise SimulatorError(
                f"{env_id} observed no entry {self.name!r}, which its observation_space lists ({type(error).__name__}: "
                f"{error}). Return what observation_space promises, at every reset and step"
            ) from error
        if value.shape != self.space.shape:
            raise self._unlike(env_id, value)
        return value

    def _unlike(self, env_id: str, value: NDArray[Any]) -> SimulatorError:
        expected = f"{self.space.dtype}{list(self.space.shape or ())}"
        return SimulatorError(
            f"{env_id} observed entry {self.name!r} unlike its space: expected {expected}, got {brief(value)}. Return "
            "what observation_space promises, at every reset and step"
        )


def _entries(space: spaces.Space[Any], path: tuple[Any, ...] = ()) -> Iterator[_Entry]:
    """The leaves of a space, in key order."""
    if isinstance(space, spaces.Dict):
        for key, part in space.spaces.items():
            yield from _entries(part, (*path, key))  # keys may be numbers
    else:
        yield _Entry(path, space)


def _chosen(env_id: str, config: EnvConfig, images: tuple[str, ...], *, alone: bool) -> tuple[str, ...]:
    """Names of the views: those asked for, and all where there is nothing but images to observe."""
    if config.cameras == (ALL_CAMERAS,):
        if not images:
            raise ConfigError(
                f"cameras {ALL_CAMERAS!r} names none: {env_id} observes no images. Leave it out, or name {RENDER!r}"
            )
        return images
    if config.cameras or alone:
        return config.cameras or images
    if images and config.state == "none":
        raise ConfigError(
            f"{env_id} would show nothing: state is 'none', and no cameras are named. Name some of "
            f"{', '.join(images)}, or {ALL_CAMERAS!r}, or ask for the state"
        )
    if images and config.state == "auto":
        _mention_unused(env_id, images)
    return ()


@cache
def _mention_unused(env_id: str, images: tuple[str, ...]) -> None:
    """Say, once in a process, that there are images to learn from."""
    _log.warning(
        "%s observes images too (%s), which are not used. To learn from them, name them or all: --env.cameras %s; "
        "--env.cameras none leaves them out without this message",
        *(env_id, ", ".join(images), ALL_CAMERAS),
    )


def _check_known(env_id: str, name: str, entries: Iterable[_Entry]) -> None:
    """Say why an entry that exists cannot be a view."""
    for entry in entries:
        if entry.name == name and entry.looks_like_image:
            raise _no_image(env_id, entry)


def _no_image(env_id: str, entry: _Entry) -> ConfigError:
    box = entry.space
    return ConfigError(
        f"entry {entry.name!r} of {env_id} is {box.dtype}{list(box.shape or ())}, which is no image that can be "
        "used: images are uint8 [H, W, 3], [H, W, 1], [3, H, W] or [1, H, W]. For stacks let the environment show "
        "single frames, and set --replay.frame-stack; convert the others with gymnasium.wrappers.TransformObservation. "
        "To learn without it, name the cameras to use and set --env.state none (from Python: "
        "EnvConfig(cameras=(...), state='none'))"
    )


def _resized(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """``image`` [H, W, 3] as [size, size, 3], each pixel the mean of the area that it covers."""
    if image.shape[:2] == (size, size):
        return image
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BOX))
