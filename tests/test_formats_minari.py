"""Minari's data sets: damaged, of others, cut short, and in the hands of Minari's own reader."""

from dataclasses import replace

import h5py
import numpy as np
import pytest

from test_demos_store import make_episode, make_spec, write_foreign
from test_formats import make_set
from zoomrl.demos.formats import ImportOptions, read, write
from zoomrl.demos.store.reader import read_demos
from zoomrl.demos.store.writer import write_demos
from zoomrl.errors import DemonstrationError
from zoomrl.spec import ArraySpec


def test_foreign_minari_set_with_one_damaged_episode(tmp_path):
    write_foreign(tmp_path / "set", success=(1.0, 0.0, 1.0), terminated=(False,) * 3)
    with h5py.File(tmp_path / "set" / "data" / "main_data.hdf5", "a") as file:
        del file["episode_1/rewards"]
    with pytest.raises(DemonstrationError, match="episode 1 cannot be read"):
        read_demos(tmp_path / "set")
    found = read("minari", tmp_path / "set")
    assert [(e.success, e.is_demo) for e in found.episodes] == [(True, True), (True, True)]
    assert len(found.faults) == 1
    assert "main_data.hdf5: episode 1 cannot be read" in found.faults[0]
    assert found.spec.id == "gym:Pendulum-v1"
    assert found.spec.action.low == (-2.0,)


def test_minari_entries_of_other_names_are_joined(tmp_path):
    spec = replace(
        make_spec(), observations={"b": ArraySpec((2,)), "a": ArraySpec((1,)), "cam": ArraySpec((8, 8, 3), "uint8")}
    )
    episode = make_episode(spec, 5)
    write_demos(tmp_path / "set", [episode], spec)
    found = read("minari", tmp_path / "set", ImportOptions(cameras=("cam",), image_size=8))
    seen = found.episodes[0].observations
    # In the order of the space, which is the environment's.
    np.testing.assert_array_equal(seen["state"][:, :2], episode.observations["b"])
    np.testing.assert_array_equal(seen["state"][:, 2:], episode.observations["a"])
    np.testing.assert_array_equal(seen["rgb"][:, 0], episode.observations["cam"])
    assert (found.meta["state"], found.spec.cameras, found.spec.control_hz) == ("b, a", ("cam",), 20.0)


def test_an_assumed_success_stays_one_and_a_mark_taken_away_stays_away(tmp_path):
    spec = make_spec()
    meta = {"success": "assumed"}
    episodes = [replace(make_episode(spec, 4, seed), meta=meta, is_demo=seed == 0) for seed in range(2)]
    write_demos(tmp_path / "set", episodes, spec)
    found = read("minari", tmp_path / "set")
    assert [(e.is_demo, e.success, e.meta) for e in found.episodes] == [(True, True, meta), (False, False, meta)]
    assert found.meta["success"].startswith("assumed for 2 of 2 episodes")


def test_of_a_cut_minari_file_the_whole_part_is_read(tmp_path):
    """HDF5 refuses such a file altogether."""
    data = write_foreign(tmp_path / "set", terminated=(True,) * 3) / "data"
    with h5py.File(data / "main_data.hdf5", "a") as file:
        # At the end of the file, behind all tables of contents.
        file["episode_2/later"] = np.arange(40000.0)
        later = file["episode_2/later"].id.get_offset()
        del file["episode_2/rewards"]
        file["episode_2/rewards"] = file["episode_2/later"]
    whole = (data / "main_data.hdf5").read_bytes()
    (data / "main_data.hdf5").write_bytes(whole[: later + 1000])
    with pytest.raises(DemonstrationError, match="cannot be opened"):
        read_demos(tmp_path / "set")
    found = read("minari", tmp_path / "set")
    assert len(found.episodes) == 2
    assert "main_data.hdf5: the file was cut" in found.faults[0]
    assert "episode 2 cannot be read" in found.faults[1]
    assert f"cut after {later + 1000} bytes" in found.faults[1]


def test_minaris_own_reader_takes_what_is_exported(tmp_path):
    minari = pytest.importorskip("minari")
    demos = make_set()
    write("minari", tmp_path / "set", demos)
    dataset = minari.MinariDataset(tmp_path / "set" / "data")
    assert dataset.total_episodes == 3
    for written, read_back in zip(demos.episodes, dataset, strict=True):
        np.testing.assert_array_equal(read_back.observations["rgb"], written.observations["rgb"])
        np.testing.assert_array_equal(read_back.actions, written.actions)
