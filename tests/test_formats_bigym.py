"""BiGym's recordings: another rate by plain loops, replays in a stand-in, and BiGym itself where it is installed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoomrl.demos.formats.base import Imported, ImportOptions
from zoomrl.demos.formats.bigym import reader as bigym
from zoomrl.demos.formats.bigym.rollout import to_agent_steps
from zoomrl.demos.formats.bigym.store import find_files, read_file
from zoomrl.envs.base import ControlStep, Env
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.suites.bigym.tasks import TASKS
from zoomrl.errors import ConfigError, DemonstrationError, MissingDependencyError
from zoomrl.spec import ArraySpec, EnvSpec

numpy_files = pytest.importorskip("safetensors.numpy", reason="BiGym's files are safetensors; install zoomrl[bigym]")

TASK = TASKS["reach_target_single"]
LOW = (-0.1, -0.1, -0.5) + (-2.0,) * 10 + (0.0, 0.0)
HIGH = (0.1, 0.1, 0.5) + (2.0,) * 10 + (1.0, 1.0)
SPEC = EnvSpec(
    id="bigym:reach_target_single",
    observations={"state": ArraySpec((4,))},
    action=ArraySpec((15,), low=LOW, high=HIGH),
    control_hz=50.0,
    time_limit=8,
    reports_success=True,
    action_meaning=("delta",) * 3 + ("absolute",) * 10 + ("gripper",) * 2,
)


class Base(Env):
    """A base that moves as it is told; its x begins at seed / 100, and success is an x of 0.5."""

    def __init__(self, spec: EnvSpec = SPEC) -> None:
        super().__init__(spec)
        self.closed = False

    def _begin(self, seed):
        self.at = np.array([seed / 100, 0.0, 0.0])
        self.steps = 0
        return {}

    def _advance(self, action):
        self.at = self.at + action[:3]
        self.steps += 1
        done = bool(self.at[0] >= 0.5 - 1e-6)
        return ControlStep(float(done), terminated=done, success=done)

    def _observe(self):
        return {"state": np.array([*self.at, self.steps], np.float32)}

    def render(self):
        return np.zeros((2, 2, 3), np.uint8)

    def close(self):
        self.closed = True


def metadata(**changes: Any) -> dict[str, str]:
    data = {
        "env_name": "ReachTargetSingle",
        "action_mode_name": "JointPositionActionMode",
        "action_mode_absolute": True,
        "floating_base": True,
        "floating_dofs": ["pelvis_x", "pelvis_y", "pelvis_rz"],
        "robot_name": "H1",
    }
    outer = {"seed": 0, "observation_mode": "lightweight", "package_versions": {"mujoco": "3.1.5", "bigym": "4.0.0"}}
    outer |= {key: changes.pop(key) for key in list(changes) if key in outer}
    return {key: json.dumps(value) for key, value in {**outer, "environment_data": data | changes}.items()}


def drive(distance: float, steps: int) -> np.ndarray:
    """Commands of ``steps`` recorded steps that move the base's x by ``distance`` in all."""
    actions = np.zeros((steps, 15))
    actions[:, 0] = distance / steps
    actions[:, 3:] = np.random.default_rng(steps).uniform(0, 1, (steps, 12))
    return actions


def write(path: Path, actions: np.ndarray, **changes: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {"info_demo_action": actions, "termination": np.zeros(len(actions), bool)}
    numpy_files.save_file(arrays, path, changes.pop("texts", None) or metadata(**changes))
    return path


@pytest.fixture
def stand_in(monkeypatch) -> list[Base]:
    """The environments that were made, in order."""
    made: list[Base] = []

    def make(config: EnvConfig, **overrides: Any) -> Env:
        from dataclasses import replace

        made.append(Base(replace(SPEC, **overrides)))
        return made[-1]

    monkeypatch.setattr(bigym, "make_env", make)
    return made


def imported(path: Path, **options: Any) -> Imported:
    return bigym.read(path, ImportOptions(**{"env": EnvConfig(id="bigym:reach_target_single"), **options}))


# ---- another rate ------------------------------------------------------------------------------------------


def by_hand(actions: np.ndarray, steps: int, spec: EnvSpec) -> list[list[float]]:
    """One dimension and one step at a time."""
    rows = []
    carried = [0.0] * spec.action_dim
    count = -(-len(actions) // steps)
    for k in range(count):
        row = []
        for d, meaning in enumerate(spec.action_meaning):
            inside = [float(actions[min(k * steps + i, len(actions) - 1)][d]) for i in range(steps)]
            low, high = spec.action.low[d], spec.action.high[d]
            if meaning == "gripper":
                value = inside[-1]
            elif meaning == "absolute":
                value = sum(inside) / steps
            else:
                value = sum(inside) / spec.action_repeat + carried[d]
                carried[d] = value - min(max(value, low), high)
            row.append(min(max(value, low), high))
        rows.append(row)
    return rows


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.sampled_from([(20.0, 25), (25.0, 20), (50.0, 10), (500.0, 1)]), st.sampled_from([1, 2]))
def test_agent_steps_equal_plain_loops(length, rate, repeat):
    hz, steps = rate
    spec = EnvSpec(**{**vars(SPEC), "control_hz": hz / repeat, "action_repeat": repeat})
    random = np.random.default_rng(length)
    actions = random.uniform(-3, 3, (length, 15))
    actions[:, :3] = random.uniform(-0.02, 0.02, (length, 3))
    found = to_agent_steps(actions, 500.0, spec)
    np.testing.assert_allclose(found, by_hand(actions, steps * repeat, spec), atol=1e-6)
    assert (found >= np.float32(LOW)).all()
    assert (found <= np.float32(HIGH)).all()


def test_what_exceeds_the_bounds_is_made_up_for():
    actions = np.zeros((30, 15))
    actions[:10, 0] = 0.025  # 0.25 in the first decision, of which 0.1 is allowed
    np.testing.assert_allclose(to_agent_steps(actions, 500.0, SPEC)[:, 0], [0.1, 0.1, 0.05], atol=1e-7)


def test_a_recording_of_the_same_rate_stays_as_it_is():
    actions = np.random.default_rng(0).uniform(LOW, HIGH, (7, 15))
    np.testing.assert_allclose(to_agent_steps(actions, 50.0, SPEC), actions, atol=1e-7)


# ---- replays -----------------------------------------------------------------------------------------------


def test_a_replay_has_the_first_observation_and_every_one_after(tmp_path, stand_in):
    write(tmp_path / "a.safetensors", drive(0.45, 50), seed=5)
    found = imported(tmp_path)
    (episode,) = found.episodes
    assert episode.observations["state"][:, 0] == pytest.approx([0.05, 0.14, 0.23, 0.32, 0.41, 0.5], abs=1e-6)
    assert episode.observations["state"][:, 3].tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(episode.actions, to_agent_steps(drive(0.45, 50), 500.0, SPEC))
    assert episode.rewards.tolist() == [0, 0, 0, 0, 1]
    assert (episode.terminated, episode.truncated, episode.success, episode.is_demo) == (True, False, True, True)
    assert episode.seed == 5
    assert (found.spec, found.faults, found.meta["failed_replays"]) == (SPEC, [], 0)
    assert all(env.closed for env in stand_in)


def test_it_stops_at_the_first_termination(tmp_path, stand_in):
    """Recordings go on for a second after success; the first decision may already be the last."""
    write(tmp_path / "a.safetensors", drive(1.0, 100), seed=10)
    write(tmp_path / "b.safetensors", drive(0.05, 10), seed=45)
    write(tmp_path / "c.safetensors", drive(0.05, 1), seed=49)
    write(tmp_path / "d.safetensors", drive(0.5, 100), seed=45)
    found = imported(tmp_path)
    assert [len(episode) for episode in found.episodes] == [4, 1, 1, 1]
    assert all(episode.is_demo and episode.terminated for episode in found.episodes)


def test_failed_replays_are_kept_as_data(tmp_path, stand_in):
    write(tmp_path / "a.safetensors", drive(0.5, 50))
    write(tmp_path / "b.safetensors", drive(0.2, 50))
    found = imported(tmp_path)
    good, bad = found.episodes
    assert (good.success, good.is_demo) == (True, True)
    assert (bad.success, bad.is_demo, bad.terminated, bad.truncated) == (False, False, False, True)
    assert (found.meta["failed_replays"], found.faults) == (1, [])
    assert found.meta["replays"].startswith("1 of 2 did not succeed")


def test_the_time_limit_cuts_no_demonstration_short(tmp_path, stand_in):
    write(tmp_path / "a.safetensors", drive(0.5, 200))
    write(tmp_path / "b.safetensors", drive(0.5, 50))
    found = imported(tmp_path)
    assert [(len(episode), episode.success) for episode in found.episodes] == [(20, True), (5, True)]
    assert [env.env_spec.time_limit for env in stand_in] == [8, 20]
    assert found.spec.time_limit == 8
    assert found.meta["time_limit"].startswith("8 agent steps; demonstrations of up to 20")


def test_a_broken_observation_is_a_fault(tmp_path, stand_in, monkeypatch):
    write(tmp_path / "a.safetensors", drive(0.5, 50), seed=1)
    write(tmp_path / "b.safetensors", drive(0.5, 50), seed=0)
    observe = Base._observe
    monkeypatch.setattr(Base, "_observe", lambda self: {"state": observe(self)["state"] / (self.at[0] != 0.01)})
    with np.errstate(all="ignore"):
        found = imported(tmp_path)
    assert [episode.seed for episode in found.episodes] == [0]
    assert "a.safetensors" in found.faults[0]
    assert "NaN" in found.faults[0]


def test_the_versions_are_told(tmp_path, stand_in):
    from importlib import metadata as installed

    write(tmp_path / "a.safetensors", drive(0.5, 50), package_versions={"mujoco": "0.0.1"})
    meta = imported(tmp_path).meta
    assert meta["recorded_with"] == {"mujoco": ["0.0.1"], "bigym": ["unknown"]}
    assert meta["versions_differ"].startswith(f"mujoco 0.0.1 then, {installed.version('mujoco')} now")
    assert json.loads(json.dumps(meta)) == meta


# ---- files -------------------------------------------------------------------------------------------------

MODE = "JointPositionActionMode_floating_pelvis_x_pelvis_y_pelvis_rz_absolute"


@pytest.mark.parametrize("place", ["", MODE, f"ReachTargetSingle/{MODE}"])
def test_files_are_found_in_a_folder_and_in_a_store(tmp_path, place):
    inside = tmp_path / place / "lightweight" if place else tmp_path
    write(inside / "b.safetensors", drive(0.5, 50))
    write(inside / "a.safetensors", drive(0.5, 50))
    write(tmp_path / "MovePlate" / MODE / "lightweight" / "c.safetensors", drive(0.5, 50))
    assert find_files(tmp_path, TASK) == [inside / "a.safetensors", inside / "b.safetensors"]
    assert find_files(inside / "a.safetensors", TASK) == [inside / "a.safetensors"]


def test_an_empty_place_names_what_was_expected(tmp_path):
    expected = tmp_path / "ReachTargetSingle" / MODE / "lightweight"
    with pytest.raises(DemonstrationError, match=re.escape(str(expected))):
        find_files(tmp_path, TASK)


def test_decimated_files_are_replayed_at_their_rate(tmp_path, stand_in):
    write(tmp_path / "50hz" / "a.safetensors", drive(0.5, 5))
    assert [len(episode) for episode in imported(tmp_path / "50hz").episodes] == [5]
    write(tmp_path / "20hz" / "a.safetensors", drive(0.5, 5))
    with pytest.raises(DemonstrationError, match="its 20 steps per second cannot be converted to the 50 agent steps"):
        imported(tmp_path / "20hz")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"env_name": "MovePlate"}, "recorded in MovePlate, not in ReachTargetSingle"),
        ({"action_mode_absolute": False}, "JointPositionActionMode delta"),
        ({"action_mode_name": "TorqueActionMode"}, "those of TorqueActionMode"),
        ({"floating_dofs": ["pelvis_x", "pelvis_y", "pelvis_z", "pelvis_rz"]}, "base moves in X, Y, Z, RZ"),
        ({"floating_base": False}, "base moves in nothing"),
        ({"robot_name": "Stretch"}, "robot Stretch"),
        ({"seed": -1}, "seed -1"),
        ({"seed": "first"}, "first"),
        ({"texts": {"seed": "0"}}, "metadata cannot be read.*environment_data"),
        ({"texts": metadata() | {"environment_data": "{"}}, "metadata cannot be read"),
    ],
)
def test_other_files_are_faults_and_the_rest_loads(tmp_path, stand_in, changes, words):
    write(tmp_path / "a.safetensors", drive(0.5, 50), **changes)
    write(tmp_path / "b.safetensors", drive(0.5, 50))
    found = imported(tmp_path)
    assert [episode.meta["file"] for episode in found.episodes] == ["b.safetensors"]
    (fault,) = found.faults
    assert "a.safetensors: " in fault
    assert re.search(words, fault), fault


@pytest.mark.parametrize(
    "actions", [np.zeros((0, 15)), np.zeros((20, 14)), np.full((20, 15), np.nan), np.zeros(15)], ids=str
)
def test_unusable_actions_are_faults(tmp_path, stand_in, actions):
    write(tmp_path / "a.safetensors", actions)
    with pytest.raises(DemonstrationError, match=r"(?s)ReachTargetSingle.*\n  - .*a\.safetensors: its actions"):
        imported(tmp_path)


def test_truncated_files_are_faults(tmp_path, stand_in):
    write(tmp_path / "b.safetensors", drive(0.5, 50))
    whole = (tmp_path / "b.safetensors").read_bytes()
    for cut in np.linspace(0, len(whole) - 1, 20).astype(int):
        (tmp_path / "a.safetensors").write_bytes(whole[:cut])
        found = imported(tmp_path)
        assert len(found.episodes) == 1
        assert "a.safetensors: the file cannot be read" in found.faults[0]


def test_only_as_many_as_asked_for_are_replayed(tmp_path, stand_in):
    write(tmp_path / "0.safetensors", drive(0.5, 50), env_name="MovePlate")
    for name in "abc":
        write(tmp_path / f"{name}.safetensors", drive(0.5, 50))
    assert [e.meta["file"] for e in imported(tmp_path, episodes=2).episodes] == ["a.safetensors", "b.safetensors"]


def test_wrong_options_are_refused(tmp_path):
    for options, words in (
        ({"env": None}, "--env.id bigym:<task>"),
        ({"env": EnvConfig(id="metaworld:reach")}, "got 'metaworld:reach'"),
        ({"env": EnvConfig(id="bigym:reach_target_singel")}, "reach_target_single"),
        ({"state": ("proprioception",)}, "--env.state"),
    ):
        with pytest.raises(ConfigError, match=re.escape(words)):
            imported(tmp_path, **options)


def test_the_options_reach_the_environment(tmp_path, monkeypatch):
    write(tmp_path / "a.safetensors", drive(0.5, 50))
    asked = []
    monkeypatch.setattr(bigym, "make_env", lambda config: asked.append(config) or Base())
    imported(tmp_path, cameras=("head",), image_size=32, control_hz=50.0)
    imported(tmp_path, env=EnvConfig(id="bigym:reach-target-single", cameras=("external",), image_size=40, num_envs=3))
    assert [(c.cameras, c.image_size, c.control_hz, c.num_envs) for c in asked] == [
        (("head",), 32, 50.0, 1),
        (("external",), 40, 0.0, 1),
    ]


# ---- BiGym itself ------------------------------------------------------------------------------------------


def test_the_word_store_without_bigym(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "demonstrations.demo_store", None)
    with pytest.raises(MissingDependencyError, match="BiGym in this interpreter"):
        find_files(Path("store"), TASK)


def test_the_word_store_asks_bigym(monkeypatch, tmp_path):
    """A download that fails, as without a network, and files that are there."""
    store = pytest.importorskip("demonstrations.demo_store", reason="BiGym is not installed")
    const = pytest.importorskip("bigym.const")
    monkeypatch.chdir(tmp_path)
    for module in (store, const):
        monkeypatch.setattr(module, "CACHE_PATH", tmp_path / "cache")

    def no_network(url):
        raise OSError("no network")

    monkeypatch.setattr(store.wget, "download", no_network)
    root = tmp_path / "cache" / "demonstrations" / const.DEMO_VERSION
    with pytest.raises(DemonstrationError, match=r"asked to download .*demonstrations\.zip\. Expected") as caught:
        find_files(Path("store"), TASK)
    assert str(root / "ReachTargetSingle" / MODE / "lightweight") in str(caught.value)
    file = write(root / "ReachTargetSingle" / MODE / "lightweight" / "a.safetensors", drive(0.5, 50))
    assert find_files(Path("store"), TASK) == [file]


def test_bigyms_own_sample_files_are_understood(tmp_path):
    """They hold changes and torques, which are refused; one that says it holds absolute targets is read."""
    package = pytest.importorskip("bigym", reason="BiGym is not installed")
    folder = Path(package.__file__).parents[1] / "tests" / "data" / "safetensors"
    samples = sorted(folder.glob("*.safetensors"))
    if not samples:
        pytest.skip("BiGym was installed without its tests")
    classes = {"ReachTarget": "reach_target_multi_modal", "MovePlate": "move_plate", "StackBlocks": "stack_blocks"}
    for sample in samples:
        _, cls, mode = sample.stem.split("_")[:3]
        with pytest.raises(ValueError, match=r"those of (TorqueActionMode|JointPositionActionMode delta);") as caught:
            read_file(sample, TASKS[classes[cls]])
        assert mode in str(caught.value)
        with pytest.raises(ValueError, match=f"recorded in {cls}, not in FlipCup"):
            read_file(sample, TASKS["flip_cup"])
    from safetensors import safe_open

    with safe_open(next(s for s in samples if "MovePlate_Joint" in s.name), framework="np") as file:
        texts, arrays = dict(file.metadata()), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    texts["environment_data"] = texts["environment_data"].replace(
        '"action_mode_absolute": false', '"action_mode_absolute": true'
    )
    numpy_files.save_file(arrays, tmp_path / "a.safetensors", texts)
    recording = read_file(tmp_path / "a.safetensors", TASKS["move_plate"])
    np.testing.assert_array_equal(recording.actions, arrays["info_demo_action"])
    assert (recording.seed, recording.hz, recording.versions["mujoco"]) == (int(texts["seed"]), 500.0, "3.1.3")


def recorded(env: Env, seed: int) -> np.ndarray:
    """Commands [N, A] of the scripted expert, as they would be at 500 steps per second."""
    env.reset(seed=seed)
    actions, ended = [], False
    while not ended:
        actions.append(env.expert_action())
        _, _, terminated, truncated, _ = env.step(actions[-1])
        ended = terminated or truncated
    raw = np.repeat(np.stack(actions).astype(np.float64), 10, axis=0)
    raw[:, :3] /= 10
    # The recording goes on for half a second, and ends within a decision.
    return np.concatenate([raw, np.repeat(raw[-1:], 254, axis=0)])


def test_bigyms_own_decimation_and_replay_agree(tmp_path, monkeypatch):
    """Scripted commands, some of them with more motion than fits, saved, decimated and replayed by BiGym's code."""
    pytest.importorskip("bigym", reason="BiGym is not installed")
    from demonstrations.demo import LightweightDemo
    from demonstrations.demo_converter import DemoConverter

    from zoomrl.envs.registry import make_env

    config = EnvConfig(id="bigym:reach_target_single", state="robot")
    env = make_env(config)
    for seed in (0, 3):
        actions = recorded(env, seed)
        if seed == 3:
            random = np.random.default_rng(seed)
            actions[:, :3] = random.uniform(-0.05, 0.05, (len(actions), 3)) * (random.random((len(actions), 1)) < 0.3)
        demo = LightweightDemo.from_env(env._sim)
        for action in actions:
            demo.add_timestep({}, 0.0, False, False, {}, action)
        assert demo.seed == seed
        demo.save(tmp_path / f"{seed}.safetensors")
    monkeypatch.setattr(bigym, "make_env", lambda config, **overrides: env)
    with monkeypatch.context() as kept_open:
        kept_open.setattr(env, "close", lambda: None)
        found = imported(tmp_path, env=config)
    assert found.faults == []
    assert found.episodes[0].is_demo
    for seed, episode in zip((0, 3), found.episodes, strict=True):
        demo = LightweightDemo.from_safetensors(tmp_path / f"{seed}.safetensors")
        theirs = DemoConverter.decimate(demo, 50, robot=env._sim.robot)
        wanted = np.stack([step.executed_action for step in theirs.timesteps])
        # They sum in float32.
        np.testing.assert_allclose(episode.actions, wanted[: len(episode)], atol=2e-6)
        observation, _ = env.reset(seed=seed)
        np.testing.assert_array_equal(episode.observations["state"][0], observation["state"])
        again = DemoConverter.create_demo_in_new_env(theirs, env._sim)
        for t in range(len(episode)):
            entries = again.timesteps[t].observation
            keys = ("proprioception", "proprioception_grippers", "proprioception_floating_base")
            state = np.concatenate([entries[key] for key in keys])
            np.testing.assert_allclose(episode.observations["state"][t + 1], state, atol=1e-3)
            assert episode.rewards[t] == again.timesteps[t].reward
    env.close()
