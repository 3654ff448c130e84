"""How fast an environment is: agent steps with and without images, resets, and its own image."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import count

import numpy as np

from zoomrl.envs.base import Env
from zoomrl.envs.check.base import Check, actions_of
from zoomrl.envs.config import EnvConfig
from zoomrl.errors import ConfigError

SECONDS = 2.0
"""Time that one measurement may take."""
_GROUP = "speed"
_RESETS = 5


def check_speed(
    config: EnvConfig, env: Env, make: Callable[[EnvConfig], Env], steps: int, sizes: tuple[int, ...]
) -> Iterator[Check]:
    """Measure without images, then with the cameras of ``config`` at each of ``sizes``.

    Args:
        config: of the environment.
        env: built from it; left where the last episode ended.
        make: builds others.
        steps: most agent steps per measurement.
        sizes: of the images, in pixels; none for ``config.image_size``.
    """
    yield _render(env)
    if not config.cameras:
        # Some environments show images of themselves without being asked.
        yield _measured(env, "with its own images" if env.env_spec.cameras else "without images", steps)
        return
    plain = replace(config, cameras=(), state="auto" if config.state == "none" else config.state)
    try:
        with closing(make(plain)) as other:
            yield _measured(other, "without images", steps)
    except ConfigError as error:
        yield Check(_GROUP, "without images", "note", f"it has no form without images: {error}")
    views = f"{len(config.cameras)} camera{'s' * (len(config.cameras) > 1)}"
    for size in sizes or (config.image_size,):
        try:
            with closing(make(replace(config, image_size=size))) as other:
                yield _measured(other, f"{views}, {size}x{size}", steps)
        except ConfigError as error:
            yield Check(_GROUP, f"{views}, {size}x{size}", "note", f"it has no images of this size: {error}")


def _measured(env: Env, name: str, steps: int) -> Check:
    rate, per_reset = _rate(env, steps), _reset_ms(env)
    return Check(_GROUP, name, "ok", f"{rate:,.0f} agent steps per second, {per_reset:.1f} ms per reset")


def _rate(env: Env, steps: int) -> float:
    env.reset(seed=0)  # renderers are built at the first image: before measuring
    done, spent = 0, 0.0
    for action in actions_of(env, 0):
        began = time.perf_counter()
        _, _, terminated, truncated, _ = env.step(action)
        spent += time.perf_counter() - began
        done += 1
        if done == steps or spent > SECONDS:
            break
        if terminated or truncated:
            env.reset(seed=done)
    return done / max(spent, 1e-9)


def _reset_ms(env: Env) -> float:
    began = time.perf_counter()
    for done in count(1):
        env.reset(seed=done)
        spent = time.perf_counter() - began
        if done == _RESETS or spent > SECONDS:
            break
    return 1e3 * spent / done


def _render(env: Env) -> Check:
    try:
        image = env.render()
    except Exception as error:  # simulators raise what they like; only videos need this
        return Check("zoomrl", "render", "note", f"renders nothing, so that there are no videos: {error}")
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape[2:] != (3,):
        text = f"render returned {getattr(image, 'dtype', type(image).__name__)}{list(np.shape(image))}"
        return Check("zoomrl", "render", "warning", text, "return uint8 [H, W, 3]")
    return Check("zoomrl", "render", "ok", f"{image.shape[1]}x{image.shape[0]} pixels")
