"""Padding that commands a robot to stay put, against plain loops over the episodes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoomrl.control.scaling import ActionScaler
from zoomrl.data.config import ReplayConfig
from zoomrl.data.episode import Episode
from zoomrl.data.replay import ReplayBuffer
from zoomrl.errors import ConfigError
from zoomrl.spec import MEANINGS, ArraySpec, EnvSpec

LOW, HIGH = (-0.1, -2.0, 0.0), (0.3, 1.0, 1.0)
SPEC = EnvSpec(
    id="test:arm",
    observations={"state": ArraySpec((2,))},
    action=ArraySpec((3,), low=LOW, high=HIGH),
    control_hz=20.0,
    time_limit=50,
    action_meaning=("delta", "absolute", "gripper"),
)
SCALER = ActionScaler(np.array(LOW), np.array(HIGH), SPEC.action)


def episode(number: int, length: int) -> Episode:
    """Its states name the episode and the step."""
    random = np.random.default_rng(number)
    states = np.stack([np.full(length + 1, number), np.arange(length + 1)], 1).astype(np.float32)
    actions = random.uniform(LOW, HIGH, (length, 3)).astype(np.float32)
    return Episode({"state": states}, actions, np.zeros(length, np.float32), True, False, True, True)


def in_env_units(unit: np.ndarray) -> np.ndarray:
    """[-1, 1] to the environment's units, by hand."""
    return (unit + 1) / 2 * (np.array(HIGH) - np.array(LOW)) + np.array(LOW)


def replay(
    lengths: list[int], chunk_length: int, spec: EnvSpec = SPEC, **options: object
) -> tuple[ReplayBuffer, list[Episode]]:
    config = dataclasses.replace(ReplayConfig(capacity=20, batch_size=64, padding="hold"), **options)  # type: ignore[arg-type]
    episodes = [episode(number, length) for number, length in enumerate(lengths)]
    return ReplayBuffer(config, spec, chunk_length, episodes, SCALER.to_unit), episodes


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=3),
    st.integers(1, 6),
    st.tuples(*[st.sampled_from(MEANINGS)] * 3),
)
@pytest.mark.long
def test_steps_beyond_the_end_stay_put(lengths, chunk_length, meaning):
    store, episodes = replay(lengths, chunk_length, dataclasses.replace(SPEC, action_meaning=meaning))
    batch = store.sample()
    assert batch["valid"].all()
    for state, actions in zip(batch["obs", "state"].numpy(), batch["actions"].numpy(), strict=True):
        taken = episodes[int(state[0])].actions
        for t, action in enumerate(in_env_units(actions)):
            step = int(state[1]) + t
            if step < len(taken):
                wanted = taken[step]
            else:
                wanted = [0.0 if m == "delta" else last for m, last in zip(meaning, taken[-1], strict=True)]
            np.testing.assert_allclose(action, wanted, atol=1e-5)


def test_no_motion_is_not_the_middle_of_the_range():
    """The delta's range is -0.1 to 0.3, so that no motion is -0.5."""
    store, episodes = replay([1], 4)
    actions = store.sample()["actions"].numpy()
    np.testing.assert_allclose(actions[:, 1:, 0], -0.5, atol=1e-6)
    last = SCALER.to_unit(episodes[0].actions[-1])
    np.testing.assert_array_equal(actions[:, 1:, 1:], np.broadcast_to(last[1:], (64, 3, 2)))


def test_the_other_paddings_are_as_they_were():
    last = SCALER.to_unit(episode(0, 1).actions[-1])
    for padding, wanted in (("zeros", np.zeros(3)), ("last_action", last), ("mask", last)):
        batch = replay([1], 3, padding=padding)[0].sample()
        np.testing.assert_array_equal(batch["actions"][0, 1:].numpy(), np.stack([wanted] * 2))
        assert bool(batch["valid"][0, 1:].any()) == (padding != "mask")


def test_it_is_refused_where_the_meaning_of_actions_is_unknown():
    with pytest.raises(ConfigError, match=r'padding="hold".*test:arm.*"mask"'):
        replay([2], 2, dataclasses.replace(SPEC, action_meaning=()))
