"""Plans to actions: executors, exploration, scaling, stacking and the controller, against plain loops."""

from __future__ import annotations

import copy
import dataclasses
import io
import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from zoomrl.control.chunk import ActionChunk
from zoomrl.control.config import ControlConfig
from zoomrl.control.controller import Controller
from zoomrl.control.executor import RandomPrefix, RecedingHorizon, TemporalEnsemble, make_executor
from zoomrl.control.explore import Explorer
from zoomrl.control.scaling import ActionScaler, make_scaler
from zoomrl.control.stack import FrameStack
from zoomrl.data.config import ReplayConfig
from zoomrl.data.episode import Episode
from zoomrl.data.replay import ReplayBuffer
from zoomrl.errors import ConfigError
from zoomrl.math.grid import snap
from zoomrl.spec import ArraySpec, EnvSpec

N, A = 3, 2


def plan_of(generator: torch.Generator, chunk_length: int, share_valid: float, count: int = N) -> ActionChunk:
    valid = torch.rand(count, chunk_length, generator=generator) < share_valid
    valid[:, 0] = True
    return ActionChunk(torch.rand(count, chunk_length, A, generator=generator) * 2 - 1, valid)


# ---- temporal ensemble ----------------------------------------------------------------------------------


def slow_ensemble(plans: list[tuple[Tensor, Tensor]], chunk_length: int, gain: float, favours: str) -> np.ndarray:
    """``plans`` of one environment since its reset, oldest first; the action for the step of the newest."""
    now = len(plans) - 1
    predictions = []
    for made, (actions, valid) in enumerate(plans):
        age = now - made
        if age < chunk_length and valid[age]:
            predictions.append(actions[age].double().numpy())
    if favours == "newest":
        predictions.reverse()
    weights = [math.exp(-gain * rank) for rank in range(len(predictions))]
    return sum(w * p for w, p in zip(weights, predictions, strict=True)) / sum(weights)


def test_temporal_ensemble_golden_vector():
    """Specification, section 14: T = 4, every entry of the plan made at step t is t + 1."""
    ensemble = TemporalEnsemble(1, 4, 1, 0.01, "oldest")
    out = [
        float(ensemble.step(ActionChunk(torch.full((1, 4, 1), t + 1.0), torch.ones(1, 4, dtype=torch.bool))))
        for t in range(6)
    ]
    assert out == pytest.approx([1, 1.49750, 1.99333, 2.48750, 3.48750, 4.48750], abs=6e-6)


@settings(max_examples=80)
@given(
    seed=st.integers(0, 10**6),
    chunk_length=st.integers(1, 6),
    gain=st.sampled_from([0.0, 0.01, 0.5, 3.0, -0.2]),
    favours=st.sampled_from(["oldest", "newest"]),
    share_reset=st.sampled_from([0.0, 0.1, 0.5]),
)
@pytest.mark.long
def test_temporal_ensemble_equals_a_list_of_chunks(seed, chunk_length, gain, favours, share_reset):
    generator = torch.Generator().manual_seed(seed)
    ensemble = TemporalEnsemble(N, chunk_length, A, gain, favours)
    history: list[list[tuple[Tensor, Tensor]]] = [[] for _ in range(N)]
    for _ in range(20):
        resets = torch.rand(N, generator=generator) < share_reset
        ensemble.reset(resets)
        chunk = plan_of(generator, chunk_length, 1.0)
        action = ensemble.step(chunk)
        for i in range(N):
            if resets[i]:
                history[i] = []
            history[i].append((chunk.actions[i], chunk.valid[i]))
            want = slow_ensemble(history[i], chunk_length, gain, favours)
            np.testing.assert_allclose(action[i].numpy(), want, rtol=1e-5, atol=1e-6)


def slow_by_age(plans: list[tuple[Tensor, Tensor]], chunk_length: int, gain: float, favours: str) -> np.ndarray:
    """As :func:`slow_ensemble`, but gaps count: ranks are distances in decisions."""
    now = len(plans) - 1
    ages = [a for a in range(min(chunk_length, len(plans))) if plans[now - a][1][a]]
    first = max(ages) if favours == "oldest" else min(ages)
    weights = {a: math.exp(-gain * abs(a - first)) for a in ages}
    total = sum(w * plans[now - a][0][a].double().numpy() for a, w in weights.items())
    return total / sum(weights.values())


@settings(max_examples=80)
@given(
    seed=st.integers(0, 10**6),
    chunk_length=st.integers(1, 6),
    gain=st.sampled_from([0.0, 0.01, 0.5]),
    favours=st.sampled_from(["oldest", "newest"]),
    share_valid=st.sampled_from([0.9, 0.5, 0.0]),
)
@pytest.mark.long
def test_temporal_ensemble_with_gaps_in_every_plan(seed, chunk_length, gain, favours, share_valid):
    generator = torch.Generator().manual_seed(seed)
    ensemble = TemporalEnsemble(N, chunk_length, A, gain, favours)
    history: list[list[tuple[Tensor, Tensor]]] = [[] for _ in range(N)]
    for _ in range(20):
        resets = torch.rand(N, generator=generator) < 0.15
        ensemble.reset(resets)
        chunk = plan_of(generator, chunk_length, share_valid)
        action = ensemble.step(chunk)
        for i in range(N):
            if resets[i]:
                history[i] = []
            history[i].append((chunk.actions[i], chunk.valid[i]))
            want = slow_by_age(history[i], chunk_length, gain, favours)
            np.testing.assert_allclose(action[i].numpy(), want, rtol=1e-5, atol=1e-6)


def test_a_prediction_of_zeros_counts():
    ensemble = TemporalEnsemble(1, 2, A, 0.0, "oldest")
    valid = torch.ones(1, 2, dtype=torch.bool)
    assert not ensemble.step(ActionChunk(torch.zeros(1, 2, A), valid)).any()
    action = ensemble.step(ActionChunk(torch.ones(1, 2, A), valid))
    torch.testing.assert_close(action, torch.full((1, A), 0.5))


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_entries_that_are_not_valid_reach_no_action(poison):
    ensemble = TemporalEnsemble(1, 3, 1, 0.01, "oldest")
    valid = torch.tensor([[True, False, False]])
    for step in range(5):
        chunk = torch.tensor([[[0.1 * step], [poison], [poison]]])
        assert float(ensemble.step(ActionChunk(chunk, valid))) == pytest.approx(0.1 * step)


def test_a_reset_forgets_chunks_that_were_not_finite():
    ensemble = TemporalEnsemble(2, 2, 1, 0.01, "oldest")
    valid = torch.ones(2, 2, dtype=torch.bool)
    ensemble.step(ActionChunk(torch.tensor([[[math.nan]] * 2, [[1.0]] * 2]), valid))
    ensemble.reset(torch.tensor([True, False]))
    assert ensemble.step(ActionChunk(torch.ones(2, 2, 1), valid)).tolist() == [[1.0], [1.0]]


@pytest.mark.parametrize("favours", ["oldest", "newest"])
def test_a_large_gain_picks_one_prediction(favours):
    """Weights are relative: they must not vanish together at the start of an episode."""
    ensemble = TemporalEnsemble(1, 16, 1, 10.0, favours)
    valid = torch.ones(1, 16, dtype=torch.bool)
    out = [float(ensemble.step(ActionChunk(torch.full((1, 16, 1), t + 1.0), valid))) for t in range(20)]
    want = [t + 1 if favours == "newest" else max(1, t - 14) for t in range(20)]
    assert out == pytest.approx(want, abs=1e-3)


def test_temporal_ensemble_needs_a_valid_first_entry_and_a_plan():
    ensemble = TemporalEnsemble(2, 2, 1, 0.01, "oldest")
    with pytest.raises(ValueError, match="first action of a chunk must be valid"):
        ensemble.step(ActionChunk(torch.ones(2, 2, 1), torch.tensor([[True, True], [False, True]])))
    with pytest.raises(ValueError, match="action chunk at every step"):
        ensemble.step(None)
    assert ensemble.needs_chunk().all()


def test_temporal_ensemble_does_not_grow():
    def size(state: dict[str, Any]) -> int:
        file = io.BytesIO()
        torch.save(state, file)
        return file.tell()

    ensemble = TemporalEnsemble(2, 4, A, 0.01, "oldest")
    generator = torch.Generator().manual_seed(0)
    ensemble.step(plan_of(generator, 4, 1.0, 2))
    early, members = size(ensemble.state_dict()), {k: str(v)[:20] for k, v in vars(ensemble).items()}.keys()
    held = sum(v.numel() for v in vars(ensemble).values() if isinstance(v, Tensor))
    for _ in range(3000):
        ensemble.step(plan_of(generator, 4, 1.0, 2))
    assert size(ensemble.state_dict()) == early
    assert vars(ensemble).keys() == members
    assert sum(v.numel() for v in vars(ensemble).values() if isinstance(v, Tensor)) == held


# ---- receding horizon -----------------------------------------------------------------------------------


class SlowRecedingHorizon:
    """One environment with a list of actions to play."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.queue: list[np.ndarray] = []

    def step(self, actions: Tensor, valid: Tensor) -> np.ndarray:
        if not self.queue:
            for t in range(self.every):
                if not valid[t]:
                    break
                self.queue.append(actions[t].numpy())
        return self.queue.pop(0)


@settings(max_examples=80)
@given(
    seed=st.integers(0, 10**6),
    shape=st.integers(1, 6).flatmap(lambda t: st.tuples(st.just(t), st.integers(1, t))),
    share_valid=st.sampled_from([1.0, 0.7, 0.0]),
    share_reset=st.sampled_from([0.0, 0.2]),
    generous=st.booleans(),
)
@pytest.mark.long
def test_receding_horizon_equals_a_queue(seed, shape, share_valid, share_reset, generous):
    chunk_length, every = shape
    whole = ControlConfig(executor="open_loop")
    config = whole if every == chunk_length else ControlConfig(executor="receding_horizon", replan_every=every)
    executor = make_executor(config, N, chunk_length, A)
    assert isinstance(executor, RecedingHorizon)
    generator = torch.Generator().manual_seed(seed)
    slow = [SlowRecedingHorizon(every) for _ in range(N)]
    for _ in range(25):
        resets = torch.rand(N, generator=generator) < share_reset
        executor.reset(resets)
        for i in resets.nonzero()[:, 0].tolist():
            slow[i].queue = []
        wanted = executor.needs_chunk()
        assert wanted.tolist() == [not s.queue for s in slow]
        chunk = plan_of(generator, chunk_length, share_valid)
        # Rows that were not asked for are rubbish.
        chunk.actions[~wanted] = math.nan
        chunk.valid[~wanted] = False
        action = executor.step(chunk if generous or wanted.any() else None)
        for i in range(N):
            np.testing.assert_array_equal(action[i].numpy(), slow[i].step(chunk.actions[i], chunk.valid[i]))


@pytest.mark.parametrize("every", [0, 5, -1])
def test_replanning_outside_the_chunk_is_refused(every):
    with pytest.raises(ConfigError, match=r"control\.replan_every"):
        make_executor(ControlConfig(executor="receding_horizon", replan_every=every), 1, 4, 1)


def test_a_random_prefix_of_each_chunk_is_executed_in_order_and_all_lengths_come_alike():
    longest, count = 3, 4000
    executor = RandomPrefix(2, 4, 1, longest, seed=1)
    lengths: list[list[int]] = [[], []]
    for _ in range(count):
        wanted = executor.needs_chunk()
        for index in wanted.nonzero()[:, 0].tolist():
            lengths[index].append(0)
        chunk = ActionChunk(torch.arange(4.0).expand(2, 4)[..., None].clone(), torch.ones(2, 4, dtype=torch.bool))
        action = executor.step(chunk if wanted.any() else None)
        for index in range(2):
            assert action[index, 0] == lengths[index][-1]
            lengths[index][-1] += 1
    for found in lengths:
        shares = np.bincount(found[:-1], minlength=longest + 1)[1:] / len(found[:-1])
        np.testing.assert_allclose(shares, 1 / longest, atol=0.03)
        assert max(found) == longest
    short = ActionChunk(torch.zeros(2, 4, 1), torch.tensor([[True, False, True, True]] * 2))
    for _ in range(20):  # what follows an invalid step is never executed
        executor.reset(torch.tensor([True, True]))
        executor.step(short)
        assert executor.needs_chunk().all()
    with pytest.raises(ConfigError, match=r"random_prefix must not exceed the chunk length, which is 4; got 5"):
        RandomPrefix(1, 4, 1, 5, seed=0)


def test_evaluation_executes_chunks_as_it_is_told_and_training_a_random_prefix():
    config = ControlConfig(executor="temporal_ensemble", random_prefix=2)
    agent = SimpleNamespace(chunk_length=3)
    scaler = make_scaler(config, ArraySpec((1,), low=(-1.0,), high=(1.0,)), [])
    testing = Controller(agent, config, scaler, 1)
    training = Controller(agent, config, scaler, 1, explorer=explorer())
    assert isinstance(testing._executor, TemporalEnsemble)
    assert isinstance(training._executor, RandomPrefix)


def test_receding_horizon_needs_what_it_asked_for():
    executor = RecedingHorizon(2, 3, 1, 2)
    with pytest.raises(ValueError, match="out of actions"):
        executor.step(None)
    with pytest.raises(ValueError, match="out of actions"):
        executor.step(ActionChunk(torch.ones(2, 3, 1), torch.zeros(2, 3, dtype=torch.bool)))


@pytest.mark.parametrize("name", ["temporal_ensemble", "receding_horizon", "open_loop"])
def test_all_executors_run_chunks_of_one_step_as_they_are(name):
    executor = make_executor(ControlConfig(executor=name), N, 1, A)
    generator = torch.Generator().manual_seed(3)
    for _ in range(5):
        assert executor.needs_chunk().all()
        chunk = plan_of(generator, 1, 1.0)
        torch.testing.assert_close(executor.step(chunk), chunk.actions[:, 0])


def executed_by(name: str) -> ControlConfig:
    return ControlConfig(executor=name, **({"replan_every": 2} if name == "receding_horizon" else {}))


@pytest.mark.parametrize("name", ["temporal_ensemble", "receding_horizon", "open_loop", "random_prefix"])
def test_executor_state_continues_mid_episode(name):
    def make():
        if name == "random_prefix":
            return RandomPrefix(N, 4, A, 3, seed=2)
        return make_executor(executed_by(name), N, 4, A)

    generator = torch.Generator().manual_seed(5)
    plans = [plan_of(generator, 4, 0.8) for _ in range(30)]
    first = make()
    for t in range(11):
        first.reset(torch.tensor([t == 4, t == 9, False]))
        first.step(plans[t])
    saved = first.state_dict()
    kept = copy.deepcopy(saved)
    second = make()
    second.step(plans[29])
    second.load_state_dict(saved)
    for t in range(11, 29):
        assert torch.equal(first.needs_chunk(), second.needs_chunk())
        assert torch.equal(first.step(plans[t]), second.step(plans[t]))
    # Neither going on changed what was saved.
    for key, value in kept.items():
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(saved[key])), key


# ---- exploration ----------------------------------------------------------------------------------------


def explorer(seed: int = 0, snapped: bool = False, **options: Any) -> Explorer:
    config = ControlConfig(snap=snapped, **options)
    return Explorer(config, lambda a: snap(a, 3, 5), torch.Generator().manual_seed(seed))


def test_noise_has_the_scheduled_spread():
    explore = explorer(noise="linear(0.2,0.05,100)")
    base = torch.zeros(20_000, 2) + 0.1
    for step, std in ((0, 0.2), (50, 0.125), (100, 0.05), (10_000, 0.05)):
        noise = explore(base, step) - base
        assert float(noise.mean()) == pytest.approx(0, abs=4 * std / 200)
        assert float(noise.std()) == pytest.approx(std, rel=0.03)
        # Gaussian, independent between dimensions.
        assert float((noise.abs() < std).float().mean()) == pytest.approx(0.6827, abs=0.01)
        assert abs(float(torch.corrcoef(noise.T)[0, 1])) < 0.03


def test_noise_is_clamped_and_does_not_change_its_input():
    action = torch.tensor([[0.99, -0.99]]).repeat(1000, 1)
    out = explorer(noise="0.5")(action, 0)
    assert float(out.max()) == 1.0
    assert float(out.min()) == -1.0
    assert (action == torch.tensor([0.99, -0.99])).all()


def test_no_noise_is_none():
    action = torch.rand(50, 2) * 2 - 1
    assert torch.equal(explorer(noise="0")(action, 7), action)


def test_uniform_phase_ends_at_its_step():
    explore = explorer(noise="0", uniform_steps=10)
    action = torch.full((20_000, 1), 0.5)
    for step in (0, 9):
        out = explore(action, step)
        counts = torch.histc(out, 10, -1, 1)
        assert ((counts - 2000).abs() < 250).all()
    assert torch.equal(explore(action, 10), action)


@pytest.mark.parametrize("uniform_steps", [0, 5])
def test_snapped_actions_lie_on_the_grid_of_125(uniform_steps):
    explore = explorer(snapped=True, noise="0.3", uniform_steps=uniform_steps)
    out = explore(torch.zeros(3000, 2), 1)
    cells = (out.double() + 1) * 62.5 - 0.5
    torch.testing.assert_close(cells, cells.round(), rtol=0, atol=1e-4)
    assert float(out.abs().max()) <= 0.992 + 1e-6
    raw = explorer(noise="0.3", uniform_steps=uniform_steps)(torch.zeros(3000, 2), 1)
    assert float((raw - out).abs().max()) <= 1 / 125 + 1e-6


def test_explorer_repeats_with_its_generator():
    a, b = explorer(4, noise="0.3"), explorer(0, noise="0.3")
    a(torch.zeros(3, 2), 0)
    b.generator.set_state(a.generator.get_state())
    assert torch.equal(a(torch.zeros(3, 2), 1), b(torch.zeros(3, 2), 1))


def test_noise_stream_does_not_depend_on_the_uniform_phase():
    """As the comment in the code promises."""
    short, none = explorer(noise="0.3", uniform_steps=3), explorer(noise="0.3")
    outs = [(short(torch.zeros(2, 2), step), none(torch.zeros(2, 2), step)) for step in range(6)]
    assert torch.equal(*outs[5])


# ---- scaling --------------------------------------------------------------------------------------------

bounded = st.floats(-1e4, 1e4, allow_nan=False, allow_subnormal=False, width=32)
ranges = st.lists(st.tuples(bounded, bounded).map(sorted), min_size=1, max_size=4)


def episode_of(actions: Any, *, is_demo: bool = True) -> Episode:
    rows = np.asarray(actions, np.float32)
    states = np.zeros((len(rows) + 1, 1), np.float32)
    return Episode({"state": states}, rows, np.zeros(len(rows), np.float32), True, False, is_demo, is_demo)


def spec_of(limits: list[Any]) -> ArraySpec:
    low, high = (tuple(float(v) for v in side) for side in zip(*limits, strict=True))
    return ArraySpec((len(limits),), low=low, high=high)


@settings(max_examples=150)
@given(ranges, st.integers(0, 10**6))
@pytest.mark.long
def test_scaling_round_trip_within_bounds(limits, seed):
    bounds = spec_of(limits)
    scaler = make_scaler(ControlConfig(), bounds, [])
    low, high = np.float32(bounds.low), np.float32(bounds.high)
    rng = np.random.default_rng(seed)
    unit = np.concatenate([rng.uniform(-1, 1, (20, len(limits))), [[-1.0] * len(limits), [1.0] * len(limits)]])
    env = scaler.to_env(unit.astype(np.float32))
    assert env.dtype == np.float32
    assert (env >= low).all()
    assert (env <= high).all()
    size = np.maximum(np.abs(low), np.abs(high))
    want = low.astype(float) + (unit + 1) / 2 * (high.astype(float) - low)
    np.testing.assert_allclose(env, want, rtol=0, atol=1e-6 * max(float(size.max()), 1e-30))
    back = scaler.to_unit(env)
    assert back.dtype == np.float32
    assert (np.abs(back) <= 1).all()
    for dim in range(len(limits)):
        width = float(high[dim]) - float(low[dim])
        if width == 0:
            assert (back[:, dim] == 0).all()
            assert (env[:, dim] == low[dim]).all()
        elif width > max(1e-3 * size[dim], 1e-30):
            np.testing.assert_allclose(back[:, dim], unit[:, dim], atol=2e-6 * size[dim] / width + 1e-6)
    np.testing.assert_allclose(scaler.to_env(scaler.to_unit(env)), env, rtol=0, atol=4e-7 * float(size.max()))


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")  # ranges of a few denormal numbers
@settings(max_examples=60)
@given(ranges)
def test_actions_outside_the_unit_range_stay_within_the_bounds(limits):
    bounds = spec_of(limits)
    scaler = make_scaler(ControlConfig(), bounds, [])
    for unit in (-50.0, 50.0, -1.0000001, 1.0000001):
        env = scaler.to_env(np.full((2, len(limits)), unit, np.float32))
        assert (env >= np.float32(bounds.low)).all()
        assert (env <= np.float32(bounds.high)).all()
    assert (np.abs(scaler.to_unit(np.full((2, len(limits)), 1e6, np.float32))) <= 1).all()


def test_range_of_demonstrations_with_margin():
    bounds = spec_of([(-10, 10), (-10, 10), (-0.5, 3), (-1, 1)])
    demos = [
        episode_of([[1, -2, -0.4, 0.3], [2, 4, 2.9, 0.3]]),
        episode_of([[1.5, -3, 0, 0.3]]),
        episode_of([[9, 9, 3, -1]], is_demo=False),
    ]
    plain = make_scaler(ControlConfig(action_range="demos"), bounds, demos)
    np.testing.assert_allclose(plain.low, [1, -3, -0.4, 0.3])
    np.testing.assert_allclose(plain.high, [2, 4, 2.9, 0.3])
    # Section 3.3: each end is widened by its own magnitude, clipped to the bounds.
    wide = make_scaler(ControlConfig(action_range="demos", action_margin=0.2), bounds, demos)
    np.testing.assert_allclose(wide.low, [0.8, -3.6, -0.48, 0.24], rtol=1e-6)
    np.testing.assert_allclose(wide.high, [2.4, 4.8, 3, 0.36], rtol=1e-6)
    # The constant dimension comes back unchanged, whatever the agent says.
    env = plain.to_env(np.random.default_rng(0).uniform(-1, 1, (50, 4)).astype(np.float32))
    assert (env[:, 3] == np.float32(0.3)).all()
    assert (plain.to_unit(env)[:, 3] == 0).all()
    for demo in demos[:2]:
        np.testing.assert_allclose(plain.to_env(plain.to_unit(demo.actions)), demo.actions, atol=1e-6)


def test_range_of_demonstrations_needs_some():
    with pytest.raises(ConfigError, match="successful demonstrations"):
        make_scaler(ControlConfig(action_range="demos"), spec_of([(-1, 1)]), [episode_of([[0.5]], is_demo=False)])


# ---- stacking -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_stack_equals_the_replays(size):
    rng = np.random.default_rng(1)
    spec = EnvSpec(
        "test:stack",
        {"state": ArraySpec((3,)), "rgb": ArraySpec((2, 4, 5, 3), "uint8")},
        ArraySpec((1,), low=(-1.0,), high=(1.0,)),
        10.0,
        20,
    )
    lengths, episodes = [1, 4, 9], []
    for length in lengths:
        observations = {
            "state": rng.normal(size=(length + 1, 3)).astype(np.float32),
            "rgb": rng.integers(0, 256, (length + 1, 2, 4, 5, 3), np.uint8),
        }
        actions, rewards = np.zeros((length, 1), np.float32), np.arange(length, dtype=np.float32)
        episodes.append(Episode(observations, actions, rewards, True, False, False))
    frames = FrameStack(2, size)
    seen: list[dict[str, Tensor]] = []
    # Environment 0 plays the episodes one after the other; environment 1 lags and never sees a reset.
    for episode in episodes:
        frames.reset(np.array([True, False]))
        for t in range(len(episode)):
            other = rng.normal(size=3).astype(np.float32)
            observation = {
                "state": np.stack([episode.observations["state"][t], other]),
                "rgb": np.stack([episode.observations["rgb"][t]] * 2),
            }
            pushed = frames.push(observation)
            seen.append({name: array[0].clone() for name, array in pushed.items()})
            observation["state"][:] = -9
    config = ReplayConfig(capacity=17, batch_size=300, demo_fraction=0, frame_stack=size)
    replay = ReplayBuffer(config, spec, 1, [], lambda a: a)
    for episode in episodes:
        replay.add(episode)
    batch = replay.sample()
    order = [(e, t) for e in episodes for t in range(len(e))]
    starts = {float(e.observations["state"][t, 0]): k for k, (e, t) in enumerate(order)}
    hit = set()
    for b in range(300):
        index = starts[float(batch["obs", "state"][b, -3])]
        hit.add(index)
        for name in ("state", "rgb"):
            assert torch.equal(batch["obs", name][b], seen[index][name])
    assert len(hit) == sum(lengths)


def test_stacked_images_keep_their_axis():
    frames = FrameStack(2, 3)
    shown = [np.full((2, 2, 4, 5, 3), k, np.uint8) for k in range(4)]
    assert frames.push({"rgb": shown[0]})["rgb"].shape == (2, 3, 2, 4, 5, 3)
    for k in (1, 2):
        stack = frames.push({"rgb": shown[k]})["rgb"]
    assert stack.dtype == torch.uint8
    assert stack[:, :, 0, 0, 0, 0].tolist() == [[0, 1, 2]] * 2
    frames.reset(np.array([False, True]))
    assert frames.push({"rgb": shown[3]})["rgb"][:, :, 1, 3, 4, 2].tolist() == [[1, 2, 3], [3, 3, 3]]


def test_stack_state_continues():
    first, second = FrameStack(2, 3), FrameStack(2, 3)
    rng = np.random.default_rng(0)

    def push(stack: FrameStack, value: np.ndarray) -> Tensor:
        return stack.push({"state": value})["state"]

    for _ in range(4):
        push(first, rng.normal(size=(2, 1)).astype(np.float32))
    first.reset(np.array([False, True]))
    second.load_state_dict(first.state_dict())
    for _ in range(4):
        value = rng.normal(size=(2, 1)).astype(np.float32)
        assert torch.equal(push(first, value), push(second, value))


# ---- controller -----------------------------------------------------------------------------------------


class FakeAgent:
    """Plans that count the calls and show the stacked observation and a random draw."""

    chunk_length = 3

    def __init__(self) -> None:
        self.calls = 0

    def act(
        self, observation: Mapping[str, Tensor], generator: torch.Generator, *, explore: bool = False
    ) -> ActionChunk:
        self.calls += 1
        state = observation["state"]
        rows = torch.stack([state.mean(1), torch.rand(len(state), generator=generator) * 0.1], 1)
        actions = rows[:, None] * torch.tensor([1.0, 0.5, 0.25])[None, :, None]
        return ActionChunk(actions, torch.ones(len(state), 3, dtype=torch.bool))


def fake_controller(executor: str, seed: int = 1, noise: str | None = "0.2") -> tuple[Controller, FakeAgent]:
    agent = FakeAgent()
    config = dataclasses.replace(executed_by(executor), noise=noise or "0")
    explore = None if noise is None else Explorer(config, None, torch.Generator().manual_seed(seed))
    scaler = ActionScaler(np.array([-2, 0]), np.array([2, 1]), spec_of([(-2, 2), (0, 1)]))
    return Controller(agent, config, scaler, 2, 2, seed, explore), agent


def test_controller_end_to_end_against_plain_loops():
    control, agent = fake_controller("receding_horizon", noise=None)
    noise = torch.Generator().manual_seed(1)
    rng = np.random.default_rng(0)
    frames: list[list[float]] = [[], []]
    queues: list[list[np.ndarray]] = [[], []]
    calls = 0
    for step in range(14):
        which = np.array([step in (0, 5), step in (0, 6)])
        control.reset(which)
        value = rng.uniform(-0.9, 0.9, (2, 1)).astype(np.float32)
        out = control.act({"state": value})
        drawn = None
        for i in range(2):
            if which[i]:
                frames[i], queues[i] = [], []
            frames[i].append(float(value[i, 0]))
        if any(not q for q in queues):
            drawn = torch.rand(2, generator=noise) * 0.1
            calls += 1
        for i in range(2):
            if not queues[i]:
                mean = (frames[i][-1] + frames[i][max(0, len(frames[i]) - 2)]) / 2
                queues[i] = [np.array([mean, float(drawn[i])]) * f for f in (1.0, 0.5)]
            unit = queues[i].pop(0)
            np.testing.assert_allclose(out[i], [2 * unit[0], 0.5 + 0.5 * unit[1]], rtol=1e-5, atol=1e-6)
    assert agent.calls == calls < 14
    assert out.dtype == np.float32


def test_values_are_those_of_environments_with_a_new_chunk():
    """Others go on with an older chunk, and predict nothing of the state that they are in."""
    control, agent = fake_controller("receding_horizon", noise=None)
    act = agent.act
    agent.act = lambda *args, **options: dataclasses.replace(act(*args, **options), value=torch.tensor([1.0, 2.0]))
    state = {"state": np.zeros((2, 1), np.float32)}
    told = []
    for first, second in ((True, True), (False, True), (False, False), (True, False), (False, False)):
        control.reset(np.array([first, second]))
        control.act(state)
        told.append(None if control.predicted is None else control.predicted.tolist())
    nan = pytest.approx(np.nan, nan_ok=True)
    assert told == [[1, 2], [nan, 2], [1, nan], [1, 2], None]


@pytest.mark.parametrize("executor", ["temporal_ensemble", "receding_horizon", "open_loop"])
def test_controller_state_continues_mid_episode(executor):
    first, _ = fake_controller(executor)
    second, _ = fake_controller(executor, seed=77)
    rng = np.random.default_rng(2)
    values = rng.uniform(-1, 1, (30, 2, 1)).astype(np.float32)
    for step in range(13):
        first.reset(np.array([step in (0, 7), step in (0, 4)]))
        first.act({"state": values[step]}, step)
    second.load_state_dict(first.state_dict())
    for step in range(13, 30):
        which = np.array([step == 20, step == 15])
        for control in (first, second):
            control.reset(which)
        np.testing.assert_array_equal(
            first.act({"state": values[step]}, step), second.act({"state": values[step]}, step)
        )


def test_controller_stays_within_the_bounds_under_large_noise():
    control, _ = fake_controller("temporal_ensemble", noise="30")
    control.reset(np.array([True, True]))
    for step in range(50):
        out = control.act({"state": np.ones((2, 1), np.float32)}, step)
        assert (out >= [-2, 0]).all()
        assert (out <= [2, 1]).all()


def test_exploration_does_not_leak_into_evaluation():
    control, _ = fake_controller("temporal_ensemble", noise=None)
    assert "explorer" not in control.state_dict()
    again, _ = fake_controller("temporal_ensemble", noise=None)
    for step in range(6):
        value = np.full((2, 1), 0.1 * step, np.float32)
        np.testing.assert_array_equal(control.act({"state": value}), again.act({"state": value}))
