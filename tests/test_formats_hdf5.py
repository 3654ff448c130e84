"""HDF5 with groups of arrays: ALOHA, ManiSkill, and robomimic's relatives (LIBERO, IsaacLab), folders and subsets."""

import hashlib
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from test_formats_flat import images, numbers
from test_formats_robomimic import demo, write_file
from zoomrl.demos.formats import ImportOptions, detect, read
from zoomrl.errors import ConfigError, DemonstrationError

GOLDEN = Path(__file__).parent / "data" / "formats"
SIZE = 16


def write(path, arrays, attributes=()):
    """``arrays`` by their path in the file; ``attributes``: (group, name, value)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
        for group, name, value in attributes:
            file[group].attrs[name] = value
    return path


# ---- robomimic's relatives ---------------------------------------------------------------------------------------

NAMES = st.text("abcde", min_size=1, max_size=2)
LEAVES = st.tuples(st.sampled_from(["f4", "f8", "i8", "?"]), st.sampled_from([(), (2,), (1,), (2, 3)]))
TREES = st.recursive(
    st.dictionaries(NAMES, LEAVES, min_size=1, max_size=3),
    lambda inner: st.dictionaries(NAMES, st.one_of(LEAVES, inner), min_size=1, max_size=3),
    max_leaves=6,
)


def leaves(tree, prefix=""):
    for name, part in sorted(tree.items()):
        if isinstance(part, dict):
            yield from leaves(part, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", part


@settings(max_examples=10)
@given(tree=TREES, steps=st.integers(1, 4))
@pytest.mark.long
def test_nested_groups_are_flattened_bit_for_bit(tmp_path_factory, tree, steps):
    arrays = {name: numbers(steps, *shape).astype(dtype) for name, (dtype, shape) in leaves(tree)}
    path = tmp_path_factory.mktemp("nested") / "a.hdf5"
    write(path, {"data/demo_0/actions": numbers(steps, 2), **{f"data/demo_0/obs/{n}": a for n, a in arrays.items()}})
    found = read("auto", path, ImportOptions(state=tuple(arrays)))
    joined = np.concatenate([array.reshape(steps, -1) for array in arrays.values()], 1).astype(np.float32)
    np.testing.assert_array_equal(found.episodes[0].observations["state"][:-1], joined)
    assert [entry.name for entry in found.spec.state_entries] == list(arrays)
    assert "left_out" not in found.meta


def libero(folder, task, seed=0, **changes):
    """A file as LIBERO ships one for each task."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for index in range(2):
        group = f"data/demo_{index}"
        arrays[f"{group}/actions"] = rng.uniform(-1, 1, (4, 7))
        arrays[f"{group}/obs/agentview_rgb"] = rng.integers(0, 256, (4, SIZE, SIZE, 3), np.uint8)
        arrays[f"{group}/obs/ee_pos"] = rng.normal(size=(4, 3))
        arrays[f"{group}/states"] = rng.normal(size=(4, 9))
        arrays[f"{group}/rewards"] = arrays[f"{group}/dones"] = np.arange(4, dtype=np.uint8) == 3
    problem = {"language_instruction": task, "domain_name": "robosuite"}
    told = {"env_args": json.dumps({"env_name": "Libero", "env_kwargs": {"control_freq": 20}}), "tag": "libero-v1"}
    told |= {"problem_info": json.dumps(problem), "macros_image_convention": "opengl"} | changes
    path = folder / f"{seed}_demo.hdf5"
    return write(path, arrays, [("data", name, value) for name, value in told.items()]), arrays


def test_a_folder_of_liberos_tasks_is_one_set(tmp_path):
    tasks = ["turn on the stove", "open the drawer"]
    made = [libero(tmp_path / "set", task, seed)[1] for seed, task in enumerate(tasks)]
    options = ImportOptions(cameras=("agentview_rgb",), image_size=SIZE)
    found = read("auto", tmp_path / "set", options)
    assert found.faults == []
    assert (found.spec.id, found.spec.control_hz, detect(tmp_path / "set")) == ("robomimic:set", 20.0, "robomimic")
    for index, episode in enumerate(found.episodes):
        arrays, group = made[index // 2], f"data/demo_{index % 2}"
        np.testing.assert_array_equal(episode.observations["rgb"][:-1, 0], arrays[f"{group}/obs/agentview_rgb"])
        np.testing.assert_array_equal(episode.actions, arrays[f"{group}/actions"].astype(np.float32))
        state = arrays[f"{group}/obs/ee_pos"].astype(np.float32)
        np.testing.assert_array_equal(episode.observations["state"], state[[0, 1, 2, 3, 3]])
        np.testing.assert_array_equal(episode.rewards, arrays[f"{group}/rewards"])
        assert episode.meta == {
            "demo": f"demo_{index % 2}",
            "file": f"{index // 2}_demo.hdf5",
            "tasks": [tasks[index // 2]],
        }
        assert (episode.success, episode.terminated) == (True, True)
    assert found.meta["image_convention"].startswith("opengl: the first row is the lowest")
    one = read("robomimic", tmp_path / "set", ImportOptions(tasks=("open the drawer",)))
    assert [e.meta["file"] for e in one.episodes] == ["1_demo.hdf5"] * 2
    assert one.meta["tasks_left_out"] == "2 episodes of other tasks"
    with pytest.raises(ConfigError, match=r"unknown task of set 'open the door'\. Did you mean open the drawer"):
        read("robomimic", tmp_path / "set", ImportOptions(tasks=("open the door",)))


def test_a_bad_file_of_a_folder_is_left_out_by_name(tmp_path):
    path, _ = libero(tmp_path, "a task", 0)
    (tmp_path / "1_demo.hdf5").write_text("not HDF5")
    (tmp_path / "2_demo.hdf5").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    write(tmp_path / "3_demo.hdf5", {"data/demo_1/actions": numbers(4, 7), "data/demo_1/states": numbers(4, 9)})
    libero(tmp_path, "another", 4, env_args="{}")
    found = read("auto", tmp_path)
    assert len(found.episodes) == 4
    assert len(found.faults) == 4
    for name, text in zip(
        ("1_demo", "2_demo", "3_demo", "4_demo"),
        ("cannot be read as a robomimic file", "pointer of Git LFS", "raw recording of robosuite", "control rate is 0"),
        strict=True,
    ):
        assert any(f"{name}.hdf5" in fault and text in fault for fault in found.faults), found.faults
    path.unlink()
    (tmp_path / "4_demo.hdf5").unlink()
    with pytest.raises(DemonstrationError, match=r"no file of .* can be read:\n  - .*1_demo"):
        read("robomimic", tmp_path)


@pytest.mark.parametrize(
    ("changes", "task"),
    [
        ({"problem_info": json.dumps({"language_instruction": list("pick")})}, ["pick"]),
        ({"problem_info": json.dumps({"language_instruction": '"pick it"'})}, ["pick it"]),
        ({"language_instruction": "pick"}, ["pick"]),
        ({"problem_info": "{"}, None),
        ({"problem_info": "{}"}, None),
        ({"problem_info": '{"language_instruction": 3}'}, None),
    ],
)
def test_the_task_in_forms_that_there_are(tmp_path, changes, task):
    found = read("robomimic", libero(tmp_path, "x", **changes)[0])
    assert [e.meta.get("tasks") for e in found.episodes] == [task, task]
    assert len(found.faults) == (changes == {"problem_info": "{"})


def test_filter_keys_select_a_part(tmp_path):
    made = {f"demo_{i}": demo(i)[0] for i in range(4)}
    path = write_file(tmp_path / "a.hdf5", made)
    with h5py.File(path, "a") as file:
        file["mask/train"] = np.array(["demo_3", "demo_0", "demo_9"], "S")
        file["mask/odd"] = np.zeros((2, 2))
    found = read("robomimic", path, ImportOptions(subset="train"))
    assert [e.meta["demo"] for e in found.episodes] == ["demo_0", "demo_3"]
    assert found.meta["subset"] == "train: 2 of 4 episodes"
    every = read("robomimic", path)
    assert len(every.episodes) == 4
    assert every.meta["subsets"].startswith("not used; with their episodes: odd 0, train 2, valid 1 (")
    with pytest.raises(ConfigError, match=r"unknown subset \(filter key\) of a\.hdf5 'trian'. Did you mean train"):
        read("robomimic", path, ImportOptions(subset="trian"))
    with h5py.File(path, "a") as file:
        del file["mask"]
    with pytest.raises(ConfigError, match=r"a\.hdf5 has no subsets"):
        read("robomimic", path, ImportOptions(subset="train"))


def test_filter_keys_of_a_folder(tmp_path):
    for name, listed in (("a", "demo_0"), ("b", "demo_1"), ("c", None)):
        path = write_file(tmp_path / f"{name}.hdf5", {f"demo_{i}": demo(i)[0] for i in range(2)})
        with h5py.File(path, "a") as file:
            del file["mask"]
            if listed:
                file["mask/train"] = np.array([listed], "S")
    found = read("robomimic", tmp_path, ImportOptions(subset="train"))
    assert [(e.meta["file"], e.meta["demo"]) for e in found.episodes] == [("a.hdf5", "demo_0"), ("b.hdf5", "demo_1")]
    assert found.meta["subset"] == "train: 2 of 6 episodes"
    with pytest.raises(ConfigError, match="unknown subset"):
        read("robomimic", tmp_path, ImportOptions(subset="valid"))


def test_isaaclab_with_its_rate_poses_seeds_and_outcomes(tmp_path):
    arrays, attributes = {}, []
    args = {"env_name": "Isaac-Stack-Cube-v0", "type": 2, "sim_args": {"dt": 0.01, "decimation": 5}}
    for index in range(2):
        group = f"data/demo_{index}"
        arrays[f"{group}/actions"] = numbers(5, 7)
        arrays[f"{group}/obs/policy/eef_pos"] = numbers(5, 3)
        arrays[f"{group}/obs/rgb_camera/table"] = images(5, SIZE, SIZE, 3)
        arrays[f"{group}/obs/datagen_info/pose"] = numbers(5, 4, 4)
        arrays[f"{group}/states/joints"] = numbers(5, 9)
        attributes += [(group, "success", index == 0), (group, "seed", 40 + index), (group, "num_samples", 5)]
    path = write(tmp_path / "a.hdf5", arrays, [*attributes, ("data", "env_args", json.dumps(args))])
    found = read("auto", path, ImportOptions(cameras=("rgb_camera/table",), image_size=SIZE))
    assert (found.spec.id, found.spec.control_hz) == ("robomimic:Isaac-Stack-Cube-v0", 20.0)
    assert [(e.success, e.seed, e.terminated) for e in found.episodes] == [(True, 40, False), (False, 41, False)]
    assert found.meta["left_out"].startswith("datagen_info/pose (")
    np.testing.assert_array_equal(found.episodes[0].observations["rgb"][:-1, 0], images(5, SIZE, SIZE, 3))
    np.testing.assert_array_equal(found.episodes[0].observations["state"][:-1], numbers(5, 3))
    np.testing.assert_array_equal(found.episodes[0].actions, numbers(5, 7))
    poses = read("auto", path, ImportOptions(state=("datagen_info/pose",))).episodes[1].observations["state"]
    np.testing.assert_array_equal(poses[:-1], numbers(5, 16))


def test_a_raw_recording_of_robosuite_is_named(tmp_path):
    path = write(
        tmp_path / "demo.hdf5",
        {"data/demo_1/actions": numbers(4, 7), "data/demo_1/states": numbers(4, 9)},
        [("data/demo_1", "model_file", "<mujoco/>"), ("data", "env", "Lift")],
    )
    with pytest.raises(DemonstrationError, match=r"raw recording of robosuite.*dataset_states_to_obs"):
        read("auto", path)


# ---- ALOHA -------------------------------------------------------------------------------------------------------


def aloha(path, steps=4, **changes):
    """A file as ACT's scripts write one; None leaves an array out."""
    shown = {f"observations/images/{name}": images(steps, SIZE, SIZE, 3) + n for n, name in enumerate(("top", "angle"))}
    arrays = {"observations/qpos": numbers(steps, 14, dtype=np.float64), "observations/qvel": numbers(steps, 14) + 1}
    arrays |= {"action": numbers(steps, 14) + 2} | shown | {k.replace("__", "/"): v for k, v in changes.items()}
    kept = {name: array for name, array in arrays.items() if array is not None}
    return write(path, kept, [("/", "sim", True)]), kept


def test_aloha_bit_for_bit_in_the_order_of_its_numbers(tmp_path):
    made = {index: aloha(tmp_path / f"episode_{index}.hdf5", 3 + index)[1] for index in (10, 2, 1)}
    options = ImportOptions(cameras=("top", "angle"), state=("qvel", "qpos"), image_size=SIZE)
    found = read("auto", tmp_path, options)
    assert [e.meta["file"] for e in found.episodes] == ["episode_1.hdf5", "episode_2.hdf5", "episode_10.hdf5"]
    for index, episode in zip((1, 2, 10), found.episodes, strict=True):
        arrays, seen = made[index], episode.observations
        np.testing.assert_array_equal(episode.actions, arrays["action"])
        np.testing.assert_array_equal(seen["state"][:-1, :14], arrays["observations/qvel"])
        np.testing.assert_array_equal(seen["state"][:-1, 14:], arrays["observations/qpos"].astype(np.float32))
        np.testing.assert_array_equal(seen["rgb"][:-1, 0], arrays["observations/images/top"])
        np.testing.assert_array_equal(seen["rgb"][:-1, 1], arrays["observations/images/angle"])
    assert found.meta["simulated"] is True
    plain = read("aloha", tmp_path / "episode_1.hdf5")
    assert [e.name for e in plain.spec.state_entries] == ["qpos"]
    assert plain.meta["left_out"].startswith("qvel (")
    assert plain.meta["cameras_left_out"].startswith("angle, top (")


def test_alohas_jpeg_is_what_opencv_reads():
    """Written by OpenCV 5.0.0; the hash is of what its own imdecode gives."""
    found = read("auto", GOLDEN / "aloha", ImportOptions(cameras=("cam_high",), image_size=32))
    shown = np.ascontiguousarray(found.episodes[0].observations["rgb"][:-1, 0])
    expected = "18b0559aeac417dd50a14b6aee9ce8058658ff82c14cf99807db6b25730b422f"
    assert hashlib.sha256(shown.tobytes()).hexdigest() == expected
    np.testing.assert_array_equal(found.episodes[0].actions, numbers(4, 14))
    assert found.meta["left_out"].startswith("effort (")
    assert "OpenCV" in found.meta["colours"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"action": None}, "KeyError"),
        ({"observations__qpos": None}, "KeyError"),
        ({"observations__images__top": None}, "KeyError"),
        ({"observations__images__top": np.zeros((4, 50), np.uint8)}, "must be a JPEG or PNG file"),
        ({"observations__qpos": numbers(2, 14)}, "must have 5 rows"),
    ],
)
def test_a_faulty_episode_of_aloha_is_named(tmp_path, changes, text):
    aloha(tmp_path / "episode_0.hdf5")
    aloha(tmp_path / "episode_1.hdf5", **changes)
    (tmp_path / "episode_2.hdf5").write_text("no HDF5")
    found = read("aloha", tmp_path, ImportOptions(cameras=("top",), image_size=SIZE))
    assert len(found.episodes) == 1
    assert [fault.partition(":")[0] for fault in found.faults] == ["episode_1.hdf5", "episode_2.hdf5"]
    assert text in found.faults[0]


def test_other_actions_of_aloha_are_said(tmp_path):
    path, _ = aloha(tmp_path / "episode_0.hdf5", base_action=numbers(4, 2), observations__qvel=None)
    found = read("auto", path)
    assert found.meta["actions_left_out"].startswith("base_action (")
    assert "left_out" not in found.meta
    joined = read("auto", path, ImportOptions(action=("base_action", "action"))).episodes[0].actions
    np.testing.assert_array_equal(joined, np.concatenate([numbers(4, 2), numbers(4, 14) + 2], 1))
    with pytest.raises(ConfigError, match=r"unknown action 'base'\. Did you mean base_action"):
        read("auto", path, ImportOptions(action=("base",)))


def test_options_that_a_format_does_not_know_are_refused(tmp_path):
    path, _ = maniskill(tmp_path)
    for options in (ImportOptions(action=("actions",)), ImportOptions(subset="train")):
        with pytest.raises(ConfigError, match=r"--\w+ is for lerobot and \w+; leave it out for maniskill"):
            read("auto", path, options)
    with pytest.raises(ConfigError, match="unknown task"):
        read("auto", path, ImportOptions(tasks=("pick",)))


# ---- ManiSkill ---------------------------------------------------------------------------------------------------


def maniskill(folder, *, told=True, **changes):
    """Three trajectories as ManiSkill records them; None leaves an array out of all."""
    arrays = {}
    for index in range(3):
        solved = np.arange(5) == (4 if index == 0 else 9)
        one = {
            "actions": numbers(5, 8) + index,
            "terminated": solved,
            "truncated": np.zeros(5, bool),
            "success": solved,
        }
        one |= {"obs/agent/qpos": numbers(6, 9), "obs/extra/grasped": np.arange(6) > 2, "rewards": numbers(5)}
        one |= {"obs/sensor_data/base/rgb": images(6, SIZE, SIZE, 3), "env_states/cube": numbers(6, 13)}
        one |= {"obs/sensor_data/base/depth": numbers(6, SIZE, SIZE, 1).astype(np.int16)}
        one |= {name.replace("__", "/"): array for name, array in changes.items()}
        arrays |= {f"traj_{index}/{name}": array for name, array in one.items() if array is not None}
    kwargs = {"obs_mode": "rgb", "sim_config": {"control_freq": 20}}
    episodes = [{"episode_id": n, "episode_seed": 100 + n, "success": n == 0} for n in range(3)]
    if told:
        folder.mkdir(parents=True, exist_ok=True)
        data = {"env_info": {"env_id": "PickCube-v1", "env_kwargs": kwargs}, "episodes": episodes}
        (folder / "t.rgb.json").write_text(json.dumps(data))
    return write(folder / "t.rgb.h5", arrays), arrays


def test_maniskill_bit_for_bit_with_what_its_json_says(tmp_path):
    path, arrays = maniskill(tmp_path)
    found = read("auto", path, ImportOptions(cameras=("base",), image_size=SIZE))
    assert (found.spec.id, found.spec.control_hz, found.faults) == ("maniskill:PickCube-v1", 20.0, [])
    ends = [(e.success, e.terminated, e.truncated, e.seed) for e in found.episodes]
    assert ends == [(True, True, False, 100), (False, False, True, 101), (False, False, True, 102)]
    for index, episode in enumerate(found.episodes):
        group, seen = f"traj_{index}", episode.observations
        np.testing.assert_array_equal(episode.actions, arrays[f"{group}/actions"])
        np.testing.assert_array_equal(episode.rewards, arrays[f"{group}/rewards"])
        np.testing.assert_array_equal(seen["rgb"][:, 0], arrays[f"{group}/obs/sensor_data/base/rgb"])
        np.testing.assert_array_equal(seen["state"][:, :9], arrays[f"{group}/obs/agent/qpos"])
        np.testing.assert_array_equal(seen["state"][:, 9], arrays[f"{group}/obs/extra/grasped"])
    assert found.meta["left_out"].startswith("sensor_data/base/depth (")
    assert read("auto", tmp_path).spec.id == found.spec.id


def test_what_maniskill_lists_and_does_not_hold_is_said(tmp_path):
    path, _ = maniskill(tmp_path)
    told = json.loads((tmp_path / "t.rgb.json").read_text())
    told["episodes"][1]["elapsed_steps"] = 7
    told["episodes"] += [{"episode_id": 3}, {"episode_id": 4}]
    (tmp_path / "t.rgb.json").write_text(json.dumps(told))
    found = read("maniskill", path)
    assert len(found.episodes) == 3
    assert found.faults == [
        "traj_1: kept, but it has 5 actions, and elapsed_steps of its JSON file promises 7",
        "t.rgb.h5: 2 episodes of its JSON file are not there: traj_3, traj_4",
    ]


def test_numbers_that_are_missing_among_episodes_are_said(tmp_path):
    for index in (0, 1, 4):
        aloha(tmp_path / "a" / f"episode_{index}.hdf5")
    line = "2 numbers of its episodes are missing, the first is 2: were they lost?"
    assert read("aloha", tmp_path / "a").faults == [line]
    write_file(tmp_path / "r.hdf5", {f"demo_{index}": demo(index)[0] for index in (0, 1, 4)})
    assert read("robomimic", tmp_path / "r.hdf5").faults == [f"r.hdf5: {line}"]


def test_maniskill_without_its_json_and_with_one_that_contradicts(tmp_path):
    path, _ = maniskill(tmp_path, told=False)
    found = read("auto", path)
    assert [e.success for e in found.episodes] == [True, False, False]
    assert [e.seed for e in found.episodes] == [-1] * 3
    assert found.faults[0].startswith("t.rgb.json is not there")
    (tmp_path / "t.rgb.json").write_text('{"episodes": [{"episode_id": 1, "success": true}]}')
    assert [e.success for e in read("auto", path).episodes] == [True, True, False]
    (tmp_path / "t.rgb.json").write_text("{")
    assert "are not taken from it" in read("auto", path).faults[0]


def test_maniskill_state_alone_is_one_vector_and_nothing_is_refused(tmp_path):
    gone = ("agent__qpos", "extra__grasped", "sensor_data__base__rgb", "sensor_data__base__depth")
    only = {f"obs__{name}": None for name in gone}
    path, _ = maniskill(tmp_path / "a", **only, obs=numbers(6, 42))
    found = read("auto", path)
    np.testing.assert_array_equal(found.episodes[0].observations["state"], numbers(6, 42))
    assert [e.name for e in found.spec.state_entries] == ["state"]
    path, _ = maniskill(tmp_path / "b", **only)
    with pytest.raises(DemonstrationError, match=r"obs_mode none.*replay_trajectory --traj-path t\.rgb\.h5"):
        read("auto", path)
    maniskill(tmp_path / "a")
    write(tmp_path / "a" / "u.h5", {"traj_0/actions": numbers(5, 8)})
    with pytest.raises(DemonstrationError, match=r"holds t\.rgb\.h5, u\.h5; name one"):
        read("maniskill", tmp_path / "a")
