"""Images of the steps shown: rendered while the policy acts, of the recording itself, or rendered in its replay."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zoomrl.data.episode import Episode
from zoomrl.demos.check.rollout import difference
from zoomrl.demos.view.content import views
from zoomrl.envs.image import as_image
from zoomrl.envs.vector.base import VectorEnv
from zoomrl.errors import ZoomrlError
from zoomrl.spec import EnvSpec
from zoomrl.training.video import in_one_line, probe_image

MAX_SIDE = 256
"""Height and width that images are shrunk to."""
MAX_CAMERAS = 4
"""Cameras of a recording that are shown."""
Cameras = tuple[tuple[str, NDArray[np.uint8]], ...]
"""Name and images [S, H, W, 3] of each."""


class Renderer:
    """Renders environment 0, until that fails for the first time.

    Args:
        envs: of which the first is rendered; it is reset.
        seed: of that reset.

    Attributes:
        problem: why there are no images, in one line; empty so far.
    """

    def __init__(self, envs: VectorEnv, seed: int) -> None:
        self._envs = envs
        probed = probe_image(envs, seed)
        self.problem = probed if isinstance(probed, str) else ""
        self._shape: tuple[int, ...] | None = None

    def take(self) -> NDArray[np.uint8] | None:
        """An image [H, W, 3] of now, shrunk to :data:`MAX_SIDE`; None with a :attr:`problem`."""
        if self.problem:
            return None
        try:
            image = shrunk(as_image(self._envs.render(0)))
        except (Exception, SystemExit) as error:  # renderers raise what they like
            self.problem = in_one_line(error)
            return None
        if self._shape not in (None, image.shape):
            self.problem = "the renderer changed the size of its images"
            return None
        self._shape = image.shape
        return image

    def replayed(self, episode: Episode, at: NDArray[np.int64]) -> tuple[Cameras, str]:
        """Images of the steps ``at`` of a recorded episode, whose actions are executed from a reset with its seed.

        Returns:
            The images; without any, why: the seed is unknown, or the simulator shows other states than the recording.
        """
        if self.problem:
            return (), f"no video: {self.problem}"
        if episode.seed < 0:
            return (), "no video: the recording holds no images, and no seed to replay it with"
        wanted: set[int] = set(at.tolist())
        images: list[NDArray[np.uint8]] = []
        try:
            shown, _ = self._envs.reset(0, episode.seed)
            for step in range(len(episode)):
                if not _alike(episode, step, shown):
                    return (), f"no video: replayed with its seed, the simulator shows another state at step {step}"
                if step in wanted and (image := self.take()) is not None:
                    images.append(image)
                shown = {name: array[0] for name, array in self._envs.step(episode.actions[step][None]).obs.items()}
        except ZoomrlError as error:
            return (), f"no video: it cannot be replayed: {in_one_line(error)}"
        if len(images) < len(wanted):
            return (), f"no video: {self.problem}"
        return (("replayed with its seed", np.stack(images)),), ""


def observed_views(shown: Mapping[str, NDArray[Any]], spec: EnvSpec) -> dict[str, NDArray[np.uint8]]:
    """The images that an observation holds, by camera."""
    images = shown["rgb"][:MAX_CAMERAS] if spec.cameras and "rgb" in shown else ()
    return dict(zip(spec.cameras, map(shrunk, images), strict=False))


def recorded_views(episode: Episode, spec: EnvSpec, at: NDArray[np.int64]) -> tuple[Cameras, str]:
    """Images of the steps ``at`` that the recording holds, and what is left out."""
    found = list(views(episode, spec))
    kept = found[:MAX_CAMERAS]
    # Together they take as much as one of a video.
    side = int(MAX_SIDE / math.sqrt(max(1, len(kept))))
    cameras = tuple((name, np.stack([shrunk(images[step], side) for step in at])) for name, images in kept)
    return cameras, f"the first {MAX_CAMERAS} of {len(found)} views are shown" if len(found) > MAX_CAMERAS else ""


def shrunk(image: NDArray[np.uint8], side: int = MAX_SIDE) -> NDArray[np.uint8]:
    """``image`` [H, W, 3], no higher or wider than ``side``."""
    factor = side / max(image.shape[:2])
    if factor >= 1:
        return image
    height, width = (max(1, round(length * factor)) for length in image.shape[:2])
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize((width, height), Image.Resampling.BOX))


def _alike(episode: Episode, step: int, shown: dict[str, NDArray[np.generic]]) -> bool:
    """Whether the simulator shows the recorded state."""
    return not any(difference(rows[step], np.asarray(shown[name]))[1] for name, rows in episode.observations.items())
