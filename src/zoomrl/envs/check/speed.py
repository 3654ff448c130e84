"""How fast an environment is: decisions with and without pictures, resets, and its own picture."""

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
    """Measure without pictures, then with the cameras of ``config`` at each of ``sizes``.

    Args:
        config: of the environment.
        env: built from it; left where the last episode ended.
        make: builds others.
        steps: most decisions per measurement.
        sizes: of the pictures, in pixels; none for ``config.image_size``.
    """
    yield _render(env)
    if not config.cameras:
        # Some environments show pictures of themselves without being asked.
        yield _measured(env, "with its own pictures" if env.env_spec.cameras else "without pictures", steps)
        return
    plain = replace(config, cameras=(), state="auto" if config.state == "none" else config.state)
    try:
        with closing(make(plain)) as other:
            yield _measured(other, "without pictures", steps)
    except ConfigError as error:
        yield Check(_GROUP, "without pictures", "note", f"it has no form without pictures: {error}")
    views = f"{len(config.cameras)} camera{'s' * (len(config.cameras) > 1)}"
    for size in sizes or (config.image_size,):
        try:
            with closing(make(replace(config, image_size=size))) as other:
                yield _measured(other, f"{views}, {size}x{size}", steps)
        except ConfigError as error:
            yield Check(_GROUP, f"{views}, {size}x{size}", "note", f"it has no images of this size: {error}")


def _measured(env: Env, name: str, steps: int) -> Check:
    rate, per_reset = _rate(env, steps), _reset_ms(env)
    return Check(_GROUP, name, "ok", f"{rate:,.0f} decisions per second, {per_reset:.1f} ms per reset")


def _rate(env: Env, steps: int) -> float:
    env.reset(seed=0)  # renderers are built at the first picture: before measuring
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
        picture = env.render()
    except Exception as error:  # simulators raise what they like; only films need this
        return Check("zoomrl", "render", "note", f"draws nothing, so that there are no films: {error}")
    if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8 or picture.shape[2:] != (3,):
        text = f"render returned {getattr(picture, 'dtype', type(picture).__name__)}{list(np.shape(picture))}"
        return Check("zoomrl", "render", "warning", text, "return uint8 [H, W, 3]")
    return Check("zoomrl", "render", "ok", f"{picture.shape[1]}x{picture.shape[0]} pixels")
