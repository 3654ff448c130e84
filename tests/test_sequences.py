"""Sequences of several steps in a batch: they stay inside one episode, whatever the ring has been through."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from test_replay import SPEC, coded, to_unit
from zoomrl.data.config import ReplayConfig
from zoomrl.data.replay import ReplayBuffer


def replay_of(lengths, *, sequence_length, capacity=60, demos=0, **options):
    settings = ReplayConfig(**{"batch_size": 64, "demo_fraction": 0.0, **options}, capacity=capacity)
    episodes = [coded(number, length, terminated=number % 2 == 0) for number, length in enumerate(lengths)]
    protected = [coded(100 + number, 5, is_demo=True, success=True) for number in range(demos)]
    replay = ReplayBuffer(settings, SPEC, 1, protected, to_unit, seed=3, sequence_length=sequence_length)
    for episode in episodes:
        replay.add(episode)
    return replay, {e.seed: e for e in (*protected, *episodes)}


@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=12),
    st.integers(1, 6),
    st.integers(1, 4),
    st.sampled_from(["shorten", "exclude"]),
    st.integers(1, 3),
    st.sampled_from(["episode", "transition"]),
    st.integers(0, 2),
)
@pytest.mark.slow
def test_sequences_are_what_followed(lengths, sequence_length, n_step, tail, stack, sampling, demos):
    replay, episodes = replay_of(
        lengths,
        sequence_length=sequence_length,
        n_step=n_step,
        tail=tail,
        frame_stack=stack,
        sampling=sampling,
        demos=demos,
    )
    if not replay.can_sample():
        return
    batch = replay.sample()
    sequence = batch["sequence"]
    assert sequence["obs"]["state"].shape == (64, sequence_length, 3 * stack)
    assert sequence["obs"]["rgb"].shape == (64, sequence_length, stack, 2, 2, 1, 3)
    for row in range(len(batch)):
        number, first = (int(v) for v in batch["obs"]["state"][row, -3:-1])
        episode = episodes[number]
        for h in range(sequence_length):
            inside = first + h < len(episode)
            assert bool(sequence["valid"][row, h]) == inside
            if tail == "exclude":
                assert inside
            if not inside:
                continue
            step = first + h
            stacked = [episode.observations["state"][max(step + 1 - back, 0)] for back in range(stack - 1, -1, -1)]
            np.testing.assert_array_equal(sequence["obs"]["state"][row, h], np.concatenate(stacked))
            images = [episode.observations["rgb"][max(step + 1 - back, 0)] for back in range(stack - 1, -1, -1)]
            np.testing.assert_array_equal(sequence["obs"]["rgb"][row, h], np.stack(images))
            np.testing.assert_array_equal(sequence["actions"][row, h], to_unit(episode.actions[step]))
            assert sequence["reward"][row, h] == episode.rewards[step]


def test_no_sequence_unless_asked_for():
    replay, _ = replay_of([9], sequence_length=0)
    assert "sequence" not in replay.sample().keys()  # noqa: SIM118 (a TensorDict iterates over samples)


@pytest.mark.parametrize(("tail", "enough"), [("shorten", True), ("exclude", False)])
def test_an_episode_shorter_than_the_sequence(tail, enough):
    replay, _ = replay_of([4], sequence_length=5, tail=tail)
    assert replay.can_sample() == enough
    replay.add(coded(50, 5))
    assert replay.can_sample()
    if tail == "exclude":
        assert set(replay.sample()["obs"]["state"][:, 0].tolist()) == {50.0}


def test_a_time_limits_last_step_counts():
    """Its next observation is a real one: only steps after it are outside."""
    replay, _ = replay_of([3], sequence_length=3, tail="exclude")
    assert replay.sample()["sequence"]["valid"].all()
    assert torch.equal(replay.sample()["sequence"]["obs"]["state"][:, 2, 1], torch.full((64,), 3.0))
