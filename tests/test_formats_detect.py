"""What lies at a path is recognised by its content: what is read, and what another program must convert."""

import json
import sqlite3

import h5py
import numpy as np
import pytest

from test_formats_flat import images, numbers, ogbench, write_zarr
from test_formats_hdf5 import aloha, maniskill, write
from zoomrl.demos.formats import READERS, detect, read
from zoomrl.demos.formats.detect import READ
from zoomrl.demos.formats.kinds import Array, kinds, listing
from zoomrl.errors import ConfigError, DemonstrationError

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 12345\n"


def test_every_format_that_is_read_is_recognised():
    assert set(READ) == set(READERS) - set(READERS.plugins)


@pytest.mark.parametrize(
    ("build", "format"),
    [
        (lambda path: write(path, {"data/demo_0/actions": numbers(3, 2)}), "robomimic"),
        (lambda path: write(path, {"action": numbers(3, 2), "observations/qpos": numbers(3, 2)}), "aloha"),
        (lambda path: write(path, {"traj_0/actions": numbers(3, 2)}), "maniskill"),
        (lambda path: write(path, {n: numbers(3) for n in ("observations", "actions", "terminals")}), "d4rl"),
        (lambda path: ogbench(path, [3], numbers(3, 2)), "ogbench"),
    ],
)
def test_files_are_told_apart_whatever_they_are_called(tmp_path, build, format):
    build(tmp_path / "recording.npz")
    (tmp_path / "recording.npz").rename(tmp_path / "recording.bin")
    assert detect(tmp_path / "recording.bin") == format


def test_folders_are_told_apart(tmp_path):
    aloha(tmp_path / "aloha" / "episode_0.hdf5")
    maniskill(tmp_path / "maniskill")
    write(tmp_path / "robomimic" / "task.hdf5", {"data/demo_3/actions": numbers(3, 2)})
    write(tmp_path / "deep" / "suite" / "task.hdf5", {"data/demo_3/actions": numbers(3, 2)})
    write_zarr(tmp_path / "zarr", {"data/action": numbers(3, 2)})
    (tmp_path / "minari/data/0").mkdir(parents=True)
    (tmp_path / "minari/data/0/part-0.arrow").touch()
    for name in ("aloha", "maniskill", "robomimic", "zarr", "minari"):
        assert detect(tmp_path / name) == name
    assert detect(tmp_path / "deep") == "robomimic"
    # What LFS has not fetched is passed over where another file tells.
    (tmp_path / "aloha" / "episode_0.h5").write_text(POINTER)
    assert detect(tmp_path / "aloha") == "aloha"


def records(folder):
    (folder / "1.0.0").mkdir(parents=True)
    (folder / "1.0.0/features.json").write_text("{}")
    (folder / "1.0.0/toy-train.tfrecord-00000-of-00001").write_bytes(bytes(20))


def ros2(folder):
    folder.mkdir()
    (folder / "metadata.yaml").write_text("rosbag2_bagfile_information:\n")
    with sqlite3.connect(folder / "bag_0.db3") as database:
        database.execute("create table topics(id integer)")


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (records, r"1\.0\.0/features\.json: it is a data set of TensorFlow.*tensorflow_datasets"),
        (ros2, r"bag_0\.db3: it is a bag of ROS.*rosbags"),
        (
            lambda folder: (folder.mkdir(), (folder / "a.mcap").touch()),
            r"a\.mcap: it is an MCAP recording.*package mcap",
        ),
        (lambda folder: (folder.mkdir(), (folder / "a.bag").touch()), "it is a bag of ROS"),
        (lambda path: path.write_bytes(b"\x89MCAP0\r\n rest"), "is an MCAP recording"),
        (lambda path: path.write_bytes(b"#ROSBAG V2.0\n rest"), "is a bag of ROS"),
        (lambda path: path.write_bytes(b"SQLite format 3\x00 rest"), "a database of SQLite, such as a bag of ROS 2"),
        (lambda path: path.write_bytes(b"PAR1 rest"), "name the folder of the data set"),
        (lambda path: write(path, {"episode_0/actions": numbers(3, 2)}), "Minari data set: name its folder"),
    ],
)
def test_what_is_not_read_is_named_with_what_converts_it(tmp_path, build, text):
    build(tmp_path / "thing")
    with pytest.raises(ConfigError, match=text):
        detect(tmp_path / "thing")


def test_a_file_of_records_and_an_episode_of_numpy_are_named(tmp_path):
    (tmp_path / "toy.tfrecord").write_bytes(bytes(20))
    with pytest.raises(ConfigError, match="a part of a data set of TensorFlow"):
        detect(tmp_path / "toy.tfrecord")
    np.savez(tmp_path / "episode_0.npz", actions=numbers(3, 2))
    with pytest.raises(ConfigError, match="name the folder"):
        detect(tmp_path / "episode_0.npz")
    assert detect(tmp_path) == "npz"


@pytest.mark.parametrize("name", ["a.hdf5", "a.npz", "a.zarr.zip", "a.bin"])
def test_a_pointer_of_lfs_in_place_of_a_file_is_named(tmp_path, name):
    (tmp_path / name).write_text(POINTER)
    with pytest.raises(DemonstrationError, match=r"pointer of Git LFS.*git lfs pull"):
        detect(tmp_path / name)
    with pytest.raises(DemonstrationError, match="pointer of Git LFS"):
        detect(tmp_path)
    for format in ("robomimic", "aloha", "maniskill", "d4rl", "ogbench", "zarr"):
        with pytest.raises(DemonstrationError, match="pointer of Git LFS"):
            read(format, tmp_path / name)


def test_a_pointer_inside_of_a_set_is_named(tmp_path):
    aloha(tmp_path / "episode_0.hdf5")
    (tmp_path / "episode_1.hdf5").write_text(POINTER)
    assert "pointer of Git LFS" in read("auto", tmp_path).faults[0]
    np.savez(tmp_path / "episode_0.npz", actions=numbers(3, 2), state=numbers(4, 2))
    (tmp_path / "episode_1.npz").write_text(POINTER)
    assert "pointer of Git LFS" in read("npz", tmp_path).faults[0]
    (tmp_path / "zarr").mkdir()
    root = write_zarr(tmp_path / "zarr/a.zarr", {"data/action": numbers(3, 2), "meta/episode_ends": np.array([3])})
    (root / "data/action/0.0").write_text(POINTER)
    with pytest.raises(DemonstrationError, match="holds no observations"):
        read("zarr", root)


def test_what_is_unknown_is_listed(tmp_path):
    arrays = {"a/cam": images(3, 16, 16, 3), "joints": numbers(3, 7), "pose": numbers(3, 4, 4)}
    listed = r"the cameras a/cam uint8\[3, 16, 16, 3\]; the vectors joints float32\[3, 7\]; the arrays pose float32"
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
    np.savez(tmp_path / "a.npz", **arrays)
    for name in ("a.hdf5", "a.npz"):
        with pytest.raises(ConfigError, match=rf"cannot tell what format .*{name} has; name it: .* It holds {listed}"):
            detect(tmp_path / name)
    (tmp_path / "folder/sub").mkdir(parents=True)
    for index in range(30):
        (tmp_path / f"folder/sub/{index:02d}.txt").touch()
    with pytest.raises(ConfigError, match=r"It holds the files sub/00\.txt, sub/01\.txt, .* and 10 more"):
        detect(tmp_path / "folder")
    (tmp_path / "a.txt").write_text("a secret")
    with pytest.raises(ConfigError, match="It holds 8 bytes of an unknown kind"):
        detect(tmp_path / "a.txt")


def test_kinds_of_arrays():
    def array(dtype, *shape):
        return Array(np.dtype(dtype), shape)

    arrays = {
        "rgb": array("u1", 5, 8, 8, 3),
        "first": array("u1", 5, 3, 64, 64),
        "grey": array("u1", 5, 64, 64),
        "unit": array("f4", 5, 64, 64, 3),
        "depth": array("f4", 5, 64, 64, 1),
        "bytes": array("u1", 5, 40),
        "pose": array("f8", 5, 4, 4),
        "colours": array("f4", 5, 4, 4, 3),
        "flag": array("?", 5),
        "text": array("S4", 5),
        "one": array("f4"),
        "named_image": array("f4", 5, 64, 64, 1),
    }
    found = kinds(arrays, ["named_image"])
    assert found.cameras == ["rgb", "first", "grey", "unit", "named_image"]
    assert found.vectors == ["bytes", "flag"]
    assert found.larger == ["depth", "pose", "colours"]
    assert found.floating == []
    assert "the arrays depth float32[5, 64, 64, 1], pose" in listing(arrays)
    assert listing({}) == "no arrays"
    assert listing({f"a{n}": array("f4", 5) for n in range(50)}).endswith("a39 float32[5] and 10 more")
    assert json.dumps(found.numbers) == json.dumps([*found.vectors, *found.larger])
