"""LeRobot v2.0 and v2.1: golden sets of its own writers, free names of columns, tasks, splits, and what is refused."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import weakref
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from test_demos_store import assert_same
from test_formats import make_set
from test_formats_lerobot import smooth
from zoomrl.cli.main import main
from zoomrl.demos.formats import ImportOptions, read, write
from zoomrl.demos.formats.lerobot import columns
from zoomrl.demos.formats.lerobot import video as lerobot_video
from zoomrl.demos.formats.lerobot.info import Feature
from zoomrl.demos.formats.lerobot.tasks import TaskTable, frames_of, read_tasks, runs_of
from zoomrl.demos.store.reader import DemoSet, read_demos
from zoomrl.demos.store.writer import write_demos
from zoomrl.errors import ConfigError, DemonstrationError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

GOLDEN = Path(__file__).parent / "data/formats"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 123456\n"


def vectors(episode, steps, width, scale):
    """As in the scripts that made the golden sets."""
    grid = np.arange(steps * width, dtype=np.float32).reshape(steps, width)
    return (np.float32(scale) * np.sin(grid + episode)).astype(np.float32)


def images(episode, steps, height, width):
    """As in the scripts that made the golden sets."""
    rows, columns, step = np.meshgrid(np.arange(height), np.arange(width), np.arange(steps), indexing="ij")
    planes = (3 * rows + 8 * step, 2 * columns + 30 * episode, rows + columns + 5 * step)
    return np.stack(planes, -1).transpose(2, 0, 1, 3).astype(np.uint8)


def decoded(file):
    """What the decoder makes of a video: [T, H, W, 3]."""
    av = pytest.importorskip("av")
    with av.open(str(file)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


# ---- golden sets ------------------------------------------------------------------------------------------------


def test_a_set_that_lerobot_wrote_in_version_2_1():
    root = GOLDEN / "lerobot_v21"
    # `observation.image` and `observation.images.wrist`, by their last parts.
    small = read("auto", root, ImportOptions(cameras=("image",), image_size=16))
    large = read("lerobot", root, ImportOptions(cameras=("observation.images.wrist",), image_size=64))
    assert (small.faults, large.faults) == ([], [])
    assert (small.spec.cameras, large.spec.cameras, small.spec.control_hz) == (("image",), ("wrist",), 10.0)
    assert small.meta["cameras_left_out"] == "wrist (--cameras names what to take)"
    assert [(e.name, e.size) for e in small.spec.state_entries] == [
        ("observation.state[x]", 1),
        ("observation.state[y]", 1),
        ("observation.environment_state", 3),
    ]
    for number, (one, other, steps) in enumerate(zip(small.episodes, large.episodes, (5, 4, 6), strict=True)):
        state = np.concatenate([vectors(number, steps, 2, 1), vectors(number, steps, 3, 2)], axis=1)
        np.testing.assert_array_equal(one.observations["state"], state[[*range(steps), -1]])
        np.testing.assert_array_equal(one.observations["rgb"][:-1, 0], images(number, steps, 16, 16))
        np.testing.assert_array_equal(one.actions, vectors(number, steps, 2, 3))
        np.testing.assert_array_equal(one.rewards, np.eye(steps)[-1])
        assert (one.success, one.terminated) == (True, True)
        file = root / f"videos/chunk-000/observation.images.wrist/episode_{number:06d}.mp4"
        np.testing.assert_array_equal(other.observations["rgb"][:-1, 0], decoded(file))
        assert np.abs(decoded(file).astype(int) - images(number, steps, 64, 64)).mean() < 8, "the right video"
    assert [episode.meta for episode in small.episodes] == [
        {"episode": 0, "tasks": ["push"]},
        {"episode": 1, "tasks": ["push", "lift"], "task_index": [[0, 1], [1, 3]]},
        {"episode": 2, "tasks": ["lift"]},
    ]


def test_a_set_that_lerobot_wrote_in_version_2_0():
    """Its columns are called as openpi calls them: actions, state, image, wrist_image."""
    root = GOLDEN / "lerobot_v20"
    small = read("lerobot", root, ImportOptions(cameras=("wrist_image",), image_size=16))
    large = read("lerobot", root, ImportOptions(cameras=("image",), image_size=64))
    assert (small.faults, large.faults) == ([], [])
    assert small.meta["actions"] == "actions (--action names others)"
    assert (small.spec.control_hz, small.spec.cameras) == (20.0, ("wrist_image",))
    for number, (one, other, steps) in enumerate(zip(small.episodes, large.episodes, (4, 6), strict=True)):
        state = vectors(number, steps, 4, 1)
        np.testing.assert_array_equal(one.observations["state"], state[[*range(steps), -1]])
        np.testing.assert_array_equal(one.observations["rgb"][:-1, 0], images(number, steps, 16, 16))
        np.testing.assert_array_equal(one.actions, vectors(number, steps, 3, 3))
        file = root / f"videos/chunk-000/image/episode_{number:06d}.mp4"
        np.testing.assert_array_equal(other.observations["rgb"][:-1, 0], decoded(file))
    assert [episode.meta["tasks"] for episode in small.episodes] == [["put the cup away"], ["open the drawer"]]


@pytest.mark.parametrize(("version", "cameras"), [("v21", ("image",)), ("v20", ("wrist_image",))])
def test_from_version_2_to_3_and_back_all_is_kept(tmp_path, version, cameras):
    found = read("lerobot", GOLDEN / f"lerobot_{version}", ImportOptions(cameras=cameras, image_size=16))
    write_demos(tmp_path / "ours", found.episodes, found.spec, meta=found.meta)
    ours = read_demos(tmp_path / "ours")
    assert not write("lerobot", tmp_path / "three", ours)
    assert json.loads((tmp_path / "three/meta/info.json").read_text())["codebase_version"] == "v3.0"
    again = read("lerobot", tmp_path / "three")
    assert (again.faults, again.spec) == ([], found.spec)
    for before, after in zip(found.episodes, again.episodes, strict=True):
        assert_same(before, after)
    # And as any program sees it: without our files the tasks are there, frame by frame.
    for name in ("zoomrl.json", "zoomrl.parquet"):
        (tmp_path / "three/meta" / name).unlink()
    bare = read("lerobot", tmp_path / "three")
    assert bare.spec.control_hz == found.spec.control_hz
    for before, after in zip(found.episodes, bare.episodes, strict=True):
        assert {**before.meta, "success": 0} == {**after.meta, "success": 0}


# ---- names of columns -------------------------------------------------------------------------------------------


def features(**shapes):
    """name with __ for dots -> shape of a float32 column, or its type."""
    return {
        name.replace("__", "."): Feature(shape if isinstance(shape, str) else "float32", (4, 4, 3), None)
        if isinstance(shape, str)
        else Feature("float32", (shape,), None)
        for name, shape in shapes.items()
    }


@pytest.mark.parametrize(
    ("there", "asked", "found"),
    [
        (features(action=2, actions=3), (), ["action"]),
        (features(actions=3, action__arm=2), (), ["actions"]),
        (features(action__gripper=1, action__arm=6, actionless=2), (), ["action.gripper", "action.arm"]),
        (features(action=2, action__arm=6, action__gripper=1), ("action.arm", "action.gripper"), None),
        (features(command=2), ("command",), ["command"]),
    ],
)
def test_columns_of_actions(there, asked, found):
    assert columns.actions(there, asked, "it") == (found or list(asked))


def test_without_a_column_of_actions_what_there_is_is_listed():
    with pytest.raises(DemonstrationError, match=r"it has no column called action, .*--action. There are: command$"):
        columns.actions(features(command=2, timestamp=1), (), "it")
    with pytest.raises(ConfigError, match=r"unknown column of numbers of it 'comand'\. Did you mean command"):
        columns.actions(features(command=2), ("comand",), "it")


@pytest.mark.parametrize(
    ("there", "default"),
    [
        (features(observation__state=2, observation__environment_state=1, state=2), [0, 1]),
        (features(state=2, observation__a=2), [0]),
        (features(observation__b=2, observation__a=2, other=1), [1, 0]),
        (features(joint_position=2), []),
    ],
)
def test_columns_of_states(there, default):
    names = list(there)
    known, found, seen = columns.states(there | features(action=2, timestamp=1), ["action"])
    assert found == [names[place] for place in default]
    assert seen == sorted(names)
    assert set(known) == {*names, "action", "timestamp"}


def test_without_anything_to_observe_what_there_is_is_listed(tmp_path):
    two(tmp_path / "set", columns={"action": 2, "joint_position": 3, "gripper_position": 1})
    with pytest.raises(ConfigError, match=r"entries with --state \(gripper_position, joint_position\)$"):
        read("lerobot", tmp_path / "set")
    found = read("lerobot", tmp_path / "set", ImportOptions(state=("joint_position", "gripper_position")))
    assert found.spec.state_dim == 4


def test_cameras_go_by_their_columns_or_their_last_parts():
    there = features(observation__images__a__left="video", wrist_image="image", observation__image="video", state=2)
    known = columns.cameras(there)
    assert known == {"a.left": "observation.images.a.left", "wrist_image": "wrist_image", "image": "observation.image"}
    asked = ("left", "observation.image", "wrist_image", "a.left", "lft")
    assert columns.camera_names(asked, known) == ("a.left", "image", "wrist_image", "a.left", "lft")
    twice = columns.cameras(features(observation__images__top="video", rear__top="image", top="image"))
    assert list(twice) == list(twice.values()), "none has a name of its own"
    assert columns.camera_names(("top",), twice) == ("top",), "the name of a column in full"
    both = columns.cameras(features(observation__images__top="video", rear__top="image"))
    with pytest.raises(ConfigError, match=r"'top' may be observation\.images\.top or rear\.top; name one of them"):
        columns.camera_names(("top",), both)


@given(
    names=st.lists(st.sampled_from(["arm", "hand", "base", "head", "x.y"]), min_size=2, max_size=4, unique=True),
    widths=st.lists(st.integers(1, 3), min_size=4, max_size=4),
    asked=st.randoms(use_true_random=False),
)
@settings(max_examples=15)
def test_columns_are_joined_in_the_order_of_the_file_or_as_asked(tmp_path_factory, names, widths, asked):
    root = tmp_path_factory.mktemp("set") / "set"
    sizes = {f"action.{name}": width for name, width in zip(names, widths, strict=False)}
    made = two(root, columns={**sizes, "observation.state": 2})
    order = list(sizes)
    whole = np.concatenate([made[0][name] for name in order], axis=1)
    usual = read("lerobot", root)
    np.testing.assert_array_equal(usual.episodes[0].actions, whole)
    assert usual.meta["actions"] == f"{', '.join(order)} in this order (--action names others)"
    asked.shuffle(order)
    found = read("lerobot", root, ImportOptions(action=tuple(order[:-1])))
    np.testing.assert_array_equal(
        found.episodes[0].actions, np.concatenate([made[0][name] for name in order[:-1]], axis=1)
    )
    assert found.meta["left_out"].startswith(order[-1]), "what is not taken is said"


def test_what_cannot_be_read_is_said(tmp_path):
    two(tmp_path / "set", features={"language": {"dtype": "string", "shape": [1], "names": None}})
    found = read("lerobot", tmp_path / "set")
    assert found.meta["not_read"] == "language string[1]"


def test_arrays_of_more_axes_become_vectors_when_asked_for(tmp_path):
    made = two(tmp_path / "set", columns={"action": 2, "observation.state": 2, "pose": (2, 2)})
    found = read("lerobot", tmp_path / "set", ImportOptions(state=("pose",)))
    np.testing.assert_array_equal(found.episodes[0].observations["state"][:-1], made[0]["pose"].reshape(-1, 4))


# ---- sets of version 2 as other programs write them ----------------------------------------------------------------


def two(root, lengths=(3, 4), *, columns=None, tasks=None, indices=None, features=None, texts=("push", "lift"), **info):
    """A set of version 2.1; ``tasks``: of each row, None leaves the column out; ``indices``: of each frame."""
    columns = columns or {"action": 2, "observation.state": 2}
    rng = np.random.default_rng(0)
    made, rows = [], []
    for number, steps in enumerate(lengths):
        arrays = {name: rng.normal(size=(steps, *np.atleast_1d(width))) for name, width in columns.items()}
        made.append({name: array.astype(np.float32) for name, array in arrays.items()})
        data = {name: array.tolist() for name, array in made[-1].items()}
        data |= {"frame_index": list(range(steps)), "episode_index": [number] * steps}
        data["task_index"] = list(indices[number]) if indices else [0] * steps
        path = root / f"data/chunk-{number // 2:03d}/episode_{number:06d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        kinds = {name: pa.float32() for name in columns}
        typed = {
            name: pa.array(cells, _nested(kinds[name], np.ndim(cells) - 1) if name in kinds else None)
            for name, cells in data.items()
        }
        pq.write_table(pa.table(typed), path)
        row = {"episode_index": number, "length": steps}
        rows.append(row | ({} if tasks == () else {"tasks": tasks[number] if tasks else ["push"]}))
    declared = {
        n: {"dtype": "float32", "shape": [*np.atleast_1d(w).tolist()], "names": None} for n, w in columns.items()
    }
    declared |= {name: {"dtype": "int64", "shape": [1], "names": None} for name in ("frame_index", "task_index")}
    content = {"codebase_version": "v2.1", "fps": 12.5, "total_episodes": len(lengths), "chunks_size": 2}
    content |= {
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": None,
        "splits": {"train": f"0:{len(lengths)}"},
        "features": declared | (features or {}),
    } | info
    (root / "meta").mkdir(parents=True, exist_ok=True)
    (root / "meta/info.json").write_text(json.dumps(content))
    lines(root / "meta/episodes.jsonl", rows)
    lines(root / "meta/tasks.jsonl", [{"task_index": n, "task": text} for n, text in enumerate(texts)])
    return made


def _nested(kind, depth):
    return _nested(pa.list_(kind), depth - 1) if depth else kind


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_chunks_and_a_rate_that_is_no_whole_number(tmp_path):
    made = two(tmp_path / "set", (3, 4, 2, 5, 3))
    assert len(list((tmp_path / "set/data").iterdir())) == 3
    found = read("lerobot", tmp_path / "set")
    assert (found.faults, found.spec.control_hz) == ([], 12.5)
    for arrays, episode in zip(made, found.episodes, strict=True):
        np.testing.assert_array_equal(episode.actions, arrays["action"])


def test_damage_is_named_line_by_line_and_file_by_file(tmp_path):
    root = tmp_path / "set"
    two(root, (3, 4, 2, 5))
    whole = (root / "meta/episodes.jsonl").read_text().splitlines()
    (root / "meta/episodes.jsonl").write_text("\n".join([whole[0], "{broken", whole[2], whole[2], "{}", whole[3]]))
    (root / "meta/tasks.jsonl").write_text("[]\n")
    (root / "data/chunk-001/episode_000003.parquet").write_text(POINTER)
    found = read("lerobot", root)
    assert [episode.meta["episode"] for episode in found.episodes] == [0, 2]
    for line in (
        r"meta/episodes\.jsonl: line 2: line 2 is damaged",
        r"meta/episodes\.jsonl: line 5: KeyError: 'episode_index'",
        r"meta/tasks\.jsonl: line 1: line 1 must hold a JSON object",
        r"1 episode listed twice: the last counts",
        r"data/chunk-001/episode_000003\.parquet: episode 3: .*pointer of Git LFS.*run `git lfs pull`",
    ):
        assert any(re.match(line, fault) for fault in found.faults), (line, found.faults)


def test_pointers_of_git_lfs_say_what_fetches_the_files(tmp_path):
    for name, camera in (("lerobot_v21", "wrist"), ("lerobot_v20", "image")):
        root = tmp_path / name
        shutil.copytree(GOLDEN / name, root)
        for file in root.rglob("*.mp4"):
            file.write_text(POINTER)
        assert not read("lerobot", root).faults, "the videos are not needed"
        with pytest.raises(DemonstrationError, match=r"episode_000000\.mp4 is a pointer of Git LFS.*git lfs pull"):
            read("lerobot", root, ImportOptions(cameras=(camera,)))
    for file in ("meta/info.json", "meta/episodes.jsonl"):
        whole = (root / file).read_bytes()
        (root / file).write_text(POINTER)
        with pytest.raises(DemonstrationError, match="git lfs pull"):
            read("lerobot", root)
        (root / file).write_bytes(whole)
    write("lerobot", tmp_path / "three", make_set())
    for file in (tmp_path / "three").rglob("*.parquet"):
        file.write_text(POINTER)
    with pytest.raises(DemonstrationError, match=r"meta/episodes/.*git lfs pull"):
        read("lerobot", tmp_path / "three")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"codebase_version": "v1.6"}, "its version is v1.6; v2.0, v2.1 and v3 are read. LeRobot 0.3.3 has"),
        ({"codebase_version": "v4.0"}, "its version is v4.0; v2.0, v2.1 and v3 are read"),
        ({"codebase_version": None}, "its version is None"),
        ({"chunks_size": -1}, "chunks_size of 1 or more"),
        ({"fps": 0}, "frames per second in fps"),
        ({"data_path": "data/{chunk_index}"}, "episode_chunk, episode_index in braces"),
        ({"data_path": "../{episode_index}.parquet"}, "it names ../0.parquet, outside the data set"),
        ({"data_path": "data/{episode_index:9d}.parquet"}, "no episode of"),
        ({"features": {"action": {"dtype": "float32"}}}, "KeyError: 'shape'"),
    ],
)
def test_unusable_sets_are_refused(tmp_path, change, text):
    two(tmp_path / "set", **{key: value for key, value in change.items() if key != "features"})
    if "features" in change:
        info = tmp_path / "set/meta/info.json"
        info.write_text(json.dumps(json.loads(info.read_text()) | change))
    with pytest.raises(DemonstrationError, match=re.escape(text)):
        read("lerobot", tmp_path / "set")


def test_sets_before_version_2_are_told_by_their_folder(tmp_path):
    (tmp_path / "meta_data").mkdir()
    (tmp_path / "meta_data/info.json").write_text('{"fps": 10, "video": true, "codebase_version": "v1.6"}')
    with pytest.raises(DemonstrationError, match=r"older than v2\.0.*lerobot\.datasets\.v2\.convert_dataset_v1_to_v2"):
        read("lerobot", tmp_path)


@pytest.mark.parametrize("row", [{"episode_index": -1}, {"episode_index": 10**30}, {"length": "x"}, {"length": 10**12}])
def test_numbers_that_no_episode_can_have_are_refused(tmp_path, row):
    two(tmp_path / "set")
    rows = [{"episode_index": 0, "length": 3} | row, {"episode_index": 1, "length": 4}]
    lines(tmp_path / "set/meta/episodes.jsonl", rows)
    found = read("lerobot", tmp_path / "set")
    assert len(found.episodes) == 1
    assert any(fault.startswith("meta/episodes.jsonl: line 1: ") for fault in found.faults)


def test_lists_are_read_within_limits(tmp_path, monkeypatch):
    root = tmp_path / "set"
    two(root)
    (root / "meta/episodes.jsonl").write_text("{}\n" * 50)
    with pytest.raises(DemonstrationError, match=r"line 20: KeyError: 'episode_index'\n.*30 more lines like these"):
        read("lerobot", root)
    rows = [{"episode_index": n, "length": 3 + n, "extra": [[]] * 10_000 * n} for n in range(2)]
    lines(root / "meta/episodes.jsonl", rows)
    assert "line 2: it holds more than 10,000 objects and arrays" in read("lerobot", root).faults[0]
    monkeypatch.setattr("zoomrl.demos.formats.lerobot.jsonl.MAX_JSON_PARTS", 49)
    with pytest.raises(DemonstrationError, match="more than 49 lines, objects and arrays"):
        read("lerobot", root)
    (tmp_path / "outside").write_text('{"episode_index": 0, "length": 3}\n')
    (root / "meta/episodes.jsonl").unlink()
    (root / "meta/episodes.jsonl").symlink_to(tmp_path / "outside")
    with pytest.raises(DemonstrationError, match="a link to a file outside"):
        read("lerobot", root)


# ---- tasks ------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30))
def test_runs_and_back(indices):
    runs = runs_of(np.array(indices))
    assert all(one[0] != other[0] for one, other in itertools.pairwise(runs))
    np.testing.assert_array_equal(frames_of(json.loads(json.dumps(runs)), len(indices), 4), indices)


@pytest.mark.parametrize(
    "runs", [None, 3, "ab", [[0, 4]], [[0, 2]], [[0, 5], [0, -1]], [[2, 3]], [[0, 1, 2]], [[0, 1.5]], [[True, 3]]]
)
def test_runs_that_do_not_fit_are_none(runs):
    assert frames_of(runs, 3, 2) is None


@given(st.data())
def test_tasks_out_and_in_again(data):
    """Of any texts and frames, what the tables hold gives back the texts and the runs."""
    every = data.draw(st.lists(st.text(max_size=3), min_size=1, max_size=4, unique=True))
    table, rows = TaskTable(), []
    for _ in range(data.draw(st.integers(1, 3))):
        tasks = data.draw(st.lists(st.sampled_from(every), min_size=1, max_size=3, unique=True))
        frames = data.draw(st.lists(st.integers(0, len(tasks) - 1), min_size=1, max_size=8))
        meta = {"tasks": tasks} | ({"task_index": runs_of(np.array(frames))} if len(tasks) > 1 else {})
        rows.append((meta, *table.add(meta, len(frames), "default")))
    texts = {number: text for text, number in table.numbers.items()}
    for meta, said, indices, kept in rows:
        tasks, runs, lost = read_tasks(said, indices, texts)
        assert (kept, lost) == (True, [])
        assert {"tasks": tasks, **({"task_index": runs} if runs else {})} == meta


def test_tasks_come_from_the_rows_or_from_the_frames(tmp_path):
    both = {"indices": [[1, 1, 0], [1] * 4]}
    expected = [(["lift", "push"], [[0, 2], [1, 1]]), (["lift"], None)]
    two(tmp_path / "silent", tasks=(), **both)
    found = read("lerobot", tmp_path / "silent")
    assert [(e.meta["tasks"], e.meta.get("task_index")) for e in found.episodes] == expected
    assert "tasks" not in found.meta, "nothing is read to list them"
    two(tmp_path / "text", tasks=["push", "lift"], indices=[[0, 0, 0], [1] * 4])
    found = read("lerobot", tmp_path / "text")
    assert [e.meta["tasks"] for e in found.episodes] == [["push"], ["lift"]]
    assert found.meta["tasks"] == "push, lift (--tasks names what to take)"
    two(tmp_path / "lost", indices=[[0, 7, 0], [0] * 4])
    found = read("lerobot", tmp_path / "lost")
    assert [e.meta["tasks"] for e in found.episodes] == [["push"], ["push"]]
    assert found.faults == [
        "data/chunk-000/episode_000000.parquet: episode 0: kept, but no text is given for its task_index 7"
    ]


@pytest.mark.parametrize("silent", [False, True])
def test_episodes_are_chosen_by_task_before_they_are_read(tmp_path, monkeypatch, silent):
    root = tmp_path / "set"
    said = () if silent else [["push"], ["lift"], ["push", "lift"], ["lift"]]
    two(root, (3, 4, 2, 3), tasks=said, indices=[[0] * 3, [1] * 4, [0, 1], [1] * 3])
    (root / "data/chunk-000/episode_000001.parquet").write_text("damaged")
    found = read("lerobot", root, ImportOptions(tasks=("push",)))
    assert [e.meta["episode"] for e in found.episodes] == [0, 2]
    assert found.meta["tasks_left_out"] == f"{1 if silent else 2} episode{'' if silent else 's'} of other tasks"
    assert bool(found.faults) == silent, "what is not asked for is not read, where the rows say so"
    with pytest.raises(ConfigError, match=r"unknown task of set 'pull'\. Did you mean push"):
        read("lerobot", root, ImportOptions(tasks=("push", "pull")))
    one = read("lerobot", root, ImportOptions(tasks=("push", "lift"), episodes=1))
    assert len(one.episodes) == 1


def test_each_episode_is_exported_with_its_own_tasks(tmp_path):
    demos = make_set((3, 4, 2), views=())
    metas = ({"tasks": ["lift", "push"], "task_index": [[1, 2], [0, 1]]}, {"tasks": ["push"]}, {})
    demos = DemoSet(demos.spec, [replace(e, meta=m) for e, m in zip(demos.episodes, metas, strict=True)], {"task": "x"})
    notes = write("lerobot", tmp_path / "set", demos)
    assert not [note for note in notes if "task" in note]
    table = pq.read_table(tmp_path / "set/data/chunk-000/file-000.parquet")
    assert table["task_index"].to_pylist() == [1, 1, 0, 1, 1, 1, 1, 2, 2]
    rows = pq.read_table(tmp_path / "set/meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [row["tasks"] for row in rows] == [["lift", "push"], ["push"], ["x"]]
    texts = pq.read_table(tmp_path / "set/meta/tasks.parquet").to_pylist()
    assert [(row["task_index"], row["__index_level_0__"]) for row in texts] == [(0, "lift"), (1, "push"), (2, "x")]
    assert json.loads((tmp_path / "set/meta/info.json").read_text())["total_tasks"] == 3
    again = read("lerobot", tmp_path / "set", ImportOptions(tasks=("push",)))
    assert [e.meta for e in again.episodes] == list(metas[:2])
    cut = replace(demos, episodes=[replace(demos.episodes[0], meta={"tasks": ["a", "b"], "task_index": [[0, 9]]})])
    assert any(
        "tasks of episode 0: what its meta says in task_index does not fit its 3 frames" in note
        for note in write("lerobot", tmp_path / "cut", cut)
    )


# ---- splits and rates -------------------------------------------------------------------------------------------


def test_a_split_is_taken_and_the_rest_is_said(tmp_path):
    root = tmp_path / "set"
    two(root, (3, 4, 2, 3), splits={"train": "0:3", "val": "3:", "odd": "1,3"})
    found = read("lerobot", root, ImportOptions(subset="val"))
    assert [e.meta["episode"] for e in found.episodes] == [3]
    assert found.meta["subset_left_out"] == "3 episodes outside of val; the other splits are train, odd"
    with pytest.raises(ConfigError, match=r"unknown split of set 'test'. Known: odd, train, val"):
        read("lerobot", root, ImportOptions(subset="test"))
    with pytest.raises(DemonstrationError, match="the split odd of set must be first:end"):
        read("lerobot", root, ImportOptions(subset="odd"))


@pytest.mark.parametrize(
    ("rate", "fps", "said"), [(12.5, 12, "rate is 12.5, and"), (0.0, 30, "rate is unknown, and"), (20.0, 20, "")]
)
def test_a_rate_that_lerobot_cannot_hold_is_said_and_kept(tmp_path, capsys, rate, fps, said):
    demos = make_set((3,), views=())
    spec = replace(demos.spec, control_hz=rate)
    write_demos(tmp_path / "ours", demos.episodes, spec)
    assert main(["demos", "export", "lerobot", str(tmp_path / "ours"), "--out", str(tmp_path / "theirs")]) == 0
    out = capsys.readouterr().out
    expected = f"control hz: meta/info.json says {fps} frames per second, since LeRobot declares a whole number"
    assert (expected in out) == bool(said)
    assert said in out
    assert json.loads((tmp_path / "theirs/meta/info.json").read_text())["fps"] == fps
    assert read("lerobot", tmp_path / "theirs").spec.control_hz == rate


def test_the_command_takes_columns_of_actions(tmp_path, capsys):
    made = two(tmp_path / "set", columns={"action": 2, "command": 3, "observation.state": 2})
    words = [
        "demos",
        "import",
        "lerobot",
        str(tmp_path / "set"),
        "--out",
        str(tmp_path / "ours"),
        "--action",
        "command",
    ]
    assert main(words) == 0
    assert "actions: command (--action names others)" in capsys.readouterr().out
    np.testing.assert_array_equal(read_demos(tmp_path / "ours").episodes[1].actions, made[1]["command"])


# ---- videos -----------------------------------------------------------------------------------------------------


def test_of_a_video_at_another_rate_the_nearest_images_are_taken(tmp_path):
    """Three images for each that is wanted: those at its time, not those before and after."""
    av = pytest.importorskip("av")
    file = tmp_path / "a.mp4"
    with av.open(str(file), "w") as output:
        stream = output.add_stream("libx264", 30, options={"crf": "1", "g": "2"})
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv444p"
        for number in range(30):
            image = np.full((32, 32, 3), 8 * number, np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        output.mux(stream.encode(None))
    out = np.empty((9, 32, 32, 3), np.uint8)
    lerobot_video.read_frames(file, 0.0, 10, lambda images: images, out)
    np.testing.assert_allclose(out.mean((1, 2, 3)), 24 * np.arange(9), atol=3)
    with pytest.raises(ValueError, match=r"a\.mp4 has no image at 1\.100 s"):
        lerobot_video.read_frames(file, 0.0, 10, lambda images: images, np.empty((12, 32, 32, 3), np.uint8))


# ---- memory -----------------------------------------------------------------------------------------------------


class Counted:
    """A container that counts the frames that were taken from it."""

    def __init__(self, container):
        self.container, self.streams, self.seek, self.taken = container, container.streams, container.seek, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.container.close()

    def decode(self, stream):
        for frame in self.container.decode(stream):
            self.taken += 1
            yield frame


def test_one_frame_at_a_time_is_alive(tmp_path, monkeypatch):
    """Frames that were collected first would all be there when the first one is made smaller, or the last."""
    av = pytest.importorskip("av")
    write("lerobot", tmp_path / "set", smooth(make_set((25,), views=("front",))), video=True)
    video = next((tmp_path / "set").rglob("*.mp4"))
    container = Counted(av.open(str(video)))
    monkeypatch.setattr(lerobot_video, "av", lambda: SimpleNamespace(open=lambda *_, **__: container))
    seen, most = [], 0

    def sized(images):
        nonlocal most
        base = images if images.base is None else images.base
        seen.append(weakref.ref(base))
        assert container.taken == len(seen), "no frame is decoded before the last one has its place"
        most = max(most, sum(one() is not None for one in seen))
        return images[:, :2, :3]

    lerobot_video.read_frames(video, 0.0, 12, sized, np.empty((25, 2, 3, 3), np.uint8))
    assert len(seen) == 25
    assert most <= 2
