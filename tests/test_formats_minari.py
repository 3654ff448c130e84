"""Minari's data sets: damaged, of others, cut short, and in the hands of Minari's own reader."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from test_demos_store import make_episode, make_spec, write_foreign
from test_formats import make_set
from test_formats_flat import numbers
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


# ---- Arrow ---------------------------------------------------------------------------------------------------------

ARROW = Path(__file__).parent / "data" / "formats" / "minari_arrow"
SEEN = (
    "c439596d76163805143700ff4eff89ec1383e124abf9e8e9b0d95ca78554faf8",
    "a385d036e2ea382d06c72f4ef1582bd56de394bfb216cc73d90d1a5390b40066",
)
"""Hashes of the images that Minari 0.5.4 itself reads of its JPEG."""


def test_a_set_in_arrow_is_what_minari_wrote():
    pytest.importorskip("pyarrow")
    found = read("auto", ARROW, ImportOptions(cameras=("cam",), image_size=32))
    assert (found.faults, found.meta["state"]) == ([], "goal, robot/joints")
    for k, (episode, seen) in enumerate(zip(found.episodes, SEEN, strict=True)):
        steps = 3 + k
        np.testing.assert_array_equal(episode.actions, numbers(9, 2)[:steps])
        state = np.concatenate([numbers(9, 2) + k, numbers(9, 3)], 1)[: steps + 1]
        np.testing.assert_array_equal(episode.observations["state"], state)
        assert hashlib.sha256(np.ascontiguousarray(episode.observations["rgb"][:, 0]).tobytes()).hexdigest() == seen
        assert episode.rewards.tolist() == [0.0] * (steps - 1) + [1.0]
        assert (episode.seed, episode.success, episode.terminated, episode.truncated) == (10 + k, True, True, False)
    assert found.spec.action.low == (-99.0, -99.0)


def change_metadata(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def rewrite(file, **options):
    """The record batch of an Arrow file, written again."""
    import pyarrow as pa

    table = pa.ipc.open_file(file).read_all()
    with pa.ipc.new_file(str(file), table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for batch in table.to_batches(max_chunksize=2 if not options else None):
            writer.write_batch(batch)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda data: (data / "0/part-0.arrow").unlink(), "holds no part-0.arrow"),
        (lambda data: (data / "0/part-0.arrow").write_bytes(bytes(99)), "episode 0: "),
        (
            lambda data: change_metadata(data / "0/metadata.json", total_steps=7),
            "has 3 steps, and its metadata promise 7",
        ),
        (lambda data: rewrite(data / "0/part-0.arrow", compression="zstd"), "is packed: write it again"),
        (lambda data: shutil.rmtree(data / "0"), "1 episodes are missing"),
    ],
)
def test_a_damaged_episode_in_arrow_is_left_out_by_name(tmp_path, change, text):
    pytest.importorskip("pyarrow")
    shutil.copytree(ARROW, tmp_path / "set")
    change(tmp_path / "set/data")
    found = read("minari", tmp_path / "set")
    assert [e.meta["episode"] for e in found.episodes] == [1]
    assert len(found.faults) == 1
    assert text in found.faults[0]


def test_batches_in_arrow_are_joined_and_other_formats_refused(tmp_path):
    pytest.importorskip("pyarrow")
    shutil.copytree(ARROW, tmp_path / "set")
    rewrite(tmp_path / "set/data/1/part-0.arrow")
    whole, joined = read("minari", ARROW), read("minari", tmp_path / "set")
    np.testing.assert_array_equal(whole.episodes[1].observations["state"], joined.episodes[1].observations["state"])
    change_metadata(tmp_path / "set/data/metadata.json", data_format="parquet")
    with pytest.raises(DemonstrationError, match="data format 'parquet'; hdf5 and arrow are read"):
        read("minari", tmp_path / "set")
    with pytest.raises(DemonstrationError, match=r"in Arrow, which is imported first: zoomrl demos import"):
        read_demos(ARROW)


def test_seeds_of_64_bits_are_none_and_what_was_never_written_is_named(tmp_path):
    """Minari's collector takes seeds of 64 bits, where it is given none."""
    path = write_foreign(tmp_path / "set", terminated=(True, False, True))
    with h5py.File(path / "data" / "main_data.hdf5", "a") as file:
        for index, seed in enumerate((np.uint64(2**63 + 5), 7, "None")):
            file[f"episode_{index}"].attrs["seed"] = seed
    assert [episode.seed for episode in read_demos(path).episodes] == [-1, 7, -1]
    with h5py.File(path / "data" / "main_data.hdf5", "a") as file:
        del file["episode_1/actions"]
        file["episode_1"].create_dataset("actions", (3, 1), "f4", chunks=(2, 1))[:2] = 1
    with pytest.raises(DemonstrationError, match=r"actions was never written in full: it has 1 of 2 chunks"):
        read_demos(path)
    assert [episode.seed for episode in read("minari", path).episodes] == [-1, -1]
