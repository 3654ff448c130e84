"""A trained policy without PyTorch: NumPy and onnxruntime alone.

This file is also the ``policy.py`` of every bundle that ``zoomrl export`` writes, and needs nothing of zoomrl::

    import policy

    robot = policy.load_policy("bundle")
    robot.reset()                                    # when an episode begins
    action = robot.act({"state": state, "rgb": images})  # once per control period

A bundle's graph ``model.onnx`` holds the networks, the scaling of the state, the zooms and the range of the actions.
What happens between two calls lies here: stacks of observations, the executor of action chunks, the last clip.
"""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

FORMAT, VERSION = "zoomrl-policy", 1
POLICY, GRAPH = "policy.json", "model.onnx"
_SEAL = re.compile(rb',\n  "digest": "([0-9a-f]{64})"\n}\n\Z')
Floats = NDArray[np.float32]
Size = tuple[int, int]
"""Height and width in pixels."""


class BundleError(Exception):
    """A folder that holds no bundle, or one that cannot be used here."""


class ObservationError(ValueError):
    """An observation that is not what the policy learnt from. Says what was expected and what came."""


class ActionError(ArithmeticError):
    """The graph answered with NaN or infinity, which no robot may be told."""


def load_policy(folder: str | Path, *, threads: int = 1, seed: int = 0) -> Policy:
    """The policy in the bundle ``folder``.

    Args:
        folder: that ``zoomrl export`` wrote.
        threads: of one inference; small networks are slower with more than one.
        seed: of the choice among bins whose values are equal, and of the chunks that a policy proposes.

    Raises:
        BundleError: it holds no bundle, one of a later version, or onnxruntime is missing.
    """
    return Policy(Path(folder), threads=threads, seed=seed)


# ---- the policy --------------------------------------------------------------------------------------------


class Policy:
    """Observations in, actions in the environment's units out, for one environment or robot.

    Args:
        folder: the bundle.
        threads, seed: as for :func:`load_policy`.

    Attributes:
        facts: the content of ``policy.json``.
        value: discounted return that the agent predicted with the newest chunk; None from agents without values, or
            before the first.
        replanned: whether the last :meth:`act` made a new chunk.
    """

    def __init__(self, folder: Path, *, threads: int = 1, seed: int = 0) -> None:
        self.facts = _facts(folder)
        _check_file(folder / GRAPH, self.facts)
        self._graph = _session(folder / GRAPH, threads)
        try:
            self._prepare(seed)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BundleError(f"{folder / POLICY} is not what `zoomrl export` writes ({error!r})") from error

    def _prepare(self, seed: int) -> None:
        facts = self.facts
        self._observations: dict[str, dict[str, Any]] = facts["observations"]
        self._stack = FrameStack(facts["frame_stack"])
        self._executor = make_executor(facts["executor"], facts["chunk_length"], facts["action"]["size"])
        self._low, self._high = (np.asarray(facts["action"][side], np.float32) for side in ("low", "high"))
        self._noise = [entry for entry in facts["inputs"] if entry["name"] not in self._observations]
        self._random = np.random.default_rng(seed)
        self._outputs = [entry["name"] for entry in facts["outputs"]]
        self._warned: set[str] = set()
        self.value: float | None = None
        self.replanned = False
        self.reset()

    def __repr__(self) -> str:
        return f"Policy({self.facts['agent']} for {self.facts['environment']['id']})"

    def another(self, seed: int = 0) -> Policy:
        """The same policy for one more environment: the networks are shared, chunks and stacks are not."""
        other = object.__new__(type(self))
        other.facts, other._graph = self.facts, self._graph
        other._prepare(seed)
        return other

    def reset(self) -> None:
        """Begin an episode: drop chunks in flight and stacked observations."""
        self._stack.reset()
        self.replan()
        self.value = None

    def replan(self) -> None:
        """Drop chunks in flight, as after a person has led the robot elsewhere; what was observed stays stacked."""
        self._executor.reset()

    def observe(self, observation: Mapping[str, Any] | NDArray[Any]) -> None:
        """Stack an observation without an action: of the steps between two calls of :meth:`chunk`.

        Args:
            observation: as for :meth:`act`.

        Raises:
            ObservationError: as :meth:`act`.
        """
        self._stack.push(self.read(observation))

    def act(self, observation: Mapping[str, Any] | NDArray[Any]) -> Floats:
        """Action for the newest observation.

        Args:
            observation: ``state`` [S] and ``rgb`` uint8 [V, H, W, 3], those that ``facts["observations"]`` lists. The
                state may also come as its entries by name, and images as the cameras show them, each under the name of
                its camera: they are then cropped and fitted as in training. Of a policy that observes one thing alone,
                this may come by itself.

        Returns:
            float32 [A], in the environment's units and within its bounds.

        Raises:
            ObservationError: something is missing, has another shape, or holds NaN or infinity.
            ActionError: the graph answers with NaN or infinity.
        """
        stacked = self._stack.push(self.read(observation))
        self.replanned = self._executor.needs_chunk()
        chunk = self.infer(stacked) if self.replanned else None
        return self._within(self._executor.step(chunk))

    def chunk(self, observation: Mapping[str, Any] | NDArray[Any]) -> Floats:
        """The whole action chunk for the newest observation, for programs that execute it themselves.

        Policies that stack frames (``facts["frame_stack"]`` above 1) need the observations in between, too: pass them
        to :meth:`observe`.

        Args:
            observation: as for :meth:`act`.

        Returns:
            float32 [T, A], in the environment's units and within its bounds.

        Raises:
            ObservationError, ActionError: as :meth:`act`.
        """
        return self._within(self.infer(self._stack.push(self.read(observation))))

    def _within(self, actions: Floats) -> Floats:
        if not np.isfinite(actions).all():
            raise ActionError(
                f"the graph answered with {actions.tolist()}: it is damaged, or its weights are not finite"
            )
        return np.clip(actions, self._low, self._high)

    def infer(self, stacked: Mapping[str, NDArray[Any]], noise: Mapping[str, NDArray[Any]] | None = None) -> Floats:
        """The action chunk [T, A] for stacked observations, in the environment's units, not clipped to its bounds.

        Args:
            stacked: ``state`` [F * S], ``rgb`` [F, V, H, W, 3].
            noise: as :meth:`sample_noise` gives it; None samples some.
        """
        feed = {name: array[None] for name, array in stacked.items()}
        feed |= self.sample_noise() if noise is None else noise
        found = dict(zip(self._outputs, self._graph.run(self._outputs, feed), strict=True))
        self.value = float(found["value"][0]) if "value" in found else None
        chunk: Floats = found["actions"][0]
        return chunk

    def sample_noise(self) -> dict[str, NDArray[Any]]:
        """What the graph takes besides observations: ``ties`` int64 [L, T, A], the bin to take where all values are
        equal; of policies that propose chunks, ``starts`` [N, 1, T, A], from which these begin."""
        return {entry["name"]: self._sampled(entry) for entry in self._noise}

    def _sampled(self, entry: Mapping[str, Any]) -> NDArray[Any]:
        if entry.get("noise") == "normal":
            return self._random.standard_normal(entry["shape"], np.float32)
        # Bundles that were written before inputs said it have ties alone.
        return self._random.integers(0, entry.get("below") or self.facts["grid"]["bins"], entry["shape"])

    # ---- observations --------------------------------------------------------------------------------------

    def read(self, observation: Mapping[str, Any] | NDArray[Any]) -> dict[str, NDArray[Any]]:
        """``observation``, in any form that :meth:`act` takes, as the arrays that are stacked; errors as there."""
        bare = "state" if "state" in self._observations else "rgb"
        given = observation if isinstance(observation, Mapping) else {bare: observation}
        found = {name: self._of(name, given) for name in self._observations}
        for name, array in found.items():
            expected = self._observations[name]
            if array.shape != tuple(expected["shape"]):
                raise ObservationError(f"{name!r} must have the shape {expected['shape']}, got {list(array.shape)}")
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                place = int(np.flatnonzero(~np.isfinite(array.ravel()))[0])
                raise ObservationError(f"{name!r} must be finite; number {place} of it is {array.ravel()[place]}")
        return found

    def _of(self, name: str, given: Mapping[str, Any]) -> NDArray[Any]:
        if name == "rgb":
            return self._rgb(given)
        entries = self._observations[name].get("entries") or []
        if name in given:
            array = _array(name, given[name])
        elif entries and all(entry["name"] in given for entry in entries):
            array = np.concatenate([self._entry(entry, given) for entry in entries])
        else:
            raise ObservationError(self._missing(name, given))
        if array.dtype.kind not in "fiub":
            raise ObservationError(f"{name!r} must be numbers, got {array.dtype}")
        with np.errstate(over="ignore"):  # refused as infinite
            return array.astype(np.float32, copy=False)

    @staticmethod
    def _entry(entry: Mapping[str, Any], given: Mapping[str, Any]) -> NDArray[Any]:
        part = _array(entry["name"], given[entry["name"]]).ravel()
        if len(part) != entry["size"]:
            raise ObservationError(f"{entry['name']!r} must hold {entry['size']} numbers, got {len(part)}")
        return part

    def _rgb(self, given: Mapping[str, Any]) -> NDArray[np.uint8]:
        about = self._observations["rgb"]
        shape, cameras = tuple(about["shape"]), about["cameras"]
        if "rgb" in given:
            array = _array("rgb", given["rgb"])
            if array.shape == shape and array.dtype == np.uint8:
                return array
            if array.dtype.kind == "f" and array.shape == shape:
                raise ObservationError(f"'rgb' must be uint8, 0 to 255, got {array.dtype}")
            if array.shape[:1] != (len(cameras),):
                array = array[None]
            if len(array) != len(cameras):
                raise ObservationError(f"'rgb' must have the shape {list(shape)}, got {list(np.shape(given['rgb']))}")
            images = list(array)
        elif all(camera in given for camera in cameras):
            images = [_array(camera, given[camera]) for camera in cameras]
        else:
            raise ObservationError(self._missing("rgb", given))
        return np.stack([self._fitted(view, image) for view, image in enumerate(images)])

    def _fitted(self, view: int, shown: NDArray[Any]) -> NDArray[np.uint8]:
        about = self._observations["rgb"]
        camera, size = about["cameras"][view], (about["shape"][1], about["shape"][2])
        crop = about["crop"][view] if about["crop"] else ()
        source = about["camera_sizes"][view] if about["camera_sizes"] else None
        try:
            image = as_rgb(shown)
            if source and image.shape[:2] != tuple(source) and (crop or about["fit"] == "none"):
                raise ValueError(f"its images must be {_by(source)}, as they were before, got {_by(image.shape)}")
            if source and _ratio(image.shape) != _ratio(source) and camera not in self._warned:
                self._warned.add(camera)
                said = f"camera {camera!r} shows {_by(image.shape)}, and showed {_by(source)} in training: another view"
                warnings.warn(said, stacklevel=2)
            return fit_image(image, size, about["fit"], crop)
        except ValueError as error:
            raise ObservationError(f"camera {camera!r}: {error}") from error

    def _missing(self, name: str, given: Mapping[str, Any]) -> str:
        expected = ", ".join(f"{key} {about['dtype']}{about['shape']}" for key, about in self._observations.items())
        parts = [entry["name"] for entry in self._observations[name].get("entries") or []]
        parts = [part for part in self._observations[name].get("cameras") or parts if part != name]
        instead = f", or in place of {name!r} its parts {', '.join(parts)}" if parts else ""
        came = ", ".join(map(str, given)) or "nothing"
        lacking = [part for part in parts if part not in given]
        missing = lacking if len(lacking) < len(parts) else [name]
        verb = "is" if len(missing) == 1 else "are"
        return f"{', '.join(map(repr, missing))} {verb} missing: the policy expects {expected}{instead}, got {came}"


def _ratio(size: Sequence[int]) -> float:
    return round(size[0] / size[1], 2)


def _array(name: str, value: Any) -> NDArray[Any]:
    try:
        return np.asarray(value)
    except ValueError as error:  # lists of unequal lengths
        raise ObservationError(f"{name!r} must be an array: {error}") from error


def _facts(folder: Path) -> dict[str, Any]:
    path = folder / POLICY
    try:
        content = path.read_bytes()
        facts = json.loads(content)
    except (OSError, ValueError) as error:
        raise BundleError(f"{folder} holds no bundle: {path} cannot be read ({error})") from error
    seal = _SEAL.search(content)
    if seal and hashlib.sha256(content[: seal.start()] + b"\n}\n").hexdigest().encode() != seal[1]:
        raise BundleError(
            f"{path} was changed since it was exported: its content does not match the checksum in its last line. "
            "Export it again; if you changed it on purpose, remove that line and the comma before it"
        )
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise BundleError(f"{folder} holds no bundle: {path} is not one of `zoomrl export`")
    if facts.get("version") != VERSION:
        raise BundleError(f"{folder} is a bundle of version {facts.get('version')}; this reads version {VERSION}")
    return facts


def _check_file(path: Path, facts: Mapping[str, Any]) -> None:
    """BundleError where ``path`` is not the file that was exported with ``facts``; bundles of before do not say."""
    wanted = (facts.get("files") or {}).get(path.name)
    if wanted and path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() != wanted:
        raise BundleError(f"{path} is damaged, or of another bundle than {POLICY} next to it: copy or export it again")


def _session(path: Path, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise BundleError(f"onnxruntime cannot be imported ({error}): pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # Waiting threads would take a core that the robot's own programs need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own kinds are not public
        raise BundleError(f"{path} cannot be loaded: {error}") from error


# ---- from action chunks to actions -------------------------------------------------------------------------


class Executor(Protocol):
    """Turns a stream of action chunks into one action per agent step."""

    def reset(self) -> None:
        """Forget the chunks."""

    def needs_chunk(self) -> bool:
        """Whether a chunk is needed before the next action."""

    def step(self, chunk: Floats | None) -> Floats:
        """The next action [A], once ``chunk`` [T, A] is taken where one is needed."""


class TemporalEnsemble:
    """The mean of all chunks that cover the current step, with weights exp(-gain * rank) (ACT; CQN-AS, section 3.3).

    Args:
        chunk_length, action_dim: T, A.
        gain: decay of the weights by rank.
        favours: rank 0 is the ``oldest`` or the ``newest`` prediction that is available.
    """

    def __init__(self, chunk_length: int, action_dim: int, gain: float, favours: str) -> None:
        self._chunks = np.zeros((chunk_length, chunk_length, action_dim), np.float32)
        age = np.arange(chunk_length)
        rank = chunk_length - 1 - age if favours == "oldest" else age
        self._age, self._log_weight = age, (-gain * rank).astype(np.float32)
        self._count = 0

    def reset(self) -> None:
        """Forget the chunks."""
        self._count = 0

    def needs_chunk(self) -> bool:
        """At every step."""
        return True

    def step(self, chunk: Floats | None) -> Floats:
        """Add the newest chunk and average."""
        # The chunk of age k lies in row k, and its action k is for now.
        self._chunks[1:] = self._chunks[:-1]
        self._chunks[0] = chunk
        self._count = min(self._count + 1, len(self._chunks))
        age, log_weight = self._age[: self._count], self._log_weight[: self._count]
        weight = np.exp(log_weight - log_weight.max())
        action: Floats = (weight / weight.sum()) @ self._chunks[age, age]
        return action


class RecedingHorizon:
    """The first ``replan_every`` actions of each chunk; with the chunk length this is open loop."""

    def __init__(self, replan_every: int) -> None:
        self._every, self._left = replan_every, 0
        self._chunk: Floats | None = None

    def reset(self) -> None:
        """Forget the chunk."""
        self._left = 0

    def needs_chunk(self) -> bool:
        """Once the chunk is used up."""
        return self._left == 0

    def step(self, chunk: Floats | None) -> Floats:
        """The chunk's next action."""
        if self._left == 0:
            self._chunk, self._left = chunk, self._every
        assert self._chunk is not None
        action: Floats = self._chunk[self._every - self._left]
        self._left -= 1
        return action


def make_executor(about: Mapping[str, Any], chunk_length: int, action_dim: int) -> Executor:
    """The executor that a bundle names."""
    if about["name"] == "temporal_ensemble":
        return TemporalEnsemble(chunk_length, action_dim, about["gain"], about["favours"])
    return RecedingHorizon(about["replan_every"])


class FrameStack:
    """The last ``size`` observations, oldest first; the first one of an episode fills the stack."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._frames: dict[str, list[NDArray[Any]]] = {}

    def reset(self) -> None:
        self._frames = {}

    def push(self, observation: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Vectors [S] as [F * S], other arrays as [F, ...]."""
        stacked = {}
        for name, array in observation.items():
            # A copy: who calls may write the next observation into the same memory.
            frames = self._frames.get(name) or [np.array(array)] * self._size
            self._frames[name] = [*frames[1:], np.array(array)]
            stacked[name] = (np.concatenate if array.ndim == 1 else np.stack)(self._frames[name])
        return stacked


# ---- images ------------------------------------------------------------------------------------------------


def fit_image(shown: Any, size: Size, fit: str = "none", crop: Sequence[int] = ()) -> NDArray[np.uint8]:
    """What a camera shows, as an image of the run: its colours (:func:`as_rgb`), then the crop, then the size.

    Args:
        shown: an image in any form that :func:`as_rgb` reads.
        size: height and width wanted.
        fit: ``stretch`` resizes to ``size``. ``letterbox`` resizes to the largest image of the same aspect ratio that
            ``size`` holds, in the middle of black. ``crop`` cuts the largest part with the aspect ratio of ``size`` out
            of the middle, and resizes that. ``none`` takes images that have ``size`` alone.
        crop: (top, left, height, width) of the part that is kept before; () for the whole.

    Returns:
        uint8 [H, W, 3]; may be a view of ``shown``. Sizes are rounded to whole pixels, halves up; where an odd number
        of rows or columns is added or cut off, the larger part is at the bottom or on the right.

    Raises:
        ValueError: it is no image, the crop reaches beyond it, or its size is another and ``fit`` is ``none``.
    """
    image = as_rgb(shown)
    if crop:
        top, left = crop[:2]
        height, width = cropped_size((image.shape[0], image.shape[1]), crop)
        image = image[top : top + height, left : left + width]
    if image.shape[:2] == size:
        return image
    if fit == "stretch":
        return resized(image, size)
    if fit == "crop":
        height, width = middle(image.shape[:2], size)
        top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
        return resized(image[top : top + height, left : left + width], size)
    if fit == "letterbox":
        height, width = within(image.shape[:2], size)
        top, left = (size[0] - height) // 2, (size[1] - width) // 2
        framed = np.zeros((*size, 3), np.uint8)
        framed[top : top + height, left : left + width] = resized(image, (height, width))
        return framed
    raise ValueError(
        f"an image of {_by(image.shape)} pixels came where {_by(size)} are expected, and no image_fit says how it "
        "becomes one: choose stretch, letterbox or crop, or show images of that size"
    )


def as_rgb(shown: Any) -> NDArray[np.uint8]:
    """What a camera shows as uint8 [H, W, 3]; may be a view of it.

    Taken are [H, W], [H, W, C] and [C, H, W] with 1, 3 or 4 channels: grey is repeated and an alpha channel left out.
    Of shapes that could be both, such as [3, 3, 3], the last axis holds the channels (:func:`channel_axis`). Bytes and
    other integers are levels from 0 to 255, floating-point numbers from 0 to 1, truth values black and white.

    Raises:
        ValueError: for anything else; says what came.
    """
    array = np.asarray(shown)
    came = f"{array.dtype}{list(array.shape)}" if array.ndim else type(shown).__name__
    axis = channel_axis(array.shape)
    if array.ndim == 2:
        array, axis = array[..., None], -1
    if axis is None or not array.size or array.dtype.kind not in "buif":
        raise ValueError(
            f"an image is [H, W], [H, W, C] or [C, H, W] with 1, 3 or 4 channels and at least one pixel, got {came}"
        )
    if axis == 0:
        array = np.moveaxis(array, 0, -1)
    if array.dtype != np.uint8:
        array = levels(array, f"an image came as {came}", 1 if array.dtype.kind == "f" else 255)
    return np.broadcast_to(array[..., :3], (*array.shape[:2], 3))


def channel_axis(shape: Sequence[int]) -> int | None:
    """The axis of the channels of an image of three axes: -1 or 0, or None where there are none.

    1 and 3 channels are looked for before 4, each first in the last axis: [3, 480, 4] is an image of 480 x 4 pixels.
    """
    if len(shape) != 3:
        return None
    for channels in ((1, 3), (4,)):
        for axis in (-1, 0):
            if shape[axis] in channels:
                return axis
    return None


def levels(array: NDArray[Any], came: str, most: int = 255, *, fraction: bool = True) -> NDArray[np.uint8]:
    """Grey levels 0 to 255 of an image's values: of floating-point numbers up to 1, truth values or integers.

    Without ``fraction``, floating-point numbers up to 1 are levels themselves, nearly black ones.

    Raises:
        ValueError: for values below 0 or above ``most``; ``came`` says what the image is.
    """
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= most):  # also NaN
        raise ValueError(f"{came} with values from {low:g} to {high:g}, not from 0 to {most}")
    unit = array.dtype.kind == "b" or (fraction and array.dtype.kind == "f" and high <= 1)
    return np.rint(array * np.float64(255 if unit else 1)).astype(np.uint8)


def resized(image: NDArray[np.uint8], size: Size, *, repeat: bool = False) -> NDArray[np.uint8]:
    """``image`` [H, W, 3] at ``size``: each pixel the mean of those it covers where neither side grows.

    Otherwise pixels are interpolated linearly (where a side shrinks, over all that a pixel covers); with ``repeat``
    they are repeated. Pillow does it where it is installed, and is several times faster; the bytes are the same.
    Pillow is asked for one side at a time: which it takes first, and so its rounding, depends on its version.
    """
    if image.shape[:2] == size:
        return image
    box = repeat or (image.shape[0] >= size[0] and image.shape[1] >= size[1])
    try:
        from PIL import Image
    except ImportError:
        return resampled(image, size, box)
    method = Image.Resampling.BOX if box else Image.Resampling.BILINEAR
    wider = Image.fromarray(np.ascontiguousarray(image)).resize((size[1], image.shape[0]), method)
    return np.asarray(wider.resize((size[1], size[0]), method))


def resampled(image: NDArray[np.uint8], size: Size, box: bool) -> NDArray[np.uint8]:
    """``image`` [H, W, C] at ``size`` by weights of 22 bits, along its width and then its height, as Pillow has it.

    Args:
        image: to resize.
        size: height and width wanted.
        box: weights are equal over the pixels that a new one covers; else they fall linearly from its centre.
    """
    for axis in (1, 0):
        if image.shape[axis] == size[axis]:
            continue
        first, weights = _weights(image.shape[axis], size[axis], box)
        rows = np.moveaxis(image, axis, 0)
        total = np.full((size[axis], *rows.shape[1:]), 1 << 21, np.int64)
        for offset in range(weights.shape[1]):
            part = rows[np.minimum(first + offset, len(rows) - 1)]
            total += part * weights[:, offset, None, None]
        image = np.moveaxis(np.clip(total >> 22, 0, 255).astype(np.uint8), 0, axis)
    return np.ascontiguousarray(image)


def _weights(source: int, target: int, box: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first pixel that each of ``target`` new ones reads [target], and the weights of all it reads [target, n]."""
    scale = source / target
    stretch = max(scale, 1.0)
    support = (0.5 if box else 1.0) * stretch
    found = []
    for index in range(target):
        centre = (index + 0.5) * scale
        first, end = max(0, int(centre - support + 0.5)), min(source, int(centre + support + 0.5))
        at = (np.arange(first, end) - centre + 0.5) * (1.0 / stretch)
        weight = ((at > -0.5) & (at <= 0.5)).astype(np.float64) if box else np.maximum(0.0, 1.0 - np.abs(at))
        found.append((first, np.floor(0.5 + weight / sum(weight) * (1 << 22)).astype(np.int64)))
    weights = np.zeros((target, max(len(weight) for _, weight in found)), np.int64)
    for index, (_, weight) in enumerate(found):
        weights[index, : len(weight)] = weight
    return np.array([first for first, _ in found]), weights


def cropped_size(source: Size, crop: Sequence[int]) -> Size:
    """The size of an image after its crop; ValueError where that reaches beyond ``source``, or there are no pixels."""
    if min(source) < 1:
        raise ValueError(f"an image has at least one pixel, got {_by(source)}")
    if not crop:
        return source
    top, left, height, width = crop
    if min(top, left) < 0 or min(height, width) < 1 or top + height > source[0] or left + width > source[1]:
        raise ValueError(
            f"the crop of {_by((height, width))} pixels from row {top}, column {left} must lie within the image, which "
            f"has {_by(source)} (height x width). image_crop is top, left, height and width"
        )
    return height, width


def middle(source: Sequence[int], size: Size) -> Size:
    """The largest part of ``source`` that has the aspect ratio of ``size``."""
    height, width = source[:2]
    if width * size[0] > height * size[1]:
        return height, min(width, max(1, _rounded(height * size[1], size[0])))
    return min(height, max(1, _rounded(width * size[0], size[1]))), width


def within(source: Sequence[int], size: Size) -> Size:
    """The largest size with the aspect ratio of ``source`` that ``size`` holds."""
    height, width = source[:2]
    if width * size[0] > height * size[1]:
        return max(1, _rounded(height * size[1], width)), size[1]
    return size[0], max(1, _rounded(width * size[0], height))


def _rounded(numerator: int, denominator: int) -> int:
    """The quotient, rounded, halves up: whole numbers alone, the same everywhere."""
    return (2 * numerator + denominator) // (2 * denominator)


def _by(size: Sequence[int]) -> str:
    return f"{size[0]} x {size[1]}"
