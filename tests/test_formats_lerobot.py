"""LeRobot v3 data sets: the layout that is written, sets of others in several files, videos, and damage."""

import json
import re
import sys
from dataclasses import replace

import numpy as np
import pytest

from test_formats import make_set
from zoomrl.demos.formats import ImportOptions, read, write
from zoomrl.demos.formats.lerobot import tables as lerobot_tables
from zoomrl.demos.formats.lerobot import video as lerobot_video
from zoomrl.demos.formats.lerobot.stats import episode_stats, joined
from zoomrl.errors import DemonstrationError, MissingDependencyError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

INFO, EPISODES, DATA = "meta/info.json", "meta/episodes/chunk-000/file-000.parquet", "data/chunk-000/file-000.parquet"


def smooth(demos):
    """The set with images as cameras see them: video is made for those, not for noise."""
    rows, columns = np.mgrid[:32, :24]
    episodes = []
    for number, episode in enumerate(demos.episodes):
        steps = len(episode) + 1
        rgb = np.zeros((steps, len(demos.spec.cameras), 32, 24, 3), np.uint8)
        for step, view in np.ndindex(rgb.shape[:2]):
            rgb[step, view, ..., 0] = 4 * rows + 6 * step
            rgb[step, view, ..., 1] = 5 * columns + 40 * view
            rgb[step, view, ..., 2] = (60 * number + 9 * step) % 256
        episodes.append(replace(episode, observations=dict(episode.observations) | {"rgb": rgb}))
    return replace(demos, episodes=episodes)


# ---- what is written --------------------------------------------------------------------------------------------


def test_the_layout_is_that_of_version_3(tmp_path):
    demos = make_set()
    write("lerobot", tmp_path / "set", demos)
    files = {str(f.relative_to(tmp_path / "set")) for f in (tmp_path / "set").rglob("*") if f.is_file()}
    own = {"meta/zoomrl.json", "meta/zoomrl.parquet"}
    assert files == {INFO, EPISODES, DATA, "meta/stats.json", "meta/tasks.parquet"} | own
    info = json.loads((tmp_path / "set" / INFO).read_text())
    assert (info["codebase_version"], info["fps"], info["total_frames"]) == ("v3.0", 12, 16)
    assert info["data_path"] == "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
    table = pq.read_table(tmp_path / "set" / DATA)
    # Strict readers cast the table to exactly these features.
    assert set(table.column_names) == set(info["features"])
    assert table.schema.field("action").type == pa.list_(pa.float32(), 2)
    assert table.schema.field("next.reward").type == pa.float32()
    assert table["index"].to_pylist() == list(range(16))
    assert table["frame_index"].to_pylist() == [*range(4), *range(7), *range(5)]
    np.testing.assert_allclose(table["timestamp"].to_numpy()[:4], np.arange(4) / 12, rtol=1e-6)
    actions = np.concatenate([episode.actions for episode in demos.episodes])
    assert table["action"].to_pylist() == actions.tolist()
    rows = pq.read_table(tmp_path / "set" / EPISODES).to_pylist()
    assert [(r["dataset_from_index"], r["dataset_to_index"]) for r in rows] == [(0, 4), (4, 11), (11, 16)]
    assert rows[0]["tasks"] == ["fake:reach"]
    tasks = pq.read_table(tmp_path / "set" / "meta/tasks.parquet")
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["__index_level_0__"]
    assert tasks.to_pylist() == [{"task_index": 0, "__index_level_0__": "fake:reach"}]


def test_statistics_are_those_of_the_whole(tmp_path):
    demos = make_set()
    write("lerobot", tmp_path / "set", demos)
    stats = json.loads((tmp_path / "set" / "meta/stats.json").read_text())
    actions = np.concatenate([episode.actions for episode in demos.episodes]).astype(np.float64)
    for name, value in (("mean", actions.mean(0)), ("std", actions.std(0)), ("min", actions.min(0))):
        np.testing.assert_allclose(stats["action"][name], value, rtol=1e-6)
    assert stats["action"]["count"] == [16]
    images = np.concatenate([episode.observations["rgb"][:-1, 0] for episode in demos.episodes]) / 255
    np.testing.assert_allclose(np.ravel(stats["observation.images.front"]["mean"]), images.mean((0, 1, 2)))
    assert np.shape(stats["observation.images.front"]["std"]) == (3, 1, 1)
    one = joined([episode_stats(actions)])
    np.testing.assert_allclose(one["q90"], np.quantile(actions, 0.9, axis=0))


def test_many_files_and_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(lerobot_tables, "FILE_BYTES", 0)
    monkeypatch.setattr(lerobot_video, "FILE_BYTES", -1)
    for module in (lerobot_tables.layout, lerobot_video):
        monkeypatch.setattr(module, "FILES_PER_CHUNK", 2)
    demos = smooth(make_set((3, 4, 5, 2, 6)))
    write("lerobot", tmp_path / "set", demos, video=True)
    assert len(list((tmp_path / "set" / "data").glob("chunk-00[012]/*.parquet"))) == 5
    assert len(list((tmp_path / "set" / "videos/observation.images.wrist").glob("chunk-*/*.mp4"))) == 5
    found = read("lerobot", tmp_path / "set")
    assert found.faults == []
    for before, after in zip(demos.episodes, found.episodes, strict=True):
        np.testing.assert_array_equal(before.actions, after.actions)
        assert np.abs(before.observations["rgb"].astype(int) - after.observations["rgb"]).max() < 16


# ---- videos -----------------------------------------------------------------------------------------------------


def test_video_is_close_and_in_step(tmp_path):
    pytest.importorskip("av")
    demos = smooth(make_set((9, 5, 7)))
    write("lerobot", tmp_path / "set", demos, video=True)
    assert len(list((tmp_path / "set" / "videos").rglob("*.mp4"))) == 2
    assert json.loads((tmp_path / "set" / INFO).read_text())["features"]["observation.images.front"]["dtype"] == "video"
    found = read("lerobot", tmp_path / "set", ImportOptions(cameras=("wrist", "front")))
    for before, after in zip(demos.episodes, found.episodes, strict=True):
        error = np.abs(before.observations["rgb"][:, ::-1].astype(int) - after.observations["rgb"])
        # An image one step off differs by 9 in blue everywhere.
        assert error.mean() < 2
        assert error.max() < 16
        np.testing.assert_array_equal(before.observations["state"], after.observations["state"])


def test_a_damaged_video_spares_the_episodes_before(tmp_path):
    pytest.importorskip("av")
    write("lerobot", tmp_path / "set", smooth(make_set((20, 20, 20), views=("front",))), video=True)
    file = next((tmp_path / "set" / "videos").rglob("*.mp4"))
    whole = file.read_bytes()
    start = whole.index(b"mdat")
    for fraction in (0.9, 0.6):
        garbled = bytearray(whole)
        end = whole.index(b"moov") - 4
        place = start + int((end - start) * fraction)
        garbled[place:end] = bytes(end - place)
        file.write_bytes(garbled)
        found = read("lerobot", tmp_path / "set")
        assert 1 <= len(found.episodes) <= 2
        assert all(re.match(r"data/.*: episode [12]: videos/observation.images.front/", f) for f in found.faults)
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DemonstrationError, match=r"(?s)episode 0: videos/.*file-000\.mp4.*episode 2: videos"):
        read("lerobot", tmp_path / "set")


# ---- sets of others ---------------------------------------------------------------------------------------------


def foreign(root, lengths=(4, 6), *, columns=("next.success",), **info):
    """A set as another program writes it: plain lists, one file per episode, images by path."""
    from PIL import Image

    rng = np.random.default_rng(0)
    kinds = {"observation.state": [2], "observation.force": [1], "action": [2]}
    features = {key: {"dtype": "float32", "shape": shape, "names": None} for key, shape in kinds.items()}
    features["observation.images.top"] = {
        "dtype": "image",
        "shape": [4, 4, 3],
        "names": ["height", "width", "channels"],
    }
    arrays = []
    rows = []
    for number, steps in enumerate(lengths):
        made = {key: rng.normal(size=(steps, shape[0])).astype(np.float32) for key, shape in kinds.items()}
        made["top"] = rng.integers(0, 256, (steps, 4, 4, 3), np.uint8)
        arrays.append(made)
        cells = []
        for step, image in enumerate(made["top"]):
            file = root / f"images/{number}-{step}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(file)
            cells.append({"bytes": file.read_bytes(), "path": None} if step % 2 else {"bytes": None, "path": str(file)})
        data = {key: list(made[key]) for key in kinds} | {"observation.images.top": cells}
        data["observation.force"] = made["observation.force"].ravel()
        data |= {"frame_index": range(steps), "episode_index": [number] * steps}
        extra = {"next.success": False, "next.done": True, "next.reward": 0.3}
        data |= {name: [False if name != "next.reward" else 0.1] * (steps - 1) + [extra[name]] for name in columns}
        path = root / f"data/chunk-000/file-{number:03d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({name: list(column) for name, column in data.items()}), path)
        place = {"data/chunk_index": 0, "data/file_index": number}
        rows.append({"episode_index": number, "tasks": ["push"], "length": steps, **place})
    scalars = {name: {"dtype": "float32", "shape": [1], "names": None} for name in (*columns, "frame_index")}
    content = {"codebase_version": "v3.0", "fps": 10, "total_episodes": len(lengths), "features": features | scalars}
    content |= {"data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet", "video_path": None} | info
    (root / EPISODES).parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), root / EPISODES)
    (root / INFO).write_text(json.dumps(content))
    return arrays


def test_a_set_of_another_program(tmp_path):
    arrays = foreign(tmp_path / "push", columns=("next.success", "next.done"))
    options = ImportOptions(cameras=("top",), image_size=4, state=("observation.force", "observation.state"))
    found = read("auto", tmp_path / "push", options)
    assert (found.faults, found.spec.id, found.spec.control_hz) == ([], "lerobot:push", 10.0)
    assert found.meta["last_observation"] == "repeated"
    assert found.meta["rewards"].startswith("derived")
    for made, episode in zip(arrays, found.episodes, strict=True):
        expected = np.concatenate([made["observation.force"], made["observation.state"]], 1)
        np.testing.assert_array_equal(episode.observations["state"], np.concatenate([expected, expected[-1:]]))
        np.testing.assert_array_equal(episode.observations["rgb"][:-1, 0], made["top"])
        np.testing.assert_array_equal(episode.actions, made["action"])
        assert (episode.success, episode.is_demo, episode.terminated, episode.truncated) == (False, False, False, True)
        assert episode.meta["tasks"] == ["push"]
    np.testing.assert_array_equal(
        read("lerobot", tmp_path / "push").episodes[1].observations["state"][:-1], arrays[1]["observation.state"]
    )


def test_success_is_assumed_where_nothing_tells_it(tmp_path):
    foreign(tmp_path / "push", columns=("next.reward", "next.done"))
    found = read("lerobot", tmp_path / "push")
    assert found.meta["success"].startswith("assumed for 2 of 2 episodes")
    # `next.done` marks the end of a recording, too.
    assert [(e.success, e.is_demo, e.terminated) for e in found.episodes] == [(True, True, False)] * 2
    assert found.episodes[0].rewards.tolist() == pytest.approx([0.1, 0.1, 0.1, 0.3])


def test_faults_of_a_foreign_set_are_named(tmp_path):
    foreign(tmp_path / "push", (4, 6, 3), total_episodes=4)
    file = tmp_path / "push/data/chunk-000/file-001.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    short = tmp_path / "push/data/chunk-000/file-002.parquet"
    pq.write_table(pq.read_table(short).slice(0, 2), short)
    found = read("lerobot", tmp_path / "push")
    assert len(found.episodes) == 1
    assert "1 of 4 episodes are not in the table" in found.faults[0]
    assert found.faults[1].startswith("data/chunk-000/file-001.parquet: episode 1: ")
    assert "file-002.parquet: episode 2: it holds 2 frames of the 3 promised" in found.faults[2]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"codebase_version": "v1.6"}, "its version is v1.6; v2.0, v2.1 and v3 are read"),
        ({"features": {}}, "no column called action, actions or action.*; name the columns of actions with --action"),
        ({"fps": None}, "float"),
        ({"data_path": "data/{where}"}, "where"),
    ],
)
def test_unusable_sets_are_refused(tmp_path, change, text):
    foreign(tmp_path / "push", **change)
    with pytest.raises(DemonstrationError, match=re.escape(text)):
        read("lerobot", tmp_path / "push")


def test_one_damaged_episode_of_a_file_spares_the_others(tmp_path):
    write("lerobot", tmp_path / "set", make_set((30, 30, 30), views=()))
    file = tmp_path / "set" / DATA
    group = pq.ParquetFile(file).metadata.row_group(1).column(0)
    content = bytearray(file.read_bytes())
    content[group.data_page_offset + group.total_compressed_size - 4] ^= 0xFF
    file.write_bytes(content)
    found = read("lerobot", tmp_path / "set")
    assert [e.seed for e in found.episodes] == [0, 2]
    assert [line[: len(DATA) + 11] for line in found.faults] == [f"{DATA}: episode 1"]


def test_without_our_files_the_set_is_read_as_that_of_others(tmp_path):
    demos = make_set((4, 3))
    write("lerobot", tmp_path / "set", demos)
    (tmp_path / "set/meta/zoomrl.json").unlink()
    found = read("lerobot", tmp_path / "set", ImportOptions(cameras=("front",), image_size=32))
    assert (found.faults, found.meta["last_observation"], found.spec.control_hz) == ([], "repeated", 12.0)
    state = demos.episodes[0].observations["state"]
    np.testing.assert_array_equal(found.episodes[0].observations["state"], state[[0, 1, 2, 3, 3]])


def test_each_of_our_files_may_be_damaged_alone(tmp_path):
    demos = make_set((4, 3))
    write("lerobot", tmp_path / "set", demos)
    rows = tmp_path / "set/meta/zoomrl.parquet"
    whole = rows.read_bytes()
    rows.write_bytes(whole[:-9])
    found = read("lerobot", tmp_path / "set")
    assert [line.partition(":")[0] for line in found.faults] == ["meta/zoomrl.parquet"]
    assert (found.spec, found.meta["last_observation"]) == (demos.spec, "repeated")
    np.testing.assert_array_equal(found.episodes[1].actions, demos.episodes[1].actions)
    rows.write_bytes(whole)
    (tmp_path / "set/meta/zoomrl.json").write_text("{")
    found = read("lerobot", tmp_path / "set")
    assert [line.partition(":")[0] for line in found.faults] == ["meta/zoomrl.json"]
    np.testing.assert_array_equal(found.episodes[1].observations["state"], demos.episodes[1].observations["state"])
    assert "derived" in found.meta["action_bounds"]


@pytest.mark.parametrize("module", ["pyarrow", "av"])
def test_missing_packages_are_named(tmp_path, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None if module == "pyarrow" else pq)
    with pytest.raises(MissingDependencyError, match=rf"'{module}' is not installed.*zoomrl\[lerobot\]"):
        write("lerobot", tmp_path / "set", make_set(), video=True)
    assert list(tmp_path.iterdir()) == []


def test_frames_are_made_smaller_one_at_a_time(tmp_path, monkeypatch):
    pytest.importorskip("av")
    demos = smooth(make_set())
    write("lerobot", tmp_path / "set", demos, video=True)
    video = next((tmp_path / "set").glob("videos/**/*.mp4"))
    seen = []

    def sized(images):
        seen.append(images.shape)
        return images[:, :2, :3]

    lerobot_video.read_frames(video, 0.0, 12, sized, np.empty((4, 2, 3, 3), np.uint8))
    assert seen == [(1, 32, 24, 3)] * 4
    monkeypatch.setattr(lerobot_video, "MAX_VIDEO_PIXELS", 32 * 24 - 1)
    with pytest.raises(ValueError, match="frames of 24 x 32 are too large"):
        lerobot_video.read_frames(video, 0.0, 12, sized, np.empty((4, 2, 3, 3), np.uint8))


def test_decoded_frames_are_held_against_the_file(tmp_path, monkeypatch):
    pytest.importorskip("av")
    demos = smooth(make_set())
    write("lerobot", tmp_path / "set", demos, video=True)
    (tmp_path / "set" / "meta/zoomrl.json").unlink()
    monkeypatch.setattr("zoomrl.demos.store.limits.FREE", 0)
    with pytest.raises(DemonstrationError, match="its images declares"):
        read("lerobot", tmp_path / "set", ImportOptions(cameras=demos.spec.cameras, image_size=2000))


@pytest.mark.parametrize("format", ["lerobot", "npz"])
def test_what_is_exported_holds_no_infinity(tmp_path, format):
    demos = make_set()
    episodes = [replace(episode, meta={"horizon": np.inf}) for episode in demos.episodes]
    write(format, tmp_path / "set", replace(demos, episodes=episodes, meta={"horizon": np.nan}))
    found = read(format, tmp_path / "set")
    assert not found.faults
    assert found.meta["recorded"] == {"horizon": None}
    assert found.episodes[0].meta["horizon"] is None


@pytest.mark.parametrize("rate", ["inf", "nan", 0])
def test_a_rate_that_is_none_is_refused(tmp_path, rate):
    foreign(tmp_path / "set", fps=rate)
    with pytest.raises(DemonstrationError, match="frames per second in fps"):
        read("lerobot", tmp_path / "set")


def test_lists_of_several_lengths_are_not_joined(tmp_path):
    foreign(tmp_path / "push")
    file = tmp_path / "push/data/chunk-000/file-001.parquet"
    table = pq.read_table(file)
    rows = table["action"].to_pylist()
    rows[2:4] = [[0.5], [0.1, 0.2, 0.3]]
    index = table.column_names.index("action")
    pq.write_table(table.set_column(index, "action", pa.array(rows, pa.list_(pa.float32()))), file)
    found = read("lerobot", tmp_path / "push")
    assert len(found.episodes) == 1
    assert "its lists have 1 to 3 entries" in found.faults[0]


def test_names_of_dimensions_may_be_an_object_without_any(tmp_path):
    features = {"observation.state": {"dtype": "float32", "shape": [2], "names": {"motors": None}}}
    foreign(tmp_path / "push")
    info = json.loads((tmp_path / "push" / INFO).read_text())
    info["features"] |= features
    (tmp_path / "push" / INFO).write_text(json.dumps(info))
    assert len(read("lerobot", tmp_path / "push").episodes) == 2
