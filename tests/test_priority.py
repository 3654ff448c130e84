"""Samples drawn by priority: distribution, places that are never drawn, rings that go round, and resuming."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from test_replay import SPEC, Model, assert_same, check_batch, coded, configs, shapes, starts, to_unit
from zoomrl.data.config import ReplayConfig
from zoomrl.data.priority import BLOCK, Priorities
from zoomrl.data.replay import ReplayBuffer
from zoomrl.errors import NonFiniteLossError

BY_PRIORITY = ReplayConfig(capacity=40, batch_size=64, demo_fraction=0.0, sampling="priority")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def held(replay: ReplayBuffer, slots: int) -> torch.Tensor:
    """Priority of every slot, through the saved state alone."""
    state = replay.sampler.state_dict()["priorities"]
    return torch.cat([state, torch.zeros(slots - len(state))])


def named(replay: ReplayBuffer) -> dict[int, tuple[int, int]]:
    """Slot -> (episode, step) of every frame alive, from the rows of the table."""
    found = {}
    for row in replay.rows:
        for step in range(row.length + 1):
            slot = row.start + step
            last = replay.protected_frames + replay.config.capacity
            found[slot - replay.config.capacity if slot >= last else slot] = (row.seed, step)
    return found


def check_priorities(replay: ReplayBuffer, model: Model, config: ReplayConfig) -> None:
    """Positive exactly where a window of a living episode may start."""
    values = held(replay, replay.protected_frames + config.capacity)
    places = named(replay)
    wanted = {slot for slot, (n, step) in places.items() if step < starts(model.alive[n], config)}
    assert set(values.nonzero()[:, 0].tolist()) == wanted


# The priorities alone.


@pytest.mark.parametrize("slots", [1, 7, BLOCK, 3 * BLOCK + 5])
def test_draws_are_in_proportion(slots):
    priorities = Priorities(slots)
    weights = torch.rand(slots, generator=generator(1)) ** 4
    weights[:: max(2, slots // 9)] = 0
    if slots == 1:
        weights[:] = 3.0
    used = weights.nonzero()[:, 0]
    priorities.enter(used)
    priorities.set(used, weights[used])
    count = 20_000
    drawn = np.bincount(priorities.sample(count, generator(2)).numpy(), minlength=slots)
    assert len(drawn) == slots
    assert drawn[weights.numpy() == 0].sum() == 0
    if slots > 1:
        # Cells that are hardly ever drawn would spoil the test: together they are one.
        expected = (weights.double() / weights.double().sum() * count).numpy()
        rare = expected < 8
        cells = [np.append(x[~rare], x[rare].sum()) for x in (drawn, expected)]
        keep = cells[1] > 0
        assert chisquare(cells[0][keep], cells[1][keep]).pvalue > 1e-3


@settings(max_examples=80)
@given(
    st.dictionaries(st.integers(0, 4 * BLOCK - 1), st.floats(2**-20, 2**30, width=32), min_size=1, max_size=40),
    st.integers(0, 2**31),
)
@pytest.mark.long
def test_slots_without_priority_are_never_drawn(weights, seed):
    """Whatever the sizes: a billion beside a millionth, in the same block and in others."""
    priorities = Priorities(4 * BLOCK)
    slots = torch.tensor(list(weights))
    priorities.enter(slots)
    priorities.set(slots, torch.tensor(list(weights.values())))
    assert set(priorities.sample(500, generator(seed)).tolist()) <= set(weights)


class Ends:
    """Stands in for ``torch.rand``: the smallest and the largest number that it may give."""

    def __call__(self, count, **kwargs):
        return torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64).repeat(count)[:count]


@pytest.mark.parametrize("seed", range(20))
def test_the_ends_of_the_uniform_draw_hit_slots_with_priority(seed, monkeypatch):
    priorities = Priorities(5 * BLOCK)
    slots = torch.randperm(5 * BLOCK, generator=generator(seed))[: 3 + seed]
    priorities.enter(slots)
    priorities.set(slots, 1000 * torch.rand(len(slots), generator=generator(seed)) + 1)
    monkeypatch.setattr(torch, "rand", Ends())
    first, last = priorities.sample(2, generator()).tolist()
    assert (first, last) == (slots.min(), slots.max())


def test_rounding_between_blocks_cannot_hit_a_slot_without_priority(monkeypatch):
    """A small block after a large one, with sums so rounded that the draw lies before its block."""
    unit = 2.0**-22  # the last bit of numbers just above 2^30
    priorities = Priorities(3 * BLOCK)
    slots = torch.tensor([0, BLOCK, 2 * BLOCK + 5])
    priorities.enter(slots)
    priorities.set(slots, torch.tensor([2.0**30, unit, 2.5 * unit]))
    before, total = 2.0**30 + unit, 2.0**30 + 4 * unit  # the sum is rounded up by half a unit
    fraction = torch.tensor([before / total], dtype=torch.float64)
    assert fraction * total == before
    monkeypatch.setattr(torch, "rand", lambda count, **kwargs: fraction)
    assert priorities.sample(1, generator()).tolist() == [2 * BLOCK + 5]


def test_new_steps_get_the_largest_priority_of_those_there_are():
    priorities = Priorities(20)
    priorities.enter(torch.arange(3))
    assert priorities.state().tolist() == [1.0, 1.0, 1.0]
    priorities.set(torch.tensor([0, 2]), torch.tensor([4.0, 0.5]))
    priorities.enter(torch.tensor([5]))
    assert priorities.state().tolist() == [4.0, 1.0, 0.5, 0.0, 0.0, 4.0]
    # Looked up afresh: it falls with the priorities.
    priorities.set(torch.tensor([0, 5]), torch.tensor([2.0, 1.5]))
    priorities.enter(torch.tensor([3]))
    assert priorities.state()[3] == 2.0
    priorities.remove(torch.tensor([0, 3]))
    assert priorities.largest() == 1.5
    assert priorities.state().tolist() == [0.0, 1.0, 0.5, 0.0, 0.0, 1.5]


def test_of_a_step_drawn_twice_the_largest_counts():
    priorities = Priorities(10)
    priorities.enter(torch.arange(4))
    priorities.set(torch.tensor([1, 1, 2, 1]), torch.tensor([2.0, 5.0, 0.25, 3.0]))
    assert priorities.state().tolist() == [1.0, 5.0, 0.25, 1.0]


def test_a_slot_that_is_no_start_stays_without_priority():
    priorities = Priorities(10)
    priorities.enter(torch.arange(2))
    priorities.set(torch.tensor([1, 7]), torch.tensor([2.0, 5.0]))
    assert priorities.state().tolist() == [1.0, 2.0]


def test_priorities_that_cannot_be_are_refused():
    priorities = Priorities(10)
    priorities.enter(torch.arange(2))
    for bad in (math.nan, math.inf):
        with pytest.raises(NonFiniteLossError, match="NaN or infinite"):
            priorities.set(torch.tensor([0]), torch.tensor([bad]))
    with pytest.raises(ValueError, match="must be positive, got 0"):
        priorities.set(torch.tensor([0]), torch.tensor([0.0]))
    with pytest.raises(RuntimeError, match="add an episode first"):
        Priorities(10).sample(1, generator())


def test_a_saved_state_fits_a_larger_replay():
    """A run resumed with more steps may have a larger ring; its draws are the same."""
    small, large = Priorities(BLOCK + 3), Priorities(9 * BLOCK)
    small.enter(torch.arange(2, BLOCK + 1))
    small.set(torch.arange(2, BLOCK + 1), torch.rand(BLOCK - 1, generator=generator()) + 1)
    large.enter(torch.arange(50))
    large.load(small.state())
    assert torch.equal(small.sample(100, generator(3)), large.sample(100, generator(3)))


# In the replay.


by_priority = configs.map(lambda config: dataclasses.replace(config, sampling="priority"))


@settings(max_examples=60)
@given(
    by_priority,
    st.integers(1, 4),
    st.integers(0, 4),
    st.lists(shapes, max_size=3),
    st.lists(shapes, max_size=9),
    st.integers(0, 9),
)
@pytest.mark.long
def test_batches_equal_plain_loops(config, chunk_length, sequence_length, demo_shapes, online_shapes, seed):
    """Also that ``slot`` names the step a sample was drawn from, whatever was evicted and however the ring wraps."""
    demos = [coded(k, s[0], terminated=s[1], success=s[2], is_demo=s[3]) for k, s in enumerate(demo_shapes)]
    model = Model(demos, config.capacity, config.relabel_successes)
    replay = ReplayBuffer(config, SPEC, chunk_length, demos, to_unit, seed=1, sequence_length=sequence_length)
    whole = (
        config if config.tail == "shorten" else dataclasses.replace(config, n_step=max(config.n_step, sequence_length))
    )
    random = generator(seed)
    for number, shape in enumerate([None, *online_shapes], len(demos) - 1):
        if shape is not None:
            episode = coded(number, shape[0], terminated=shape[1], success=shape[2])
            replay.add(episode)
            model.add(episode)
        check_priorities(replay, model, whole)
        assert replay.can_sample() == model.can_sample(whole)
        if not replay.can_sample():
            with pytest.raises(RuntimeError, match="no complete window"):
                replay.sample()
            continue
        batch = replay.sample()
        if whole == config:  # what stands in a batch depends on n_step, not on the span
            found = check_batch(batch, model, config, chunk_length)
        else:
            states = batch["obs", "state"].view(config.batch_size, config.frame_stack, 3)[:, -1]
            found = [(int(a), int(b)) for a, b in states[:, :2]]
        places = named(replay)
        assert batch["slot"].dtype == torch.int64
        assert [places[slot] for slot in batch["slot"].tolist()] == found
        replay.set_priority(batch["slot"], 10 * torch.rand(config.batch_size, generator=random) + 1)
        check_priorities(replay, model, whole)


@pytest.mark.parametrize("tail", ["shorten", "exclude"])
@pytest.mark.long
def test_distribution_over_a_wrapped_ring(tail):
    samples = 40_000
    config = dataclasses.replace(BY_PRIORITY, capacity=23, batch_size=samples, n_step=3, tail=tail)
    replay = ReplayBuffer(config, SPEC, 1, [coded(0, 4, is_demo=True)], to_unit, seed=3)
    for number in range(1, 8):
        replay.add(coded(number, 3 + number % 4))
    assert any(row.start + row.length >= 5 + 23 for row in replay.rows), "the ring should go round"
    values = held(replay, 28)
    used = values.nonzero()[:, 0]
    weights = torch.rand(len(used), generator=generator()) + 0.1
    replay.set_priority(used, weights)
    batch = replay.sample()
    counts = torch.bincount(batch["slot"], minlength=28)
    assert counts.sum() == counts[used].sum() == samples
    assert chisquare(counts[used], weights.double() / weights.double().sum() * samples).pvalue > 1e-3
    states = batch["obs", "state"].int()
    places = named(replay)
    assert all(places[s] == (int(a), int(b)) for s, (a, b, _) in zip(batch["slot"].tolist(), states, strict=True))


def test_the_demonstration_share_is_uniform_over_its_steps():
    config = dataclasses.replace(BY_PRIORITY, batch_size=20_000, demo_fraction=0.5)
    replay = ReplayBuffer(config, SPEC, 1, [coded(0, 3, is_demo=True), coded(1, 9)], to_unit, seed=5)
    replay.add(coded(2, 6, success=True))
    slots = replay.sample()["slot"]
    replay.set_priority(slots, 1 + 50 * (slots == 1))
    batch = replay.sample()
    states = batch["obs", "state"].int()
    first, second = states[:10_000], states[10_000:]
    assert batch["is_demo"][:10_000].all()
    steps = [((first[:, 0] == n) & (first[:, 1] == k)).sum() for n, length in ((0, 3), (2, 6)) for k in range(length)]
    assert sum(steps) == 10_000
    assert chisquare(steps).pvalue > 1e-3
    hot = ((second[:, 0] == 0) & (second[:, 1] == 1)).float().mean().item()
    assert hot == pytest.approx(51 / (51 + 17), abs=0.02)


def test_new_episodes_come_in_at_the_largest_priority():
    replay = ReplayBuffer(BY_PRIORITY, SPEC, 1, [], to_unit)
    replay.add(coded(0, 4))
    replay.set_priority(torch.tensor([2]), torch.tensor([7.0]))
    replay.add(coded(1, 3))
    assert held(replay, 40)[:9].tolist() == [1, 1, 7, 1, 0, 7, 7, 7, 0]


def test_evicted_episodes_leave_no_priority_behind():
    replay = ReplayBuffer(dataclasses.replace(BY_PRIORITY, capacity=20), SPEC, 1, [], to_unit)
    replay.add(coded(0, 17))
    replay.set_priority(torch.arange(17), torch.full((17,), 9.0))
    replay.add(coded(1, 4))  # the long one goes; the new one starts where it ended
    assert held(replay, 20).nonzero()[:, 0].tolist() == [0, 1, 18, 19]
    assert set(replay.sample()["obs", "state"][:, 0].tolist()) == {1.0}
    bad = coded(2, 18)
    bad.rewards[0] = np.nan
    with pytest.raises(ValueError, match="rewards"):
        replay.add(bad)
    assert held(replay, 20).nonzero()[:, 0].tolist() == [0, 1, 18, 19]


def test_other_sampling_has_neither_slots_nor_priorities():
    replay = ReplayBuffer(dataclasses.replace(BY_PRIORITY, sampling="transition"), SPEC, 1, [], to_unit)
    replay.add(coded(0, 4))
    assert "slot" not in replay.sample().keys()  # noqa: SIM118 - a TensorDict iterates over rows
    assert set(replay.sampler.state_dict()) == {"generator"}
    with pytest.raises(ValueError, match=r'sampling="priority" only'):
        replay.set_priority(torch.tensor([0]), torch.tensor([1.0]))


def test_looking_at_samples_leaves_the_draws_as_they_were():
    """As the trainer does for its diagnosis."""
    replay = ReplayBuffer(BY_PRIORITY, SPEC, 1, [], to_unit)
    replay.add(coded(0, 9))
    before = replay.sampler.state_dict()
    first = replay.sample()
    replay.set_priority(first["slot"], torch.full((64,), 3.0))
    replay.sampler.load_state_dict(before)
    assert_same(first, replay.sample())


# Resuming.


@settings(max_examples=60)
@given(
    by_priority,
    st.integers(0, 3),
    st.lists(shapes, max_size=2),
    st.lists(st.tuples(shapes, st.booleans()), min_size=1, max_size=14),
    st.lists(shapes, max_size=5),
)
@pytest.mark.slow
def test_replay_rebuilt_from_segments_draws_alike(config, sequence_length, demo_shapes, online, later):
    """Segments saved as the ring goes round, loaded into an empty one: the same slots, priorities and draws."""
    demos = [coded(k, s[0], terminated=s[1], success=s[2], is_demo=s[3]) for k, s in enumerate(demo_shapes)]
    first = ReplayBuffer(config, SPEC, 3, demos, to_unit, seed=1, sequence_length=sequence_length)
    segments, saved_until = [], 0
    random = generator()

    def learn(*replays: ReplayBuffer) -> None:
        if not first.can_sample():
            return
        batches = [replay.sample() for replay in replays]
        priority = 5 * torch.rand(config.batch_size, generator=random) + 1
        for replay, batch in zip(replays, batches, strict=True):
            assert_same(batch, batches[0])
            replay.set_priority(batch["slot"], priority)

    for number, (shape, save) in enumerate(online):
        first.add(coded(100 + number, shape[0], terminated=shape[1], success=shape[2]))
        if save or number == len(online) - 1:
            # A segment may be a view of the ring, which goes on changing.
            segments.append({n: a.copy() for n, a in first.segment(max(saved_until, first.oldest)).items()})
            saved_until = first.added
        learn(first)
    again = ReplayBuffer(config, SPEC, 3, demos, to_unit, seed=99, sequence_length=sequence_length)
    again.load_segments(segments, first.oldest)
    again.sampler.load_state_dict(first.sampler.state_dict())
    for number, shape in enumerate([None, *later], 500):
        if shape is not None:
            for replay in (first, again):
                replay.add(coded(number, shape[0], terminated=shape[1], success=shape[2]))
        assert list(first.rows) == list(again.rows)
        one, two = (replay.sampler.state_dict()["priorities"] for replay in (first, again))
        assert torch.equal(one, two)
        for _ in range(2):
            learn(first, again)


def test_a_wrapped_ring_comes_back_to_its_place():
    config = dataclasses.replace(BY_PRIORITY, capacity=20)
    first = ReplayBuffer(config, SPEC, 1, [], to_unit, seed=1)
    for number in range(5):
        first.add(coded(number, 6))
    starts_before = [row.start for row in first.rows]
    assert starts_before == [1, 8]
    first.set_priority(torch.tensor([9, 10]), torch.tensor([50.0, 2.0]))
    again = ReplayBuffer(config, SPEC, 1, [], to_unit, seed=2)
    again.load_segments([first.segment(first.oldest)], first.oldest)
    again.sampler.load_state_dict(first.sampler.state_dict())
    assert [row.start for row in again.rows] == starts_before
    assert_same(first.sample(), again.sample())


@pytest.mark.parametrize("shown", [0, 1, 3])
def test_a_protected_region_of_another_size_is_not_written_over(shown):
    """A fork may have more demonstrations, or fewer, than the run whose episodes it goes on with."""
    config = dataclasses.replace(BY_PRIORITY, capacity=20, sampling="episode")
    first = ReplayBuffer(config, SPEC, 1, [coded(90, 4)], to_unit, seed=1)
    for number in range(5):
        first.add(coded(number, 6))
    demos = [coded(91 + number, 4) for number in range(shown)]
    again, alone = (ReplayBuffer(config, SPEC, 1, demos, to_unit, seed=2) for _ in range(2))
    again.load_segments([first.segment(first.oldest)], first.oldest)
    for row in alone.rows:
        slots = alone._table.indices(row)
        assert torch.equal(again._storage.frames["obs"]["state"][slots], alone._storage.frames["obs"]["state"][slots])
    before, after = first.segment(first.oldest), again.segment(first.oldest)
    for name in ("serial", "length", "obs/state", "action", "reward"):
        np.testing.assert_array_equal(before[name], after[name])
    assert again.oldest == first.oldest
    again.add(coded(5, 6))
    again.sample()


def test_segments_of_older_versions_are_loaded():
    """They do not say where their episodes were, and nothing depended on it."""
    config = dataclasses.replace(BY_PRIORITY, capacity=20, sampling="episode")
    first = ReplayBuffer(config, SPEC, 1, [], to_unit, seed=1)
    for number in range(5):
        first.add(coded(number, 6))
    segment = {name: array for name, array in first.segment(first.oldest).items() if name != "start"}
    again = ReplayBuffer(config, SPEC, 1, [], to_unit, seed=2)
    again.load_segments([segment], first.oldest)
    again.sampler.load_state_dict(first.sampler.state_dict())
    assert_same(first.sample(), again.sample())
