"""OGBench: seeding, goals, rewards, images, play and what it becomes, on the real simulator."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs_common import assert_action_repeat_sums, assert_honest_seeding, random_action
from zoomrl.cli.main import main
from zoomrl.demos import play as demos_play
from zoomrl.demos.formats import ImportOptions, read
from zoomrl.demos.formats.flat.ogbench import parts_of
from zoomrl.demos.play import collect_play
from zoomrl.demos.store.reader import read_demos
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.suites.ogbench.env import OGBenchEnv, resolve
from zoomrl.envs.suites.ogbench.play import Player, in_sight
from zoomrl.envs.suites.ogbench.tasks import SCENES, ogbench_tasks
from zoomrl.errors import ConfigError, DemonstrationError, MissingDependencyError


def make(task: str = "puzzle-3x3", **options: object) -> OGBenchEnv:
    return OGBenchEnv(task, EnvConfig(**options))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def play() -> dict[str, np.ndarray]:
    """Sixty steps of play in the scene with everything."""
    return Player("scene", steps=60).play(seed=0, number=0)


# ---- the environment ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "task",
    ["cube-double", pytest.param("scene", marks=pytest.mark.slow), pytest.param("puzzle-3x3", marks=pytest.mark.slow)],
)
def test_same_seed_same_episode(task: str) -> None:
    options = {"reward": "native", "terminate_on_success": False}
    assert_honest_seeding(make(task, **options), make(task, **options))


@pytest.mark.slow
def test_rewards_are_summed_over_repeats() -> None:
    options = {"reward": "native", "terminate_on_success": False}
    assert_action_repeat_sums(make("cube-single", **options), make("cube-single", action_repeat=3, **options))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("puzzle-3x3", ("puzzle-3x3", 4)),
        ("scene", ("scene", 2)),
        ("cube-double-task5", ("cube-double", 5)),
        ("puzzle-4x4-play-singletask-task1-v0", ("puzzle-4x4", 1)),
        ("scene-play-singletask-v0", ("scene", 2)),
    ],
)
def test_names(name: str, expected: tuple[str, int]) -> None:
    assert resolve(name) == expected


@pytest.mark.parametrize(
    "name", ["scene-task6", "scene-task0", "scene-task٣", "puzzle-3x4", "antmaze-large", "-task1", "scene-noisy-v0"]
)
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="OGBench task"):
        resolve(name)


@pytest.mark.slow
@pytest.mark.parametrize("scene", SCENES)
def test_every_scene_has_the_state_of_the_page_and_steps(scene: str) -> None:
    page = (Path(__file__).parents[1] / "docs/environments/ogbench.md").read_text()
    env = make(scene)
    spec = env.env_spec
    row = f"| `{scene}` | {spec.state_dim} | {spec.time_limit:,} | {SCENES[scene].default} |"
    assert row in page
    first, _ = env.reset(seed=1)
    assert first["state"].shape == (spec.state_dim,)
    for _ in range(3):
        observation, reward, terminated, truncated, info = env.step(random_action(env, np.random.default_rng(0)))
        assert reward == 0.0
        assert [terminated, truncated, info["success"]] == [False] * 3
    assert np.isfinite(observation["state"]).all()


def test_rewards_say_what_is_in_place_and_success_ends_the_episode() -> None:
    sparse, native = make("scene-task1"), make("scene-task1", reward="native")
    for env in (sparse, native):
        env.reset(seed=0)
        env._sim.data.joint("drawer_slide").qpos[0] = -0.16
    still = np.zeros(5, np.float32)
    assert sparse.step(still)[1:4] == (0.0, False, False)
    assert native.step(still)[1] == -1.0, "cube, two buttons and the drawer are in place, the window is not"
    for env in (sparse, native):
        env._sim.data.joint("window_slide").qpos[0] = 0.2
    assert sparse.step(still)[1:4] == (1.0, True, False)
    observation, reward, terminated, _, info = native.step(still)
    assert (reward, terminated, info["success"]) == (0.0, True, True)
    # The state that is shown is the one that is paid for.
    assert native.in_place(native._sim.data.qpos[None].copy(), native._sim._cur_button_states[None]).all()
    assert observation["state"].dtype == np.float32


@pytest.mark.parametrize("task", ["puzzle-3x3-task2", "cube-double-task1"])
def test_what_is_in_place_is_what_the_simulator_counts(task: str) -> None:
    env = make(task, reward="native", terminate_on_success=False)
    env.reset(seed=0)
    random = np.random.default_rng(0)
    for _ in range(5):
        reward = env.step(random_action(env, random))[1]
        buttons = getattr(env._sim, "_cur_button_states", None)
        found = env.in_place(env._sim.data.qpos[None].copy(), None if buttons is None else buttons[None])
        assert reward == found.sum() - found.size


def test_arrays_of_another_scene_are_refused() -> None:
    env = make("puzzle-3x3")
    with pytest.raises(ValueError, match=r"qpos must have shape \[2, 23\], got \[2, 7\]"):
        env.in_place(np.zeros((2, 7)), None)
    with pytest.raises(ValueError, match=r"button_states must have shape \[2, 9\], got none"):
        env.in_place(np.zeros((2, 23)), None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reward": "dense"}, "reward 'dense' is not available for ogbench.*minus the number of objects"),
        ({"state": "none"}, "would show nothing"),
        ({"cameras": ("nowhere",)}, "camera 'nowhere'.*front_pixels"),
    ],
)
def test_options_that_cannot_be_had(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**options)


@pytest.mark.slow
def test_images_look_as_in_the_visual_tasks_and_show_no_goal() -> None:
    seen = make("cube-double", cameras=("front_pixels",), image_size=64)
    plain = make("cube-double", cameras=("front_pixels",), image_size=64, state="full")
    assert list(seen.env_spec.observations) == ["rgb"]
    assert set(plain.env_spec.observations) == {"rgb", "state"}
    first, _ = seen.reset(seed=0)
    assert first["rgb"].shape == (1, 64, 64, 3)
    material = seen._sim.model.material("ur5e/robotiq/metal").rgba
    assert material[3] == pytest.approx(0.1)
    targets = seen._sim._cube_target_geom_ids_list[0]
    assert all(seen._sim.model.geom(number).rgba[3] == 0 for number in targets)
    assert seen.render().shape == (240, 240, 3)


def test_without_ogbench_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ogbench", None)
    with pytest.raises(MissingDependencyError, match=r"zoomrl\[ogbench\]"):
        make()


def test_ids_are_complete() -> None:
    assert len(ogbench_tasks()) == 50
    assert "scene-task2" in ogbench_tasks()


# ---- play --------------------------------------------------------------------------------------------------


def test_play_depends_on_seed_and_number_alone(play: dict[str, np.ndarray]) -> None:
    player = Player("scene", steps=60)
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    player.play(seed=0, number=1)
    again = player.play(seed=0, number=0)
    for name, rows in play.items():
        np.testing.assert_array_equal(rows, again[name], name)
    np.testing.assert_array_equal(before, np.random.get_state()[1])
    assert not np.array_equal(play["observations"], player.play(seed=1, number=0)["observations"])


def test_play_is_what_the_simulator_answers(play: dict[str, np.ndarray]) -> None:
    assert {name: (rows.shape, rows.dtype.name) for name, rows in play.items()} == {
        "observations": ((60, 40), "float32"),
        "actions": ((60, 5), "float32"),
        "terminals": ((60,), "bool"),
        "qpos": ((60, 25), "float32"),
        "qvel": ((60, 24), "float32"),
        "button_states": ((60, 2), "int64"),
    }
    assert np.flatnonzero(play["terminals"]).tolist() == [59]
    assert np.abs(play["actions"]).max() <= 1
    # Positions of the joints are the first numbers of an observation.
    np.testing.assert_array_equal(play["observations"][:, :6], play["qpos"][:, :6])
    moved = np.abs(np.diff(play["qpos"][:, :6], axis=0)).sum(axis=1)
    assert (moved[:5] > 0).all()


def test_a_cube_that_cannot_be_seen() -> None:
    qpos = np.zeros((3, 25))
    assert in_sight(qpos)
    for place, seen in (([0.3, 0.3, 0.02], False), ([0.3, -0.35, 0.02], False), ([0.33, -0.35, 0.066], True)):
        qpos[1, 14:17] = place
        assert in_sight(qpos) == seen


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"scene": "scenes"}, ConfigError, "scene of OGBench 'scenes'.*Did you mean scene"),
        ({"steps": 1}, ConfigError, "at least 2 observations, got 1"),
        ({"noise": -1.0}, ConfigError, "noise must be"),
        ({"trajectories": 0}, ConfigError, "trajectories must be at least 1, got 0"),
        ({"path": "play.hdf5"}, ConfigError, "end in .npz, got play.hdf5"),
    ],
)
def test_play_that_cannot_be_had(tmp_path, changes, error, message) -> None:
    asked = {"scene": "cube-single", "path": "play.npz", **changes}
    with pytest.raises(error, match=message):
        collect_play(asked.pop("scene"), tmp_path / asked.pop("path"), **asked)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_set_is_the_same_by_any_number_of_workers_and_goes_on_after_a_kill(tmp_path, capsys) -> None:
    words = ["demos", "collect-play", "cube-single", "--trajectories", "4", "--steps", "20"]
    assert main([*words, "--workers", "2", "--out", str(tmp_path / "two.npz")]) == 0
    assert "demos import ogbench" in capsys.readouterr().out
    killed = tmp_path / "killed.npz"
    command = [sys.executable, "-m", "zoomrl", *words, "--workers", "1", "--out", str(killed)]
    process = subprocess.Popen(command, env={**os.environ, "PLAYS_FOR_A_TEST": str(killed)})
    parts = tmp_path / "killed.npz.parts"
    while not list(parts.glob("0*.npz")):
        assert process.poll() is None
    process.kill()
    process.wait()
    assert not killed.exists()
    began = time.monotonic()
    while workers := [one for one in psutil.process_iter() if _plays_for(one, killed)]:
        assert time.monotonic() - began < 60, workers  # they end with what began them
        time.sleep(0.2)
    with pytest.raises(DemonstrationError, match=r"another set \(seed 0 against 1\)"):
        collect_play("cube-single", killed, trajectories=4, steps=20, seed=1)
    made = set(parts.glob("0*.npz"))
    times = {part: part.stat().st_mtime_ns for part in made}
    seen: list[int] = []

    def note(count: int) -> None:
        seen.append(count)
        assert {part: part.stat().st_mtime_ns for part in made} == times

    collect_play("cube-single", killed, trajectories=4, steps=20, on_trajectory=note)
    assert seen[-1] == 4
    assert killed.read_bytes() == (tmp_path / "two.npz").read_bytes()
    assert not parts.exists()
    with zipfile.ZipFile(killed) as file:
        assert set(file.namelist()) == {f"{n}.npy" for n in ("observations", "actions", "terminals", "qpos", "qvel")}
    with np.load(killed) as whole, np.load(tmp_path / "two.npz") as other:
        assert whole["observations"].shape == (80, 28)
        np.testing.assert_array_equal(whole["actions"], other["actions"])
    with pytest.raises(DemonstrationError, match="is there already"):
        collect_play("cube-single", killed)


def test_parts_are_joined_as_they_are(tmp_path) -> None:
    """Packed, a thousand trajectories of a puzzle were refused by the limit on what a file may declare."""
    files = [tmp_path / "0.npz", tmp_path / "1.npz"]
    for number, file in enumerate(files):
        np.savez(file, observations=np.full((3, 2), number, np.float32), terminals=np.array([False, False, True]))
    with (tmp_path / "whole.npz").open("wb") as stream:
        demos_play._join(files, stream)
    with zipfile.ZipFile(tmp_path / "whole.npz") as file:
        assert [one.compress_type for one in file.infolist()] == [zipfile.ZIP_STORED] * 2
    with np.load(tmp_path / "whole.npz") as whole:
        assert whole["observations"].tolist() == [[0, 0]] * 3 + [[1, 1]] * 3
        assert whole["terminals"].tolist() == [False, False, True] * 2


@pytest.mark.slow
def test_a_set_that_packs_well_is_believed(tmp_path, monkeypatch) -> None:
    """As of all sets that zoomrl writes."""
    collect_play("puzzle-3x3", tmp_path / "play.npz", trajectories=4, steps=20)
    monkeypatch.setattr("zoomrl.demos.store.limits.FREE", 4096)
    task = ImportOptions(env=EnvConfig(id="ogbench:puzzle-3x3-task1"))
    assert len(read("auto", tmp_path / "play.npz", task).episodes) == 4


def _plays_for(process: psutil.Process, path: Path) -> bool:
    """Whether ``process`` was begun, at some remove, for the set at ``path``."""
    with contextlib.suppress(psutil.Error):
        return process.environ().get("PLAYS_FOR_A_TEST") == str(path)
    return False


# ---- from play to episodes of a task -------------------------------------------------------------------------


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.integers(0, 3))
def test_parts_are_what_a_walk_through_the_trajectory_finds(solved: list[bool], first: int) -> None:
    episodes, states = [], []
    for row, success in enumerate(solved, start=first):
        if success and not states:
            continue
        states.append(row)
        if success:
            episodes.append((states[0], row + 1, True))
            states = []
    if len(states) > 1:
        episodes.append((states[0], states[-1] + 1, False))
    assert parts_of(np.asarray(solved), first) == episodes


def test_play_becomes_episodes_of_a_task(tmp_path) -> None:
    env = make("scene-task1")
    env.reset(seed=0)
    unsolved = env._sim.data.qpos.copy()
    assert not env.in_place(unsolved[None], np.array([[1, 1]])).all()
    solved = unsolved.copy()
    solved[[env._sim.model.joint(name).qposadr[0] for name in ("drawer_slide", "window_slide")]] = -0.16, 0.2
    pattern = [0, 0, 1, 1, 0, 0, 0]
    rows = len(pattern)
    observations = np.arange(2 * rows * 40, dtype=np.float32).reshape(2 * rows, 40)
    path = tmp_path / "scene-play-v0.npz"
    np.savez(
        path,
        observations=observations,
        actions=np.linspace(-1, 1, 2 * rows * 5, dtype=np.float32).reshape(-1, 5),
        terminals=np.tile([False] * (rows - 1) + [True], 2),
        qpos=np.stack([(unsolved, solved)[one] for one in pattern * 2]).astype(np.float32),
        qvel=np.zeros((2 * rows, 24), np.float32),
        button_states=np.ones((2 * rows, 2), np.int64),
    )
    found = read("auto", path, ImportOptions(env=EnvConfig(id="ogbench:scene-task1")))
    told = [(len(e), e.rewards.tolist(), e.terminated, e.truncated, e.success, e.is_demo) for e in found.episodes]
    once = [(2, [0, 1], True, False, True, True), (2, [0, 0], False, True, False, True)]
    assert told == once * 2
    np.testing.assert_array_equal(found.episodes[1].observations["state"], observations[4:7])
    np.testing.assert_array_equal(found.episodes[2].observations["state"], observations[7:10])
    assert found.spec.id == "ogbench:scene-task1"
    assert found.spec.mismatches(env.env_spec) == []
    assert found.meta["solved"] == "2 times, by where the objects are; each ends an episode"
    assert not found.faults
    native = read("auto", path, ImportOptions(env=EnvConfig(id="ogbench:scene-task1", reward="native")))
    placed = env.in_place(unsolved[None], np.array([[1, 1]]))
    lacking = int(placed.sum()) - placed.size
    assert lacking < 0
    assert [e.rewards.tolist() for e in native.episodes] == [[lacking, 0], [lacking, lacking]] * 2
    assert [e.terminated for e in native.episodes] == [True, False] * 2


def play_of(task: str, pattern: list[int], trajectories: int = 2) -> dict[str, np.ndarray]:
    """Arrays of a file of play of the scene, solved where the pattern of each trajectory says so."""
    env = make(task)
    env.reset(seed=0)
    unsolved = env._sim.data.qpos.copy()
    solved = unsolved.copy()
    solved[[env._sim.model.joint(name).qposadr[0] for name in ("drawer_slide", "window_slide")]] = -0.16, 0.2
    rows, count = len(pattern), len(pattern) * trajectories
    return {
        "observations": np.arange(count * 40, dtype=np.float32).reshape(count, 40),
        "actions": np.linspace(-1, 1, count * 5, dtype=np.float32).reshape(-1, 5),
        "terminals": np.tile([False] * (rows - 1) + [True], trajectories),
        "qpos": np.stack([(unsolved, solved)[one] for one in pattern * trajectories]).astype(np.float32),
        "button_states": np.ones((count, 2), np.int64),
    }


SCENE = ImportOptions(env=EnvConfig(id="ogbench:scene-task1"))


@pytest.mark.parametrize("name", ["observations", "actions", "qpos", "button_states"])
@pytest.mark.parametrize("episodes", [0, 1])
def test_a_flipped_byte_of_an_array_refuses_the_file(tmp_path, name, episodes) -> None:
    """The checksum is at the end of each array, behind the rows that would have been taken."""
    arrays, path = play_of("scene-task1", [0, 0, 1, 0, 0]), tmp_path / "play.npz"
    np.savez(path, **arrays)
    content = bytearray(path.read_bytes())
    raw = arrays[name].tobytes()
    at = content.index(raw) + 8
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(DemonstrationError, match="Bad CRC-32"):
        read("auto", path, dataclasses.replace(SCENE, episodes=episodes))


def test_what_is_solved_is_counted_of_what_is_taken(tmp_path) -> None:
    arrays, path = play_of("scene-task1", [0, 0, 1, 0, 0]), tmp_path / "play.npz"
    for rows, at in (("observations", 1), ("qpos", 6)):
        arrays[rows][at, 0] = np.nan
    np.savez(path, **arrays)
    found = read("auto", path, SCENE)
    assert found.meta["solved"].startswith("0 times")
    assert [(len(one), one.success) for one in found.episodes] == [(1, False)]
    told = "\n".join(found.faults)
    assert "trajectory 0 (row 0): " in told
    assert "trajectory 1: qpos holds NaN or infinity, so that it is not known where it is solved" in told
    assert "no state of it solves ogbench:scene-task1, so that no reward is in the set" in told


@pytest.mark.parametrize(
    ("changes", "env", "said"),
    [
        ({}, {"action_repeat": 2}, "recorded with an action for each step of the simulator: leave out"),
        ({}, {"id": "ogbench:cube-double-task1"}, "is of another scene than ogbench:cube-double-task1: qpos must"),
        ({"qpos": slice(1, None)}, {}, "qpos must have 10 rows, as actions has"),
        ({"button_states": slice(1, None)}, {}, "button_states must have 10 rows"),
        ({"terminals": str}, {}, "terminals of type <U5, and must say 0 or 1"),
        (dict.fromkeys(("observations", "actions", "terminals"), slice(0, 0)), {}, "holds no rows"),
    ],
)
def test_files_that_are_not_of_the_task_say_what_is_wrong(tmp_path, changes, env, said) -> None:
    arrays, path = play_of("scene-task1", [0, 0, 1, 0, 0]), tmp_path / "play.npz"
    for name, change in changes.items():
        arrays[name] = arrays[name].astype(str) if change is str else arrays[name][change]
    np.savez(path, **arrays)
    with pytest.raises(DemonstrationError, match=said):
        read("ogbench", path, ImportOptions(env=EnvConfig(**{"id": "ogbench:scene-task1", **env})))


def test_a_file_that_is_not_there_is_no_damaged_one(tmp_path) -> None:
    with pytest.raises(DemonstrationError, match=r"play\.npz cannot be read: No such file"):
        read("ogbench", tmp_path / "play.npz", SCENE)


def test_a_file_without_positions_cannot_be_told(tmp_path) -> None:
    path = tmp_path / "play.npz"
    np.savez(path, observations=np.zeros((3, 40)), actions=np.zeros((3, 5)), terminals=np.array([0, 0, 1]))
    with pytest.raises(DemonstrationError, match="lacks qpos, by which it is told where ogbench:scene is solved"):
        read("ogbench", path, ImportOptions(env=EnvConfig(id="ogbench:scene")))


@pytest.mark.slow
def test_from_play_to_a_run(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        main(["demos", "collect-play", "puzzle-3x3", "--trajectories", "2", "--steps", "60", "--out", "play.npz"]) == 0
    )
    assert main(["demos", "import", "ogbench", "play.npz", "--out", "set", "--env", "ogbench:puzzle-3x3"]) == 0
    said = capsys.readouterr().out
    assert "train --preset cqn_as-ogbench-proposals --env ogbench:puzzle-3x3 --demos set" in said
    assert len(read_demos(tmp_path / "set").episodes) == 2
    tiny = [
        "--agent.hidden-dim",
        "16",
        "--replay.batch-size",
        "8",
        "--eval.final-episodes",
        "1",
        "--eval.episodes",
        "1",
    ]
    tiny += ["--steps", "0", "--offline-updates", "3", "--env.time-limit", "5", "--threads", "1", "--eval.no-video"]
    words = ["train", "--preset", "cqn_as-metaworld", "--env", "ogbench:puzzle-3x3", "--demos", "set"]
    assert main([*words, "--demos.episodes", "0", *tiny, "--run-dir", "run"]) == 0
    assert (tmp_path / "run/result.json").exists()


def test_an_interrupted_recording_says_that_it_goes_on(tmp_path, monkeypatch, capsys) -> None:
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(demos_play, "collect_play", interrupted)
    assert main(["demos", "collect-play", "scene", "--out", str(tmp_path / "play.npz")]) != 0
    assert "what is recorded is kept: the same command goes on" in capsys.readouterr().err
