"""What an environment shows and accepts: names, shapes, dtypes, bounds, control rate.

The spec is plain data: it is written into demonstration files and run directories, and compared there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

MEANINGS = ("absolute", "delta", "gripper")
"""What an action dimension commands: a position to reach, a change of it, or how far or whether a gripper opens."""

FITS = ("none", "stretch", "letterbox", "crop")
"""How images of a camera become those of another size (:func:`zoomrl.envs.camera.fit_image`)."""


@dataclass(frozen=True)
class ArraySpec:
    """Shape, dtype and bounds of one array.

    Attributes:
        shape: of the array.
        dtype: NumPy's name of it, such as ``float32`` or ``uint8``.
        low: the lowest value of each element, in C order; None when unbounded.
        high: the highest value of each element, in C order; None when unbounded.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None


@dataclass(frozen=True)
class StateEntry:
    """One part of the ``state`` vector: the name that its source gives it, and how many numbers it has."""

    name: str
    size: int


@dataclass(frozen=True)
class EnvSpec:
    """The contract between an environment and everything above it.

    Attributes:
        id: full environment id, for example ``metaworld:drawer-open``.
        observations: name -> array; ``state`` is float32 [S], ``rgb`` uint8 [V, H, W, 3]. At least one is there.
        action: float32 [A] with finite bounds, in the environment's own units.
        control_hz: agent steps per second of simulated time (after action repeat); 0 when unknown.
        time_limit: agent steps after which an episode is truncated; 0 when unknown, as in sets of other programs.
        action_repeat: simulator control steps per agent step.
        reports_success: whether ``info["success"]`` carries meaning.
        reward: ``sparse``, ``dense`` or ``native``: which reward the environment was built with.
        cameras: names of the V views of ``rgb``.
        rendering: what the images of ``rgb`` are rendered with, among shadows, reflections and antialiasing.
        action_meaning: of each action dimension, one of :data:`MEANINGS`; empty when unknown.
        success_bar: the return from which the benchmark counts the task as solved, or None where it names none.
        state_entries: the parts that ``state`` is joined of, in their order; empty when unknown, or without a state.
        image_fit: how the cameras' images became those of ``rgb``: ``stretch``, ``letterbox`` or ``crop``; ``none``
            where they were shown at that size, or nothing is known.
        image_crop: the part of them that was kept before: top, left, height and width, once or for each camera.
        camera_sizes: height and width of each camera's images before that; empty where nothing was cropped or fitted,
            or when unknown.

    Raises:
        ValueError: for state entries that do not add up to the state's length, an unknown fit, or crops and sizes that
            are not those of the cameras.
    """

    id: str
    observations: Mapping[str, ArraySpec]
    action: ArraySpec
    control_hz: float
    time_limit: int
    action_repeat: int = 1
    reports_success: bool = False
    reward: str = "native"
    cameras: tuple[str, ...] = ()
    rendering: tuple[str, ...] = ()
    action_meaning: tuple[str, ...] = ()
    success_bar: float | None = None
    state_entries: tuple[StateEntry, ...] = ()
    image_fit: str = "none"
    image_crop: tuple[int, ...] = ()
    camera_sizes: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        sizes = [entry.size for entry in self.state_entries]
        if sizes and (min(sizes) < 0 or sum(sizes) != self.state_dim):
            listed = list_entries(self.state_entries)
            raise ValueError(f"the state entries of {self.id} ({listed}) must add up to its state of {self.state_dim}")
        if self.camera_sizes and len(self.camera_sizes) != len(self.cameras):
            raise ValueError(f"{self.id} has {len(self.cameras)} cameras, and sizes of {len(self.camera_sizes)}")
        if self.image_fit not in FITS:
            raise ValueError(f"image_fit must be one of {', '.join(FITS)}, got {self.image_fit!r:.40}")
        if len(self.image_crop) not in (0, 4, 4 * len(self.cameras)) or min(self.image_crop, default=0) < 0:
            raise ValueError(f"image_crop must be four numbers of 0 or more, or four for each camera of {self.id}")

    @property
    def action_dim(self) -> int:
        """Number of action dimensions A."""
        return self.action.shape[0]

    @property
    def state_dim(self) -> int:
        """Length S of the ``state`` observation; 0 without one."""
        return self.observations["state"].shape[0] if "state" in self.observations else 0

    @property
    def fits_images(self) -> bool:
        """Whether the cameras' images are known to have been cropped or fitted."""
        return self.image_fit != "none" or bool(self.image_crop)

    @property
    def fitting(self) -> str:
        """How images were cropped and fitted, for messages: ``letterbox of the crop 0 80 480 480``."""
        return f"{self.image_fit}{' of the crop ' if self.image_crop else ''}{' '.join(map(str, self.image_crop))}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-serialisable form."""
        return asdict(self)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> EnvSpec:
        """Inverse of :meth:`to_dict`; specs of earlier versions, which lack some fields, are read too.

        Raises:
            KeyError: a field that every version has is missing.
            TypeError: there is an unknown field.
            ValueError: a value is not what its field can hold, or as the class raises.
        """
        fields = dict(data)
        fields["observations"] = {k: _array(v) for k, v in data["observations"].items()}
        fields["action"] = _array(data["action"])
        if len(fields["action"].shape) != 1:
            raise ValueError(f"an action must have one dimension, got the shape {fields['action'].shape}")
        for name in ("cameras", "rendering", "action_meaning"):
            fields[name] = tuple(data.get(name, ()))
        entries = data.get("state_entries", ())
        fields["state_entries"] = tuple(StateEntry(str(entry["name"]), _whole(entry["size"])) for entry in entries)
        fields["image_fit"] = str(data.get("image_fit", "none"))
        fields["image_crop"] = tuple(_whole(number) for number in data.get("image_crop", ()))
        fields["camera_sizes"] = tuple((_whole(h), _whole(w)) for h, w in data.get("camera_sizes", ()))
        return EnvSpec(**fields)

    def mismatches(self, other: EnvSpec) -> list[str]:
        """Differences that make data recorded under ``self`` unusable under ``other``, both sides named.

        Compared: action shape, bounds and meaning, the shape and dtype of every observation, names, sizes and order of
        the state's entries where both know them, the cameras and how their images are rendered, how they are cropped
        and fitted where both do so, control rate and action repeat. Not compared: time limit, reward, success and id
        (data may be reused across those), and the sizes of the cameras' own images.
        """
        found = []
        if self.action.shape != other.action.shape:
            found.append(f"action shape {self.action.shape} against {other.action.shape}")
        else:
            for side in ("low", "high"):
                ours, theirs = getattr(self.action, side), getattr(other.action, side)
                if not _close(ours, theirs):
                    found.append(f"action {side} bound {ours} against {theirs}")
        for name in sorted(set(self.observations) | set(other.observations)):
            ours, theirs = self.observations.get(name), other.observations.get(name)
            if ours is None or theirs is None or (ours.shape, ours.dtype) != (theirs.shape, theirs.dtype):
                found.append(f"observation {name!r} {_brief(ours)} against {_brief(theirs)}")
        if self.state_entries and other.state_entries and self.state_entries != other.state_entries:
            found.append("state entries {} against {}".format(*(list_entries(s.state_entries) for s in (self, other))))
        for name in ("cameras", "rendering"):
            ours, theirs = getattr(self, name), getattr(other, name)
            if ours != theirs:
                found.append(f"{name} {', '.join(ours) or 'none'} against {', '.join(theirs) or 'none'}")
        if self.fits_images and other.fits_images and self.fitting != other.fitting:
            found.append(f"images fitted by {self.fitting} against {other.fitting}")
        if self.action_meaning and other.action_meaning and self.action_meaning != other.action_meaning:
            meant = (", ".join(spec.action_meaning) for spec in (self, other))
            found.append("action meaning {} against {}".format(*meant))
        if self.control_hz and other.control_hz and abs(self.control_hz - other.control_hz) > 1e-6:
            found.append(f"control rate {self.control_hz:g} Hz against {other.control_hz:g} Hz")
        if self.action_repeat != other.action_repeat:
            found.append(f"action repeat {self.action_repeat} against {other.action_repeat}")
        return found


def is_of_play(env_id: str) -> bool:
    """Whether demonstrations of ``env_id`` are play: of OGBench, which leads nowhere, and is imitated all the same."""
    return env_id.startswith("ogbench:")


def list_entries(entries: Iterable[StateEntry]) -> str:
    """Names and sizes in their order, for messages: ``point 2, goal 3``."""
    return ", ".join(f"{entry.name} {entry.size}" for entry in entries) or "unknown"


def _array(data: Mapping[str, Any]) -> ArraySpec:
    def bounds(value: Any) -> tuple[float, ...] | None:
        return None if value is None else tuple(float(v) for v in value)

    shape, dtype = tuple(data["shape"]), data["dtype"]
    if dtype not in _DTYPES:
        raise ValueError(f"an array must hold numbers, one of {', '.join(_DTYPES)}, got {dtype!r:.40}")
    if not all(isinstance(size, int) and size >= 0 for size in shape):
        raise ValueError(f"the shape of an array must be whole numbers, got {shape!r:.40}")
    low, high = bounds(data["low"]), bounds(data["high"])
    if any(side is not None and len(side) != math.prod(shape) for side in (low, high)):
        raise ValueError(f"an array of the shape {list(shape)} must have as many bounds as elements, or none")
    return ArraySpec(shape, dtype, low, high)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"a size must be a whole number, got {value!r:.40}")
    return value


_DTYPES = (
    *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
    "float16",
    "float32",
    "float64",
    "bool",
)


def _brief(spec: ArraySpec | None) -> str:
    return "absent" if spec is None else f"{spec.dtype}{list(spec.shape)}"


def _close(a: tuple[float, ...] | None, b: tuple[float, ...] | None) -> bool:
    if a is None or b is None:
        return a is b
    return all(abs(x - y) <= 1e-6 * max(1.0, abs(x), abs(y)) for x, y in zip(a, b, strict=True))
