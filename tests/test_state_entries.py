"""The parts of a state and their order: in specs, episodes, sets and imports, and against an environment's."""

import json
from collections import OrderedDict
from dataclasses import replace

import gymnasium
import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from test_demos_store import make_episode
from zoomrl.cli.demos_check import CheckDemos
from zoomrl.cli.main import main
from zoomrl.data.episode import Episode
from zoomrl.demos.check.manifest import manifest_path
from zoomrl.demos.check.survey import conclude, replay_survey, survey_set
from zoomrl.demos.config import DemoConfig
from zoomrl.demos.entries import align, columns_for, parse_entry
from zoomrl.demos.fit import check_fit
from zoomrl.demos.formats import ImportOptions, read
from zoomrl.demos.formats.lerobot.layout import dimension_groups
from zoomrl.demos.inspect import summarise
from zoomrl.demos.store.reader import read_demos
from zoomrl.demos.store.writer import write_demos
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.suites.gym.env import wrap_gym_env
from zoomrl.errors import ConfigError, DemonstrationError
from zoomrl.spec import ArraySpec, EnvSpec, StateEntry
from zoomrl.training.build.demos import load_demos
from zoomrl.training.config import TrainConfig

Box = gymnasium.spaces.Box


def entries(*texts):
    return tuple(parse_entry(text) for text in texts)


def spec_of(*texts, id="toy:parts"):
    made = entries(*texts)
    observations = {"state": ArraySpec((sum(entry.size for entry in made),))}
    action = ArraySpec((2,), low=(-1.0,) * 2, high=(1.0,) * 2)
    return EnvSpec(id, observations, action, 0.0, 30, reports_success=True, state_entries=made)


class Reach(gymnasium.Env):
    """A point and its goal, with a whole number and a flag among what is observed."""

    def __init__(self, in_key_order=False):
        items = [("point", Box(-9, 9, (2,), np.float32)), ("goal", Box(-9, 9, (3,), np.float32))]
        items += [("steps", Box(0, 99, (1,), np.int64)), ("near", Box(0, 1, (2,), np.uint8))]
        # Gymnasium sorts the keys of a plain dict.
        self.observation_space = gymnasium.spaces.Dict(dict(items) if in_key_order else OrderedDict(items))
        self.action_space = Box(-1, 1, (2,), np.float32)

    def _observation(self):
        near = np.array([abs(self.x[0]) < 1, abs(self.x[1]) < 1], np.uint8)
        return {"point": self.x, "goal": self.goal, "steps": np.array([self.count]), "near": near}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.goal = self.np_random.normal(size=2), self.np_random.normal(size=3)
        self.count = 0
        return self._observation(), {"success": False}

    def step(self, action):
        self.x, self.count = self.x + 0.1 * action, self.count + 1
        return self._observation(), 0.0, False, False, {"success": self.count >= 5}


CONFIG = EnvConfig(id="gym:Reach", time_limit=30)


def recorded(in_key_order):
    """The spec of the environment; and three episodes by its own entries, with the states that it joins of them."""
    env, shown = wrap_gym_env(Reach(in_key_order), CONFIG), []
    sim = Reach(in_key_order)
    for seed in range(3):
        observed, states = [sim.reset(seed=seed)[0]], [env.reset(seed=seed)[0]["state"]]
        actions = np.random.default_rng(seed).uniform(-1, 1, (5, 2)).astype(np.float32)
        for action in actions:
            observed.append(sim.step(action)[0])
            states.append(env.step(action)[0]["state"])
        shown.append(({name: np.stack([o[name] for o in observed]) for name in observed[0]}, actions, np.stack(states)))
    return env.env_spec, shown


def as_robomimic(folder, shown, _):
    with h5py.File(folder / "demo.hdf5", "w") as file:
        for number, (arrays, actions, _states) in enumerate(shown):
            group = file.create_group(f"data/demo_{number}")
            group["actions"], group["rewards"] = actions, np.arange(5) == 4
            for name, array in arrays.items():
                group[f"obs/{name}"], group[f"next_obs/{name}"] = array[:-1], array[1:]
    return "robomimic", folder / "demo.hdf5"


def as_minari(folder, shown, in_key_order):
    serialization = pytest.importorskip("minari.serialization")
    (folder / "data").mkdir()
    with h5py.File(folder / "data/main_data.hdf5", "w") as file:
        for number, (arrays, actions, _states) in enumerate(shown):
            group = file.create_group(f"episode_{number}")
            group["actions"], group["rewards"] = actions, np.zeros(5)
            group["terminations"] = group["truncations"] = np.zeros(5, bool)
            group["infos/success"] = np.arange(6) == 5
            for name, array in arrays.items():
                group[f"observations/{name}"] = array
    env = Reach(in_key_order)
    spaces = {"observation_space": env.observation_space, "action_space": env.action_space}
    fields = {name: serialization.serialize_space(space) for name, space in spaces.items()}
    (folder / "data/metadata.json").write_text(json.dumps({"total_episodes": 3, "total_steps": 15, **fields}))
    return "minari", folder


def as_npz(folder, shown, _):
    for number, (arrays, actions, _states) in enumerate(shown):
        np.savez(folder / f"episode_{number}.npz", actions=actions, success=True, **arrays)
    return "npz", folder


def as_lerobot(folder, shown, _, *, columns=None, names=None):
    """``columns``: name -> the entries that it joins; a column for each by default."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = columns or {f"observation.{name}": (name,) for name in shown[0][0]}
    features, rows = {}, []
    for number, (arrays, actions, _states) in enumerate(shown):
        joined = {key: np.concatenate([arrays[n][:-1] for n in parts], 1) for key, parts in columns.items()}
        data = {key: list(array) for key, array in joined.items()} | {"action": list(actions)}
        data |= {"episode_index": [number] * 5, "frame_index": list(range(5)), "next.success": [False] * 4 + [True]}
        (folder / "data").mkdir(exist_ok=True)
        pq.write_table(pa.table(data), folder / f"data/{number}.parquet")
        rows.append({"episode_index": number, "length": 5, "data/chunk_index": 0, "data/file_index": number})
        for key, array in {**joined, "action": actions}.items():
            features[key] = {"dtype": str(array.dtype), "shape": [array.shape[1]], "names": (names or {}).get(key)}
    features |= {key: {"dtype": "int64", "shape": [1]} for key in ("episode_index", "frame_index", "next.success")}
    (folder / "meta/episodes/chunk-000").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "meta/episodes/chunk-000/file-000.parquet")
    info = {"codebase_version": "v3.0", "fps": 10, "total_episodes": 3, "features": features, "video_path": None}
    (folder / "meta/info.json").write_text(json.dumps(info | {"data_path": "data/{file_index}.parquet"}))
    return "lerobot", folder


# ---- names, sizes and order ----------------------------------------------------------------------------------------


def test_a_spec_keeps_its_entries_and_older_ones_have_none():
    spec = spec_of("point:2", "goal:3")
    assert EnvSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    older = {name: value for name, value in spec.to_dict().items() if name != "state_entries"}
    assert EnvSpec.from_dict(older).state_entries == ()
    assert spec.mismatches(spec_of("goal:3", "point:2")) == [
        "state entries point 2, goal 3 against goal 3, point 2",
    ]
    assert spec.mismatches(EnvSpec.from_dict(older)) == []
    with pytest.raises(ValueError, match=r"toy:parts \(point 2, goal 3\) must add up to its state of 4"):
        replace(spec, observations={"state": ArraySpec((4,))})


@pytest.mark.parametrize(
    ("have", "want", "columns"),
    [
        (("a:1", "b:2"), ("b:2", "a:1"), [1, 2, 0]),
        (("a:1", "b:2", "c:1"), ("c:1", "a:1", "b:2"), [3, 0, 1, 2]),
        (("observation.a:1", "observation.b:2"), ("b:2", "a:1"), [1, 2, 0]),
        (("state[a]:2", "state[b]:1"), ("b:1", "a:2"), [2, 0, 1]),
        # Named dimensions of one column are that column where the environment names nothing.
        (("state[a]:2", "state[b]:1"), ("state:3",), [0, 1, 2]),
        (("x[a]:2", "x[b]:1", "y:1"), ("y:1", "x:3"), [3, 0, 1, 2]),
        (("observation.state:3",), ("agent_pos:3",), [0, 1, 2]),
        (("a:1", "b:2"), ("b:1", "a:2"), None),
        (("a:1", "b:2"), ("a:1",), None),
        (("a:1", "b:2"), ("a:1", "c:2"), None),
        (("state:3",), ("a:1", "b:2"), None),
        (("a:1", "b:2"), ("state:3",), None),
        (("a:3",), ("b:3",), None),
        (("a:1", "a:1"), ("a:1", "observation.a:1"), None),
    ],
)
def test_columns(have, want, columns):
    found = columns_for(entries(*have), entries(*want))
    assert found is None if columns is None else found.tolist() == columns


@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=5), random=st.randoms(use_true_random=False))
def test_aligning_undoes_a_permutation_and_twice_is_once(sizes, random):
    order = list(range(len(sizes)))
    random.shuffle(order)
    named = [f"e{number}:{size}" for number, size in enumerate(sizes)]
    spec = spec_of(*named)
    episode = replace(make_episode(spec, 3), state_entries=spec.state_entries)
    blocks = np.split(episode.observations["state"], np.cumsum(sizes)[:-1], axis=1)
    mixed = np.concatenate([blocks[number] for number in order], axis=1)
    other = replace(episode, observations={"state": mixed}, state_entries=entries(*(named[n] for n in order)))
    once = align(other, spec, "it")
    np.testing.assert_array_equal(once.observations["state"], episode.observations["state"])
    assert once.state_entries == spec.state_entries
    twice = align(once, spec, "it")
    np.testing.assert_array_equal(twice.observations["state"], once.observations["state"])


def test_a_refusal_names_both_sides_and_what_is_missing(tmp_path):
    spec = spec_of("point:2", "goal:3")
    episode = replace(make_episode(spec, 3), state_entries=entries("point:2", "velocity:2", "goal:1"))
    with pytest.raises(DemonstrationError) as refused:
        write_demos(tmp_path / "set", [episode], spec)
    assert str(refused.value).startswith(
        "episode 0: its state is made of point 2, velocity 2, goal 1, and that of toy:parts of point 2, goal 3 "
        "(velocity is not asked for; goal has 1 numbers, not 3). Nothing shows"
    )
    assert "--entries point:2 goal:3 (name:size" in str(refused.value)
    assert not (tmp_path / "set").exists()
    with pytest.raises(ConfigError, match="an entry of the state is name:size, such as goal:3; got 'goal'"):
        parse_entry("goal")
    with pytest.raises(ValueError, match="the state entries add up to 2 numbers, and the state is of shape"):
        replace(episode, state_entries=entries("point:2")).validate()


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (["goal_0", "goal_1", "point.0", "point.1"], {"goal": (0, 2), "point": (2, 4)}),
        ({"axes": ["x", "y", "goal0", "goal1"]}, {"x": (0, 1), "y": (1, 2), "goal": (2, 4)}),
        ({"motors": ["motor_0", "motor_1", "motor_2", "motor_3"]}, {}),
        (["x", "y", "x", "z"], {}),
        (["x", "y"], {}),
        (None, {}),
        ([["x", "y", "z", "u"]], {}),
    ],
)
def test_names_of_dimensions_are_entries(names, groups):
    found = {name: (part.start, part.stop) for name, part in dimension_groups(names, 4).items()}
    assert found == groups


# ---- from a recording to the environment's own states --------------------------------------------------------------


@pytest.mark.parametrize("in_key_order", [False, True])
@pytest.mark.parametrize("write", [as_minari, as_robomimic, as_lerobot, as_npz])
def test_an_import_for_an_environment_gives_its_own_states(tmp_path, monkeypatch, write, in_key_order):
    spec, shown = recorded(in_key_order)
    format, path = write(tmp_path, shown, in_key_order)
    monkeypatch.setattr("zoomrl.demos.formats.assemble.env_spec", lambda options: spec)
    found = read(format, path, ImportOptions(env=CONFIG))
    assert (found.faults, found.meta.get("does_not_fit")) == ([], None)
    write_demos(tmp_path / "ours", found.episodes, found.spec, meta=found.meta)
    ours = read_demos(tmp_path / "ours")
    assert ours.spec.state_entries == spec.state_entries
    for episode, (_, _, states) in zip(ours.episodes, shown, strict=True):
        rows = 6 if format in ("minari", "robomimic", "npz") else 5  # LeRobot has no last observation
        np.testing.assert_array_equal(episode.observations["state"][:rows], states[:rows])


@pytest.mark.parametrize("in_key_order", [False, True])
@pytest.mark.parametrize("write", [as_minari, as_robomimic, as_lerobot, as_npz])
def test_an_import_without_an_environment_is_put_in_its_order_or_refused(tmp_path, write, in_key_order):
    spec, shown = recorded(in_key_order)
    format, path = write(tmp_path, shown, in_key_order)
    everything = ("goal", "near", "point", "steps")
    if format == "lerobot":
        everything = tuple(f"observation.{name}" for name in everything)
    if format == "minari":
        everything = ()  # the metadata describe the environment's space, and all of it is taken
    found = read(format, path, ImportOptions(state=everything))
    write_demos(tmp_path / "ours", found.episodes, spec)
    for episode, (_, _, states) in zip(read_demos(tmp_path / "ours").episodes, shown, strict=True):
        np.testing.assert_array_equal(episode.observations["state"][:5], states[:5])
    if format in ("robomimic", "lerobot"):
        # Whole numbers and flags are no part of the default: said, and refused.
        usual = read(format, path)
        prefix = "observation." if format == "lerobot" else ""
        assert usual.meta["left_out"].startswith(f"{prefix}near, {prefix}steps (")
        with pytest.raises(DemonstrationError, match=r"(near|steps) is missing; (near|steps) is missing"):
            write_demos(tmp_path / "other", usual.episodes, spec)


def test_lerobots_dimension_names_and_a_bare_column(tmp_path):
    spec, shown = recorded(False)
    column = {"observation.state": ("goal", "near", "point", "steps")}
    names = ["goal_0", "goal_1", "goal_2", "near_0", "near_1", "point_0", "point_1", "steps"]
    for number, said in enumerate((names, None)):
        folder = tmp_path / f"set{number}"
        folder.mkdir()
        as_lerobot(folder, shown, None, columns=column, names={"observation.state": said})
    named, bare = (read("lerobot", tmp_path / f"set{number}") for number in range(2))
    write_demos(tmp_path / "named", named.episodes, spec)
    for episode, (_, _, states) in zip(read_demos(tmp_path / "named").episodes, shown, strict=True):
        np.testing.assert_array_equal(episode.observations["state"][:5], states[:5])
    assert bare.spec.state_entries == (StateEntry("observation.state", 8),)
    with pytest.raises(DemonstrationError, match=r"made of observation\.state 8, and that of gym:Reach of point 2"):
        write_demos(tmp_path / "bare", bare.episodes, spec)
    # Whoever knows the order says it.
    told = ImportOptions(entries=entries("goal:3", "near:2", "point:2", "steps:1"))
    write_demos(tmp_path / "told", read("lerobot", tmp_path / "set1", told).episodes, spec)
    assert read_demos(tmp_path / "told").sha256 == read_demos(tmp_path / "named").sha256
    with pytest.raises(ConfigError, match="goal 3 must add up to the state of 8 numbers"):
        read("lerobot", tmp_path / "set1", ImportOptions(entries=entries("goal:3")))


def test_what_cannot_be_told_is_said_at_import_and_refused_in_training(tmp_path, monkeypatch, capsys):
    spec, shown = recorded(False)
    for number, (_, actions, states) in enumerate(shown):
        np.savez(tmp_path / f"episode_{number}.npz", actions=actions, state=states)
    monkeypatch.setattr("zoomrl.demos.formats.assemble.env_spec", lambda options: spec)
    words = ["demos", "import", "npz", str(tmp_path), "--env.id", "gym:Reach", "--out"]
    assert main([*words, str(tmp_path / "ours")]) == 0
    said = capsys.readouterr().out
    assert "does not fit: state entries state 8 against point 2, goal 3, steps 1, near 2\n" in said
    assert "success: assumed for 3 of 3 episodes" in said
    config = TrainConfig(demos=DemoConfig(source=str(tmp_path / "ours")))
    with pytest.raises(DemonstrationError, match=r"(?s)state entries state 8 against point 2, goal 3.*--entries"):
        load_demos(config, spec, True, Console())
    assert main([*words, str(tmp_path / "told"), "--entries", "point:2", "goal:3", "steps:1", "near:2"]) == 0
    assert "state made of: point 2, goal 3, steps 1, near 2" in capsys.readouterr().out
    config = TrainConfig(demos=DemoConfig(source=str(tmp_path / "told")))
    demos = load_demos(config, spec, True, Console())
    np.testing.assert_array_equal(demos.episodes[2].observations["state"], shown[2][2])


# ---- sets ----------------------------------------------------------------------------------------------------------


def test_training_puts_a_set_in_the_environments_order(tmp_path):
    stored, spec = spec_of("goal:3", "point:2"), spec_of("point:2", "goal:3")
    episode = make_episode(stored, 4)
    write_demos(tmp_path / "set", [episode], stored)
    assert read_demos(tmp_path / "set").episodes[0].state_entries == stored.state_entries
    assert summarise(read_demos(tmp_path / "set")).state_entries == stored.state_entries
    CheckDemos(tmp_path / "set", no_replay=True).run()
    assert manifest_path(tmp_path / "set").is_file(), "a check in the other order holds in this one"
    demos = load_demos(TrainConfig(demos=DemoConfig(source=str(tmp_path / "set"))), spec, True, Console())
    state = episode.observations["state"]
    np.testing.assert_array_equal(demos.episodes[0].observations["state"], state[:, [3, 4, 0, 1, 2]])
    assert demos.sha256 == read_demos(tmp_path / "set").sha256


def test_a_spec_without_entries_takes_those_of_the_episodes(tmp_path):
    spec = spec_of("goal:3", "point:2")
    episode = replace(make_episode(spec, 4), state_entries=spec.state_entries)
    write_demos(tmp_path / "set", [episode], replace(spec, state_entries=()))
    assert read_demos(tmp_path / "set").spec == spec


@pytest.mark.parametrize(
    ("id", "meta", "kept", "text"),
    [
        ("toy:parts", {"policy": "scripted-expert"}, True, ""),
        ("toy:others", {"policy": "scripted-expert"}, False, "do not say in which order their state is joined"),
        ("toy:parts", {"format": "npz", "recorded": {"policy": "scripted-expert"}}, True, ""),
        ("toy:parts", {"format": "robomimic"}, False, "made of state 5, and that of toy:parts of point 2, goal 3"),
    ],
)
def test_sets_of_older_versions(tmp_path, id, meta, kept, text):
    """They name no entries. What was recorded in this environment was in its order; nothing else is known to be."""
    spec = spec_of("point:2", "goal:3")
    older = replace(spec, id=id, state_entries=())
    write_demos(tmp_path / "set", [make_episode(older, 4)], older, meta=meta)
    demos = read_demos(tmp_path / "set")
    kinds = {finding.kind: finding.severity for finding in conclude(survey_set(tmp_path / "set")).findings}
    assert kinds["unknown-entries"] == ("warning" if meta.get("format") == "robomimic" else "note")
    if kept:
        assert len(check_fit(demos, spec)) == 1
        return
    with pytest.raises(DemonstrationError, match=text):
        check_fit(demos, spec)
    if "format" in meta:
        with pytest.raises(DemonstrationError, match=text):
            write_demos(tmp_path / "again", demos.episodes, spec)
    # One vector alone has no order to be wrong.
    check_fit(demos, spec_of("state:5"))


def test_a_reset_that_differs_everywhere_is_an_error(tmp_path, capsys):
    spec, shown = recorded(False)
    flags = {"terminated": False, "truncated": True, "success": True, "is_demo": True}
    episodes = [Episode({"state": s}, a, np.zeros(5, np.float32), **flags, seed=i) for i, (_, a, s) in enumerate(shown)]

    def checked(name, episodes):
        write_demos(tmp_path / name, episodes, spec)
        survey = survey_set(tmp_path / name)
        replays, found = replay_survey(survey, make=lambda config: wrap_gym_env(Reach(), CONFIG))
        return conclude(survey, replays, found)

    assert checked("right", episodes).passed
    mixed = [replace(e, observations={"state": e.observations["state"][:, [2, 3, 4, 0, 1, 5, 6, 7]]}) for e in episodes]
    report = checked("mixed", mixed)
    assert not report.passed
    finding = next(f for f in report.findings if f.kind == "reset-differs")
    assert (finding.severity, finding.episode) == ("error", None)
    assert "in all 3 episodes that were replayed; in 3 of them the numbers are the same" in finding.message
    # One that differs is a warning about that one.
    one = checked("one", [*episodes[:2], mixed[2]])
    assert one.passed
    assert [f.episode for f in one.findings if f.kind == "diverges"] == [2]


def test_a_set_in_another_order_is_replayed_in_the_environments(tmp_path):
    spec, shown = recorded(False)
    other = replace(spec, state_entries=entries("goal:3", "point:2", "steps:1", "near:2"))
    flags = {"terminated": False, "truncated": True, "success": True, "is_demo": True}
    states = [s[:, [2, 3, 4, 0, 1, 5, 6, 7]] for _, _, s in shown]
    episodes = [
        Episode({"state": s}, a, np.zeros(5, np.float32), **flags, seed=i)
        for i, (s, (_, a, _)) in enumerate(zip(states, shown, strict=True))
    ]
    write_demos(tmp_path / "set", episodes, other)
    survey = survey_set(tmp_path / "set")
    replays, _ = replay_survey(survey, make=lambda config: wrap_gym_env(Reach(), CONFIG))
    assert [replay.divergence for replay in replays.values()] == [None] * 3


def test_an_environment_names_what_it_joins():
    nested = gymnasium.spaces.Dict({"robot": gymnasium.spaces.Dict({"q": Box(-1, 1, (2, 2))}), "a": Box(-1, 1, ())})
    env = Reach()
    env.observation_space = nested
    env._observation = lambda: {"robot": {"q": np.zeros((2, 2))}, "a": np.zeros(())}
    assert wrap_gym_env(env, CONFIG).env_spec.state_entries == entries("a:1", "robot/q:4")
    assert wrap_gym_env(gymnasium.make("Pendulum-v1"), EnvConfig()).env_spec.state_entries == entries("state:3")


def test_minari_sets_may_be_nested_and_hold_what_is_no_box(tmp_path):
    serialization = pytest.importorskip("minari.serialization")
    spaces = gymnasium.spaces
    robot = spaces.Dict(OrderedDict([("q", Box(-1, 1, (2,), np.float32)), ("grip", Box(0, 1, (1,), np.uint8))]))
    space = spaces.Dict(
        OrderedDict([("robot", robot), ("mode", spaces.Discrete(3)), ("a", Box(-1, 1, (1,), np.float32))])
    )
    (tmp_path / "data").mkdir()
    with h5py.File(tmp_path / "data/main_data.hdf5", "w") as file:
        group = file.create_group("episode_0")
        group["actions"], group["rewards"] = np.ones((3, 1), np.float32), np.zeros(3)
        group["terminations"] = group["truncations"] = np.zeros(3, bool)
        group["observations/robot/q"], group["observations/robot/grip"] = np.ones((4, 2)), np.full((4, 1), 5, np.uint8)
        group["observations/mode"], group["observations/a"] = np.zeros(4, int), np.full((4, 1), 7)
    fields = {"observation_space": space, "action_space": Box(-1, 1, (1,), np.float32)}
    fields = {name: serialization.serialize_space(one) for name, one in fields.items()}
    (tmp_path / "data/metadata.json").write_text(json.dumps({"total_episodes": 1, "total_steps": 3, **fields}))
    with pytest.raises(DemonstrationError, match="observation mode must be a Box space; `zoomrl demos import minari`"):
        read_demos(tmp_path)
    found = read("minari", tmp_path)
    assert found.episodes[0].observations["state"].tolist() == [[1, 1, 5, 7]] * 4
    assert found.spec.state_entries == entries("robot/q:2", "robot/grip:1", "a:1")
    assert found.faults[0].endswith("observation mode must be a Box space")
