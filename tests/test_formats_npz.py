"""Plain NumPy files, and what holds for every format: what is assumed, left out and refused."""

import json
import struct
import zipfile

import numpy as np
import pytest

from test_formats import make_set
from zoomrl.cli.main import main
from zoomrl.demos.formats import ImportOptions, read, write
from zoomrl.envs.config import EnvConfig
from zoomrl.errors import ConfigError, DemonstrationError
from zoomrl.spec import ArraySpec


def plain(folder, index, steps=4, **arrays):
    """An episode as someone else would save it: little is said."""
    rng = np.random.default_rng(index)
    folder.mkdir(exist_ok=True)
    basic = {"actions": rng.normal(size=(steps, 2)), "state": rng.normal(size=(steps + 1, 3))}
    kept = {name: array for name, array in (basic | arrays).items() if array is not None}
    np.savez(folder / f"episode_{index}.npz", **kept)
    return kept


def test_plain_files_of_others(tmp_path):
    for index in (10, 2, 1):
        plain(tmp_path / "set", index, steps=index + 1)
    found = read("npz", tmp_path / "set")
    assert [len(e) for e in found.episodes] == [2, 3, 11]
    assert found.spec.id == "npz:set"
    assert (found.spec.control_hz, found.spec.action_meaning, found.spec.cameras) == (0.0, (), ())
    for episode in found.episodes:
        assert (episode.success, episode.is_demo, episode.terminated, episode.truncated) == (True, True, False, True)
        assert episode.rewards.tolist() == [0.0] * (len(episode) - 1) + [1.0]
    actions = np.concatenate([e.actions for e in found.episodes])
    np.testing.assert_array_equal(np.float32(found.spec.action.low), actions.min(0))
    np.testing.assert_array_equal(np.float32(found.spec.action.high), actions.max(0))
    assert found.meta["success"].startswith("assumed for 3 of 3 episodes")
    assert found.meta["control_hz"] == "unknown"
    assert "derived" in found.meta["rewards"]
    assert "derived" in found.meta["action_bounds"]
    assert "last_observation" not in found.meta


def test_t_observations_have_their_last_repeated(tmp_path):
    arrays = plain(tmp_path / "set", 0, state=np.arange(12.0).reshape(4, 3), success=np.False_)
    found = read("npz", tmp_path / "set")
    state = found.episodes[0].observations["state"]
    np.testing.assert_array_equal(state, np.concatenate([arrays["state"], arrays["state"][-1:]]))
    assert found.meta["last_observation"] == "repeated"
    assert (found.episodes[0].success, found.episodes[0].is_demo, found.episodes[0].truncated) == (False, False, True)
    assert found.spec.reports_success
    assert not found.episodes[0].rewards.any()


def test_entries_are_joined_in_the_order_asked_for(tmp_path):
    plain(tmp_path / "set", 0, state=None, joints=np.ones((5, 2)), gripper=np.zeros(5))
    found = read("npz", tmp_path / "set", ImportOptions(state=("gripper", "joints")))
    np.testing.assert_array_equal(found.episodes[0].observations["state"], [[0, 1, 1]] * 5)
    assert found.meta["state"] == "gripper, joints"
    with pytest.raises(ConfigError, match="nothing of set would be observed"):
        read("npz", tmp_path / "set")


def test_images_are_resized_by_area(tmp_path):
    image = np.zeros((5, 4, 4, 3), np.uint8)
    image[:, :2, :2] = 200
    image[:, 0, 0] = 100
    plain(tmp_path / "set", 0, front=image)
    found = read("npz", tmp_path / "set", ImportOptions(cameras=("front",), image_size=2))
    small = found.episodes[0].observations["rgb"]
    assert small.shape == (5, 1, 2, 2, 3)
    assert small[0, 0, :, :, 0].tolist() == [[175, 0], [0, 0]]
    assert found.meta["resized"].startswith("images from 4 x 4 to 2 x 2")
    assert found.spec.observations["rgb"] == ArraySpec((1, 2, 2, 3), "uint8")


def test_faulty_episodes_are_left_out_by_name(tmp_path):
    folder = tmp_path / "set"
    for index in range(8):
        plain(folder, index)
    plain(folder, 1, actions=np.full((4, 2), np.nan))
    plain(folder, 2, state=np.zeros((9, 3)))
    plain(folder, 3, actions=np.zeros((4, 5)))
    plain(folder, 4, actions=None)
    plain(folder, 5, actions=np.zeros((0, 2)), state=np.zeros((1, 3)))
    plain(folder, 6, actions=np.array([[object(), 1]] * 4, object))
    cut = folder / "episode_7.npz"
    cut.write_bytes(cut.read_bytes()[:-30])
    found = read("npz", folder)
    assert len(found.episodes) == 1
    expected = [
        ("episode_1.npz", "'actions' holds NaN"),
        ("episode_2.npz", r"'state' must have 5 rows (T + 1), got 9"),
        ("episode_3.npz", "differ from the others'"),
        ("episode_4.npz", "actions"),
        ("episode_5.npz", "T of at least 1"),
        ("episode_6.npz", "actions.npy holds object"),
        ("episode_7.npz", "zip"),
    ]
    assert len(found.faults) == len(expected)
    for name, text in expected:
        assert any(line.startswith(f"{name}: ") and text in line for line in found.faults), (name, found.faults)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packing_that_python_unpacks_without_a_limit_is_refused(tmp_path, method):
    plain(tmp_path / "set", 0)
    with zipfile.ZipFile(tmp_path / "set" / "episode_0.npz", "a", method) as file:
        file.writestr("more.npy", bytes(1000))
    with pytest.raises(DemonstrationError, match=r"more\.npy is packed by method \d+ of ZIP; stored and deflated"):
        read("npz", tmp_path / "set")


def test_no_more_of_a_deflated_entry_is_read_than_it_declares(tmp_path):
    """The sizes of the archive are changed to those of 40 bytes."""
    folder = tmp_path / "set"
    plain(folder, 0)
    arrays = plain(folder, 1, actions=np.zeros((1 << 18, 2), np.float32), state=None)
    np.savez_compressed(folder / "episode_1.npz", **arrays)
    with zipfile.ZipFile(folder / "episode_1.npz") as file:
        size = file.getinfo("actions.npy").file_size
    head = size - arrays["actions"].nbytes
    content = (folder / "episode_1.npz").read_bytes().replace(b"(262144, 2), }", b"(5, 2), }     ")
    for kind in ("<L", "<Q"):
        content = content.replace(struct.pack(kind, size), struct.pack(kind, head + 40))
    (folder / "episode_1.npz").write_bytes(content)
    found = read("npz", folder)
    assert [len(episode) for episode in found.episodes] == [4]
    assert "episode_1.npz" in found.faults[0]


def test_when_nothing_loads_all_faults_are_told(tmp_path):
    for index in range(2):
        plain(tmp_path / "set", index, actions=np.full((4, 2), np.inf))
    with pytest.raises(DemonstrationError, match=r"(?s)no episode of .*episode_0\.npz: .*\n.*episode_1\.npz: "):
        read("npz", tmp_path / "set")
    with pytest.raises(DemonstrationError, match=r"holds no episode_0\.npz"):
        read("npz", tmp_path)


def test_a_flipped_byte_in_an_npz_is_noticed(tmp_path):
    write("npz", tmp_path / "set", make_set())
    file = tmp_path / "set" / "episode_1.npz"
    with zipfile.ZipFile(file) as archive:
        info = archive.getinfo("rewards.npy")
        place = info.header_offset + 30 + len(info.filename) + len(info.extra) + 60
    content = bytearray(file.read_bytes())
    content[place] ^= 0xFF
    file.write_bytes(content)
    found = read("npz", tmp_path / "set")
    assert [len(e) for e in found.episodes] == [4, 5]
    assert found.faults[0].startswith("episode_1.npz: ")


def test_the_spec_next_to_npz_files_may_be_damaged(tmp_path):
    write("npz", tmp_path / "set", make_set(views=()))
    (tmp_path / "set" / "spec.json").write_text(json.dumps({"spec": {}}))
    found = read("npz", tmp_path / "set")
    assert len(found.episodes) == 3
    assert found.faults[0].startswith("spec.json: ")
    assert "derived" in found.meta["action_bounds"]


# ---- with an environment ---------------------------------------------------------------------------------------------


def test_the_environment_gives_bounds_and_name_and_takes_no_state_of_another_length(tmp_path, capsys):
    env = EnvConfig(id="gym:Pendulum-v1")
    plain(tmp_path / "set", 0, actions=np.full((4, 1), 2.0 + 1e-7))
    plain(tmp_path / "set", 1, actions=np.float32([[0], [2.5], [-3], [0]]))
    found = read("npz", tmp_path / "set", ImportOptions(env=env, control_hz=10.0, action_meaning=("absolute",)))
    assert found.spec.id == "gym:Pendulum-v1"
    assert found.spec.action == ArraySpec((1,), "float32", (-2.0,), (2.0,))
    assert (found.spec.control_hz, found.spec.action_meaning) == (10.0, ("absolute",))
    # Kept as recorded, and said.
    assert found.episodes[1].actions.ravel().tolist() == [0.0, 2.5, -3.0, 0.0]
    assert len(found.faults) == 1
    assert "episode_1.npz: kept, but 2 of 4 action entries lie beyond the bounds of gym:Pendulum-v1" in found.faults[0]
    assert found.meta["does_not_fit"] == "control rate 10 Hz against 20 Hz"
    words = ["demos", "import", "npz", str(tmp_path / "set"), "--out", str(tmp_path / "as-it-is")]
    assert main([*words, "--env", "gym:Pendulum-v1", "--control-hz", "10"]) == 0
    said = capsys.readouterr().out
    assert "does not fit: control rate 10 Hz against 20 Hz\n" in said
    assert said.splitlines()[-1].startswith("training on gym:Pendulum-v1 refuses it as it is: import it again")
    plain(tmp_path / "other", 0, state=np.zeros((5, 9)))
    with pytest.raises(DemonstrationError, match="actions have 2 dimensions; gym:Pendulum-v1 takes 1"):
        read("npz", tmp_path / "other", ImportOptions(env=env))


def test_meanings_are_checked(tmp_path):
    plain(tmp_path / "set", 0)
    both = read("npz", tmp_path / "set", ImportOptions(action_meaning=("delta",))).spec.action_meaning
    assert both == ("delta", "delta")
    with pytest.raises(ConfigError, match="unknown action meaning 'relative'"):
        read("npz", tmp_path / "set", ImportOptions(action_meaning=("relative",)))
    with pytest.raises(ConfigError, match="3 meanings for 2 action dimensions"):
        read("npz", tmp_path / "set", ImportOptions(action_meaning=("delta", "delta", "gripper")))


def test_a_dimension_that_never_changes_gets_a_range(tmp_path):
    plain(tmp_path / "set", 0, actions=np.float32([[0, 5], [1, 5]] * 2))
    found = read("npz", tmp_path / "set")
    assert found.spec.action == ArraySpec((2,), "float32", (0.0, 4.0), (1.0, 6.0))
    assert "dimensions 1 never change" in found.meta["action_bounds"]


def test_flags_come_once_or_one_per_step_and_are_truth_values(tmp_path):
    solved = np.arange(4) == 1
    plain(tmp_path / "set", 0, success=solved, terminated=solved, truncated=np.arange(4) == 3, rewards=np.zeros((4, 1)))
    found = read("npz", tmp_path / "set").episodes[0]
    assert (found.success, found.terminated, found.truncated) == (True, False, True)
    assert found.rewards.shape == (4,)
    for flag, bad in (("success", "False"), ("success", np.nan), ("terminated", "no")):
        plain(tmp_path / "bad", 0, **{flag: np.asarray(bad)})
        with pytest.raises(DemonstrationError, match=f"{flag} must be true or false"):
            read("npz", tmp_path / "bad")


def test_a_seed_that_no_environment_takes_is_none_and_a_gap_is_said(tmp_path):
    for index, seed in ((0, 2**40), (1, 7), (3, -5)):
        plain(tmp_path / "set", index, seed=seed)
    found = read("npz", tmp_path / "set")
    assert [episode.seed for episode in found.episodes] == [-1, 7, -1]
    assert found.faults == ["1 number of its episodes are missing, the first is 2: were they lost?"]
