"""`zoomrl env check`: healthy environments pass, and every fault of a zoo of broken ones is found and named."""

import json
import random

import gymnasium
import numpy as np
import pytest
import tyro
from gymnasium.spaces import Box, Dict, Discrete

from zoomrl.cli.env import Environments
from zoomrl.envs.check import speed as checker_speed
from zoomrl.envs.check.base import Subject
from zoomrl.envs.check.check import check_env
from zoomrl.envs.check.contract import _judge_ends
from zoomrl.envs.config import EnvConfig
from zoomrl.errors import ConfigError

LIMIT = 12


class Healthy(gymnasium.Env):
    """A point on a line. The broken ones differ from it in one thing each."""

    observation_space = Box(-10, 10, (2,), np.float32)
    action_space = Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.uniform(-1, 1, 2)
        self.clock = 0
        return self.look(), {}

    def step(self, action):
        self.clock += 1
        self.x = 0.9 * self.x + 0.1 * float(np.asarray(action).ravel()[0]) + self.np_random.normal(0, 0.01, 2)
        return self.look(), self.pay(), *self.end(), {}

    def look(self):
        return self.x.astype(np.float32)

    def pay(self):
        return -float(np.abs(self.x).sum())

    def end(self):
        return False, False


class Images(Healthy):
    """One image of each form that can be used, in nested dicts."""

    observation_space = Dict(
        {
            "camera": Dict({"front": Box(0, 255, (16, 16, 3), np.uint8), "hand": Box(0, 255, (3, 16, 16), np.uint8)}),
            "robot": Box(-10, 10, (2,), np.float64),
        }
    )

    def look(self):
        grey = int(100 + 20 * np.tanh(self.x[0]))
        front = np.full((16, 16, 3), grey, np.uint8)
        return {"camera": {"front": front, "hand": np.moveaxis(front, -1, 0)}, "robot": np.array(self.x)}


class DiscreteActions(Healthy):
    action_space = Discrete(3)


class UnboundedActions(Healthy):
    action_space = Box(np.array([-1, -np.inf], np.float32), np.array([1, np.inf], np.float32))


class IntegerActions(Healthy):
    action_space = Box(-3, 3, (2,), np.int64)


class FixedAction(Healthy):
    action_space = Box(np.array([-1, 2], np.float32), np.array([1, 2], np.float32))


class WrongDtype(Healthy):
    def look(self):
        return np.array(self.x)


class WrongShape(Healthy):
    def look(self):
        return np.float32([*self.x, 0])


class OutsideSpace(Healthy):
    def look(self):
        return np.float32([self.x[0], 10.5 + self.clock])


class NaNObservation(Healthy):
    def look(self):
        return np.float32([self.x[0], np.nan if self.clock == 3 else 0])


class MissingEntry(Images):
    def look(self):
        return {"camera": super().look()["camera"]}


class UnitImages(Healthy):
    """Cameras as networks like to have them: channels first, floats about 0."""

    observation_space = Dict({"front": Box(-1, 1, (3, 16, 16), np.float64)})

    def look(self):
        return {"front": np.full((3, 16, 16), 0.5 + 0.1 * np.tanh(self.x[0]))}


class FloatForImage(Healthy):
    observation_space = Dict({"front": Box(0, 255, (16, 16, 3), np.uint8)})

    def look(self):
        return {"front": np.full((16, 16, 3), 100 + self.x[0])}


class DimImage(Healthy):
    observation_space = Dict({"front": Box(0, 1, (16, 16, 3), np.uint8)})

    def look(self):
        return {"front": np.full((16, 16, 3), int(self.x[0] > 0), np.uint8)}


class Transparent(Healthy):
    observation_space = Dict({"front": Box(0, 255, (16, 16, 4), np.uint8)})

    def look(self):
        return {"front": np.full((16, 16, 4), int(100 + 50 * np.tanh(self.x[0])), np.uint8)}


class NestedChoice(Healthy):
    observation_space = Dict({"robot": Dict({"mode": Discrete(3), "x": Box(-10, 10, (2,), np.float32)})})

    def look(self):
        return {"robot": {"mode": np.int64(1), "x": self.x.astype(np.float32)}}


class OldReset(Healthy):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0]


class NoSeed(Healthy):
    def reset(self):
        return super().reset()


class OldStep(Healthy):
    def step(self, action):
        seen, reward, terminated, _, info = super().step(action)
        return seen, reward, terminated, info


class NaNReward(Healthy):
    def pay(self):
        return float("nan") if self.clock == 4 else 0.0


class ArrayReward(Healthy):
    def pay(self):
        return np.ones(1)


class NoReward(Healthy):
    def pay(self):
        return None


class BothFlags(Healthy):
    def end(self):
        over = self.clock == 5 + int(self.x[0] > 0)
        return over, over


class NumberFlags(Healthy):
    def end(self):
        return 0, 0


class TerminatesAtLimit(Healthy):
    def end(self):
        return self.clock >= LIMIT, False


class ListInfo(Healthy):
    def step(self, action):
        return *super().step(action)[:4], []


class SameArray(Healthy):
    def look(self):
        if not hasattr(self, "shown"):
            self.shown = np.zeros(2, np.float32)
        self.shown[:] = self.x
        return self.shown


class WritesIntoAction(Healthy):
    def step(self, action):
        answer = super().step(action)
        action *= 0.5
        return answer


class OwnGenerator(Healthy):
    def pay(self):
        return float(np.random.default_rng().normal())


class GlobalGenerator(Healthy):
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = np.random.uniform(-1, 1, 2)
        return self.look(), {}


class PythonGenerator(Healthy):
    def pay(self):
        return random.random()


class ReseedsGlobal(Healthy):
    """As BiGym does: reproducible, and everybody else's random numbers are reset too."""

    def reset(self, *, seed=None, options=None):
        np.random.seed(seed)
        super().reset(seed=seed)
        self.x = np.random.uniform(-1, 1, 2)
        return self.look(), {}


class AlwaysTheSame(Healthy):
    def reset(self, *, seed=None, options=None):
        super().reset(seed=0)
        self.x = np.zeros(2)
        return self.look(), {}


class InstancesDiffer(Healthy):
    built = 0

    def __init__(self):
        type(self).built += 1
        self.number = self.built

    def pay(self):
        return float(self.number)


class CannotBeBuilt(Healthy):
    def __init__(self):
        raise RuntimeError("no licence")


class LateSuccess(Healthy):
    """Success where Gymnasium's vector environments put it: in the info of the last step."""

    def step(self, action):
        seen, reward, *_ = super().step(action)
        over = self.clock >= 4 and self.x[0] > 0
        return seen, reward, bool(over), False, {"success": True} if over else {}


class SharedState(Healthy):
    """Each instance plays the same episode, as long as no other is used in between."""

    x = np.zeros(2)

    def __setattr__(self, name, value):
        if name == "x":
            SharedState.x = value
        else:
            super().__setattr__(name, value)


class HugeBounds(Healthy):
    action_space = Box(-3e38, 3e38, (1,), np.float32)

    def look(self):
        return np.tanh(self.x).astype(np.float32)


class Crashes(Healthy):
    def pay(self):
        if self.clock == 7:
            raise ZeroDivisionError("division by zero in the reward")
        return 0.0


class CannotClose(Healthy):
    def close(self):
        raise RuntimeError("the window is gone")


class CannotReset(Healthy):
    def reset(self, *, seed=None, options=None):
        raise FileNotFoundError("scene.xml")


ZOO = [
    (DiscreteActions, "action space", "error", "actions are Discrete"),
    (UnboundedActions, "action space", "error", "unbounded in dimension 1"),
    (IntegerActions, "action space", "error", "actions are int64"),
    (FixedAction, "action space", "warning", "low is not below high in dimension 1"),
    (WrongDtype, "observations", "warning", "reset: entry 'observation' is float64, its space says float32"),
    (WrongShape, "observations", "error", "entry 'observation' has shape [3], its space says [2]"),
    (OutsideSpace, "observations", "warning", "entry 'observation' is 10.5 at [1], outside -10 .. 10"),
    (NaNObservation, "observations", "error", "step 2: entry 'observation' holds NaN"),
    (MissingEntry, "observations", "error", "entry 'robot' is in the space only"),
    (UnitImages, "observation space", "error", "'front' is float64[3, 16, 16] in -1 .. 1, which is no image"),
    (FloatForImage, "observations", "error", "entry 'front' is float64, its space says uint8"),
    (DimImage, "observation space", "warning", "an image whose values end at 1"),
    (Transparent, "observation space", "note", "uint8[16, 16, 4]: four channels are read as colours"),
    (NestedChoice, "observation space", "error", "entry 'robot/mode' is Discrete"),
    (OldReset, "reset", "error", "instead of a pair"),
    (NoSeed, "reset", "error", "unexpected keyword argument"),
    (CannotReset, "contract", "error", "FileNotFoundError: scene.xml"),
    (OldStep, "step", "error", "step returned a tuple of 4 instead of five values"),
    (NaNReward, "reward", "error", "the reward is nan at step 3"),
    (ArrayReward, "reward", "error", "an array of shape [1] at step 0"),
    (NoReward, "reward", "error", "the reward is NoneType None at step 0"),
    (BothFlags, "flags", "warning", "both terminated and truncated"),
    (NumberFlags, "flags", "warning", "terminated is int 0 at step 0, not a bool"),
    (TerminatesAtLimit, "end of an episode", "warning", "both episodes end by terminated at its time limit exactly"),
    (ListInfo, "info", "error", "info is list [] at step 0"),
    (SameArray, "arrays", "warning", "step 0 wrote into entry 'observation' of the observation before it"),
    (WritesIntoAction, "actions", "warning", "step 0 changed the action"),
    (OwnGenerator, "same seed", "error", "step 0 differs in 'reward'"),
    (GlobalGenerator, "global generators", "error", "the reset differs in 'observation'"),
    (PythonGenerator, "global generators", "error", "step 0 differs in 'reward'"),
    (ReseedsGlobal, "global generators", "note", "reset changes numpy's global generator"),
    (AlwaysTheSame, "other seed", "note", "another seed begins the same episode"),
    (InstancesDiffer, "second instance", "error", "step 0 differs in 'reward'"),
    (SharedState, "second instance", "error", "two instances share state"),
    (LateSuccess, "success", "warning", "info['success'] is in the info of an episode's last step"),
    (HugeBounds, "action space", "error", "bounds of 1e+10 and beyond stand for none"),
    (CannotBeBuilt, "construction", "error", "no licence"),
    (Crashes, "contract", "error", "ZeroDivisionError: division by zero in the reward"),
    (CannotClose, "close", "error", "the window is gone"),
]


@pytest.fixture(autouse=True)
def _hasty(monkeypatch):
    monkeypatch.setattr(checker_speed, "SECONDS", 0.05)


@pytest.fixture
def registered():
    ids = []

    def register(kind, limit=LIMIT):
        name = f"Zoo{kind.__name__}-v0"
        gymnasium.register(name, kind, max_episode_steps=limit)
        ids.append(name)
        return f"gym:{name}"

    yield register
    for name in ids:
        gymnasium.registry.pop(name)


def bad(found, *allowed):
    return [check for check in found if check.status not in ("ok", *allowed)]


@pytest.mark.parametrize(("kind", "name", "status", "text"), ZOO, ids=lambda v: getattr(v, "__name__", None))
@pytest.mark.long
def test_every_fault_is_found_and_named(kind, name, status, text, registered):
    found = check_env(EnvConfig(id=registered(kind)), steps=30)
    hits = [check for check in found if check.name == name and check.group == "as written" and text in check.detail]
    assert hits, [(c.name, c.detail) for c in bad(found)]
    assert hits[0].status == status
    # Once, however many steps show it; NumberFlags has two such flags.
    assert len([c for c in bad(found) if (c.group, c.name) == ("as written", name)]) <= 2
    # Nothing else is blamed; what follows from the fault in zoomrl itself is another group.
    others = [c for c in bad(found, "note") if c.group == "as written" and c.name != name]
    assert not others, others
    if status != "note" and name not in ("construction", "contract", "close"):
        assert hits[0].fix
    # An exception is caught with its place.
    assert all("Traceback" in check.trace for check in hits if name in ("construction", "contract", "close"))


@pytest.mark.parametrize("kind", [Healthy, Images])
def test_healthy_gymnasium_environments_pass(kind, registered):
    found = check_env(EnvConfig(id=registered(kind)), steps=30)
    assert not bad(found, "note")
    # There is nothing to draw; no other note.
    assert [check.name for check in bad(found)] == ["render"]
    shown = next(check for check in found if check.name == "spec").detail
    assert shown.startswith("state float32[2]") or "rgb uint8[2, 16, 16, 3]" in shown


def test_a_missing_time_limit_is_named(registered):
    env_id = registered(Healthy, limit=None)
    found = check_env(EnvConfig(id=env_id), steps=10)
    assert [(c.name, c.status) for c in bad(found) if c.group == "as written"] == [("end of an episode", "warning")]
    assert any(c.name == "construction" and "set time_limit" in c.detail for c in bad(found))
    assert not bad(check_env(EnvConfig(id=env_id, time_limit=10), steps=10), "note")


@pytest.mark.parametrize(
    ("ends", "limited", "status"),
    [
        ([(463, False, False), (500, False, True)], False, "note"),  # the first was cut by the check's own time
        ([(500, False, True), (463, False, False)], False, "note"),
        ([(500, False, False), (500, False, True)], False, "error"),
        ([(463, False, False), (500, False, False)], True, "ok"),
        ([(500, False, True), (500, False, True)], False, "ok"),
    ],
)
def test_an_episode_that_goes_on_is_held_against_the_limit(ends, limited, status):
    subject = Subject(None, None, 500, limited, "zoomrl")
    assert _judge_ends(subject, ends, True).status == status


@pytest.mark.parametrize("env_id", ["gym:Pendulum-v1", "dmc:cartpole-swingup", "metaworld:drawer-open"])
@pytest.mark.long
def test_known_environments_pass(env_id):
    pytest.importorskip({"dmc": "dm_control", "metaworld": "metaworld", "gym": "gymnasium"}[env_id.split(":")[0]])
    found = check_env(EnvConfig(id=env_id, time_limit=25), steps=30)
    assert not bad(found, "note")
    # As its author wrote it Pendulum ends after 200 steps, which are not played here.
    assert [c.name for c in bad(found) if c.name != "render"] == ["end of an episode"] * env_id.startswith("gym")
    assert {"same seed", "second instance", "other seed", "without images"} <= {
        check.name for check in found if check.status == "ok"
    }


@pytest.mark.slow
def test_images_of_a_real_camera():
    pytest.importorskip("dm_control")
    fast = {"shadows": False, "reflections": False, "antialiasing": False}
    config = EnvConfig(id="dmc:cartpole-swingup", cameras=("0",), image_size=32, time_limit=3, **fast)
    found = check_env(config, steps=3, sizes=(16, 32))
    if any("OpenGL" in check.detail for check in found):
        pytest.skip("no OpenGL on this machine")
    assert not bad(found)
    assert {"without images", "1 camera, 16x16", "1 camera, 32x32"} <= {check.name for check in found}
    assert "rgb uint8[1, 32, 32, 3]" in next(check for check in found if check.name == "spec").detail


def test_the_global_generators_are_left_as_they_were(registered):
    np.random.seed(5)
    random.seed(5)
    expected = np.random.RandomState(5).uniform(), random.Random(5).random()
    check_env(EnvConfig(id=registered(GlobalGenerator)), steps=3)
    assert (np.random.uniform(), random.random()) == expected


def command(*words):
    return tyro.cli(Environments, args=["check", *words])


@pytest.mark.long
def test_command_line(capsys, registered, monkeypatch):
    monkeypatch.delenv("ZOOMRL_DEBUG", raising=False)
    env_id = registered(Crashes)
    assert command(env_id, "--steps", "20", "--json").run() == 1
    report = json.loads(capsys.readouterr().out)
    assert report["env"] == env_id
    assert not report["usable"]
    assert {"group", "name", "status", "detail", "fix", "trace"} == set(report["checks"][0])
    assert command(env_id, "--steps", "20").run() == 1
    shown = capsys.readouterr().out
    assert "ZeroDivisionError" in shown
    assert "Traceback" not in shown
    monkeypatch.setenv("ZOOMRL_DEBUG", "1")
    command(env_id, "--steps", "20").run()
    assert "Traceback" in capsys.readouterr().out
    assert command(registered(Healthy), "--steps", "5", "--env.action-repeat", "2").run() == 0
    assert "6 agent steps" in capsys.readouterr().out


def test_misuse(registered):
    env_id = registered(Healthy)
    with pytest.raises(ConfigError, match="at least 1"):
        check_env(EnvConfig(id=env_id), steps=0)
    with pytest.raises(ConfigError, match="need cameras"):
        check_env(EnvConfig(id=env_id), sizes=(32,))
    with pytest.raises(ConfigError, match="two environments"):
        command(env_id, "--env.id", "gym:Pendulum-v1").run()
    found = check_env(EnvConfig(id="gym:Nonesuch-v7"))
    assert {check.status for check in found} == {"error"}
    found = check_env(EnvConfig(id="dmc:nonesuch"))
    assert [check.name for check in found] == ["construction"]
