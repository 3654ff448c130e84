"""Whether a seed decides an episode, and nothing else does."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from zoomrl.envs.check.base import Check, Subject, actions_of, leaves
from zoomrl.envs.isolation.env import IsolatedEnv

_OWN = "sample from self.np_random, which super().reset(seed=seed) seeds"
_TOGETHER = 3
"""Steps that are run while another instance is reset and stepped."""
Record = list[dict[str, NDArray[Any]]]
"""Observation and reward of each step, the reset first."""


def check_seeds(subject: Subject, steps: int, seed: int) -> Iterator[Check]:
    """Replay the same actions: with the same seed, other global generators, another instance, another seed.

    Args:
        subject: the environment; left where the last episode ended.
        steps: most actions per episode.
        seed: of the episodes.
    """
    env, group = subject.env, subject.group
    actions = list(islice(actions_of(env, seed), steps))
    first = _run(env, seed, actions, 1)
    if gap := _difference(first, _run(env, seed, actions, 1)):
        yield Check(group, "same seed", "error", f"run twice with one seed and the same actions, {gap}", _OWN)
        return
    yield Check(group, "same seed", "ok", f"{len(first) - 1} steps repeat bit for bit")
    tied = ""
    if isinstance(env, IsolatedEnv):
        yield Check(group, "global generators", "note", "not looked at: the simulator runs in another process")
    elif tied := _difference(first, _run(env, seed, actions, 2)):
        text = f"depends on the global generators of numpy or Python: with others, {tied}"
        yield Check(group, "global generators", "error", text, _OWN)
    elif touched := _touched(env, seed, actions[:1]):
        text = f"{touched} changes numpy's global generator: what else samples from it is tied to the environment"
        yield Check(group, "global generators", "note", text, _OWN)
    else:
        yield Check(group, "global generators", "ok", "neither read nor changed")
    yield _second(subject, seed, actions, first, together=not tied)
    other = _run(env, seed + 1, [], 1)
    if _difference(first[:1], other):
        yield Check(group, "other seed", "ok", "another seed begins another episode")
    else:
        text = "another seed begins the same episode: nothing is random at reset"
        yield Check(group, "other seed", "note", text, f"where it should be: {_OWN}")


@contextmanager
def generators_kept() -> Iterator[None]:
    """Put numpy's and Python's global generators back as they were."""
    before = np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        np.random.set_state(before[0])
        random.setstate(before[1])


def _second(subject: Subject, seed: int, actions: list[Any], first: Record, *, together: bool) -> Check:
    env = subject.build()
    try:
        gap = _difference(first, _run(env, seed, actions, 1))
        mixed = ""
        if together:  # not where both sample from one global generator: that is said already
            mixed = _difference(first[: _TOGETHER + 1], _run_interleaved(subject.env, env, seed, actions[:_TOGETHER]))
    finally:
        with suppress(Exception):  # another check closes the first, and says what that raises
            env.close()
    if gap:
        text = f"another instance runs another episode for the same seed: {gap}"
        fix = "let an episode depend on its seed alone, not on what was sampled when the environment was built"
        return Check(subject.group, "second instance", "error", text, fix)
    if mixed:
        text = f"two instances share state: where the other is reset and stepped in between, {mixed}"
        fix = "keep what an episode needs in the instance: not in its class or module, nor in a simulator of both"
        return Check(subject.group, "second instance", "error", text, fix)
    return Check(subject.group, "second instance", "ok", "runs the same episode")


def _run(env: gymnasium.Env[Any, Any], seed: int, actions: list[Any], generators: int) -> Record:
    _seed_globals(generators)
    seen, _ = env.reset(seed=seed)
    record = [{name: np.array(array) for name, array in leaves(seen).items()}]
    for action in actions:
        step, over = _stepped(env, action)
        record.append(step)
        if over:
            break
    return record


def _stepped(env: gymnasium.Env[Any, Any], action: Any) -> tuple[dict[str, NDArray[Any]], bool]:
    """Observation and reward of a step, and whether the episode ended."""
    seen, reward, terminated, truncated, _ = env.step(_copy(action))
    shown = {name: np.array(array) for name, array in leaves(seen).items()}
    shown |= {"reward": np.asarray(reward), "flags": np.asarray([terminated, truncated])}
    return shown, bool(terminated or truncated)


def _run_interleaved(
    env: gymnasium.Env[Any, Any], other: gymnasium.Env[Any, Any], seed: int, actions: list[Any]
) -> Record:
    """What ``env`` returns while ``other`` runs an episode of another seed in between."""
    record = _run(env, seed, [], 1)
    _run(other, seed + 1, actions[:1], 1)
    for action in actions:
        step, over = _stepped(env, action)
        record.append(step)
        if over:
            break
        other.reset(seed=seed + 1)
    return record


def _difference(one: Record, two: Record) -> str:
    """The first place where two records are not the same bits; empty when there is none."""
    for row, (a, b) in enumerate(zip(one, two, strict=False)):
        when = f"step {row - 1}" if row else "the reset"
        for name in a:
            if name not in b or a[name].tobytes() != b[name].tobytes():
                return f"{when} differs in {name!r}"
    return (
        "" if len(one) == len(two) else f"one episode ends after {min(len(one), len(two)) - 1} steps, the other later"
    )


def _touched(env: gymnasium.Env[Any, Any], seed: int, actions: list[Any]) -> str:
    """Which of reset and step changes numpy's global generator; empty for neither."""
    _seed_globals(3)
    before = _state()
    env.reset(seed=seed)
    if _state() != before:
        return "reset"
    for action in actions:
        env.step(_copy(action))
    return "step" if _state() != before else ""


def _copy(action: Any) -> Any:
    """A copy of an array: an environment may write into it."""
    return np.array(action) if isinstance(action, np.ndarray) else action


def _state() -> tuple[bytes, int]:
    state: Any = np.random.get_state(legacy=True)
    return state[1].tobytes(), int(state[2])


def _seed_globals(seed: int) -> None:
    np.random.seed(seed)
    random.seed(seed)
