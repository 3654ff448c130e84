"""RLBench's folders: against what was written, and against RLBench's own code where its sources are at hand."""

from __future__ import annotations

import io
import itertools
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import rlbench_files as files
from zoomrl.demos.formats.base import Imported, ImportOptions
from zoomrl.demos.formats.rlbench.pickles import read_frames
from zoomrl.demos.formats.rlbench.reader import read
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.suites.rlbench.tasks import LIMITS
from zoomrl.errors import ConfigError, DemonstrationError

FOUR = ("front", "wrist", "left_shoulder", "right_shoulder")
SIZE = 12


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two episodes of five frames of one task."""
    return files.write_task(tmp_path, "open_drawer", size=SIZE)


def env(task: str = "open_drawer", **options) -> EnvConfig:
    return EnvConfig(**{"id": f"rlbench:{task}", "cameras": FOUR, "image_size": SIZE, "state": "robot", **options})


def imported(path: Path, **options) -> Imported:
    return read(path, ImportOptions(**{"env": env(), **options}))


def actions_by_hand(observations: list[files.Observation]) -> np.ndarray:
    rows = []
    for now, after in itertools.pairwise(observations):
        target = after.misc.get("joint_position_action", after.joint_positions)
        rows.append([float(target[j]) - float(now.joint_positions[j]) for j in range(7)] + [after.gripper_open])
    return np.array(rows)


# ---- what comes out ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [3, 4])
@pytest.mark.parametrize("commanded", [True, False])
def test_an_episode_is_what_was_written(tmp_path, protocol, commanded):
    demo, views = files.observations(5, 3, commanded=commanded), files.images(5, 3, SIZE)
    files.write_episode(tmp_path / "episode0", demo, views, protocol)
    found = imported(tmp_path)
    assert found.faults == []
    (episode,) = found.episodes
    np.testing.assert_allclose(episode.actions, actions_by_hand(demo), atol=1e-6)
    states = [[*observation.joint_positions, observation.gripper_open] for observation in demo]
    np.testing.assert_allclose(episode.observations["state"], states, atol=1e-6)
    wanted = np.stack([views[camera] for camera in FOUR], axis=1)
    np.testing.assert_array_equal(episode.observations["rgb"], wanted)
    assert episode.rewards.tolist() == [0.0, 0.0, 0.0, 1.0]
    assert (episode.terminated, episode.truncated, episode.success, episode.is_demo) == (True, False, True, True)
    assert episode.meta["commanded"] == (4 if commanded else 0)


def test_the_spec_is_that_of_the_environment_without_its_simulator(folder):
    spec = imported(folder).spec
    assert (spec.id, spec.control_hz, spec.time_limit, spec.cameras) == ("rlbench:open_drawer", 20.0, 100, FOUR)
    assert spec.action.low == (-0.2,) * 7 + (0.0,)
    assert spec.action.high == (0.2,) * 7 + (1.0,)
    assert spec.action_meaning == ("delta",) * 7 + ("gripper",)
    assert spec.observations["state"].shape == (8,)
    assert spec.observations["rgb"].shape == (4, SIZE, SIZE, 3)
    assert spec.reports_success


@pytest.mark.parametrize("below", ["", "open_drawer", "open_drawer/variation0", "open_drawer/variation0/episodes"])
def test_any_folder_of_the_layout_can_be_named(tmp_path, folder, below):
    files.write_task(tmp_path, "open_drawer", variation=3, episodes=4)
    if below:
        files.write_task(tmp_path, "turn_tap")
    for options in (
        ImportOptions(env=env()),
        ImportOptions(env=env(cameras=(), image_size=84), cameras=("wrist",), image_size=SIZE),
        ImportOptions(cameras=("wrist",), image_size=SIZE),
    ):
        found = read(tmp_path / below, options)
        assert len(found.episodes) == 2
        assert found.spec.id == "rlbench:open_drawer"
        assert found.spec.observations["rgb"].shape[1:3] == (SIZE, SIZE)


def test_another_variation_is_read_when_it_is_named(tmp_path, folder):
    files.write_task(tmp_path, "open_drawer", variation=3, episodes=1)
    assert len(imported(tmp_path / "open_drawer" / "variation3").episodes) == 1


def test_a_root_of_several_tasks_needs_the_task(tmp_path, folder):
    files.write_task(tmp_path, "turn_tap", episodes=1)
    assert len(imported(tmp_path, env=env("turn-tap")).episodes) == 1
    with pytest.raises(ConfigError, match=r"open_drawer, turn_tap; choose one with --env\.id"):
        read(tmp_path, ImportOptions(cameras=("wrist",)))


def test_without_an_environment_the_folders_name_the_task(tmp_path):
    files.write_task(tmp_path, "close_jar", episodes=1)
    found = read(tmp_path, ImportOptions())
    assert (found.spec.id, found.spec.time_limit, "close_jar" in LIMITS) == ("rlbench:close_jar", 0, False)
    assert found.spec.observations.keys() == {"state"}


def test_numbers_are_not_padded_and_go_in_order(tmp_path):
    """With eleven of each, 10 comes before 2 in the alphabet."""
    files.write_task(tmp_path, "open_drawer", episodes=11, frames=11)
    found = imported(tmp_path, env=env(cameras=("front",)))
    assert [episode.meta["episode"] for episode in found.episodes] == [f"episode{k}" for k in range(11)]
    for k, episode in enumerate(found.episodes):
        np.testing.assert_array_equal(episode.observations["rgb"][:, 0], files.images(11, k, SIZE)["front"])
    assert len(imported(tmp_path, episodes=3).episodes) == 3


def test_images_of_another_size_are_resized(tmp_path):
    demo, blank = files.observations(3), {camera: np.full((3, 24, 24, 3), 77, np.uint8) for camera in FOUR}
    files.write_episode(tmp_path / "episode0", demo, blank)
    found = imported(tmp_path)
    assert found.episodes[0].observations["rgb"].shape == (3, 4, SIZE, SIZE, 3)
    assert (found.episodes[0].observations["rgb"] == 77).all()
    assert "24 x 24 to 12 x 12" in found.meta["resized"]


def test_the_state_can_be_chosen(folder):
    found = imported(folder, state=("gripper_open", "task_low_dim_state"))
    assert found.episodes[0].observations["state"].shape == (5, 6)
    assert imported(folder, env=env(state="full")).spec.observations["state"].shape == (13,)
    assert imported(folder, env=env(state="auto")).spec.observations["state"].shape == (8,)
    assert imported(folder, env=env(state="auto", cameras=())).spec.observations["state"].shape == (13,)
    assert "state" not in imported(folder, env=env(state="none")).spec.observations
    with pytest.raises(ConfigError, match="gripper_pose"):
        imported(folder, state=("gripper_poze",))


# ---- what is refused ---------------------------------------------------------------------------------------


def test_large_changes_drop_the_episode(folder):
    demo = files.observations(5, 1)
    demo[2].misc["joint_position_action"][4] += 0.5
    (folder / "episode1" / "low_dim_obs.pkl").write_bytes(files.pickled(files.Demo(demo)))
    found = imported(folder)
    largest = np.abs(actions_by_hand(demo)[:, :7]).max()
    assert [episode.meta["episode"] for episode in found.episodes] == ["episode0"]
    assert len(found.faults) == 1
    assert "episode1: dropped: 1 joint changes exceed 0.2 rad" in found.faults[0]
    assert f"the largest is {largest:.3f}" in found.faults[0]


def _one_too_few(episode: Path) -> None:
    (episode / "wrist_rgb" / "2.png").unlink()


def _one_too_many(episode: Path) -> None:
    (episode / "wrist_rgb" / "5.png").write_bytes((episode / "wrist_rgb" / "4.png").read_bytes())


def _other_size(episode: Path) -> None:
    Image.new("RGB", (9, 9)).save(episode / "wrist_rgb" / "3.png")


def _no_camera(episode: Path) -> None:
    (episode / "wrist_rgb").rename(episode / "wrist_away")


def _broken_image(episode: Path) -> None:
    (episode / "wrist_rgb" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\nand no more")


def _no_pickle(episode: Path) -> None:
    (episode / "low_dim_obs.pkl").unlink()


def _one_frame(episode: Path) -> None:
    (episode / "low_dim_obs.pkl").write_bytes(files.pickled(files.Demo(files.observations(1))))


def _no_joints(episode: Path) -> None:
    demo = files.observations(5)
    demo[3].joint_positions = None
    (episode / "low_dim_obs.pkl").write_bytes(files.pickled(files.Demo(demo)))


def _nan(episode: Path) -> None:
    demo = files.observations(5)
    demo[3].joint_positions = demo[3].joint_positions * np.nan
    (episode / "low_dim_obs.pkl").write_bytes(files.pickled(files.Demo(demo)))


def _no_demo(episode: Path) -> None:
    (episode / "low_dim_obs.pkl").write_bytes(pickle.dumps({"_observations": []}))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_one_too_few, "wrist_rgb holds 4 images for 5 frames; 2.png is missing"),
        (_one_too_many, "wrist_rgb holds 6 images for 5 frames"),
        (_other_size, r"images of 12 x 12 and 9 x 9 \(first 3.png\)"),
        (_no_camera, "wrist_rgb holds 0 images for 5 frames"),
        (_broken_image, "wrist_rgb/3.png cannot be read"),
        (_no_pickle, r"low_dim_obs.pkl cannot be read \(.*No such file"),
        (_one_frame, "it has 1 frames; an action lies between two"),
        (_no_joints, "frame 3 was recorded without joint_positions"),
        (_nan, "NaN"),
        (_no_demo, "does not hold a Demo of Observations"),
    ],
)
def test_a_damaged_episode_is_named_and_the_others_load(folder, damage, words):
    damage(folder / "episode0")
    found = imported(folder)
    assert [episode.meta["episode"] for episode in found.episodes] == ["episode1"]
    (fault,) = found.faults
    assert str(folder / "episode0") in fault
    assert re.search(words, fault), fault
    damage(folder / "episode1")
    with pytest.raises(DemonstrationError, match=r"(?s)episode0.*episode1"):
        imported(folder)


@pytest.mark.long
def test_truncated_files_are_faults(folder):
    """Cut anywhere, a file gives a fault or, for an image, the image that was written."""
    for name, cuts in (("low_dim_obs.pkl", 25), ("front_rgb/1.png", 25)):
        file = folder / "episode0" / name
        whole = file.read_bytes()
        for cut in np.linspace(0, len(whole) - 1, cuts).astype(int):
            file.write_bytes(whole[:cut])
            found = imported(folder)
            if len(found.episodes) == 2:
                assert name.endswith("png")
                images = found.episodes[0].observations["rgb"][:, 0]
                np.testing.assert_array_equal(images, files.images(5, 0, SIZE)["front"])
            else:
                assert str(folder / "episode0") in found.faults[0]
        file.write_bytes(whole)
    assert imported(folder).faults == []


def test_empty_places_and_wrong_options_are_refused(tmp_path, folder):
    with pytest.raises(DemonstrationError, match=r"no RLBench demonstrations at .*episode0"):
        imported(tmp_path / "nowhere")
    with pytest.raises(DemonstrationError, match=r"of open_drawer; rlbench:turn_tap was asked for"):
        imported(folder, env=env("turn_tap"))
    with pytest.raises(ConfigError, match=r"rlbench:<task>, got 'bigym:flip_cup'"):
        imported(folder, env=EnvConfig(id="bigym:flip_cup"))
    with pytest.raises(ConfigError, match="one action per frame"):
        imported(folder, env=env(action_repeat=2))
    with pytest.raises(ConfigError, match="wrist"):
        imported(folder, cameras=("wirst",))


# ---- pickles -----------------------------------------------------------------------------------------------


class _Call:
    """Unpickles as a call."""

    def __init__(self, function, *arguments) -> None:
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_of_a_malicious_pickle_is_run(tmp_path, protocol):
    mark = tmp_path / "ran"
    file = tmp_path / "low_dim_obs.pkl"
    calls = {
        "system": _Call(os.system, f"touch {mark}"),
        "getattr": _Call(getattr, "x", "upper"),
        "eval": _Call(eval, f"open({str(mark)!r}, 'w')"),
    }
    for name, call in calls.items():
        # Inside a demonstration as well as in its place.
        for content in (call, files.Demo([call])):
            file.write_bytes(files.pickled(content, protocol))
            # Demonstrations of the oldest protocols already ask for something else.
            with pytest.raises(ValueError, match=f"names .*{name}.*refused" if protocol > 1 else "refused"):
                read_frames(file)
    assert not mark.exists()


def test_only_the_named_classes_of_numpy_and_rlbench_are_known(tmp_path):
    file = tmp_path / "low_dim_obs.pkl"
    for text, words in (
        (b"cnumpy\nload\n.", "numpy.load"),
        (b"cnumpy._core.multiarray\nscalar\n.", "numpy._core.multiarray.scalar"),
        (b"crlbench.demo\nDemo.__init__.__globals__\n.", "rlbench.demo.Demo.__init__.__globals__"),
        (b"\x80\x04\x82\x01.", "unregistered extension code 1"),
    ):
        file.write_bytes(text)
        with pytest.raises(ValueError, match=words):
            read_frames(file)


@pytest.mark.parametrize("core", [b"numpy._core", b"numpy.core"])
def test_arrays_of_both_generations_of_numpy_are_read(tmp_path, core):
    demo = files.observations(2)
    demo[0].joint_positions = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    demo[0].joint_forces = np.arange(7, dtype=">i4")
    demo[0].gripper_pose = np.array([True, False])
    content = files.pickled(files.Demo(demo), protocol=3)
    known = b"numpy._core" if b"numpy._core" in content else b"numpy.core"
    file = tmp_path / "low_dim_obs.pkl"
    file.write_bytes(content.replace(known, core))
    frames = read_frames(file)
    for name in ("joint_positions", "joint_forces", "gripper_pose", "task_low_dim_state"):
        wanted = getattr(demo[0], name)
        np.testing.assert_array_equal(np.asarray(frames[0][name]), wanted)
        assert np.asarray(frames[0][name]).dtype == wanted.dtype


def test_arrays_of_anything_but_numbers_are_refused(tmp_path):
    for array in (np.array([None]), np.array(["x"]), np.zeros(2, [("a", "f4")])):
        demo = files.observations(2)
        demo[0].joint_forces = array
        file = tmp_path / "low_dim_obs.pkl"
        file.write_bytes(files.pickled(files.Demo(demo)))
        with pytest.raises(ValueError, match="only numbers are read"):
            read_frames(file)


@settings(max_examples=100, deadline=None)
@given(st.data())
@pytest.mark.long
def test_damaged_pickles_never_end_in_another_error(tmp_path_factory, data):
    content = bytearray(files.pickled(files.Demo(files.observations(2))))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        # A memo index is a number of entries to make room for.
        content[place] = data.draw(st.integers(0, 255).filter(lambda b: b not in b"rj"))
    file = tmp_path_factory.mktemp("damaged") / "low_dim_obs.pkl"
    file.write_bytes(content)
    try:
        frames = read_frames(file)
    except ValueError:
        return
    assert isinstance(frames, list)


# ---- RLBench's own code ------------------------------------------------------------------------------------

ORACLE = """
import sys, types
from unittest.mock import MagicMock
sources, root = sys.argv[1:]
sys.path[:0] = [sources + "/PyRep", sources + "/RLBench"]
try:
    import cffi, natsort, pyquaternion, scipy
except ImportError as error:
    sys.exit("MISSING " + str(error))
stub = types.ModuleType("pyrep.backend._sim_cffi")
stub.ffi, stub.lib = cffi.FFI(), MagicMock()
sys.modules[stub.__name__] = stub
import numpy as np
from rlbench.backend.observation import Observation
from rlbench.dataset_generator import save_demo
from rlbench.demo import Demo
from rlbench.observation_config import ObservationConfig
from rlbench.utils import get_stored_demos
random = np.random.default_rng(0)
cameras = ("left_shoulder", "right_shoulder", "overhead", "wrist", "front")
for number in range(3):
    frames, joints = [], np.zeros(7)
    for step in range(6):
        joints = joints + random.uniform(-.1, .1, 7)
        entries = {}
        for camera in cameras:
            entries[camera + "_rgb"] = random.integers(0, 256, (16, 16, 3), np.uint8)
            entries[camera + "_depth"] = random.random((16, 16), np.float32)
            entries[camera + "_mask"] = random.random((16, 16, 3))
            entries[camera + "_point_cloud"] = None
        misc = {camera + "_camera_near": .01 for camera in cameras} | {camera + "_camera_far": 4. for camera in cameras}
        gripper = float(random.random() > .5)
        if step and number < 2:
            misc["joint_position_action"] = np.append(joints + random.uniform(-.02, .02, 7), gripper)
        entries |= {"joint_velocities": random.random(7), "joint_positions": joints, "joint_forces": random.random(7)}
        entries |= {"gripper_open": gripper, "gripper_pose": random.random(7), "gripper_matrix": np.eye(4)}
        entries |= {"gripper_joint_positions": random.random(2), "gripper_touch_forces": random.random(6)}
        frames.append(Observation(**entries, task_low_dim_state=random.random(3), misc=misc))
    save_demo(Demo(frames, np.random.get_state(), 1), f"{root}/turn_tap/variation0/episodes/episode{number}")
config = ObservationConfig()
config.set_all(True)
for camera in cameras:
    part = getattr(config, camera + "_camera")
    part.image_size, part.point_cloud, part.mask, part.depth = (16, 16), False, False, False
stored = get_stored_demos(-1, False, root, 0, "turn_tap", config, random_selection=False)
arrays = {}
for number, demo in enumerate(stored):
    records, last = [], None
    for now in demo:
        if last is None:
            records.append([0.] * 7 + [now.gripper_open])
        else:
            target = now.misc.get("joint_position_action", now.joint_positions)[:7]
            records.append([*(target - last.joint_positions), now.gripper_open])
        last = now
    arrays[f"actions{number}"] = records
    arrays[f"state{number}"] = [[*now.joint_positions, now.gripper_open] for now in demo]
    arrays[f"rgb{number}"] = [[getattr(now, camera + "_rgb") for camera in cameras] for now in demo]
np.savez(root + "/stored.npz", **arrays)
"""


def test_rlbench_saves_what_is_read_here(tmp_path):
    sources = os.environ.get("ZOOMRL_RLBENCH_SOURCES")
    if not sources:
        pytest.skip("set ZOOMRL_RLBENCH_SOURCES to a folder with the sources of RLBench and PyRep")
    done = subprocess.run([sys.executable, "-c", ORACLE, sources, tmp_path], capture_output=True, text=True)
    if done.stderr.startswith("MISSING"):
        pytest.skip(f"RLBench's Python code needs another package: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    cameras = ("left_shoulder", "right_shoulder", "overhead", "wrist", "front")
    found = read(tmp_path, ImportOptions(env=env("turn_tap", cameras=cameras, image_size=16)))
    assert found.faults == []
    stored = np.load(io.BytesIO((tmp_path / "stored.npz").read_bytes()))
    for number, episode in enumerate(found.episodes):
        # The first of theirs is the zero that nobody commanded.
        np.testing.assert_allclose(episode.actions, stored[f"actions{number}"][1:], atol=1e-6)
        np.testing.assert_allclose(episode.observations["state"], stored[f"state{number}"], atol=1e-6)
        np.testing.assert_array_equal(episode.observations["rgb"], stored[f"rgb{number}"])
    assert len(found.episodes) == 3
