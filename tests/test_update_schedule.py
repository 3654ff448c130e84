"""When updates are made, and the means of what they measure."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zoomrl.training.means import Means
from zoomrl.training.update_schedule import UpdateSchedule

PER_STEP = st.sampled_from([0.25, 0.5, 1.0, 1.5, 3.0])
EVENTS = st.lists(st.tuples(st.integers(1, 3), st.booleans()), max_size=30)


def made(schedule: UpdateSchedule) -> int:
    count = 0
    while schedule.due:
        schedule.take()
        count += 1
    return count


@given(PER_STEP, EVENTS)
def test_at_each_step_the_updates_so_far_are_the_whole_part_of_what_was_called_for(per_step, events):
    schedule, steps, updates = UpdateSchedule(per_step, "step"), 0, 0
    for count, ended in events:
        schedule.steps(count)
        if ended:
            schedule.episode_ended()
        steps, updates = steps + count, updates + made(schedule)
        assert updates == int(Fraction(per_step) * steps)


@given(PER_STEP, EVENTS)
def test_until_an_episode_ends_none_is_due_and_then_all_are(per_step, events):
    schedule, steps, updates = UpdateSchedule(per_step, "episode"), 0, 0
    for count, ended in events:
        schedule.steps(count)
        steps += count
        assert not schedule.due
        if ended:
            schedule.episode_ended()
            updates += made(schedule)
            assert updates == int(Fraction(per_step) * steps)


@given(PER_STEP, EVENTS, st.integers(0, 30), st.sampled_from(["step", "episode"]))
def test_a_restored_schedule_goes_on_alike(per_step, events, cut, at):
    whole, parts = UpdateSchedule(per_step, at), UpdateSchedule(per_step, at)
    for number, (count, ended) in enumerate(events):
        if number == cut:
            state, parts = parts.state_dict(), UpdateSchedule(per_step, at)
            parts.load_state_dict({**state, "agent": {}})
        for schedule in (whole, parts):
            schedule.steps(count)
            if ended:
                schedule.episode_ended()
        assert made(whole) == made(parts)


def test_means_are_over_the_updates_that_have_a_metric():
    means = Means()
    means.add({"loss": torch.tensor(1.0), "actor_loss": torch.tensor(5.0)})
    means.add({"loss": torch.tensor(2.0)})
    restored = Means()
    restored.load_state_dict(means.state_dict())
    for one in (means, restored):
        one.add({"loss": torch.tensor(6.0)})
        assert one.take() == ({"loss": pytest.approx(3.0), "actor_loss": 5.0}, {"loss": 3, "actor_loss": 1})
        assert one.take() == ({}, {})
