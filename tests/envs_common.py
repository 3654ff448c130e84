"""Rollouts and comparisons shared by the environment tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.envs.base import Env


def rollout(env: Env, seed: int | None, steps: int = 30, action_seed: int = 0) -> NDArray[np.float64]:
    """All states and rewards of an episode under random actions, flattened; stops at its end."""
    rng = np.random.default_rng(action_seed)
    obs, _ = env.reset(seed=seed)
    record: list[Any] = [obs["state"]]
    for _ in range(steps):
        obs, reward, terminated, truncated, _ = env.step(random_action(env, rng))
        record += [obs["state"], [reward]]
        if terminated or truncated:
            break
    return np.concatenate(record)


def random_action(env: Env, rng: np.random.Generator) -> NDArray[np.float32]:
    """A uniformly random action within the bounds, float32 [A]."""
    spec = env.env_spec.action
    return rng.uniform(spec.low, spec.high).astype(np.float32)


def assert_honest_seeding(fresh: Env, used: Env) -> None:
    """Same seed, same bits, whatever came before; another seed, or none, another episode."""
    rollout(used, 99, steps=40, action_seed=5)
    used.reset()
    first = rollout(fresh, 3)
    np.testing.assert_array_equal(rollout(used, 3), first)
    np.testing.assert_array_equal(rollout(fresh, 3), first)
    size = fresh.env_spec.state_dim
    assert sum(entry.size for entry in fresh.env_spec.state_entries) == size > 0, "a state says what it is made of"
    assert not np.array_equal(rollout(fresh, 4)[:size], first[:size])
    # Without a seed the stream goes on: a new episode, the same one in both.
    fresh.reset(seed=7)
    used.reset(seed=7)
    continued = rollout(fresh, None)
    assert not np.array_equal(continued[:size], rollout(fresh, 7)[:size])
    np.testing.assert_array_equal(rollout(used, None), continued)


def assert_action_repeat_sums(single: Env, repeated: Env) -> None:
    """Decisions of ``repeated`` equal runs of held actions in ``single``, rewards summed."""
    repeat = repeated.env_spec.action_repeat
    rng = np.random.default_rng(1)
    single.reset(seed=11)
    repeated.reset(seed=11)
    assert repeat > 1
    for _ in range(10):
        action = random_action(single, rng)
        total = 0.0
        for _ in range(repeat):
            obs, reward, *_ = single.step(action)
            total += reward
        repeated_obs, repeated_reward, *_ = repeated.step(action)
        np.testing.assert_array_equal(repeated_obs["state"], obs["state"])
        assert repeated_reward == total
        assert total != 0.0
