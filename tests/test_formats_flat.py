"""Long arrays with ends: D4RL, OGBench and diffusion-policy's zarr, in files of other writers and made here."""

import json
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoomrl.demos.formats import ImportOptions, detect, read
from zoomrl.demos.formats.flat.npz_rows import open_rows
from zoomrl.demos.formats.flat.zarr_array import Store, arrays_in
from zoomrl.errors import ConfigError, DemonstrationError

GOLDEN = Path(__file__).parent / "data" / "formats"


def images(*shape):
    """What the writers of the golden files were given."""
    return (np.arange(np.prod(shape)) * 37 % 251).astype(np.uint8).reshape(shape)


def numbers(*shape, dtype=np.float32):
    return ((np.arange(np.prod(shape)) * 37 % 251) / 8 - 10).astype(dtype).reshape(shape)


def stops(ends, count):
    """First row and end of each episode, by hand."""
    found, first = [], 0
    for row in range(count):
        if ends[row] or row == count - 1:
            found.append((first, row + 1))
            first = row + 1
    return found


# ---- D4RL ----------------------------------------------------------------------------------------------------


def write_d4rl(path, arrays, **layout):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, **layout)
        file["metadata/algorithm"] = np.bytes_(b"SAC")
    return path


@settings(max_examples=8)
@given(data=st.data(), count=st.integers(1, 12), timeouts=st.booleans(), after=st.booleans(), packed=st.booleans())
@pytest.mark.long
def test_d4rl_with_any_ends(tmp_path_factory, data, count, timeouts, after, packed):
    flags = [np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count))) for _ in range(2)]
    arrays = {
        "observations": numbers(count, 3),
        "actions": numbers(count, 2),
        "rewards": numbers(count),
        "terminals": flags[0],
        "infos/qpos": numbers(count, 4, dtype=np.float64),
    }
    arrays |= {"timeouts": flags[1]} if timeouts else {}
    arrays |= {"next_observations": numbers(count, 3) + 1} if after else {}
    path = tmp_path_factory.mktemp("d4rl") / "a.hdf5"
    found = read("auto", write_d4rl(path, arrays, **({"compression": "gzip", "chunks": True} if packed else {})))
    ends = flags[0] | flags[1] if timeouts else flags[0]
    expected = stops(ends, count)
    for (first, end), episode in zip(expected, found.episodes, strict=True):
        np.testing.assert_array_equal(episode.actions, arrays["actions"][first:end])
        np.testing.assert_array_equal(episode.rewards, arrays["rewards"][first:end])
        last = arrays["next_observations"][end - 1] if after else arrays["observations"][end - 1]
        state = np.concatenate([arrays["observations"][first:end], last[None]])
        np.testing.assert_array_equal(episode.observations["state"], state)
        assert episode.terminated == flags[0][end - 1]
        assert episode.truncated == (not flags[0][end - 1] or (timeouts and bool(flags[1][end - 1])))
    assert ("without_end" in found.meta) == (not ends[-1])
    assert found.meta["left_out"].startswith("infos/qpos (")
    assert [e.name for e in found.spec.state_entries] == ["state"]


def d4rl(tmp_path, **changes):
    arrays = {"observations": numbers(6, 3), "actions": numbers(6, 2), "rewards": numbers(6)}
    arrays |= {"terminals": np.array([0, 0, 1, 0, 0, 1], bool)} | changes
    return write_d4rl(tmp_path / "a.hdf5", {name: array for name, array in arrays.items() if array is not None})


def test_what_d4rl_tells_is_believed(tmp_path):
    path = d4rl(tmp_path, **{"infos/success": np.array([0, 1, 0, 0, 0, 0], bool)})
    found = read("d4rl", path, ImportOptions(state=("observations",)))
    assert [(e.success, e.is_demo, e.terminated) for e in found.episodes] == [(True, True, True), (False, False, True)]
    sparse = read("d4rl", d4rl(tmp_path, rewards=np.array([0, 0, 1, 0, 0, 0.0])))
    assert [e.success for e in sparse.episodes] == [True, False]
    views = read("d4rl", d4rl(tmp_path, observations=images(6, 16, 16, 3)), ImportOptions(cameras=("observations",)))
    assert views.episodes[0].observations["rgb"].shape == (4, 1, 84, 84, 3)
    assert views.spec.cameras == ("observations",)


def test_what_hdf5_never_wrote_is_not_read_as_zeros(tmp_path):
    path = d4rl(tmp_path)
    with h5py.File(path, "a") as file:
        del file["actions"]
        file.create_dataset("actions", (6, 2), "f4", chunks=(2, 2))[:2] = 0.5
    with pytest.raises(DemonstrationError, match=r"actions was never written in full: it has 1 of 3 chunks"):
        read("d4rl", path)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"actions": None}, "lacks actions"),
        ({"terminals": None}, "lacks terminals"),
        ({"rewards": numbers(4)}, "rewards must have 6 rows"),
        ({"observations": numbers(5, 3)}, "observations must have 6 rows"),
    ],
)
def test_what_is_no_d4rl_is_named(tmp_path, changes, text):
    with pytest.raises(DemonstrationError, match=text):
        read("d4rl", d4rl(tmp_path, **changes))


# ---- OGBench -------------------------------------------------------------------------------------------------


def ogbench(path, lengths, observations, **more):
    count = sum(lengths)
    terminals = np.isin(np.arange(count), np.cumsum(lengths) - 1)
    arrays = {"observations": observations, "actions": numbers(count, 2), "terminals": terminals} | more
    np.savez_compressed(path, **arrays)
    return arrays


@settings(max_examples=8)
@given(lengths=st.lists(st.integers(2, 6), min_size=1, max_size=5), seen=st.booleans())
@pytest.mark.long
def test_ogbench_with_any_lengths(tmp_path_factory, lengths, seen):
    path, count = tmp_path_factory.mktemp("ogbench") / "a.npz", sum(lengths)
    observations = images(count, 64, 64, 3) if seen else numbers(count, 3)
    arrays = ogbench(path, lengths, observations, qpos=numbers(count, 4), button_states=images(count, 2))
    options = ImportOptions(cameras=("observations",), state=("button_states", "qpos"), image_size=64)
    found = read("auto", path, options if seen else None)
    assert detect(path) == "ogbench"
    first = 0
    for length, episode in zip(lengths, found.episodes, strict=True):
        rows = slice(first, first + length)
        # The action of a trajectory's last row was not executed.
        np.testing.assert_array_equal(episode.actions, arrays["actions"][rows][:-1])
        if seen:
            np.testing.assert_array_equal(episode.observations["rgb"][:, 0], observations[rows])
            state = np.concatenate([arrays["button_states"][rows], arrays["qpos"][rows]], 1)
            np.testing.assert_array_equal(episode.observations["state"], state.astype(np.float32))
        else:
            np.testing.assert_array_equal(episode.observations["state"], observations[rows])
        first += length
    assert found.meta["success"].startswith(f"assumed for {len(lengths)} of")
    assert "last_observation" not in found.meta


def test_ogbench_says_what_it_cannot_use(tmp_path):
    path = tmp_path / "a.npz"
    arrays = ogbench(path, [1, 3], numbers(4, 3))
    found = read("ogbench", path)
    assert len(found.episodes) == 1
    assert found.faults[0].startswith("a.npz: trajectory 0 (row 0): actions must be [T, A] with T of at least 1")
    np.savez(path, **{**arrays, "terminals": np.array([0, 1, 0, 0])})
    assert read("ogbench", path).meta["without_end"] == "the last 2 rows: kept as an episode"
    np.savez(path, **{**arrays, "actions": np.asfortranarray(numbers(4, 2))})
    with pytest.raises(DemonstrationError, match=r"actions is stored column by column"):
        read("ogbench", path)
    np.savez(path, **{name: array for name, array in arrays.items() if name != "terminals"})
    with pytest.raises(DemonstrationError, match=r"a\.npz lacks terminals"):
        read("ogbench", path)


def test_rows_of_an_npz_are_read_in_any_order(tmp_path):
    array = numbers(50, 3, dtype=np.float64)
    np.savez_compressed(tmp_path / "a.npz", x=array)
    with zipfile.ZipFile(tmp_path / "a.npz") as file:
        rows = open_rows(file, tmp_path / "a.npz")["x"]
        for part in (slice(0, 4), slice(10, 20), slice(2, 3), slice(45, 99), slice(7, 7)):
            np.testing.assert_array_equal(rows[part], array[part])


def test_after_an_error_no_row_is_taken_for_another(tmp_path):
    array, path = numbers(5000, 3), tmp_path / "a.npz"
    np.savez(path, x=array)
    content = bytearray(path.read_bytes())
    content[content.rindex(array[4999].tobytes()) + 3] ^= 1
    path.write_bytes(content)
    with zipfile.ZipFile(path) as file:
        rows = open_rows(file, path)["x"]
        np.testing.assert_array_equal(rows[0:2], array[0:2])
        with pytest.raises(zipfile.BadZipFile):
            rows[2:5000]
        np.testing.assert_array_equal(rows[2:4], array[2:4])


# ---- zarr ----------------------------------------------------------------------------------------------------


def write_zarr(root, arrays, *, packed=False, chunk=3, order="C", separator=".", **changes):
    """A store of version 2: what its specification says, without the package."""
    for name, array in arrays.items():
        folder = root / name
        folder.mkdir(parents=True)
        chunks = [min(chunk if axis == 0 else max(chunk, 6), size) for axis, size in enumerate(array.shape)]
        meta = {
            "zarr_format": 2,
            "shape": list(array.shape),
            "chunks": chunks,
            "dtype": array.dtype.str,
            "filters": None,
        }
        meta |= {"fill_value": 0, "order": order, "compressor": {"id": "zlib", "level": 1} if packed else None}
        meta |= {"dimension_separator": separator} | changes.get(name, {})
        (folder / ".zarray").write_text(json.dumps(meta))
        for place in np.ndindex(*(-(-size // size_of) for size, size_of in zip(array.shape, chunks, strict=True))):
            piece = np.zeros(chunks, array.dtype)
            part = array[tuple(slice(p * c, (p + 1) * c) for p, c in zip(place, chunks, strict=True))]
            piece[tuple(slice(size) for size in part.shape)] = part
            content = piece.tobytes(order)
            file = folder / separator.join(map(str, place))
            file.parent.mkdir(parents=True, exist_ok=True)
            if part.any():
                file.write_bytes(zlib.compress(content) if packed else content)
    (root / ".zgroup").write_text('{"zarr_format": 2}')
    return root


@settings(max_examples=8)
@given(
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    chunk=st.integers(1, 7),
    packed=st.booleans(),
    order=st.sampled_from("CF"),
    separator=st.sampled_from("./"),
    rest=st.integers(0, 2),
)
@pytest.mark.long
def test_zarr_with_any_ends_and_chunks(tmp_path_factory, lengths, chunk, packed, order, separator, rest):
    count = sum(lengths) + rest
    arrays = {
        "data/action": numbers(count, 2, dtype=np.float64),
        "data/reward": numbers(count),
        "data/b": numbers(count, 3),
        "data/a": numbers(count),
        "data/c": np.zeros(count, np.float32),  # whose chunks are not stored
        "data/pose": numbers(count, 2, 2),
        "data/first": images(count, 3, 16, 16),
        "data/last": images(count, 16, 16, 3),
        "meta/episode_ends": np.cumsum(lengths),
    }
    layout = {"chunk": chunk, "packed": packed, "order": order, "separator": separator}
    root = write_zarr(tmp_path_factory.mktemp("zarr") / "a.zarr", arrays, **layout)
    found = read("auto", root, ImportOptions(cameras=("last", "first"), image_size=16))
    assert found.faults == []
    first = 0
    for length, episode in zip(lengths, found.episodes, strict=True):
        rows = np.r_[first : first + length, first + length - 1]
        np.testing.assert_array_equal(episode.actions, arrays["data/action"][rows[:-1]].astype(np.float32))
        np.testing.assert_array_equal(episode.rewards, arrays["data/reward"][rows[:-1]])
        state = np.concatenate([arrays["data/a"][:, None], arrays["data/b"], arrays["data/c"][:, None]], 1)
        np.testing.assert_array_equal(episode.observations["state"], state[rows])
        np.testing.assert_array_equal(episode.observations["rgb"][:, 0], arrays["data/last"][rows])
        np.testing.assert_array_equal(episode.observations["rgb"][:, 1], np.moveaxis(arrays["data/first"], 1, -1)[rows])
        first += length
    assert found.meta["left_out"].startswith("pose (")
    assert ("frames_dropped" in found.meta) == (rest > 0)


@pytest.mark.parametrize("file", ["zarr2.zarr.zip", "zarr3.zarr.zip"])
def test_stores_of_zarr_itself(file):
    """pusht's layout: images as floating-point numbers from 0 to 255, actions in pixels."""
    pytest.importorskip("numcodecs")
    found = read("auto", GOLDEN / file, ImportOptions(cameras=("img",), image_size=16))
    first = 0
    for end, episode in zip((3, 8, 12), found.episodes, strict=True):
        rows = np.r_[first:end, end - 1]
        np.testing.assert_array_equal(episode.observations["rgb"][:, 0], images(12, 16, 16, 3)[rows])
        np.testing.assert_array_equal(episode.observations["state"], numbers(12, 5)[rows])
        np.testing.assert_array_equal(episode.actions, numbers(12, 2)[rows[:-1]] * 10)
        first = end
    assert found.meta["left_out"].startswith("keypoint (")
    assert [entry.name for entry in found.spec.state_entries] == ["state"]


def store(tmp_path, **changes):
    arrays = {"data/action": numbers(6, 2), "data/state": numbers(6, 3), "meta/episode_ends": np.array([2, 6])}
    return write_zarr(tmp_path / "a.zarr", arrays, **{name.replace("__", "/"): part for name, part in changes.items()})


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"dtype": "|O"}, "holds '|O'; numbers are read"),
        ({"filters": [{"id": "pickle"}]}, "filtered by"),
        ({"filters": [{"id": "json2"}]}, "filtered by"),
        ({"compressor": {"id": "imagecodecs_jpeg2k"}}, "packed by 'imagecodecs_jpeg2k'; blosc, zstd"),
        ({"compressor": {"id": "pickle"}}, "packed by 'pickle'"),
        ({"chunks": [3]}, "do not fit"),
        ({"chunks": [0, 2]}, "do not fit"),
        ({"shape": "abc"}, "sizes must be whole numbers"),
        ({"dtype": "<U4"}, "numbers are read"),
    ],
)
def test_arrays_that_are_not_read_are_named(tmp_path, changes, text):
    with Store(store(tmp_path, data__state=changes)) as opened:
        found, faults = arrays_in(opened)
    assert set(found) == {"data/action", "meta/episode_ends"}
    assert len(faults) == 1
    assert faults[0].startswith("data/state: ")
    assert text in faults[0]


def test_chunks_of_actions_or_images_that_are_not_there_cost_their_episodes(tmp_path):
    arrays = {"data/action": numbers(6, 2), "data/state": numbers(6, 3), "data/img": images(6, 16, 16, 3)}
    root = write_zarr(tmp_path / "a.zarr", arrays | {"meta/episode_ends": np.array([3, 6])})
    options = ImportOptions(cameras=("img",), state=("state",), image_size=16)
    assert len(read("zarr", root, options).episodes) == 2
    (root / "data/state/0.0").unlink()
    found = read("zarr", root, options)
    assert len(found.episodes) == 2
    assert found.meta["not_stored"].startswith("1 of 2 chunks of data/state (data/state/0.0 ...): read as their fill")
    assert not found.episodes[0].observations["state"][:3].any()
    (root / "data/action/1.0").unlink()
    found = read("zarr", root, options)
    assert found.faults == [
        "a.zarr: episode 1 (row 3): 1 of 1 chunks of data/action (data/action/1.0 ...) are not stored. Copy the set "
        "whole, or write empty chunks, too"
    ]
    (root / "data/img/0.0.0.0").unlink()
    with pytest.raises(DemonstrationError, match=r"episode 0 .*chunks of data/img"):
        read("zarr", root, options)


def test_a_linked_folder_of_chunks_and_a_damaged_zip_are_named(tmp_path):
    arrays = {"data/action": numbers(6, 2), "data/state": numbers(6, 3), "meta/episode_ends": np.array([3, 6])}
    root = write_zarr(tmp_path / "a.zarr", arrays, separator="/")
    (root / "data/action/1").rename(tmp_path / "moved")
    (root / "data/action/1").symlink_to(tmp_path / "moved")
    with pytest.raises(DemonstrationError, match=r"data/action/1 is a link to a folder, which is not followed"):
        read("zarr", root)
    plain = write_zarr(tmp_path / "b.zarr", arrays)
    for lost, text in (("meta/episode_ends/0", "is damaged"), ("data/action/.zarray", "data/action: .* is damaged")):
        with zipfile.ZipFile(tmp_path / "c.zarr.zip", "w") as packed:
            for file in sorted(path for path in plain.rglob("*") if path.is_file()):
                packed.write(file, file.relative_to(plain).as_posix())
        content = bytearray((tmp_path / "c.zarr.zip").read_bytes())
        with zipfile.ZipFile(tmp_path / "c.zarr.zip") as packed:
            content[packed.getinfo(lost).header_offset + 30 + len(lost) + 1] ^= 4
        (tmp_path / "c.zarr.zip").write_bytes(content)
        with pytest.raises(DemonstrationError, match=text):
            read("auto", tmp_path / "c.zarr.zip")


def test_an_episode_of_no_rows_is_named_and_the_others_kept(tmp_path):
    arrays = {"data/action": numbers(6, 2), "data/state": numbers(6, 3), "meta/episode_ends": np.array([2, 2, 6])}
    found = read("zarr", write_zarr(tmp_path / "a.zarr", arrays))
    assert [len(episode) for episode in found.episodes] == [2, 4]
    assert len(found.faults) == 1
    assert "episode 1 (row 2)" in found.faults[0]


@pytest.mark.parametrize("ends", [[6, 2], [2, 7], []])
def test_ends_that_fall_are_refused(tmp_path, ends):
    arrays = {"data/action": numbers(6, 2), "data/state": numbers(6, 3), "meta/episode_ends": np.array(ends, np.int64)}
    if not ends:
        arrays["meta/episode_ends"] = np.array([1.5, 6.0])
    with pytest.raises(DemonstrationError, match=r"meta/episode_ends must (never fall|be a list)"):
        read("zarr", write_zarr(tmp_path / "a.zarr", arrays))


def test_a_store_without_what_is_needed_says_what_is_there(tmp_path):
    arrays = {"data/acts": numbers(6, 2), "meta/episode_ends": np.array([6])}
    with pytest.raises(DemonstrationError, match=r"must hold data/action and meta/episode_ends"):
        read("auto", write_zarr(tmp_path / "a.zarr", arrays))
    root = write_zarr(tmp_path / "b.zarr", {**arrays, "data/action": numbers(6, 2), "data/state": numbers(6, 2)})
    with pytest.raises(ConfigError, match=r"unknown camera of b\.zarr 'img'"):
        read("zarr", root, ImportOptions(cameras=("img",)))


def test_floating_images_are_levels_where_any_lies_above_1(tmp_path, monkeypatch):
    monkeypatch.setattr("zoomrl.demos.formats.images._SLICE_BYTES", 1)
    shown = images(6, 16, 16, 3)
    shown[:2] = 1  # nearly black, and no white
    arrays = {"data/action": numbers(6, 2), "data/levels": shown.astype(np.float32), "meta/episode_ends": np.array([6])}
    arrays["data/unit"] = shown.astype(np.float64) / 255
    arrays["data/state"] = numbers(6, 2)
    root = write_zarr(tmp_path / "a.zarr", arrays)
    found = read("zarr", root, ImportOptions(cameras=("levels", "unit"), image_size=16))
    for view in range(2):
        np.testing.assert_array_equal(found.episodes[0].observations["rgb"][:-1, view], shown)
    arrays["data/levels"] = arrays["data/levels"] - 3
    root = write_zarr(tmp_path / "b.zarr", arrays)
    with pytest.raises(DemonstrationError, match="with values from -2 to"):
        read("zarr", root, ImportOptions(cameras=("levels",), image_size=16))
