"""The replay against a list of episodes and plain loops.

Every frame names its episode and step in its observation, action and reward, so that a batch can be read
back exactly.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from tensordict import TensorDict

from zoomrl.data.config import ReplayConfig
from zoomrl.data.episode import Episode
from zoomrl.data.replay import ReplayBuffer
from zoomrl.errors import ConfigError
from zoomrl.spec import ArraySpec, EnvSpec

SPEC = EnvSpec(
    id="test:coded",
    observations={"state": ArraySpec((3,)), "rgb": ArraySpec((2, 2, 1, 3), "uint8")},
    action=ArraySpec((2,), low=(-1000.0, -1000.0), high=(1000.0, 1000.0)),
    control_hz=10.0,
    time_limit=50,
)


def to_unit(action: np.ndarray) -> np.ndarray:
    return (action / 1000).astype(np.float32)


def coded(
    number: int, length: int, *, terminated: bool = True, success: bool = False, is_demo: bool = False
) -> Episode:
    """Episode ``number``; its frames and actions carry the number and the step."""
    frames = np.arange(length + 1)
    state = np.stack([np.full(length + 1, number), frames, number * 100 + frames], 1).astype(np.float32)
    # Every byte of an image differs from its neighbours: a mixed-up axis cannot go unseen.
    rgb = (((number * 7 + frames) * 12)[:, None] + np.arange(12)).astype(np.uint8).reshape(length + 1, 2, 2, 1, 3)
    steps = np.arange(length)
    actions = np.stack([np.full(length, number + 1), steps + 1], 1).astype(np.float32)
    rewards = (np.sin(number * 31 + steps) + 2).astype(np.float32)
    return Episode(
        {"state": state, "rgb": rgb},
        actions,
        rewards,
        terminated,
        not terminated,
        success,
        is_demo,
        seed=number,
    )


class Model:
    """What the replay should hold: protected episodes, and the newest online ones that fit."""

    def __init__(self, demos: Sequence[Episode], capacity: int, relabel: bool) -> None:
        self.demos = list(demos)
        self.online: list[Episode] = []
        self.capacity = capacity
        self.relabel = relabel

    def add(self, episode: Episode) -> None:
        self.online.append(episode)
        while sum(len(e) + 1 for e in self.online) > self.capacity:
            self.online.pop(0)

    @property
    def alive(self) -> dict[int, Episode]:
        return {e.seed: e for e in (*self.demos, *self.online)}

    def is_demo(self, episode: Episode) -> bool:
        if any(episode is e for e in self.demos):
            return episode.is_demo
        return episode.is_demo or (self.relabel and episode.success)

    def has_demos(self, config: ReplayConfig) -> bool:
        return any(self.is_demo(e) and starts(e, config) > 0 for e in self.alive.values())

    def has_successes(self, config: ReplayConfig) -> bool:
        return any(e.success and starts(e, config) > 0 for e in self.alive.values())

    def can_sample(self, config: ReplayConfig) -> bool:
        return any(starts(e, config) > 0 for e in self.alive.values())


def starts(episode: Episode, config: ReplayConfig) -> int:
    return len(episode) if config.tail == "shorten" else max(0, len(episode) - config.n_step + 1)


def stack(frames: np.ndarray, index: int, size: int) -> np.ndarray:
    """Oldest first, the first frame repeated: vectors joined, images with an axis of their own."""
    rows = [frames[max(0, index - back)] for back in reversed(range(size))]
    return np.concatenate(rows, 0) if frames.ndim == 2 else np.stack(rows)


def expected_row(model: Model, config: ReplayConfig, chunk_length: int, episode: Episode, first: int) -> dict[str, Any]:
    """One sample by the book."""
    length = len(episode)
    reward, used = 0.0, 0
    for k in range(config.n_step):
        if first + k < length:
            reward += config.discount**k * float(episode.rewards[first + k])
            used += 1
    reaches_end = first + used == length
    actions, valid, absorbed = [], [], []
    for t in range(chunk_length):
        inside = first + t < length
        unit = to_unit(episode.actions[min(first + t, length - 1)])
        if not inside and config.padding == "zeros":
            unit = np.zeros_like(unit)
        actions.append(unit)
        valid.append(inside or config.padding not in ("mask", "absorbing"))
        absorbed.append(not inside and episode.terminated)
    return {
        "obs": {n: stack(a, first, config.frame_stack) for n, a in episode.observations.items()},
        "next_obs": {n: stack(a, first + used, config.frame_stack) for n, a in episode.observations.items()},
        "actions": np.stack(actions),
        "valid": np.array(valid),
        "absorbed": np.array(absorbed),
        "reward": reward,
        "discount": 0.0 if reaches_end and episode.terminated else config.discount**used,
        "is_demo": model.is_demo(episode),
    }


def check_batch(batch: TensorDict, model: Model, config: ReplayConfig, chunk_length: int) -> list[tuple[int, int]]:
    """Compare each sample with :func:`expected_row`; returns (episode, first step) of each."""
    assert batch.batch_size == torch.Size([config.batch_size])
    assert batch["obs", "state"].dtype == batch["actions"].dtype == batch["reward"].dtype == torch.float32
    assert batch["obs", "rgb"].dtype == torch.uint8
    assert batch["valid"].dtype == batch["is_demo"].dtype == torch.bool
    found = []
    for b in range(config.batch_size):
        newest = batch["obs", "state"][b].view(config.frame_stack, 3)[-1]
        number, first = int(newest[0]), int(newest[1])
        assert number in model.alive, f"episode {number} is not alive"
        episode = model.alive[number]
        assert 0 <= first < starts(episode, config)
        want = expected_row(model, config, chunk_length, episode, first)
        for side in ("obs", "next_obs"):
            for name, array in want[side].items():
                np.testing.assert_array_equal(batch[side, name][b].numpy(), array)
        valid = batch["valid"][b].numpy()
        np.testing.assert_array_equal(valid, want["valid"])
        shown = valid
        if config.padding == "absorbing":
            absorbed = batch["absorbed"][b].numpy()
            np.testing.assert_array_equal(absorbed, want["absorbed"])
            shown = valid | absorbed
        np.testing.assert_array_equal(batch["actions"][b].numpy()[shown], want["actions"][shown])
        assert float(batch["reward"][b]) == pytest.approx(want["reward"], rel=1e-5)
        assert float(batch["discount"][b]) == pytest.approx(want["discount"], rel=1e-6)
        assert bool(batch["is_demo"][b]) == want["is_demo"]
        found.append((number, first))
    first = 0
    if model.has_demos(config):
        first = round(config.demo_fraction * config.batch_size)
        assert all(model.is_demo(model.alive[n]) for n, _ in found[:first])
    if model.has_successes(config):
        fraction = round(config.success_fraction * config.batch_size)
        assert all(model.alive[n].success for n, _ in found[first : first + fraction])
    return found


configs = st.builds(
    lambda fractions, **options: ReplayConfig(demo_fraction=fractions[0], success_fraction=fractions[1], **options),
    capacity=st.integers(9, 24),
    batch_size=st.integers(1, 12),
    fractions=st.sampled_from([(0.0, 0.0), (0.25, 0.0), (0.5, 0.0), (1.0, 0.0), (0.25, 0.5), (0.5, 0.5), (0.0, 1.0)]),
    relabel_successes=st.booleans(),
    sampling=st.sampled_from(["episode", "transition"]),
    n_step=st.integers(1, 4),
    discount=st.sampled_from([0.0, 0.9, 0.99, 1.0]),
    tail=st.sampled_from(["shorten", "exclude"]),
    padding=st.sampled_from(["mask", "absorbing", "last_action", "zeros"]),
    frame_stack=st.integers(1, 3),
)
shapes = st.tuples(st.integers(1, 8), st.booleans(), st.booleans(), st.booleans())


def run_model(
    config: ReplayConfig,
    chunk_length: int,
    demo_shapes: list[tuple[int, bool, bool, bool]],
    online_shapes: list[tuple[int, bool, bool, bool]],
    directory: Path | None = None,
) -> None:
    def build(number: int, shape: tuple[int, bool, bool, bool]) -> Episode:
        return coded(number, shape[0], terminated=shape[1], success=shape[2], is_demo=shape[3])

    demos = [build(k, s) for k, s in enumerate(demo_shapes)]
    model = Model(demos, config.capacity, config.relabel_successes)
    replay = ReplayBuffer(config, SPEC, chunk_length, demos, to_unit, seed=1, directory=directory)
    for number, shape in enumerate([None, *online_shapes], len(demos) - 1):
        if shape is not None:
            episode = build(number, (*shape[:3], False))
            replay.add(episode)
            model.add(episode)
        assert replay.can_sample() == model.can_sample(config)
        if model.can_sample(config):
            check_batch(replay.sample(), model, config, chunk_length)
        else:
            with pytest.raises(RuntimeError, match="no complete window"):
                replay.sample()
    assert [row.seed for row in replay.rows] == [e.seed for e in (*model.demos, *model.online)]
    assert [row.length for row in replay.rows] == [len(e) for e in (*model.demos, *model.online)]


@settings(max_examples=120)
@given(configs, st.integers(1, 5), st.lists(shapes, max_size=3), st.lists(shapes, max_size=8))
@pytest.mark.long
def test_batches_equal_plain_loops(config, chunk_length, demo_shapes, online_shapes):
    run_model(config, chunk_length, demo_shapes, online_shapes)


@settings(max_examples=8)
@given(configs, st.integers(1, 5), st.lists(shapes, max_size=2), st.lists(shapes, min_size=3, max_size=6))
def test_batches_equal_plain_loops_on_disk(config, chunk_length, demo_shapes, online_shapes):
    with tempfile.TemporaryDirectory() as folder:
        run_model(
            dataclasses.replace(config, storage="disk"),
            chunk_length,
            demo_shapes,
            online_shapes,
            Path(folder) / "frames",
        )


def test_disk_storage_can_be_opened_again_with_another_size(tmp_path):
    """A resumed run finds the frames of the killed one in its directory."""
    for capacity in (20, 40, 10):
        config = ReplayConfig(capacity=capacity, storage="disk", batch_size=16)
        replay = ReplayBuffer(config, SPEC, 2, [], to_unit, directory=tmp_path / "frames")
        model = Model([], capacity, True)
        for number in range(5):
            episode = coded(number + capacity, 4)
            replay.add(episode)
            model.add(episode)
        check_batch(replay.sample(), model, config, 2)
        assert len(list((tmp_path / "frames").rglob("*.memmap"))) > 0


def test_frames_on_disk_have_their_room_from_the_start(tmp_path, monkeypatch):
    """A file with holes ends the process by a signal once the disk is full."""
    config = ReplayConfig(capacity=5000, storage="disk", batch_size=16)
    ReplayBuffer(config, SPEC, 2, [], to_unit, directory=tmp_path / "frames")
    files = list((tmp_path / "frames").rglob("*.memmap"))
    assert files
    assert all(512 * file.stat().st_blocks >= file.stat().st_size for file in files)

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ConfigError, match=r"replay\.storage=disk needs .* GB, for which there is no room \(No space"):
        ReplayBuffer(config, SPEC, 2, [], to_unit, directory=tmp_path / "other")


@pytest.mark.long
def test_every_start_of_every_episode_is_sampled():
    config = ReplayConfig(capacity=23, batch_size=4000, demo_fraction=0.5, n_step=3, tail="exclude", frame_stack=2)
    demos = [coded(0, 5, is_demo=True)]
    model = Model(demos, config.capacity, True)
    replay = ReplayBuffer(config, SPEC, 4, demos, to_unit)
    for number in range(1, 9):
        replay.add(coded(number, 6, terminated=number % 2 == 0))
        model.add(coded(number, 6, terminated=number % 2 == 0))
    found = set(check_batch(replay.sample(), model, config, 4))
    assert found == {(e.seed, i) for e in model.alive.values() for i in range(len(e) - 2)}


def test_protected_demonstrations_outlive_any_number_of_episodes():
    demos = [coded(0, 4, is_demo=True), coded(1, 7, is_demo=False)]
    config = ReplayConfig(capacity=10, batch_size=64, relabel_successes=True)
    replay = ReplayBuffer(config, SPEC, 2, demos, to_unit)
    for number in range(2, 60):
        replay.add(coded(number, 1 + number % 9))
        assert [row.seed for row in replay.rows][:2] == [0, 1]
        assert sum(row.length + 1 for row in replay.rows if row.serial >= 0) <= config.capacity
    states = replay.sample()["obs", "state"][:, 0]
    assert (states[:32] == 0).all()


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.25, 0.5, 0.9, 1.0])
def test_demo_fraction_is_exact(fraction):
    config = ReplayConfig(capacity=100, batch_size=20, demo_fraction=fraction)
    demo = coded(0, 5, is_demo=True)
    replay = ReplayBuffer(config, SPEC, 1, [demo], to_unit)
    # Online episodes a thousand times as many: the general pool hardly ever draws the demonstration.
    for number in range(1, 9):
        replay.add(coded(number, 9))
    fractions = [replay.sample()["is_demo"].float().sum() for _ in range(200)]
    fraction = fraction * 20
    assert min(fractions) == fraction if fraction else min(fractions) == 0
    assert np.mean(fractions) == pytest.approx(fraction + (20 - fraction) / 9, abs=0.6)


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.75])
def test_success_fraction_is_exact_and_comes_beside_that_of_demonstrations(fraction):
    config = ReplayConfig(capacity=200, batch_size=20, demo_fraction=0.25, success_fraction=fraction)
    replay = ReplayBuffer(config, SPEC, 1, [coded(0, 5, is_demo=True)], to_unit)
    for number in range(1, 20):
        replay.add(coded(number, 9))
    assert replay.sample()["is_demo"].float().sum() >= 5  # without a success, all but demonstrations is of everything
    replay = ReplayBuffer(
        dataclasses.replace(config, relabel_successes=False), SPEC, 1, [coded(0, 5, is_demo=True)], to_unit
    )
    for number in range(1, 20):
        replay.add(coded(number, 9, success=number == 1))
    batches = [replay.sample() for _ in range(200)]
    succeeded = [(batch["obs", "state"][:, 0] == 1).float() for batch in batches]
    assert all(one[5 : 5 + round(20 * fraction)].all() for one in succeeded)
    assert all(batch["is_demo"][:5].all() for batch in batches)
    rest = 15 - 20 * fraction
    assert np.mean([one.sum() for one in succeeded]) == pytest.approx(20 * fraction + rest / 20, abs=0.4)


def test_fractions_of_a_batch_are_at_most_all_of_it():
    ReplayConfig(demo_fraction=0.5, success_fraction=0.5)
    with pytest.raises(ConfigError, match=r"together 1 at most; got 0\.5 and 0\.6"):
        ReplayConfig(demo_fraction=0.5, success_fraction=0.6)
    with pytest.raises(ConfigError, match="success_fraction"):
        ReplayConfig(demo_fraction=0.0, success_fraction=-0.1)


def test_failed_demonstrations_are_data_but_not_demonstrations():
    config = ReplayConfig(capacity=10, batch_size=200, demo_fraction=0.5)
    replay = ReplayBuffer(config, SPEC, 1, [coded(0, 5, is_demo=True), coded(1, 5, success=True)], to_unit)
    batch = replay.sample()
    numbers = batch["obs", "state"][:, 0]
    assert (numbers[:100] == 0).all()
    assert (numbers[100:] == 1).any()
    assert (batch["is_demo"] == (numbers == 0)).all()


@pytest.mark.parametrize("relabel", [False, True])
def test_successes_become_demonstrations_only_when_asked(relabel):
    config = ReplayConfig(capacity=100, batch_size=50, demo_fraction=0.5, relabel_successes=relabel)
    replay = ReplayBuffer(config, SPEC, 1, [], to_unit)
    replay.add(coded(0, 5))
    assert not replay.sample()["is_demo"].any()
    replay.add(coded(1, 5, success=True))
    batch = replay.sample()
    assert (batch["is_demo"] == ((batch["obs", "state"][:, 0] == 1) & relabel)).all()
    assert batch["is_demo"][:25].all() == relabel


def test_relabelled_success_leaves_the_demo_pool_when_evicted():
    config = ReplayConfig(capacity=12, batch_size=10, demo_fraction=1.0)
    replay = ReplayBuffer(config, SPEC, 1, [], to_unit)
    replay.add(coded(0, 5, success=True))
    assert replay.sample()["is_demo"].all()
    replay.add(coded(1, 5))
    assert replay.sample()["is_demo"].all()
    replay.add(coded(2, 5))
    batch = replay.sample()
    assert not batch["is_demo"].any()
    assert set(batch["obs", "state"][:, 0].tolist()) <= {1.0, 2.0}


def test_demonstrations_too_short_for_n_steps_are_left_out():
    config = ReplayConfig(capacity=50, batch_size=40, demo_fraction=1.0, n_step=3, tail="exclude")
    replay = ReplayBuffer(config, SPEC, 1, [coded(0, 2, is_demo=True)], to_unit)
    assert not replay.can_sample()
    with pytest.raises(RuntimeError, match="add an episode"):
        replay.sample()
    replay.add(coded(1, 8))
    assert (replay.sample()["obs", "state"][:, 0] == 1).all()


@pytest.mark.parametrize("tail", ["shorten", "exclude"])
@pytest.mark.parametrize("sampling", ["episode", "transition"])
def test_distribution_of_samples(sampling, tail):
    samples, lengths = 20_000, [3, 5, 11, 2, 7]
    config = ReplayConfig(capacity=100, batch_size=samples, demo_fraction=0.0, sampling=sampling, n_step=3, tail=tail)
    demos = [coded(0, lengths[0], is_demo=True)]
    replay = ReplayBuffer(config, SPEC, 1, demos, to_unit, seed=3)
    for number, length in list(enumerate(lengths))[1:]:
        replay.add(coded(number, length))
    states = replay.sample()["obs", "state"].numpy().astype(int)
    possible = [length if tail == "shorten" else max(0, length - 2) for length in lengths]
    episodes = sum(p > 0 for p in possible)
    observed, expected = [], []
    for number, count in enumerate(possible):
        for first in range(count):
            observed.append(((states[:, 0] == number) & (states[:, 1] == first)).sum())
            expected.append(samples / sum(possible) if sampling == "transition" else samples / episodes / count)
    assert sum(observed) == samples
    assert chisquare(observed, expected).pvalue > 1e-3


def test_distribution_of_the_demo_part():
    config = ReplayConfig(capacity=100, batch_size=20_000, demo_fraction=0.5)
    replay = ReplayBuffer(config, SPEC, 1, [coded(0, 3, is_demo=True), coded(1, 9)], to_unit, seed=5)
    replay.add(coded(2, 6, success=True))
    numbers = replay.sample()["obs", "state"][:, 0].numpy().astype(int)
    demo_part = np.bincount(numbers[:10_000], minlength=3)
    assert demo_part[1] == 0
    assert chisquare(demo_part[[0, 2]]).pvalue > 1e-3
    assert chisquare(np.bincount(numbers[10_000:], minlength=3)).pvalue > 1e-3


@pytest.mark.parametrize("storage", ["ram", "disk"])
def test_bytes_needed_is_what_is_allocated(storage, tmp_path):
    demos = [coded(0, 4, is_demo=True)]
    config = ReplayConfig(capacity=31, storage=storage)
    replay = ReplayBuffer(config, SPEC, 1, demos, to_unit, directory=tmp_path / "frames")
    for number in range(1, 20):
        replay.add(coded(number, 3))
    held = replay._storage._storage
    tensors = [*held["obs"].values(), held["action"], held["reward"]]
    allocated = sum(t.numel() * t.element_size() for t in tensors)
    assert (config.capacity + 5) * ReplayBuffer.frame_bytes(SPEC) == allocated
    if storage == "disk":
        assert sum(f.stat().st_size for f in (tmp_path / "frames").rglob("*.memmap")) == allocated


def test_a_million_frames_of_deepmind_control_fit_into_22_gb():
    images = EnvSpec("dmc:walker-walk", {"rgb": ArraySpec((1, 84, 84, 3), "uint8")}, ArraySpec((6,)), 40.0, 500)
    needed = 1_000_000 * ReplayBuffer.frame_bytes(images)
    assert needed == 1_000_000 * (84 * 84 * 3 + 4 * 6 + 4)
    assert needed <= 22e9


def test_segment_does_not_copy_the_ring():
    replay = ReplayBuffer(ReplayConfig(capacity=20), SPEC, 1, [], to_unit)
    for number in range(4):
        replay.add(coded(number, 6))  # the last one goes round the end
    held = replay._storage._storage["obs", "rgb"]
    assert replay._storage[:]["obs", "rgb"].data_ptr() == held.data_ptr()
    segment = replay.segment(replay.oldest)
    expected = np.concatenate([coded(n, 6).observations["rgb"] for n in (2, 3)])
    np.testing.assert_array_equal(segment["obs/rgb"], expected)
    replay = ReplayBuffer(ReplayConfig(capacity=20), SPEC, 1, [], to_unit)
    replay.add(coded(0, 6))
    assert np.shares_memory(replay.segment(0)["obs/rgb"], replay._storage._storage["obs", "rgb"].numpy())


def test_gpu_storage_is_refused_on_the_cpu():
    with pytest.raises(ConfigError, match=r'replay\.storage="gpu".*learning is on the CPU.*"ram"'):
        ReplayBuffer(ReplayConfig(storage="gpu"), SPEC, 1, [], to_unit)


@pytest.mark.parametrize("named", ["cuda", "cuda:0"])
@pytest.mark.parametrize("storage", ["ram", "disk", "gpu"])
def test_batches_go_to_the_gpu(storage, named, tmp_path, gpu):
    """``cuda`` and ``cuda:0`` are the same place, though they do not compare equal."""
    if storage == "disk" and gpu is not None:
        pytest.skip("a memory-mapped file needs a real GPU beside it")
    config = ReplayConfig(capacity=20, batch_size=16, frame_stack=2, storage=storage, padding="zeros")
    plain = ReplayBuffer(dataclasses.replace(config, storage="ram"), SPEC, 2, [], to_unit, seed=4, sequence_length=2)
    files, device = tmp_path / "frames", torch.device(named)
    other = ReplayBuffer(config, SPEC, 2, [], to_unit, seed=4, directory=files, device=device, sequence_length=2)
    for number in range(5):
        plain.add(coded(number, 6))
        other.add(coded(number, 6))
        batch = other.sample()
        for leaf in batch.values(include_nested=True, leaves_only=True):
            assert leaf.device == torch.device("cuda", 0)
        assert_same(plain.sample(), batch.cpu())
    np.testing.assert_array_equal(plain.segment(3)["obs/rgb"], other.segment(3)["obs/rgb"])


def test_images_are_neither_scanned_nor_converted():
    episode = coded(0, 4)
    assert ReplayBuffer.frame_bytes(SPEC) == 12 + 12 + 8 + 4
    replay = ReplayBuffer(ReplayConfig(capacity=20), SPEC, 1, [], to_unit)
    replay.add(episode)
    assert replay._storage._storage["obs", "rgb"].dtype == torch.uint8
    assert (replay.online_frames, replay.protected_frames) == (5, 0)


def test_episode_that_cannot_fit_is_refused_and_nothing_is_lost():
    replay = ReplayBuffer(ReplayConfig(capacity=10, batch_size=8), SPEC, 1, [], to_unit)
    replay.add(coded(0, 4))
    with pytest.raises(ConfigError, match=r"replay\.capacity"):
        replay.add(coded(1, 10))
    assert [row.seed for row in replay.rows] == [0]
    replay.add(coded(2, 9))
    assert [row.seed for row in replay.rows] == [2]
    assert (replay.sample()["obs", "state"][:, 0] == 2).all()


def test_broken_episode_is_refused_and_nothing_is_lost():
    replay = ReplayBuffer(ReplayConfig(capacity=10, batch_size=8), SPEC, 1, [], to_unit)
    replay.add(coded(0, 8))
    bad = coded(1, 5)
    bad.rewards[2] = np.nan
    with pytest.raises(ValueError, match="rewards"):
        replay.add(bad)
    assert [row.seed for row in replay.rows] == [0]
    assert replay.sample()["reward"].isfinite().all()


def test_sampling_an_empty_replay_says_so():
    replay = ReplayBuffer(ReplayConfig(capacity=10), SPEC, 1, [], to_unit)
    assert not replay.can_sample()
    with pytest.raises(RuntimeError, match="add an episode first"):
        replay.sample()


def test_stored_episode_does_not_follow_the_callers_arrays():
    replay = ReplayBuffer(ReplayConfig(capacity=20, batch_size=8), SPEC, 1, [], to_unit)
    episode = coded(3, 4)
    replay.add(episode)
    before = replay.sampler.state_dict()
    first = replay.sample()
    episode.observations["state"][:] = -1
    episode.actions[:] = -1
    replay.sampler.load_state_dict(before)
    assert_same(first, replay.sample())


def test_batch_does_not_follow_the_storage():
    replay = ReplayBuffer(ReplayConfig(capacity=6, batch_size=8), SPEC, 1, [], to_unit)
    replay.add(coded(1, 5))
    batch = replay.sample()
    kept = batch.clone()
    replay.add(coded(2, 5))
    assert_same(batch, kept)


def assert_same(a: TensorDict, b: TensorDict) -> None:
    left, right = a.flatten_keys(), b.flatten_keys()
    assert set(left.keys()) == set(right.keys())
    for name in left.keys():  # noqa: SIM118 - a TensorDict iterates over rows
        assert torch.equal(left[name], right[name]), name


@settings(max_examples=50)
@given(
    configs,
    st.lists(shapes, max_size=2),
    st.lists(st.tuples(shapes, st.booleans()), min_size=1, max_size=14),
    st.lists(shapes, max_size=5),
)
@pytest.mark.slow
def test_replay_rebuilt_from_segments_gives_equal_batches(config, demo_shapes, online, later):
    demos = [coded(k, s[0], terminated=s[1], success=s[2], is_demo=s[3]) for k, s in enumerate(demo_shapes)]
    first = ReplayBuffer(config, SPEC, 3, demos, to_unit, seed=1)
    segments, saved_until = [], 0
    for number, (shape, save) in enumerate(online):
        first.add(coded(100 + number, shape[0], terminated=shape[1], success=shape[2]))
        if save or number == len(online) - 1:
            # A segment may be a view of the ring, which goes on changing.
            segments.append({n: a.copy() for n, a in first.segment(max(saved_until, first.oldest)).items()})
            saved_until = first.added
        if first.can_sample():
            first.sample()
    again = ReplayBuffer(config, SPEC, 3, demos, to_unit, seed=99)
    again.load_segments(segments, first.oldest)
    again.sampler.load_state_dict(first.sampler.state_dict())
    assert (again.added, again.oldest) == (first.added, first.oldest)

    def described(replay: ReplayBuffer) -> list[dict[str, Any]]:
        return [{**dataclasses.asdict(row), "start": None} for row in replay.rows]

    for number, shape in enumerate([None, *later], 500):
        if shape is not None:
            episode = coded(number, shape[0], terminated=shape[1], success=shape[2])
            first.add(episode)
            again.add(episode)
        assert described(first) == described(again)
        if first.can_sample():
            for _ in range(3):
                assert_same(first.sample(), again.sample())
