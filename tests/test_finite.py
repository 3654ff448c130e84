"""NaN and infinity that a simulator shows cost one episode, wherever it is run: said by name, counted, and on."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rich.console import Console

from envs_toy import Failing, FailingDouble, FailingImage, ToyEnv, failing
from toy import assert_same_run, last_state, run, tiny
from zoomrl.agents.cqn.learner import CQN
from zoomrl.cli.main import main
from zoomrl.control.chunk import ActionChunk
from zoomrl.control.config import ControlConfig
from zoomrl.control.controller import Controller
from zoomrl.control.scaling import make_scaler
from zoomrl.data.episode import Episode
from zoomrl.data.finite import first_not_finite, simulator_fault
from zoomrl.data.replay import ReplayBuffer
from zoomrl.demos.check.rollout import replay
from zoomrl.demos.collect import collect_demos
from zoomrl.envs.base import ControlStep, Env
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.suites.gym.env import wrap_gym_env
from zoomrl.envs.vector.base import VectorEnv
from zoomrl.envs.vector.process import ProcessVectorEnv
from zoomrl.envs.vector.serial import SerialVectorEnv
from zoomrl.errors import DemonstrationError, NonFiniteLossError, SimulatorError
from zoomrl.nets.config import EncoderConfig
from zoomrl.spec import ArraySpec, EnvSpec
from zoomrl.training.collect.contract import LOST_RESETS
from zoomrl.training.collect.stepwise import StepwiseCollector
from zoomrl.training.evaluate import Evaluation, evaluate
from zoomrl.training.logger import Logger
from zoomrl.training.policy import load_policy
from zoomrl.training.run import train
from zoomrl.training.seeds import derive
from zoomrl.training.trainer import Trainer

SAID = re.compile(
    r"environment (\d) showed NaN or infinite values (at step \d+|in the first observation) of the episode with seed "
    r"(\d+) \((.*?)\); the episode is (?:dropped|lost)"
)


def trained(config: Any, make_env: Any) -> tuple[Any, str]:
    said = io.StringIO()
    result = train(config, make_env=make_env, console=Console(file=said, width=1000))
    return result, said.getvalue()


def strict(directory: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rows and the result of a run; fails where one of them is no JSON, such as for NaN."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} in a file of the run")

    lines = (directory / "metrics.jsonl").read_text().splitlines()
    found = [json.loads(line, parse_constant=refuse) for line in lines]
    return found, json.loads((directory / "result.json").read_text(), parse_constant=refuse)


# ---- the test itself ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (np.float32([1, math.nan, math.inf]), "x[1] is nan"),
        (np.float64([[1, 2], [-1e39, 4]]), "x[1, 0] is -inf"),
        (np.float32(math.inf), "x is inf"),
        (math.nan, "x is nan"),
        (1e300, "x is inf"),
        (np.float64([1e38, -1e38]), ""),
        (np.full((2, 2, 3), 255, np.uint8), ""),
        (np.array([10**18]), ""),
        (np.zeros(0, np.float32), ""),
        (3, ""),
    ],
)
def test_what_is_not_finite_is_named(values, found):
    assert first_not_finite("x", values) == found


@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64]),
        hnp.array_shapes(max_dims=3, max_side=4),
        elements={"allow_nan": True, "allow_infinity": True},
    )
)
def test_the_first_entry_that_float32_cannot_hold_is_named(values):
    with np.errstate(over="ignore"):
        bad = [place for place, value in np.ndenumerate(values.astype(np.float32)) if not math.isfinite(value)]
    found = first_not_finite("x", values)
    assert found.partition(" is ")[0] == (f"x{list(bad[0])}" if bad else "")


def test_reset_step_and_reward_are_told_apart():
    fine, wrong = {"state": np.zeros(2, np.float32)}, {"state": np.float32([0, math.nan])}
    assert simulator_fault(fine, 1.0, step=3, seed=7) == ""
    at_reset = "showed NaN or infinite values in the first observation of the episode with seed 7 (state[1] is nan)"
    assert simulator_fault(wrong, step=0, seed=7) == at_reset
    in_step = "showed NaN or infinite values at step 3 of the episode with seed 7 (reward is -inf)"
    assert simulator_fault(fine, -math.inf, step=3, seed=7) == in_step


# ---- training ----------------------------------------------------------------------------------------------


IDLE = {"eval__every": 0, "seed_steps": 1000}
"""Without updates, which have no part in this."""


@pytest.mark.parametrize(
    ("where", "value", "kind", "changes"),
    [
        ("reset", math.nan, Failing, {"env__num_envs": 2}),
        ("reward", 1e300, FailingDouble, {}),
        ("step", -math.inf, FailingImage, {"agent__encoder": EncoderConfig(channels=2, feature_dim=4)}),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.long
def test_training_drops_such_episodes_and_goes_on(where, value, kind, changes, tmp_path, monkeypatch):
    stored: list[Episode] = []
    add = ReplayBuffer.add
    monkeypatch.setattr(ReplayBuffer, "add", lambda self, episode: (stored.append(episode), add(self, episode))[1])
    config = tiny(tmp_path / "run", seed=1, **IDLE, **changes)
    result, said = trained(config, failing(where, value, kind=kind))
    assert result.finished
    found, outcome = strict(tmp_path / "run")
    dropped = SAID.findall(said)
    assert len(dropped) == len(set(dropped)) > 1, "each is said once"
    assert {place for _, place, _, _ in dropped} == {"in the first observation" if where == "reset" else "at step 1"}
    state = last_state(tmp_path / "run")
    assert state["episodes_lost"] == len(dropped)
    counts = [row["episodes_lost"] for row in found if row["kind"] == "train"]
    assert 0 < counts[-1] <= len(dropped)
    # None that was dropped is stored, and none but those is missing.
    flying = [episode["seed"] for episode in state["in_flight"] if episode]
    seen = [*(episode.seed for episode in stored), *flying, *(int(seed) for _, _, seed, _ in dropped)]
    begun = [derive(1, "train_env", env, k) for env, count in enumerate(state["episodes_begun"]) for k in range(count)]
    assert sorted(seen) == sorted(begun)
    assert outcome["episodes"] + outcome["episodes_lost"] == 2


@pytest.mark.slow
def test_a_resumed_run_that_loses_episodes_ends_like_one_left_alone(tmp_path, monkeypatch):
    """Also where the checkpoint falls between two that are lost at their resets."""
    make = failing("reset", fraction=0.5)
    config = tiny(tmp_path / "straight", steps=50)
    trained(config, make)
    step = Trainer._step

    def deadly(self: Trainer) -> None:
        if self.env_steps >= self.fatal:  # type: ignore[attr-defined]
            raise KeyError("power cut")
        step(self)

    monkeypatch.setattr(Trainer, "_step", deadly)
    stopped = dataclasses.replace(config, run_dir=str(tmp_path / "stopped"))
    for fatal in (23, 38):
        monkeypatch.setattr(Trainer, "fatal", fatal, raising=False)
        with pytest.raises(KeyError, match="power cut"):
            trained(stopped, make)
    monkeypatch.setattr(Trainer, "_step", step)
    trained(stopped, make)
    assert last_state(tmp_path / "stopped")["episodes_lost"] > 3
    assert_same_run(tmp_path / "straight", tmp_path / "stopped")


@pytest.mark.long
def test_a_simulator_that_never_begins_ends_the_run_by_name(tmp_path, monkeypatch):
    resets: list[int] = []
    reset = Failing.reset
    monkeypatch.setattr(Failing, "reset", lambda self, **options: (resets.append(1), reset(self, **options))[1])
    with pytest.raises(SimulatorError, match=rf"environment 0 \(.*\) showed NaN .* of {LOST_RESETS} episodes in a row"):
        trained(tiny(tmp_path / "run", **IDLE), failing("reset", fraction=1.0))
    assert LOST_RESETS <= len(resets) <= LOST_RESETS + 3


class Decaying(ToyEnv):
    """Shows NaN once the class says so, as a simulator may that is another one after a restart."""

    now = ""

    def reset(self, **options: Any) -> Any:
        shown, info = super().reset(**options)
        return (shown * math.nan if self.now == "reset" else shown), info

    def step(self, action: np.ndarray) -> Any:
        shown, *rest = super().step(action)
        return (shown * math.nan if self.now == "step" and self.clock == 2 else shown), *rest


@pytest.fixture(scope="module")
def flying(tmp_path_factory):
    """A run that stopped in the middle of an episode. Read only."""
    directory = tmp_path_factory.mktemp("flying") / "run"
    trained(tiny(directory, **IDLE, env__time_limit=40, replay__capacity=200, steps=17), Decaying)
    assert len(last_state(directory)["in_flight"][0]["actions"]) > 2
    return directory


@pytest.mark.parametrize("where", ["reset", "step"])
@pytest.mark.long
def test_an_episode_in_flight_that_shows_nan_on_resuming_is_dropped(where, flying, tmp_path, monkeypatch):
    shutil.copytree(flying, tmp_path / "run")
    again = StepwiseCollector._replay_in_flight

    def spoilt(self: StepwiseCollector, *arguments: Any) -> None:
        Decaying.now = where
        again(self, *arguments)
        Decaying.now = ""

    monkeypatch.setattr(StepwiseCollector, "_replay_in_flight", spoilt)
    config = tiny(tmp_path / "run", **IDLE, env__time_limit=40, replay__capacity=200, steps=25)
    result, said = trained(config, Decaying)
    assert result.finished
    assert re.search(r"did not repeat its episode in flight after resuming \(it showed NaN or infinite values", said)
    assert last_state(tmp_path / "run")["episodes_lost"] == 1


@pytest.mark.long
def test_an_episode_that_a_person_corrects_is_dropped_alike(tmp_path):
    lines = [json.dumps({"episode": e, "step": s, "action": [0.5, -0.5]}) for e in range(30) for s in (0, 1, 3)]
    stream = tmp_path / "stream.jsonl"
    stream.write_text("\n".join(lines) + "\n")
    result, said = trained(tiny(tmp_path / "run", **IDLE, intervene__source=str(stream)), failing("reset"))
    assert result.finished
    assert len(SAID.findall(said)) > 1
    assert list((tmp_path / "run" / "corrections").glob("episode_*.npz"))


# ---- evaluation --------------------------------------------------------------------------------------------


class Steady:
    """Pushes towards the origin, and foretells what its row shows."""

    chunk_length = 1

    def act(self, observation: Any, generator: torch.Generator, *, explore: bool = False) -> ActionChunk:
        newest = observation["state"][:, -3:]
        actions = (-0.7 * newest[:, None, :2]).clamp(-1, 1)
        return ActionChunk(actions, torch.ones(len(actions), 1, dtype=torch.bool), newest[:, 0])


def evaluated(make: Any, seeds: list[int], count: int, kind: Any = SerialVectorEnv) -> Evaluation:
    with kind([lambda: wrap_gym_env(make(), EnvConfig(id="gym:toy", time_limit=12))] * count) as envs:
        return evaluated_in(envs, seeds)


def evaluated_in(envs: VectorEnv, seeds: list[int]) -> Evaluation:
    config = ControlConfig(executor="open_loop")
    controller = Controller(Steady(), config, make_scaler(config, envs.env_spec.action, []), envs.num_envs)
    result = evaluate(controller, envs, seeds, discount=0.9)
    assert result is not None
    return result


@pytest.mark.parametrize("where", ["reset", "step", "reward"])
@pytest.mark.parametrize("count", [1, 3, 9])
def test_an_evaluation_is_over_the_episodes_that_are_not_lost(where, count, caplog):
    seeds = list(range(12))
    make = failing(where)
    found = evaluated(make, seeds, count)
    said = {(place, int(seed)) for _, place, seed, _ in SAID.findall(caplog.text)}
    assert {seed for _, seed in said} == set(found.lost)
    assert sorted([*found.seeds, *found.lost]) == seeds
    assert 2 < len(found.lost) < 10
    # The others are those of an evaluation that has never met a lost one.
    assert dataclasses.replace(found, lost=[]) == evaluated(make, found.seeds, 1)
    row = found.row()
    assert (row["episodes"], row["episodes_lost"]) == (len(found.seeds), len(found.lost))
    assert row["seeds_lost"] == sorted(found.lost)
    assert row["return_mean"] == pytest.approx(np.mean(found.returns))
    json.dumps(row, allow_nan=False)


@pytest.mark.long
def test_workers_lose_the_same_episodes():
    make, seeds = failing("step", math.inf), list(range(6))
    assert evaluated(make, seeds, 1, ProcessVectorEnv) == evaluated(make, seeds, 1)


def test_an_evaluation_whose_episodes_are_all_lost_has_no_result():
    found = evaluated(failing("step", fraction=1.0), [3, 4, 5], 2)
    assert found.score is None
    assert found.row() == {
        "episodes": 0,
        "episodes_lost": 3,
        "returns": [],
        "lengths": [],
        "seeds": [],
        "seeds_lost": [3, 4, 5],
    }


@pytest.mark.long
def test_the_best_is_kept_among_evaluations_that_have_a_result(tmp_path, monkeypatch):
    good, poor = (Evaluation([value] * 2, [3, 3], [False] * 2, [1, 2]) for value in (5.0, 1.0))
    none = Evaluation([], [], [], [], lost=[1, 2])
    chunk = iter([none, good, none, poor, none])
    monkeypatch.setattr("zoomrl.training.session.evaluate", lambda *_, **__: next(chunk))
    result, said = trained(tiny(tmp_path / "run", seed_steps=1000, eval__every=15, eval__keep_best=True), ToyEnv)
    assert result.finished
    assert "best evaluation: after 15 steps" in said
    assert said.count("has no result: the simulator failed in every episode") == 3
    rows_, _ = strict(tmp_path / "run")
    assert [row.get("return_mean") for row in rows_ if row["kind"] == "eval"] == [None, 5.0, None, 1.0, None]


@pytest.fixture
def never(monkeypatch):
    """A registered environment whose episodes go wrong in their second step, all of them."""
    name = "Never-v0"
    make = failing("step", fraction=1.0)
    gymnasium.register(name, entry_point=lambda **_: make(), max_episode_steps=12)
    yield f"gym:{name}"
    del gymnasium.registry[name]


@pytest.mark.long
def test_a_run_without_any_finished_episode_ends_and_says_so(never, tmp_path, capsys):
    directory = tmp_path / "run"
    words = (
        f"train --preset cqn-dmc --env {never} --threads 1 --steps 30 --seed-steps 5 --eval.every 10 --eval.episodes 2"
    )
    words += " --eval.final-episodes 2 --eval.no-video --eval.keep-best --agent.hidden-dim 8 --log.no-tensorboard"
    assert main([*words.split(), "--run-dir", str(directory)]) == 0
    _, result = strict(directory)
    assert (result["episodes"], result["episodes_lost"]) == (0, 2)
    assert "return_mean" not in result
    assert not (directory / "checkpoints" / "best.pt").exists()
    out = capsys.readouterr().out
    assert "no result: the simulator showed NaN or infinity in all 2 fresh episodes" in out
    assert re.search("^plot +none: .* holds no evaluation yet", out, re.MULTILINE)
    assert main([*words.split(), "--run-dir", str(directory)]) == 0
    assert "is finished already" in capsys.readouterr().out
    assert main(["eval", str(directory), "--episodes", "2", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["episodes_lost"] == 2
    assert main(["eval", str(directory), "--episodes", "2"]) == 1
    assert "2 more episodes, in which the simulator showed NaN" in " ".join(capsys.readouterr().out.split())


@pytest.mark.long
def test_an_action_that_is_not_finite_ends_an_evaluation_by_name(tmp_path, monkeypatch):
    act = CQN.act

    def broken(self: CQN, observation: Any, generator: Any, *, explore: bool = False) -> ActionChunk:
        chunk = act(self, observation, generator, explore=explore)
        return chunk if explore or self.updates < 15 else ActionChunk(chunk.actions * math.nan, chunk.valid)

    monkeypatch.setattr(CQN, "act", broken)
    with pytest.raises(
        NonFiniteLossError, match=r"in an evaluation, at step 1 of the .*environment step 40, .*last good checkpoint is"
    ):
        run(tiny(tmp_path / "run", control__executor="open_loop", steps=40))


# ---- rows --------------------------------------------------------------------------------------------------


def test_a_number_that_is_not_finite_is_null_in_a_row_and_nowhere_else(tmp_path):
    class Sink:
        taken: Any = None

        def scalars(self, kind: str, values: Any, env_steps: int, updates: int) -> None:
            self.taken = values

        def close(self) -> None: ...

    sink = Sink()
    logger = Logger(tmp_path, lambda *_: [sink])
    logger.open()
    counters = {"env_steps": 3, "updates": 2}
    logger.write("train", {**counters, "norm": math.nan, "rank": math.inf, "loss": 0.5, "returns": [1.0, math.nan]})
    logger.close()
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    row = json.loads(line, parse_constant=pytest.fail)
    assert row.pop("digest")
    assert row == {"kind": "train", **counters, "norm": None, "rank": None, "loss": 0.5, "returns": [1.0, None]}
    assert sink.taken == {"env_steps": 3.0, "updates": 2.0, "loss": 0.5}


# ---- a policy in use ---------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_policy_names_the_entry_that_is_not_finite(tmp_path):
    directory = run(tiny(tmp_path / "run", steps=10, **IDLE))[0].directory
    policy = load_policy(directory)
    policy.reset()
    fine = np.zeros(3, np.float32)
    policy.act(fine)
    with pytest.raises(ValueError, match=r"observation 'state' must be finite, but state\[2\] is nan"):
        policy.act(np.float32([0, 0, math.nan]))
    with pytest.raises(ValueError, match=r"state\[0\] is inf"):
        policy.act(np.float64([1e300, 0, 0]))
    # Neither has entered the stack of frames.
    assert all(frames.isfinite().all() for frames in policy.controller.state_dict()["stack"]["frames"].values())
    with pytest.raises(ValueError, match=r"state\[1, 0\] is -inf"):
        load_policy(directory, num_envs=2).act(np.float32([[0, 0, 0], [-math.inf, 0, 0]]))


# ---- demonstrations ----------------------------------------------------------------------------------------


class Line(Env):
    """A point on a line that an expert leads to the origin; every other seed goes wrong at ``where``."""

    has_expert = True

    def __init__(self, where: str = "", value: float = math.nan, every: int = 2) -> None:
        action = ArraySpec((1,), low=(-0.2,), high=(0.2,))
        super().__init__(
            EnvSpec("fake:line", {"state": ArraySpec((1,))}, action, 10.0, 20, reports_success=True),
            terminate_on_success=True,
        )
        self._where, self._value, self._every = where, value, every

    def _begin(self, seed: int) -> dict[str, Any]:
        self._x, self._t = float(np.random.default_rng(seed).uniform(0.5, 1)), 0
        self._bad = seed % self._every == 0
        return {}

    def _advance(self, action: np.ndarray) -> ControlStep:
        self._x, self._t = self._x + float(action[0]), self._t + 1
        spoilt = self._bad and self._where == "reward" and self._t == 2
        return ControlStep(self._value if spoilt else 0.0, success=abs(self._x) < 0.1)

    def _observe(self) -> dict[str, np.ndarray]:
        spoilt = self._bad and self._where == ("step" if self._t else "reset") and self._t in (0, 2)
        with np.errstate(over="ignore"):
            return {"state": np.array([self._value if spoilt else self._x]).astype(np.float32)}

    def _expert(self) -> np.ndarray:
        return np.array([self._value if self._bad and self._where == "expert" else -self._x])

    def render(self) -> np.ndarray:
        return np.zeros((2, 2, 3), np.uint8)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("reset", r"fake:line showed NaN or infinite values in the first observation of .* \(state\[0\] is"),
        ("step", r"fake:line showed NaN or infinite values at step 2 of .* \(state\[0\] is"),
        ("reward", r"fake:line showed NaN or infinite values at step 2 of .* \(reward is"),
        ("expert", r"the expert of fake:line has no action at step 1 of the seed \d+: action\[0\] is"),
    ],
)
@pytest.mark.parametrize("value", [math.nan, 1e300])
def test_collecting_drops_such_attempts_and_goes_on(where, said, value, caplog):
    value = math.nan if where == "expert" else value  # a large one is clipped to the bounds
    episodes = collect_demos(Line(where, value), episodes=4, seed=0)
    lost = re.findall(r"attempt (\d+) is dropped: " + said, caplog.text)
    assert lost
    assert sum(episode.is_demo for episode in episodes) == 4
    # Attempts do not depend on those before: the others are those of a simulator that never fails.
    unspoilt = {episode.seed: episode for episode in collect_demos(Line(), episodes=4 + len(lost), seed=0)}
    for episode in episodes:
        np.testing.assert_array_equal(episode.actions, unspoilt[episode.seed].actions)
        assert episode.seed % 2 == 1


def test_collecting_gives_up_where_every_attempt_is_lost():
    with pytest.raises(DemonstrationError, match=r"succeeded in 0 of 6 attempts .*, and the simulator failed in 6; 2"):
        collect_demos(Line("reset", every=1), episodes=2, seed=0, max_attempts=6)


@pytest.mark.parametrize("where", ["reset", "step", "reward"])
def test_a_replayed_demonstration_stops_there_by_name(where):
    (episode,) = collect_demos(Line(), episodes=1, seed=0)
    found = replay(Line(where, every=1), episode)
    place = "in the first observation" if where == "reset" else "at step 2"
    assert found.problem.startswith(f"showed NaN or infinite values {place} of the episode with seed {episode.seed}")
    assert found.executed == (0 if where == "reset" else 2)
    assert replay(Line(), episode).problem == ""


def test_lost_attempts_are_counted_by_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("zoomrl.envs.registry.make_env", lambda *_, **__: Line("step"))
    assert main(["demos", "collect", "--episodes", "3", "--out", str(tmp_path / "set"), "--env.id", "fake:line"]) == 0
    counts = re.search(r"recorded 3 demonstrations in (\d+) attempts \((\d+) of them lost\)", capsys.readouterr().out)
    assert counts is not None
    assert int(counts[1]) - int(counts[2]) == 3
