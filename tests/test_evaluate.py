"""Evaluation: every seed once, in order, whatever the number of environments."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from envs_toy import ToyEnv
from zoomrl.control.chunk import ActionChunk
from zoomrl.control.config import ControlConfig
from zoomrl.control.controller import Controller
from zoomrl.control.scaling import make_scaler
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.processes import DEATHS_IN_A_ROW
from zoomrl.envs.suites.gym.env import wrap_gym_env
from zoomrl.envs.vector.base import StepOutcome
from zoomrl.envs.vector.serial import SerialVectorEnv
from zoomrl.training.evaluate import Evaluation, evaluate
from zoomrl.training.intervals import mean_in_words, mean_interval, wilson_interval
from zoomrl.training.value_quality import Valued, value_quality
from zoomrl.training.video import VideoRecorder

SEEDS = [11, 3, 8, 3_000_000_000, 25, 4, 19]


class LastingEnv(ToyEnv):
    """Success ends nothing, and is lost again: it must count all the same."""

    def step(self, action: np.ndarray) -> Any:
        observation, reward, _, truncated, _ = super().step(action)
        return (
            observation,
            reward,
            self.clock >= self.fuse,
            truncated,
            {"success": self.clock % 7 == self.fuse % 5},
        )


def lasting() -> Any:
    return wrap_gym_env(LastingEnv(), EnvConfig(id="gym:toy", time_limit=30))


class Steady:
    """A chunk of decaying pushes towards the origin; each row depends on that row's observation alone."""

    chunk_length = 4

    def act(
        self, observation: Mapping[str, Tensor], generator: torch.Generator, *, explore: bool = False
    ) -> ActionChunk:
        newest = observation["state"][:, -3:]
        push = (-0.7 * newest[:, :2]).clamp(-1, 1)
        actions = push[:, None] * 0.8 ** torch.arange(4)[None, :, None]
        return ActionChunk(actions, torch.ones(len(actions), 4, dtype=torch.bool))


class Spied(SerialVectorEnv):
    """Notes resets and draws an image that names the seed."""

    def __init__(self, count: int) -> None:
        super().__init__([lasting] * count)
        self.resets: list[int] = []
        self.seed_of: dict[int, int] = {}

    def reset(self, index: int, seed: int) -> Any:
        self.resets.append(seed)
        self.seed_of[index] = seed
        return super().reset(index, seed)

    def render(self, index: int) -> np.ndarray:
        return np.full((1, 1, 3), self.seed_of[index] % 256, np.uint8)


def controller(envs: SerialVectorEnv, **options: Any) -> Controller:
    config = ControlConfig(**options)
    return Controller(Steady(), config, make_scaler(config, envs.env_spec.action, []), envs.num_envs, frame_stack=2)


def one_by_one(**options: Any) -> list[tuple[float, int, bool]]:
    """Each seed in a fresh environment with a fresh controller, in a plain loop."""
    results = []
    for seed in SEEDS:
        envs = SerialVectorEnv([lasting])
        actor = controller(envs, **options)
        observation, _ = envs.reset(0, seed)
        total, length, success, ended = 0.0, 0, False, False
        while not ended:
            result = envs.step(actor.act({n: a[None] for n, a in observation.items()}))
            observation = {n: a[0] for n, a in result.obs.items()}
            total += float(result.reward[0])
            length += 1
            success |= bool(result.success[0])
            ended = bool(result.terminated[0] or result.truncated[0])
        results.append((total, length, success))
    return results


@pytest.mark.parametrize(
    "options", [{}, {"executor": "receding_horizon", "replan_every": 3}, {"executor": "open_loop"}]
)
@pytest.mark.parametrize("count", [1, 2, 3, 7, 10])
def test_results_do_not_depend_on_the_number_of_environments(count, options):
    envs = Spied(count)
    result = evaluate(controller(envs, **options), envs, SEEDS)
    assert result is not None
    assert sorted(envs.resets) == sorted(SEEDS)
    assert result.seeds == SEEDS
    assert list(zip(result.returns, result.lengths, result.successes, strict=True)) == one_by_one(**options)
    assert len(set(result.lengths)) > 2, "episodes should end at different times"
    assert any(result.successes)


def test_a_second_evaluation_with_the_same_parts_is_equal():
    envs = Spied(3)
    actor = controller(envs)
    assert evaluate(actor, envs, SEEDS) == evaluate(actor, envs, SEEDS)


class Noted(VideoRecorder):
    """Notes frames instead of keeping them."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def begin(self) -> None:
        self.seen.clear()

    def take(self, render: Any) -> None:
        self.seen.append(int(render()[0, 0, 0]))


def test_a_video_shows_the_first_seeds_episode_only():
    envs, recorder = Spied(2), Noted()
    result = evaluate(controller(envs), envs, SEEDS, recorder=recorder)
    assert result is not None
    assert recorder.seen == [SEEDS[0] % 256] * result.lengths[0]


class Foretelling(Steady):
    """Predicts a value that its observation decides."""

    def act(self, observation: Any, generator: torch.Generator, *, explore: bool = False) -> ActionChunk:
        chunk = super().act(observation, generator)
        return ActionChunk(chunk.actions, chunk.valid, 10 * observation["state"][:, -1])


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("executor", ["temporal_ensemble", "open_loop"])
def test_the_value_of_the_first_agent_step_meets_the_discounted_return(count, executor):
    envs = Spied(count)
    config = ControlConfig(executor=executor)
    actor = Controller(Foretelling(), config, make_scaler(config, envs.env_spec.action, []), count, frame_stack=2)
    result = evaluate(actor, envs, SEEDS, discount=0.9)
    assert result is not None
    for seed, valued in zip(SEEDS, result.valued, strict=True):
        predicted, realised = valued.predicted[0], valued.realised[0]
        alone = Spied(1)
        tester = Controller(Steady(), config, make_scaler(config, alone.env_spec.action, []), 1, frame_stack=2)
        observation, _ = alone.reset(0, seed)
        assert predicted == pytest.approx(10 * observation["state"][-1], rel=1e-6)
        shown, total, step, ended = {n: a[None] for n, a in observation.items()}, 0.0, 0, False
        while not ended:
            answer = alone.step(tester.act(shown))
            total += 0.9**step * float(answer.reward[0])
            shown, step = answer.obs, step + 1
            ended = bool(answer.terminated[0] or answer.truncated[0])
        assert realised == pytest.approx(total, rel=1e-6)
    row = result.row()
    assert row["value_overestimation"] == pytest.approx(row["value_predicted"] - row["value_realised"])


@pytest.mark.parametrize("count", [1, 3])
def test_every_predicted_value_meets_the_return_from_its_state_on(count):
    envs, config = Spied(count), ControlConfig(executor="temporal_ensemble")
    actor = Controller(Foretelling(), config, make_scaler(config, envs.env_spec.action, []), count, frame_stack=2)
    result = evaluate(actor, envs, SEEDS, discount=0.9)
    assert result is not None
    for valued, length, total in zip(result.valued, result.lengths, result.returns, strict=True):
        assert len(valued.predicted) == len(valued.realised) == length
        later = [*valued.realised[1:], 0.0]
        rewards = [now - 0.9 * after for now, after in zip(valued.realised, later, strict=True)]
        assert sum(rewards) == pytest.approx(total, abs=1e-6)
    row = result.row()
    pairs = [pair for one in result.valued for pair in zip(one.predicted, one.realised, strict=True)]
    assert row["value_error"] == pytest.approx(np.mean([abs(a - b) for a, b in pairs]))
    assert -1 <= row["value_rank"] <= 1


values_of_episodes = st.lists(
    st.tuples(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=5), st.booleans()),
    min_size=1,
    max_size=6,
)


@given(values_of_episodes)
def test_the_quality_of_values_is_that_of_its_definitions(episodes):
    valued = [Valued([float(p) for p, _ in pairs], [float(r) for _, r in pairs]) for pairs, _ in episodes]
    found = value_quality(valued, [success for _, success in episodes])
    good = [p for pairs, success in episodes if success for p, _ in pairs]
    bad = [p for pairs, success in episodes if not success for p, _ in pairs]
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a in good for b in bad]
    assert found.get("value_auc") == (pytest.approx(np.mean(wins)) if wins else None)
    predicted, realised = zip(*(pair for pairs, _ in episodes for pair in pairs), strict=True)

    def rank(values):
        return [sum(o < v for o in values) + (sum(o == v for o in values) + 1) / 2 for v in values]

    if len(set(predicted)) > 1 and len(set(realised)) > 1:
        assert found["value_rank"] == pytest.approx(np.corrcoef(rank(predicted), rank(realised))[0, 1])
    else:
        assert "value_rank" not in found
    assert found["value_error"] == pytest.approx(np.mean(np.abs(np.subtract(predicted, realised))))
    assert "value_auc" not in value_quality(valued, [])


def test_there_is_no_quality_without_values():
    assert value_quality([], []) == {}
    assert value_quality([Valued([], [])], [True]) == {}


def test_no_values_where_the_agent_predicts_none():
    result = evaluate(controller(Spied(2)), Spied(2), SEEDS)
    assert result is not None
    assert result.valued == []
    assert "value_predicted" not in result.row()


@pytest.mark.parametrize("after", [0, 1, 5])
def test_stop_abandons(after):
    envs, asked = Spied(2), []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > after

    assert evaluate(controller(envs), envs, SEEDS, stop=stop) is None
    assert len(asked) == after + 1


class Mortal(Spied):
    """The environment ``victim`` dies in its fourth decision."""

    decisions, victim = 0, 1

    def _step_some(self, actions: Any) -> dict[int, StepOutcome | None]:
        outcomes = super()._step_some(actions)
        self.decisions += 1
        return {**outcomes, self.victim: None} if self.decisions == 4 else outcomes


def test_episode_of_a_died_worker_is_run_again():
    envs = Mortal(2)
    result = evaluate(controller(envs), envs, SEEDS)
    assert result is not None
    assert envs.resets.count(SEEDS[1]) == 2
    assert list(zip(result.returns, result.lengths, result.successes, strict=True)) == one_by_one()


class Deadly(Spied):
    """One seed kills its worker in the third decision, whichever worker that is."""

    def reset(self, index: int, seed: int) -> Any:
        self.running[index], self.made[index] = seed, 0
        return super().reset(index, seed)

    def _step_some(self, actions: Any) -> dict[int, StepOutcome | None]:
        outcomes = super()._step_some(actions)
        for index in actions:
            self.made[index] += 1
        return {i: None if self.running[i] == SEEDS[2] and self.made[i] == 3 else o for i, o in outcomes.items()}


@pytest.mark.parametrize("count", [1, 3])
def test_a_seed_that_kills_its_worker_each_time_is_lost_and_ends_the_evaluation_all_the_same(count, caplog):
    envs = Deadly(count)
    envs.running, envs.made = {}, {}
    result = evaluate(controller(envs), envs, SEEDS)
    assert result is not None
    assert envs.resets.count(SEEDS[2]) == DEATHS_IN_A_ROW
    assert result.lost == [SEEDS[2]]
    others = [one for seed, one in zip(SEEDS, one_by_one(), strict=True) if seed != SEEDS[2]]
    assert list(zip(result.returns, result.lengths, result.successes, strict=True)) == others
    assert f"died {DEATHS_IN_A_ROW} times in the episode with seed {SEEDS[2]}" in caplog.text


def test_weights_that_lose_episodes_are_ranked_below_those_that_lose_none():
    """One success of the only episode that is left is not better than nine of ten."""
    nine = Evaluation([1.0] * 9 + [0.0], [5] * 10, [True] * 9 + [False], list(range(10)))
    lucky = Evaluation([1.0], [5], [True], [0], lost=list(range(1, 10)))
    better = dataclasses.replace(nine, returns=[2.0] * 10)
    assert lucky.score < nine.score < better.score
    assert Evaluation([], [], [], [], lost=[0]).score is None


def test_the_video_of_an_episode_that_is_run_again_begins_anew():
    envs, recorder = Mortal(2), Noted()
    envs.victim = 0
    result = evaluate(controller(envs), envs, SEEDS, recorder=recorder)
    assert result is not None
    assert len(recorder.seen) == result.lengths[0]


def test_row_summarises():
    row = Evaluation([1.0, 2.0, 6.0], [3, 4, 5], [True, False, True], [7, 8, 9]).row()
    assert row["episodes"] == 3
    assert row["success_rate"] == pytest.approx(2 / 3)
    assert row["return_mean"] == 3.0
    assert row["return_std"] == pytest.approx(np.sqrt(14 / 3))
    assert row["length_mean"] == 4.0
    assert row["seeds"] == [7, 8, 9]


def test_success_is_absent_where_none_is_reported():
    envs = Spied(2)
    silent = dataclasses.replace(envs.env_spec, reports_success=False)
    envs.env_spec = silent
    result = evaluate(controller(envs), envs, SEEDS)
    assert result is not None
    assert result.success_rate is None
    assert not [name for name in result.row() if name.startswith("success")]
    assert result.returns


def test_the_interval_of_a_mean_is_students():
    row = Evaluation([1.0, 2.0, 6.0], [3, 4, 5], [], [7, 8, 9]).row()
    # t = 4.302653 with 2 degrees of freedom; the sample's standard deviation is sqrt(7).
    half = 4.302653 * np.sqrt(7 / 3)
    assert (row["return_low"], row["return_high"]) == pytest.approx((3 - half, 3 + half), rel=1e-6)
    assert "return_low" not in Evaluation([1.0], [3], [], [7]).row()
    assert mean_in_words(3.0, 2.0, 1) == "3"


@pytest.mark.parametrize("count", [2, 3, 5, 10])
def test_intervals_hold_the_true_mean_in_95_of_100_cases(count):
    returns = np.random.default_rng(count).normal(300, 80, (8000, count))
    ends = [mean_interval(float(row.mean()), float(row.std()), count) for row in returns]
    assert np.mean([low <= 300 <= high for low, high in ends]) == pytest.approx(0.95, abs=0.0075)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # Brown, Cai, DasGupta (2001) and the usual calculators, z = 1.96.
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (5, 10, 0.2366, 0.7634),
        (1, 1, 0.2065, 1.0),
        (15, 50, 0.1910, 0.4375),
        (81, 263, 0.2553, 0.3662),
    ],
)
def test_wilson_interval(successes, trials, low, high):
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=1e-4)


def test_wilson_interval_solves_its_equation():
    for trials in (1, 3, 25, 400):
        for successes in range(0, trials + 1, max(1, trials // 7)):
            fraction = successes / trials
            for bound in wilson_interval(successes, trials):
                if 0 < bound < 1:
                    assert (fraction - bound) ** 2 == pytest.approx(1.96**2 * bound * (1 - bound) / trials)
