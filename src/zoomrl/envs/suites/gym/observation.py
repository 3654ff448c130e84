"""From a Gymnasium observation to ``state`` and the views of ``rgb``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from zoomrl.envs.answers import brief
from zoomrl.envs.base import Observation
from zoomrl.envs.camera import SMALLEST_SIDE, Fitting, is_image_array
from zoomrl.envs.config import ALL_CAMERAS, EnvConfig, crops_of
from zoomrl.envs.mujoco.cameras import check_cameras
from zoomrl.envs.options import DEFAULTS
from zoomrl.errors import ConfigError, SimulatorError, unknown_name
from zoomrl.runtime import Size, as_rgb, channel_axis, cropped_size, fit_image, resized
from zoomrl.spec import ArraySpec, StateEntry

RENDER = "render"
"""Name of the view that the environment renders of itself."""

_BARE = "pixels"
_log = logging.getLogger("zoomrl.envs")


class GymObserver:
    """Takes what ``config`` asks for from the observations of one environment.

    An image is a box of one of the forms of :func:`is_image`. It is called by its key, joined by "/" where dicts are
    nested, and "pixels" where it is the whole observation. All other boxes are vectors, but for those that look like
    images of another form: such a box is refused, unless ``config.state`` is none.

    They are observed where ``config.cameras`` names them, or says "all". Where it is empty, only an environment that
    observes nothing else shows them.

    Attributes:
        arrays: what is observed; ``state`` where there are vectors, ``rgb`` where there are views.
        state_entries: the vectors that ``state`` is joined of, in key order; one without a key is called "state".
        cameras: names of the views.
        fits: whether images are cropped or fitted, so that the sizes they come in have a meaning.

    Raises:
        ConfigError: for options or spaces that cannot be used, a box that looks like an image of another form, an
            unknown camera, a crop that reaches beyond an image, or views of several sizes where none is fitted.
    """

    def __init__(self, env_id: str, space: spaces.Space[Any], config: EnvConfig) -> None:
        check_cameras(config)
        self._id = env_id
        entries = list(_entries(space))
        names = [entry.name for entry in entries]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ConfigError(f"{env_id} observes several entries of one name: {', '.join(sorted(twice))}; rename one")
        images = {entry.name: entry for entry in entries if is_image(entry.space)}
        vectors = [entry for entry in entries if entry.name not in images]
        self.cameras = _chosen(env_id, config, images, alone=not vectors)
        for name in self.cameras:
            if name not in (RENDER, *images):
                _check_known(env_id, name, entries)
                raise unknown_name(f"image of {env_id}", name, (RENDER, *images))
        # An entry of that name comes first.
        self._views = [images.get(name) for name in self.cameras]
        self.fits = bool(self._views) and (config.image_fit != "none" or bool(config.image_crop))
        self._square = config.image_size, config.image_size
        self._sources: list[Size | None] = [None if view is None else view.size for view in self._views]
        crops = crops_of(config.image_crop, len(self._views)) if self._views else []
        self._fittings = [
            self._fitting(*view, config.image_fit) for view in zip(self.cameras, self._sources, crops, strict=True)
        ]
        self._vectors = [] if config.state == "none" else vectors
        for entry in self._vectors:
            if looks_like_image(entry.space):
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
                    fitting(render() if view is None else view.image(observation, self._id))
                    for view, fitting in zip(self._views, self._fittings, strict=True)
                ]
            )
        return found

    @property
    def renders(self) -> bool:
        """Whether a view is what the environment renders of itself."""
        return None in self._views

    def rendered(self, source: Size) -> None:
        """Note the size of what the environment renders of itself; ConfigError where a crop reaches beyond it."""
        for view, (name, fitting) in enumerate(zip(self.cameras, self._fittings, strict=True)):
            if self._views[view] is None:
                self._cropped(name, source, fitting.crop)
                self._sources[view] = source

    @property
    def camera_sizes(self) -> tuple[Size, ...]:
        """Height and width of each view before it is fitted; empty where nothing is, or one is unknown."""
        known = tuple(source for source in self._sources if source is not None)
        return known if self.fits and len(known) == len(self._views) else ()

    def _fitting(self, name: str, source: Size | None, crop: tuple[int, ...], fit: str) -> Fitting:
        """What is done to a view; ``source`` is None for what the environment renders of itself."""
        if source is None:
            return _Rendering(self._square, fit, crop)
        size = self._cropped(name, source, crop)
        return Fitting(size if fit == "none" else self._square, fit, crop)

    def _cropped(self, name: str, source: Size, crop: tuple[int, ...]) -> Size:
        try:
            return cropped_size(source, crop)
        except ValueError as error:
            raise ConfigError(f"camera {name!r} of {self._id}: {error}") from error

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
        sizes = [fitting.size for fitting in self._fittings]
        if len(set(sizes)) > 1:
            listed = ", ".join(f"{name} {h} x {w}" for name, (h, w) in zip(self.cameras, sizes, strict=True))
            raise ConfigError(
                f"all views of {env_id} must have one size, got {listed}. Fit them to squares of image_size with "
                f"image_fit stretch, letterbox or crop (--env.image-fit), or choose some of them with cameras"
            )
        if sizes:
            arrays["rgb"] = ArraySpec((len(sizes), *sizes[0], 3), "uint8")
        return arrays

    def _check_size(self, config: EnvConfig) -> None:
        """Refuse another size of images than that in which the environment observes them."""
        fitted = self.renders or config.image_fit != "none"
        if self._views and not fitted and config.image_size != DEFAULTS["image_size"]:
            height, width = self.arrays["rgb"].shape[1:3]
            if (height, width) != (config.image_size, config.image_size):
                raise ConfigError(
                    f"image_size {config.image_size} is not available for {self._id}, which observes images of "
                    f"{height} x {width}, unless image_fit says how they are fitted: stretch, letterbox or crop "
                    f"(--env.image-fit). Leave it at {DEFAULTS['image_size']} to take them as they are"
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
    def size(self) -> Size:
        """Height and width of an image, in pixels."""
        shape = self.space.shape
        assert shape is not None
        if len(shape) == 3:
            shape = shape[1:] if channel_axis(shape) == 0 else shape[:2]
        return int(shape[0]), int(shape[1])

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
        """This entry's value as uint8 [H, W, 3]; SimulatorError for one that its space does not hold."""
        value = self._given(observation, env_id)
        floating = value.dtype.kind == "f" and self.space.dtype != np.uint8
        if not floating and (value.dtype, self.space.dtype) != (np.uint8, np.uint8):
            raise self._unlike(env_id, value)  # floats up to 1 would all be black
        try:
            return as_rgb(value)
        except ValueError as error:
            raise SimulatorError(f"{env_id}, entry {self.name!r}: {error}") from error

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


def _chosen(env_id: str, config: EnvConfig, entries: Mapping[str, _Entry], *, alone: bool) -> tuple[str, ...]:
    """Names of the views: those asked for, and all where there is nothing but images to observe."""
    images = tuple(entries)
    if config.cameras == (ALL_CAMERAS,):
        if not images:
            raise ConfigError(
                f"cameras {ALL_CAMERAS!r} names none: {env_id} observes no images. Leave it out, or name {RENDER!r}"
            )
        if four := tuple(name for name, entry in entries.items() if has_alpha(entry.space)):
            _mention_alpha(env_id, four)
        return images
    if config.cameras:
        return config.cameras
    if alone:
        for name, entry in entries.items():
            if has_alpha(entry.space):
                raise ConfigError(
                    f"{env_id} observes {name!r}, {entry.space.dtype}{list(entry.space.shape or ())}: four channels "
                    "may be colours with an alpha channel, or a stack of grey images. Name it in cameras "
                    f"(--env.cameras {name}) to read it as colours; for a stack let the environment show single "
                    "images, and set --replay.frame-stack"
                )
        return images
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


@cache
def _mention_alpha(env_id: str, images: tuple[str, ...]) -> None:
    """Say, once in a process, how images of four channels are read that nobody named."""
    _log.warning(
        "%s observes images of four channels (%s), which are read as colours with an alpha channel that is left out. "
        "Stacks of four grey images are none: name the cameras to use",
        *(env_id, ", ".join(images)),
    )


def _check_known(env_id: str, name: str, entries: Iterable[_Entry]) -> None:
    """Say why an entry that exists cannot be a view."""
    for entry in entries:
        if entry.name == name and looks_like_image(entry.space):
            raise _no_image(env_id, entry)


def _no_image(env_id: str, entry: _Entry) -> ConfigError:
    box = entry.space
    return ConfigError(
        f"entry {entry.name!r} of {env_id} is {box.dtype}{list(box.shape or ())}, which is no image that can be "
        f"used: images are uint8 [H, W, 3], {FORMS}. For stacks let the environment show single frames, and set "
        "--replay.frame-stack; convert the others with gymnasium.wrappers.TransformObservation. "
        "To learn without it, name the cameras to use and set --env.state none (from Python: "
        "EnvConfig(cameras=(...), state='none'))"
    )


class _Rendering(Fitting):
    """What is done to the environment's own rendering: without a fit it is averaged, or repeated, to the size."""

    def __call__(self, shown: Any) -> NDArray[np.uint8]:
        if self.fit != "none":
            return super().__call__(shown)
        return resized(
            fit_image(shown, cropped_size(shown.shape[:2], self.crop), crop=self.crop), self.size, repeat=True
        )


FORMS = "[H, W, C] or [C, H, W] with 1, 3 or 4 channels, or [H, W]; or such arrays of floating-point numbers in 0..1"
"""Images besides the usual form, for messages."""


def is_image(space: spaces.Space[Any]) -> bool:
    """Whether a space is that of an image: a box as :func:`~zoomrl.envs.camera.is_image_array` says.

    Or one of floating-point numbers within 0 to 1, with 1 or 3 channels and sides of 16 pixels or more.
    """
    if not isinstance(space, spaces.Box):
        return False
    if not np.issubdtype(space.dtype, np.floating):
        return is_image_array(space.shape, space.dtype)
    unit = float(np.min(space.low, initial=0)) >= 0 and float(np.max(space.high, initial=0)) <= 1
    return unit and _coloured(space.shape)


def has_alpha(space: spaces.Space[Any]) -> bool:
    """Whether an image has four channels, which could also be a stack of four grey ones."""
    axis = channel_axis(space.shape or ())
    return is_image(space) and axis is not None and (space.shape or ())[axis] == 4


def looks_like_image(space: spaces.Space[Any]) -> bool:
    """Whether a space is that of no vector by its shape, and of no image that can be used: stacks, odd numbers."""
    if not isinstance(space, spaces.Box) or is_image(space):
        return False
    if space.dtype == np.uint8:
        return sum(side >= SMALLEST_SIDE for side in space.shape) >= 2
    return bool(np.issubdtype(space.dtype, np.floating)) and _coloured(space.shape)


def _coloured(shape: tuple[int, ...]) -> bool:
    """Whether numbers of this shape are colours: matrices of numbers exist, without an axis of channels."""
    return len(shape) == 3 and any(
        channels in (1, 3) and min(sides) >= SMALLEST_SIDE
        for channels, sides in ((shape[-1], shape[:-1]), (shape[0], shape[1:]))
    )
