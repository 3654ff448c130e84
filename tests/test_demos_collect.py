"""Collecting from the scripted expert: reproducible, within bounds, honest about failures."""

import numpy as np
import pytest

from zoomrl.demos.collect import collect_demos, collection_meta
from zoomrl.demos.fit import check_fit
from zoomrl.demos.store.reader import read_demos
from zoomrl.demos.store.writer import write_demos
from zoomrl.envs.base import ControlStep, Env
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.registry import make_env
from zoomrl.errors import ConfigError, DemonstrationError
from zoomrl.spec import ArraySpec, EnvSpec


class PointEnv(Env):
    """A point on a line that has to come near the origin; how far off it starts depends on the seed."""

    has_expert = True

    def __init__(self, farthest=1.0):
        action = ArraySpec((1,), "float32", (-0.2,), (0.1,))
        spec = EnvSpec("fake:point", {"state": ArraySpec((1,))}, action, 10.0, 10, reports_success=True)
        super().__init__(spec, terminate_on_success=True)
        self._farthest = farthest
        self._buffer = np.zeros(1, np.float32)

    def _begin(self, seed):
        self._buffer[0] = np.random.default_rng(seed).uniform(-0.5, self._farthest)
        return {}

    def _advance(self, action):
        self._buffer += action
        near = bool(abs(self._buffer[0]) < 0.1)
        return ControlStep(float(near), success=near)

    def _observe(self):
        return {"state": self._buffer}

    def _expert(self):
        return -self._buffer * 3

    def render(self):
        return np.zeros((1, 1, 3), np.uint8)


def assert_identical(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.actions, b.actions)
        np.testing.assert_array_equal(a.observations["state"], b.observations["state"])
        assert (a.seed, a.success, a.is_demo, a.meta) == (b.seed, b.success, b.is_demo, b.meta)


def test_what_was_executed_is_what_is_stored():
    env = PointEnv()
    episodes = collect_demos(env, episodes=5, seed=3, noise=2.0)
    env_low, env_high = np.float32(-0.2), np.float32(0.1)
    actions = np.concatenate([e.actions for e in episodes])
    assert actions.min() == env_low
    assert actions.max() == env_high
    for episode in episodes:
        # The environment shows one buffer again and again; replaying proves that every frame was kept.
        state = episode.observations["state"]
        np.testing.assert_allclose(np.diff(state, axis=0), episode.actions, atol=1e-6)
        first, _ = PointEnv().reset(seed=episode.seed)
        np.testing.assert_array_equal(first["state"], state[0])
        assert episode.meta == {"policy": "scripted-expert", "noise": 2.0, "env": "fake:point"}


def test_same_seed_same_episodes():
    first = collect_demos(PointEnv(), episodes=3, seed=1, noise=0.5)
    assert_identical(first, collect_demos(PointEnv(), episodes=3, seed=1, noise=0.5))
    # More episodes begin with the same ones; another seed shares none.
    assert_identical(first, collect_demos(PointEnv(), episodes=6, seed=1, noise=0.5)[: len(first)])
    other = collect_demos(PointEnv(), episodes=3, seed=2, noise=0.5)
    assert not {e.seed for e in first} & {e.seed for e in other}


def test_failures_are_kept_without_the_flag():
    seen = []
    env = PointEnv(farthest=6.0)  # more than 10 steps away: out of reach
    episodes = collect_demos(env, episodes=3, seed=0, on_episode=lambda i, e: seen.append((i, e.success)))
    assert [i for i, _ in seen] == list(range(len(episodes)))
    assert [e.success for e in episodes] == [success for _, success in seen]
    assert [e.is_demo for e in episodes] == [e.success for e in episodes]
    assert sum(e.is_demo for e in episodes) == 3
    failed = [e for e in episodes if not e.success]
    assert failed
    assert all(e.truncated and not e.terminated for e in failed)
    only = collect_demos(PointEnv(farthest=6.0), episodes=3, seed=0, keep_failures=False)
    assert_identical(only, [e for e in episodes if e.success])


def test_giving_up_names_the_rate():
    with pytest.raises(DemonstrationError, match=r"fake:point succeeded in 0 of 4 attempts \(0%\) with noise 0;"):
        collect_demos(PointEnv(farthest=1e6), episodes=2, seed=0, max_attempts=4)


def test_no_expert_names_who_has_one():
    env = PointEnv()
    env.has_expert = False
    with pytest.raises(
        ConfigError, match=r"fake:point has no scripted expert.*metaworld:drawer-open.*bigym:drawer_top_close"
    ):
        collect_demos(env, episodes=1, seed=0)


@pytest.mark.parametrize(
    "change", [{"episodes": 0}, {"seed": -1}, {"noise": -0.1}, {"noise": float("nan")}, {"max_attempts": 1}]
)
def test_bad_arguments(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        collect_demos(PointEnv(), **({"episodes": 2, "seed": 0} | change))


@pytest.mark.long
def test_metaworld_end_to_end(tmp_path):
    pytest.importorskip("metaworld")
    config = EnvConfig(id="metaworld:drawer-open", time_limit=150)
    env = make_env(config)
    try:
        first = collect_demos(env, episodes=2, seed=0, noise=0.1)
        assert_identical(first, collect_demos(env, episodes=2, seed=0, noise=0.1))
        assert [e.is_demo for e in first] == [True, True]
        assert all(e.terminated and np.abs(e.actions).max() <= 1.0 for e in first)
        meta = collection_meta(env, seed=0, noise=0.1)
        assert {"numpy", "metaworld", "mujoco"} <= meta["versions"].keys()
        write_demos(tmp_path / "set", first, env.env_spec, meta=meta)
        demos = read_demos(tmp_path / "set")
        assert_identical(demos.episodes, first)
        assert demos.meta == meta
        check_fit(demos, env.env_spec)
    finally:
        env.close()
