"""robomimic's files: written here as its documentation shows them, read, damaged, read again."""

import json

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoomrl.demos.formats import ImportOptions, read, write
from zoomrl.demos.store.reader import read_demos
from zoomrl.demos.store.writer import write_demos
from zoomrl.errors import ConfigError, DemonstrationError

SIZE = 12


def demo(index, steps=6, *, success=True, next_obs=True, reward=1.0):
    """Arrays of one episode by their path below its group."""
    rng = np.random.default_rng(index)
    rewards = np.zeros(steps)
    rewards[-1] = reward if success else 0.0
    done = np.zeros(steps, np.int64)
    done[-1] = 1
    vectors = {"robot0_eef_pos": (3,), "object": (2,), "gripper": ()}
    seen = {name: rng.normal(size=(steps + 1, *shape)) for name, shape in vectors.items()}
    seen["agentview_image"] = rng.integers(0, 256, (steps + 1, SIZE, SIZE, 3), np.uint8)
    seen["wrist_image"] = rng.integers(0, 256, (steps + 1, SIZE, SIZE, 3), np.uint8)
    arrays = {"actions": rng.uniform(-1, 1, (steps, 7)), "rewards": rewards, "dones": done}
    arrays |= {"states": rng.normal(size=(steps, 9))}
    arrays |= {f"obs/{name}": array[:-1] for name, array in seen.items()}
    if next_obs:
        arrays |= {f"next_obs/{name}": array[1:] for name, array in seen.items()}
    return arrays, seen


def write_file(path, demos, **layout):
    """``demos``: name -> arrays."""
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"env_name": "Lift", "type": 1, "env_kwargs": {"control_freq": 20}})
        for name, arrays in demos.items():
            group = data.create_group(name)
            group.attrs["num_samples"] = len(arrays["actions"])
            for key, array in arrays.items():
                group.create_dataset(key, data=array, **layout)
        file["mask/valid"] = np.array([b"demo_1"])
    return path


@settings(max_examples=5)
@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    next_obs=st.booleans(),
    compressed=st.booleans(),
    target=st.sampled_from(["minari", "npz", "lerobot"]),
)
@pytest.mark.long
def test_in_out_and_in_again(tmp_path_factory, lengths, next_obs, compressed, target):
    if target == "lerobot":
        pytest.importorskip("pyarrow")
    path = tmp_path_factory.mktemp("set")
    made = [demo(index, steps, next_obs=next_obs) for index, steps in enumerate(lengths)]
    layout = {"compression": "gzip"} if compressed else {}
    file = write_file(path / "low_dim.hdf5", {f"demo_{i}": arrays for i, (arrays, _) in enumerate(made)}, **layout)
    options = ImportOptions(cameras=("wrist", "agentview_image"), image_size=SIZE)
    found = read("robomimic", file, options)
    assert found.faults == []
    assert found.meta.get("last_observation") == (None if next_obs else "repeated")
    for (arrays, seen), episode in zip(made, found.episodes, strict=True):
        np.testing.assert_array_equal(episode.actions, arrays["actions"].astype(np.float32))
        np.testing.assert_array_equal(episode.rewards, arrays["rewards"].astype(np.float32))
        rows = [*range(len(episode)), len(episode) if next_obs else len(episode) - 1]
        expected = np.concatenate([seen["gripper"][:, None], seen["object"], seen["robot0_eef_pos"]], 1)[rows]
        np.testing.assert_array_equal(episode.observations["state"], expected.astype(np.float32))
        np.testing.assert_array_equal(episode.observations["rgb"][:, 0], seen["wrist_image"][rows])
        np.testing.assert_array_equal(episode.observations["rgb"][:, 1], seen["agentview_image"][rows])
    write_demos(path / "ours", found.episodes, found.spec, meta=found.meta)
    ours = read_demos(path / "ours")
    write(target, path / "theirs", ours)
    again = read(target, path / "theirs")
    write_demos(path / "again", again.episodes, again.spec)
    assert read_demos(path / "again").sha256 == ours.sha256
    assert read_demos(path / "again").spec == ours.spec


def test_what_the_file_says_of_itself(tmp_path):
    made = {f"demo_{i}": demo(i, success=i != 2)[0] for i in (0, 10, 2)}
    found = read("auto", write_file(tmp_path / "low_dim.hdf5", made))
    assert [e.meta["demo"] for e in found.episodes] == ["demo_0", "demo_2", "demo_10"]
    assert [(e.success, e.is_demo, e.terminated, e.truncated) for e in found.episodes] == [
        (True, True, True, False),
        (False, False, False, True),
        (True, True, True, False),
    ]
    assert (found.spec.id, found.spec.control_hz, found.spec.reports_success) == ("robomimic:Lift", 20.0, True)
    assert found.spec.cameras == ()
    assert found.meta["state"] == "gripper, object, robot0_eef_pos"
    assert found.meta["env_args"]["env_name"] == "Lift"
    assert "success" not in found.meta


def outcomes(found):
    return [(e.success, e.is_demo, e.terminated, e.truncated) for e in found.episodes]


def test_dones_at_the_end_of_a_recording_are_no_success_and_no_end_of_the_task(tmp_path):
    shaped, _ = demo(0, reward=0.7)
    silent, _ = demo(1, reward=0.7)
    del silent["dones"], silent["rewards"]
    solved, _ = demo(2)
    failed, _ = demo(3, success=False)
    made = {"demo_0": shaped, "demo_1": silent, "demo_2": solved, "demo_3": failed}
    found = read("robomimic", write_file(tmp_path / "a.hdf5", made))
    assumed = (True, True, False, True)
    assert outcomes(found) == [assumed, assumed, (True, True, True, False), (False, False, False, True)]
    assert found.meta["success"].startswith("assumed for 2 of 4 episodes")
    assert [e.meta.get("success") for e in found.episodes] == ["assumed", "assumed", None, None]
    assert found.episodes[1].rewards.tolist() == [0, 0, 0, 0, 0, 1]


def test_a_recorded_outcome_and_seed_are_believed(tmp_path):
    made = {f"demo_{i}": demo(i, reward=0.7)[0] for i in range(5)}
    made["demo_3"]["success"] = np.zeros(6, bool)
    file = write_file(tmp_path / "a.hdf5", made)
    with h5py.File(file, "a") as opened:
        opened["data/demo_0"].attrs.update({"success": True, "seed": 7})
        opened["data/demo_1"].attrs.update({"success": np.False_, "seed": 2**40})
        opened["data/demo_2"].attrs["success"] = "perhaps"
    found = read("robomimic", file)
    # Dense rewards do not say that the task ended where the recording does.
    failure, assumed = (False, False, False, True), (True, True, False, True)
    assert outcomes(found) == [(True, True, False, True), failure, failure, assumed]
    assert [e.seed for e in found.episodes] == [7, -1, -1, -1]
    assert found.faults == ["a.hdf5: demo_2: its attribute success must be true or false, got 'perhaps'"]


def test_a_stated_failure_outweighs_a_reward_of_1(tmp_path):
    file = write_file(tmp_path / "a.hdf5", {"demo_0": demo(0)[0]})
    with h5py.File(file, "a") as opened:
        opened["data/demo_0"].attrs["success"] = False
    assert outcomes(read("robomimic", file)) == [(False, False, False, True)]


def test_any_image_is_a_camera_and_groups_are_flattened(tmp_path):
    arrays, _ = demo(0)
    image = np.zeros((6, 8, 8, 3), np.uint8)
    arrays |= {"obs/agentview_rgb": image, "obs/wrist": image, "obs/subtasks/grasp": np.zeros(6, bool)}
    arrays |= {"obs/robot/joints": np.ones((6, 2)), "obs/note": np.array([b"x"] * 6)}
    file = write_file(tmp_path / "a.hdf5", {"demo_0": {k: v for k, v in arrays.items() if "next_obs" not in k}})
    options = ImportOptions(cameras=("agentview_rgb", "wrist_image", "wrist"), image_size=8)
    found = read("robomimic", file, options)
    assert found.spec.cameras == ("agentview_rgb", "wrist_image", "wrist")
    assert [(e.name, e.size) for e in found.spec.state_entries] == [
        ("gripper", 1),
        ("object", 2),
        ("robot/joints", 2),
        ("robot0_eef_pos", 3),
    ]
    assert found.meta["left_out"].startswith("subtasks/grasp (")
    chosen = read("robomimic", file, ImportOptions(state=("subtasks/grasp", "robot/joints")))
    assert chosen.episodes[0].observations["state"].tolist() == [[0, 1, 1]] * 7


def test_unknown_keys_are_named(tmp_path):
    file = write_file(tmp_path / "a.hdf5", {"demo_0": demo(0)[0]})
    with pytest.raises(ConfigError, match=r"unknown camera of a\.hdf5 'agentvew'. Did you mean agentview"):
        read("robomimic", file, ImportOptions(cameras=("agentvew",)))
    with pytest.raises(ConfigError, match=r"unknown low-dimensional entry of a\.hdf5 'objct'"):
        read("robomimic", file, ImportOptions(state=("objct",)))
    only = read("robomimic", file, ImportOptions(state=("object",), cameras=("wrist",), image_size=6))
    assert only.episodes[0].observations["state"].shape == (7, 2)
    assert only.episodes[0].observations["rgb"].shape == (7, 1, 6, 6, 3)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda arrays: arrays.pop("actions"), "KeyError"),
        (lambda arrays: arrays.pop("obs/object"), "KeyError"),
        (lambda arrays: arrays.update(actions=arrays["actions"] * np.nan), "'actions' holds NaN"),
        (lambda arrays: arrays.update({"obs/object": arrays["obs/object"][:3]}), "must have 7 rows (T + 1), got 4"),
        (lambda arrays: arrays.update(rewards=np.zeros(2)), r"rewards must be [6]"),
        (lambda arrays: arrays.update({"actions/x": arrays.pop("actions")}), "must be an array, got a group"),
        (lambda arrays: arrays.update(actions=np.zeros((0, 7))), "T of at least 1"),
    ],
)
def test_a_faulty_demo_is_left_out_by_name(tmp_path, change, text):
    made = {f"demo_{i}": demo(i)[0] for i in range(3)}
    steps = 6
    change(made["demo_1"])
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        for name, arrays in made.items():
            for key, array in arrays.items():
                file[f"data/{name}/{key}"] = array
            file[f"data/{name}"].attrs["num_samples"] = len(arrays.get("actions", [0] * steps))
    found = read("robomimic", tmp_path / "a.hdf5")
    assert [e.meta["demo"] for e in found.episodes] == ["demo_0", "demo_2"]
    assert len(found.faults) == 1
    assert found.faults[0].startswith("a.hdf5: demo_1: ")
    assert text in found.faults[0]


def test_a_promise_of_more_steps_is_noticed(tmp_path):
    file = write_file(tmp_path / "a.hdf5", {f"demo_{i}": demo(i)[0] for i in range(2)})
    with h5py.File(file, "a") as opened:
        opened["data/demo_0"].attrs["num_samples"] = 9
    assert "num_samples promises 9" in read("robomimic", file).faults[0]


@pytest.mark.parametrize("layout", [{}, {"compression": "gzip"}])
@pytest.mark.long
def test_a_file_cut_anywhere(tmp_path, layout):
    """What loads equals what was written, what does not is named, and nothing else is raised."""
    made = {f"demo_{i}": demo(i, steps=40)[0] for i in range(6)}
    file = write_file(tmp_path / "a.hdf5", made, **layout)
    options = ImportOptions(cameras=("agentview",), image_size=SIZE)
    whole = file.read_bytes()
    counts = []
    for fraction in np.linspace(0, 0.999, 15):
        file.write_bytes(whole[: int(len(whole) * fraction)])
        try:
            found = read("robomimic", file, options)
        except DemonstrationError as error:
            assert "a.hdf5" in str(error)  # noqa: PT017  (most cuts leave episodes, and do not come here)
            counts.append(0)
            continue
        counts.append(len(found.episodes))
        assert "a.hdf5: the file was cut" in found.faults[0]
        lost = set(made) - {episode.meta["demo"] for episode in found.episodes}
        for name in lost:
            assert any(line.startswith(f"a.hdf5: {name}: ") for line in found.faults)
        for episode in found.episodes:
            arrays = made[episode.meta["demo"]]
            np.testing.assert_array_equal(episode.actions, arrays["actions"].astype(np.float32))
            np.testing.assert_array_equal(episode.observations["rgb"][:-1, 0], arrays["obs/agentview_image"])
            np.testing.assert_array_equal(episode.observations["rgb"][-1, 0], arrays["next_obs/agentview_image"][-1])
    # A large part of a file that was cut near its end is saved.
    assert max(counts) >= 4
    assert counts[0] == 0


def test_other_files_are_refused(tmp_path):
    (tmp_path / "a.hdf5").write_text("not HDF5")
    with pytest.raises(DemonstrationError, match=r"a\.hdf5 cannot be read as a robomimic file"):
        read("robomimic", tmp_path / "a.hdf5")
    with h5py.File(tmp_path / "b.hdf5", "w") as file:
        file["data/episode_1/actions"] = np.zeros((3, 2))
    with pytest.raises(DemonstrationError, match="holds no data/demo_0"):
        read("robomimic", tmp_path / "b.hdf5")
    with pytest.raises(DemonstrationError, match=r"nowhere\.hdf5"):
        read("robomimic", tmp_path / "nowhere.hdf5")


def test_infinity_in_what_the_file_says_of_its_environment_is_named_and_not_kept(tmp_path):
    file = write_file(tmp_path / "a.hdf5", {"demo_0": demo(0)[0]})
    with h5py.File(file, "a") as opened:
        opened["data"].attrs["env_args"] = (
            '{"env_name": "Lift", "env_kwargs": {"control_freq": 20, "horizon": Infinity}}'
        )
    found = read("robomimic", file)
    assert "Infinity is no JSON value" in found.faults[0]
    assert (found.spec.control_hz, found.spec.id) == (0.0, "robomimic:a")
    write_demos(tmp_path / "set", found.episodes, found.spec, meta=found.meta)
    assert len(read_demos(tmp_path / "set")) == 1


@pytest.mark.parametrize("rate", ['"inf"', "-1", "1e300", "[1]"])
def test_a_rate_that_is_none_is_unknown(tmp_path, rate):
    file = write_file(tmp_path / "a.hdf5", {"demo_0": demo(0)[0]})
    with h5py.File(file, "a") as opened:
        opened["data"].attrs["env_args"] = f'{{"env_name": "Lift", "env_kwargs": {{"control_freq": {rate}}}}}'
    assert read("robomimic", file).spec.control_hz == 0.0


def test_large_images_are_made_smaller_a_few_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr("zoomrl.demos.formats.images._SLICE_BYTES", 1000)
    file = write_file(tmp_path / "a.hdf5", {"demo_0": demo(0)[0]})
    options = ImportOptions(cameras=("wrist",), image_size=4)
    few = read("robomimic", file, options).episodes[0].observations["rgb"]
    monkeypatch.undo()
    np.testing.assert_array_equal(few, read("robomimic", file, options).episodes[0].observations["rgb"])
