"""Images of a set that was recorded as its cameras show them, fitted as an environment fits its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from zoomrl.data.episode import Episode
from zoomrl.demos.store.reader import DemoSet
from zoomrl.envs.camera import fittings
from zoomrl.runtime import fit_image
from zoomrl.spec import EnvSpec


def can_fit(recorded: EnvSpec, spec: EnvSpec) -> bool:
    """Whether images of ``recorded`` are as cameras show them, and become those of ``spec`` by its crop and fit.

    They are where the set has not fitted them, shows the same cameras, and that at the size which they have in the
    environment. Where nothing is cropped, another size will do, if it is not that of the run: a crop is counted in the
    pixels of the cameras.
    """
    ours, theirs = recorded.observations.get("rgb"), spec.observations.get("rgb")
    if ours is None or theirs is None or recorded.fits_images or not spec.fits_images:
        return False
    if recorded.cameras != spec.cameras or ours.dtype != theirs.dtype:
        return False
    height, width = ours.shape[1:3]
    if spec.image_crop:
        return set(spec.camera_sizes) == {(height, width)}
    return ours.shape != theirs.shape


def fit_spec(recorded: EnvSpec, spec: EnvSpec) -> EnvSpec:
    """``recorded`` with images as those of ``spec``, where :func:`can_fit` says so; unchanged otherwise."""
    if not can_fit(recorded, spec):
        return recorded
    return replace(
        recorded,
        observations={**recorded.observations, "rgb": spec.observations["rgb"]},
        image_fit=spec.image_fit,
        image_crop=spec.image_crop,
        camera_sizes=spec.camera_sizes,
    )


def fit_set(demos: DemoSet, spec: EnvSpec) -> DemoSet:
    """``demos`` with images fitted as those of ``spec``, where :func:`can_fit` says so; unchanged otherwise."""
    if not can_fit(demos.spec, spec):
        return demos
    episodes = [_fitted(episode, spec) for episode in demos.episodes]
    return replace(demos, spec=fit_spec(demos.spec, spec), episodes=episodes)


def _fitted(episode: Episode, spec: EnvSpec) -> Episode:
    frames = episode.observations["rgb"]
    rgb = np.empty((len(frames), *spec.observations["rgb"].shape), np.uint8)
    for view, fitting in enumerate(fittings(spec)):
        for image, frame in zip(rgb[:, view], frames[:, view], strict=True):
            image[:] = fit_image(frame, fitting.size, fitting.fit, fitting.crop)
    return replace(episode, observations={**episode.observations, "rgb": rgb})
