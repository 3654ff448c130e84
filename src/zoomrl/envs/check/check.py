"""Examining an environment: how it is built, whether it keeps the contract, whether it repeats, how fast it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import gymnasium

from zoomrl.envs.base import Env
from zoomrl.envs.check.base import Check, Subject, guarded
from zoomrl.envs.check.contract import check_contract
from zoomrl.envs.check.seeds import check_seeds, generators_kept
from zoomrl.envs.check.spaces import (
    check_actions_space,
    check_contract_shapes,
    check_images,
    check_observation_space,
    check_options,
)
from zoomrl.envs.check.speed import check_speed
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.registry import make_env
from zoomrl.envs.suites.gym.env import can_render as renders
from zoomrl.errors import ConfigError
from zoomrl.plugins import import_named

__all__ = ["Check", "check_env"]

_SEED = 1
_SEED_STEPS = 100
_RAW = "as written"
_OURS = "zoomrl"


@generators_kept()
def check_env(
    config: EnvConfig | str,
    *,
    steps: int = 1000,
    sizes: tuple[int, ...] = (),
    make: Callable[[EnvConfig], Env] = make_env,
) -> list[Check]:
    """Examine the environment of ``config``.

    A Gymnasium environment is examined as its author wrote it, before zoomrl adapts it; the others as zoomrl shows
    them. What an environment raises is an error among the checks, and the others go on. The global generators of numpy
    and Python are left as they were.

    Args:
        config: which environment, and its options; or its id alone.
        steps: most agent steps per episode, and per measurement of speed.
        sizes: of images whose speed is measured, in pixels; needs cameras.
        make: builds an environment.

    Returns:
        What was looked at, in order, each with ``group``, ``name``, ``status`` ("ok", "note", "warning" or "error"),
        ``detail`` (what was found), ``fix`` (what to change) and ``trace`` (of an exception).

    Raises:
        ConfigError: for less than one step, or sizes without cameras.
    """
    if isinstance(config, str):
        config = EnvConfig(id=config)
    if steps < 1:
        raise ConfigError(f"steps must be at least 1, got {steps}")
    if sizes and not config.cameras:
        raise ConfigError("sizes of images need cameras to take them: add --env.cameras")
    config = replace(config, num_envs=1, workers="serial")
    domain, _, name = config.id.partition(":")
    if domain == "rlbench" and not config.python and make is make_env:
        # CoppeliaSim runs once per process, and several instances are compared.
        config = replace(config, python=sys.executable, timeout=max(config.timeout, 300.0))
    found: list[Check] = []
    subjects: list[Subject] = []
    if domain == "gym" and not config.python:  # that one can be seen from inside the other interpreter alone
        found += guarded(_RAW, "construction", lambda: _build_raw(name, config, subjects), _import_hint(name))
    found += guarded(_OURS, "construction", lambda: _build_ours(config, make, subjects))
    try:
        if subjects:
            found += _examine(subjects[0], steps)
        usable = [subject.env for subject in subjects if isinstance(subject.env, Env)]
        for env in usable:
            found += guarded(_OURS, "spec", partial(check_contract_shapes, env))
            found += guarded(_OURS, "images", partial(check_images, env))
            found += guarded(_OURS, "options", partial(check_options, config, env))
            found += guarded("speed", "measurement", partial(check_speed, config, env, make, steps, sizes))
    finally:
        for subject in subjects:
            found += guarded(subject.group, "close", partial(_close, subject))
    order = [_RAW, _OURS, "speed"]
    return sorted(found, key=lambda check: order.index(check.group))


def _examine(subject: Subject, steps: int) -> list[Check]:
    group = subject.group
    found = guarded(group, "action space", lambda: check_actions_space(subject))
    if group == _RAW:
        found += guarded(group, "observation space", lambda: check_observation_space(subject))
    contract = guarded(group, "contract", lambda: check_contract(subject, steps, _SEED))
    found += contract
    # What cannot be run cannot be run twice.
    if not any(check.status == "error" and check.name in ("contract", "reset", "step", "info") for check in contract):
        found += guarded(group, "seeds", lambda: check_seeds(subject, min(steps, _SEED_STEPS), _SEED))
    return found


def _build_ours(config: EnvConfig, make: Callable[[EnvConfig], Env], subjects: list[Subject]) -> Iterator[Check]:
    began = time.perf_counter()
    env = make(config)
    yield Check(_OURS, "construction", "ok", f"{env.env_spec.id} built in {time.perf_counter() - began:.2f} s")
    subjects.append(Subject(env, lambda: make(config), env.env_spec.time_limit, False, _OURS))


def _build_raw(name: str, config: EnvConfig, subjects: list[Subject]) -> Iterator[Check]:
    module, _, registered = name.rpartition(":")
    if module:
        import_named(module)
    spec = gymnasium.spec(registered)

    def build() -> gymnasium.Env[Any, Any]:
        options: dict[str, Any] = {"max_episode_steps": -1, "disable_env_checker": True}
        if renders(spec.id):
            options["render_mode"] = "rgb_array"
        return gymnasium.make(registered, **options)

    began = time.perf_counter()
    env = build()
    yield Check(_RAW, "construction", "ok", f"{spec.id} built in {time.perf_counter() - began:.2f} s")
    limit = config.time_limit if spec.max_episode_steps is None else spec.max_episode_steps
    subjects.append(Subject(env, build, limit, True, _RAW))


def _close(subject: Subject) -> Iterator[Check]:
    subject.env.close()
    yield from ()


def _import_hint(name: str) -> str:
    return "" if ":" in name else f"where a package registers it, name that first: gym:package:{name}"
