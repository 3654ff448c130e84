"""Demonstration sets on disk: what goes in comes out, Minari reads it, and damage is named."""

import json
import math
import os
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forked import Forked
from zoomrl.data.episode import Episode
from zoomrl.demos.fit import check_fit
from zoomrl.demos.store.intact import file_hash
from zoomrl.demos.store.reader import DemoSet, content_hash, read_demos, read_episode, read_intact
from zoomrl.demos.store.spaces import box_space_json, dict_space_json, parse_observations
from zoomrl.demos.store.staging import retired, staged
from zoomrl.demos.store.writer import write_demos
from zoomrl.errors import DemonstrationError
from zoomrl.spec import ArraySpec, EnvSpec


def make_spec(state=3, action=2, *, views=()):
    observations = {"state": ArraySpec((state,))} if state else {}
    if views:
        observations["rgb"] = ArraySpec((len(views), 32, 24, 3), "uint8")
    bounds = (-1.0,) * action, (1.0,) * action
    drawn = {"cameras": views, "rendering": ("shadows",) if views else ()}
    return EnvSpec("fake:reach", observations, ArraySpec((action,), "float32", *bounds), 20.0, 50, **drawn)


def make_episode(spec, steps, seed=0, **fields):
    rng = np.random.default_rng(seed)
    observations = {}
    for name, array in spec.observations.items():
        shape = (steps + 1, *array.shape)
        observations[name] = (
            rng.integers(0, 256, shape, np.uint8)
            if array.dtype == "uint8"
            else rng.normal(size=shape).astype("float32")
        )
    defaults = {"terminated": True, "truncated": False, "success": True, "is_demo": True, "seed": seed}
    return Episode(
        observations=observations,
        actions=rng.uniform(-1, 1, (steps, spec.action_dim)).astype(np.float32),
        rewards=rng.normal(size=steps).astype(np.float32),
        **(defaults | fields),
    )


def released(path):
    """``path``, of which its user said that the arrays were changed on purpose."""
    file = path / "data" / "metadata.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({k: v for k, v in content.items() if k not in ("zoomrl_main_data", "digest")}))
    return path


def flipped(file, place, bit=0):
    content = bytearray(file.read_bytes())
    content[place] ^= 1 << bit
    file.write_bytes(content)


def assert_same(a, b):
    assert a.observations.keys() == b.observations.keys()
    for name in a.observations:
        assert a.observations[name].dtype == b.observations[name].dtype
        np.testing.assert_array_equal(a.observations[name], b.observations[name])
    np.testing.assert_array_equal(a.actions, b.actions)
    np.testing.assert_array_equal(a.rewards, b.rewards)
    for name in ("terminated", "truncated", "success", "is_demo", "seed", "meta", "state_entries"):
        assert getattr(a, name) == getattr(b, name)


@settings(max_examples=15)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    state=st.integers(0, 4),
    views=st.sampled_from([("front",), ("front", "wrist")]),
    action=st.integers(1, 3),
    flags=st.tuples(*[st.booleans()] * 4),
    seed=st.sampled_from([-1, 0, 7, 2**32 - 1]),
)
@pytest.mark.long
def test_round_trip_keeps_everything(tmp_path_factory, lengths, state, views, action, flags, seed):
    path = tmp_path_factory.mktemp("set")
    # Without a state there are images, alone; else both, or the state alone.
    spec = make_spec(state, action, views=views if state % 2 == 0 else ())
    named = dict(zip(("terminated", "truncated", "success", "is_demo"), flags, strict=True))
    meta = {"policy": "p", "noise": 0.1, "nested": {"a/b": [1, None]}}
    episodes = [replace(make_episode(spec, steps, i), seed=seed, meta=meta, **named) for i, steps in enumerate(lengths)]
    write_demos(path, iter(episodes), spec, meta={"versions": {"numpy": "2"}})
    demos = read_demos(path)
    assert demos.spec == spec
    assert demos.meta == {"versions": {"numpy": "2"}}
    assert demos.path == str(path)
    assert len(demos) == len(episodes)
    for written, read in zip(episodes, demos.episodes, strict=True):
        assert_same(written, read)
    assert_same(episodes[-1], read_episode(path, len(episodes) - 1))
    assert demos.sha256 == content_hash(path)


@pytest.mark.parametrize("state", [0, 3])
def test_minari_reads_it(state, tmp_path):
    minari = pytest.importorskip("minari")
    spec = make_spec(state, views=("front", "wrist"))
    episodes = [make_episode(spec, steps, i) for i, steps in enumerate((4, 7))]
    write_demos(tmp_path / "set", episodes, spec)
    dataset = minari.MinariDataset(tmp_path / "set" / "data")
    assert (dataset.total_episodes, dataset.total_steps) == (2, 11)
    assert [m["seed"] for m in dataset.storage.get_episode_metadata([0, 1])] == [0, 1]
    assert dataset.action_space.contains(episodes[0].actions[0])
    for written, read in zip(episodes, dataset, strict=True):
        for name in spec.observations:
            np.testing.assert_array_equal(read.observations[name], written.observations[name])
            assert dataset.observation_space[name].contains(read.observations[name][0])
        np.testing.assert_array_equal(read.actions, written.actions)
        np.testing.assert_array_equal(read.rewards, written.rewards)
        assert read.terminations.tolist() == [False] * (len(written) - 1) + [True]
        assert not read.truncations.any()
        assert read.infos["success"][-1]


def test_images_are_stored_a_few_per_chunk(tmp_path):
    spec = make_spec(views=("front",))
    write_demos(tmp_path / "set", [make_episode(spec, 9), make_episode(spec, 1)], spec)
    with h5py.File(tmp_path / "set" / "data" / "main_data.hdf5") as file:
        assert file["episode_0/observations/rgb"].chunks == (4, 1, 32, 24, 3)
        assert file["episode_1/observations/rgb"].chunks == (2, 1, 32, 24, 3)


def test_sets_of_other_images_do_not_fit(tmp_path):
    spec = make_spec(views=("front", "wrist"))
    write_demos(tmp_path / "set", [make_episode(spec, 3)], spec)
    demos = read_demos(tmp_path / "set")
    check_fit(demos, spec)
    with pytest.raises(DemonstrationError, match="cameras front, wrist against front, side"):
        check_fit(demos, replace(spec, cameras=("front", "side")))
    with pytest.raises(DemonstrationError, match="rendering shadows against none"):
        check_fit(demos, replace(spec, rendering=()))
    with pytest.raises(DemonstrationError, match=r"'rgb' uint8\[2, 32, 24, 3\] against absent"):
        check_fit(demos, make_spec())


def test_space_json_is_minaris(tmp_path):
    serialization = pytest.importorskip("minari.serialization")
    spaces = pytest.importorskip("gymnasium").spaces
    action = ArraySpec((2,), "float32", (-1.0, -0.1), (1.0, 0.3))
    observations = {"state": ArraySpec((3,)), "camera": ArraySpec((2, 2, 3), "uint8")}
    box = spaces.Box(np.float32([-1, -0.1]), np.float32([1, 0.3]))
    dictionary = spaces.Dict(
        {"state": spaces.Box(-np.inf, np.inf, (3,)), "camera": spaces.Box(0, 255, (2, 2, 3), np.uint8)}
    )
    assert json.loads(box_space_json(action)) == json.loads(serialization.serialize_space(box))
    assert json.loads(dict_space_json(observations)) == json.loads(serialization.serialize_space(dictionary))
    assert serialization.deserialize_space(dict_space_json(observations)) == dictionary
    assert parse_observations(dict_space_json(observations)) == (observations, [])


def write_foreign(path, *, success=None, terminated=(True,), **metadata):
    data = path / "data"
    data.mkdir(parents=True)
    box = {"type": "Box", "dtype": "float64", "shape": [2], "low": [-np.inf] * 2, "high": [np.inf] * 2}
    action = {"type": "Box", "dtype": "float32", "shape": [1], "low": [-2.0], "high": [2.0]}
    with h5py.File(data / "main_data.hdf5", "w") as file:
        for index, ended in enumerate(terminated):
            group = file.create_group(f"episode_{index}")
            group["observations"] = np.arange(8.0).reshape(4, 2)
            group["actions"] = np.float32([[0], [1], [2]])
            group["rewards"] = np.float64([0, 0, 1])
            group["terminations"] = [False, False, ended]
            group["truncations"] = [False] * 3
            if success is not None:
                group["infos/success"] = [0.0, 0.0, success[index], 0.0]
    fields = {
        "total_episodes": len(terminated),
        "total_steps": 3 * len(terminated),
        "data_format": "hdf5",
        "observation_space": json.dumps(box),
        "action_space": json.dumps(action),
        "env_spec": json.dumps({"id": "Pendulum-v1"}),
        "dataset_id": "someone/pendulum-v0",
        "minari_version": "0.5.0",
    }
    (data / "metadata.json").write_text(json.dumps(fields | metadata))
    return path


def test_foreign_set_without_success(tmp_path):
    demos = read_demos(write_foreign(tmp_path / "set", terminated=(True, False)))
    assert demos.spec.id == "gym:Pendulum-v1"
    assert demos.spec.observations == {"state": ArraySpec((2,))}
    assert demos.spec.action == ArraySpec((1,), "float32", (-2.0,), (2.0,))
    assert not demos.spec.reports_success
    ended, interrupted = demos.episodes
    assert ended.observations["state"].dtype == np.float32
    assert ended.rewards.dtype == np.float32
    assert (ended.terminated, ended.truncated, ended.success, ended.is_demo) == (True, False, True, True)
    assert (interrupted.terminated, interrupted.truncated) == (False, True)
    assert (interrupted.success, interrupted.is_demo, interrupted.seed) == (True, True, -1)
    # Rewards of 0 and 1 tell it; a termination flag says that the task ended, and not how.
    assert [episode.meta for episode in demos.episodes] == [{}] * 2
    with h5py.File(tmp_path / "set" / "data" / "main_data.hdf5", "a") as file:
        file["episode_0/rewards"][2] = 0.5
        file["episode_1/rewards"][2] = 0.0
    dense, failed = read_demos(tmp_path / "set").episodes
    assert (dense.terminated, dense.success, dense.is_demo, dense.meta) == (True, True, True, {"success": "assumed"})
    assert (failed.terminated, failed.success, failed.is_demo, failed.meta) == (False, False, False, {})


def test_foreign_set_with_success(tmp_path):
    demos = read_demos(write_foreign(tmp_path / "set", success=(1.0, 0.0), terminated=(False, False)))
    assert [(e.success, e.is_demo) for e in demos.episodes] == [(True, True), (False, False)]
    assert demos.spec.reports_success
    assert len(demos.demos) == 1


def test_foreign_discrete_actions_are_refused(tmp_path):
    discrete = json.dumps({"type": "Discrete", "dtype": "int64", "start": 0, "n": 3})
    with pytest.raises(DemonstrationError, match="the action must be a Box space, got Discrete"):
        read_demos(write_foreign(tmp_path / "set", action_space=discrete))


def test_foreign_wrong_shape_is_refused(tmp_path):
    space = json.dumps({"type": "Box", "dtype": "float64", "shape": [5], "low": [0] * 5, "high": [1] * 5})
    with pytest.raises(DemonstrationError, match=r"episode 0 .* shape \[5\] per step, got \[2\]"):
        read_demos(write_foreign(tmp_path / "set", observation_space=space))


def test_hash_follows_the_content(tmp_path):
    spec = make_spec()
    episode = make_episode(spec, 5)
    write_demos(tmp_path / "a", [episode], spec)
    write_demos(tmp_path / "b", [replace(episode, seed=9, meta={"x": 1})], spec, meta={"when": "later"})
    assert content_hash(tmp_path / "a") == content_hash(tmp_path / "b")
    for index, changed in enumerate(
        (
            [replace(episode, is_demo=False)],
            [replace(episode, rewards=episode.rewards + 1)],
            [episode, episode],
        )
    ):
        write_demos(tmp_path / f"c{index}", changed, spec)
        assert content_hash(tmp_path / f"c{index}") != content_hash(tmp_path / "a")


def test_overwriting_needs_to_be_asked_for(tmp_path):
    spec = make_spec()
    write_demos(tmp_path / "set", [make_episode(spec, 3)], spec)
    with pytest.raises(DemonstrationError, match="already holds a demonstration set; pass overwrite"):
        write_demos(tmp_path / "set", [make_episode(spec, 4)], spec)
    (tmp_path / "set" / "notes.txt").write_text("mine")
    # The old set can be the source of the new one: it stays in place until the new one is complete.
    source = (read_episode(tmp_path / "set", 0) for _ in range(2))
    write_demos(tmp_path / "set", source, spec, overwrite=True)
    assert len(read_demos(tmp_path / "set")) == 2
    assert sorted(p.name for p in (tmp_path / "set").iterdir()) == ["data", "notes.txt"]


def test_overwriting_spares_what_is_not_a_set(tmp_path):
    spec = make_spec()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "photo.jpg").write_text("precious")
    with pytest.raises(DemonstrationError, match="not a demonstration set; it is left alone"):
        write_demos(tmp_path, [make_episode(spec, 3)], spec, overwrite=True)
    assert (tmp_path / "data" / "photo.jpg").exists()


def test_failure_half_way_changes_nothing(tmp_path):
    spec = make_spec()

    def failing():
        yield make_episode(spec, 3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_demos(tmp_path / "new", failing(), spec)
    assert list(tmp_path.iterdir()) == []

    write_demos(tmp_path / "set", [make_episode(spec, 5)], spec)
    before = content_hash(tmp_path / "set")
    with pytest.raises(KeyboardInterrupt):
        write_demos(tmp_path / "set", failing(), spec, overwrite=True)
    assert content_hash(tmp_path / "set") == before
    assert [p.name for p in (tmp_path / "set").iterdir()] == ["data"]


def test_failure_of_the_last_rename_restores_the_old_set(tmp_path, monkeypatch):
    spec = make_spec()
    write_demos(tmp_path / "set", [make_episode(spec, 5)], spec)
    before = content_hash(tmp_path / "set")
    rename = Path.rename

    def refusing(self, target):
        if self.name.startswith(".writing-") and not self.name.endswith(".old"):
            raise OSError("disk trouble")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refusing)
    with pytest.raises(OSError, match="disk trouble"):
        write_demos(tmp_path / "set", [make_episode(spec, 2)], spec, overwrite=True)
    assert content_hash(tmp_path / "set") == before
    assert [p.name for p in (tmp_path / "set").iterdir()] == ["data"]


def killed_while_writing(path, instant):
    """A process that writes a second set over ``path`` and is killed at ``instant``."""

    def work():
        def dying():
            if instant == "in the middle":
                os.kill(os.getpid(), signal.SIGKILL)
            yield make_episode(make_spec(), 2)

        rename = Path.rename

        def deadly(self, target):
            if instant == "before the second rename" and Path(target).name == "data":
                os.kill(os.getpid(), signal.SIGKILL)
            return rename(self, target)

        Path.rename = deadly
        write_demos(path, dying(), make_spec(), overwrite=True)

    assert Forked(work).wait() == -signal.SIGKILL


@pytest.mark.parametrize("instant", ["in the middle", "before the second rename"])
def test_what_a_killed_writer_leaves_is_put_back_and_cleared_away(tmp_path, instant):
    path, spec = tmp_path / "set", make_spec()
    write_demos(path, [make_episode(spec, 5)], spec)
    before = content_hash(path)
    killed_while_writing(path, instant)
    assert sorted(p.name for p in path.iterdir()) != ["data"]
    if instant == "before the second rename":
        with pytest.raises(DemonstrationError, match=r"killed while it replaced it.*\.old; rename it to .*data"):
            read_demos(path)
    else:
        assert content_hash(path) == before
    with pytest.raises(DemonstrationError, match="at least one episode"):
        write_demos(path, [], spec, overwrite=True)
    assert content_hash(path) == before
    assert [p.name for p in path.iterdir()] == ["data"]


def test_a_folder_that_another_process_is_writing_is_left_alone(tmp_path):
    spec = make_spec()
    (tmp_path / "set").mkdir()
    with staged(tmp_path / "set" / "data") as folder:
        (folder / "half").write_text("half")
        write_demos(tmp_path / "set", [make_episode(spec, 2)], spec)
        assert (folder / "half").exists()
        (tmp_path / "set" / "data").rename(tmp_path / "whole")
    assert (tmp_path / "set" / "data" / "half").exists()


def test_a_set_that_another_process_wrote_meanwhile_is_kept(tmp_path):
    spec = make_spec()

    def slowly():
        yield make_episode(spec, 2)
        write_demos(tmp_path / "set", [make_episode(spec, 3)], spec)

    with pytest.raises(DemonstrationError, match="was written by another process meanwhile, and is kept"):
        write_demos(tmp_path / "set", slowly(), spec)
    assert [len(episode) for episode in read_demos(tmp_path / "set").episodes] == [3]


def test_a_set_that_is_being_replaced_was_not_left_by_a_killed_process(tmp_path):
    data = tmp_path / "set" / "data"
    write_demos(tmp_path / "set", [make_episode(make_spec(), 2)], make_spec())
    with staged(data) as folder:
        aside = data.with_name(folder.name + ".old")
        data.rename(aside)
        assert retired(data) is None
        aside.rename(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"actions": np.zeros((4, 3), np.float32)},
            r"episode 1: actions must be float32\[2\].*got float32\[3\]",
        ),
        ({"rewards": np.zeros(3, np.float32)}, r"episode 1 cannot be stored: rewards must be \[4\]"),
        ({"observations": {"state": np.zeros((5, 3))}}, r"'state' must be float32\[3\].*got float64\[3\]"),
        ({"observations": {"pose": np.zeros((5, 3), np.float32)}}, r"\['pose'\].*declared with \['state'\]"),
        ({"rewards": np.float32([0, 0, np.nan, 0])}, "'rewards' holds NaN"),
    ],
)
def test_unfit_episodes_are_not_written(tmp_path, change, message):
    spec = make_spec()
    with pytest.raises(DemonstrationError, match=message):
        write_demos(tmp_path / "set", [make_episode(spec, 4), replace(make_episode(spec, 4), **change)], spec)
    assert not (tmp_path / "set").exists()


def test_empty_set_is_not_written(tmp_path):
    with pytest.raises(DemonstrationError, match="at least one episode"):
        write_demos(tmp_path / "set", [], make_spec())


def test_missing_set_says_how_to_collect(tmp_path):
    with pytest.raises(DemonstrationError, match=r"no demonstration set at .*nowhere.*zoomrl demos collect"):
        read_demos(tmp_path / "nowhere")


def test_truncated_file_is_named(tmp_path):
    spec = make_spec()
    write_demos(tmp_path / "set", [make_episode(spec, 40)], spec)
    file = tmp_path / "set" / "data" / "main_data.hdf5"
    file.write_bytes(file.read_bytes()[:-500])
    with pytest.raises(DemonstrationError, match=r"main_data\.hdf5 cannot be opened .*truncated"):
        read_demos(tmp_path / "set")
    (tmp_path / "set" / "data" / "metadata.json").write_text('{"total_')
    with pytest.raises(DemonstrationError, match=r"metadata\.json is damaged"):
        content_hash(tmp_path / "set")


def test_a_flipped_bit_anywhere_in_the_arrays_is_noticed(tmp_path):
    """HDF5's own checksums cover the chunks alone."""
    spec = make_spec()
    write_demos(tmp_path / "set", [make_episode(spec, 4)], spec)
    file = tmp_path / "set" / "data" / "main_data.hdf5"
    for place in range(0, file.stat().st_size, 997):
        flipped(file, place, place % 8)
        for use in (read_demos, content_hash, partial(read_episode, index=0), read_intact):
            with pytest.raises(DemonstrationError, match=r"main_data\.hdf5 is damaged.*checksum. Restore it.*collect"):
                use(tmp_path / "set")
        flipped(file, place, place % 8)
    assert len(read_demos(tmp_path / "set")) == 1
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(DemonstrationError, match="is not the file that was written"):
        read_demos(tmp_path / "set")


def test_a_flipped_bit_of_the_metadata_is_noticed(tmp_path):
    spec = make_spec()
    write_demos(tmp_path / "set", [make_episode(spec, 4)], spec)
    file = tmp_path / "set" / "data" / "metadata.json"
    for place in range(0, file.stat().st_size, 37):
        flipped(file, place)
        with pytest.raises(DemonstrationError, match=r"metadata\.json"):
            read_demos(tmp_path / "set")
        flipped(file, place)
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "zoomrl_main_data": "x", "digest": None}).replace(', "digest": null', ""))
    with pytest.raises(DemonstrationError, match="must hold size and sha256"):
        read_demos(tmp_path / "set")


def test_the_arrays_are_hashed_once_a_load(tmp_path, monkeypatch):
    spec = make_spec()
    write_demos(tmp_path / "set", [make_episode(spec, 4, seed) for seed in range(3)], spec)
    hashed = []
    monkeypatch.setattr("zoomrl.demos.store.intact.file_hash", lambda path: hashed.append(path) or file_hash(path))
    for use in (read_demos, content_hash, read_intact):
        use(tmp_path / "set")
    assert len(hashed) == 3


def test_a_set_that_was_changed_on_purpose_is_read_as_one_of_others(tmp_path):
    spec = make_spec()
    write_demos(tmp_path / "set", [make_episode(spec, 40, seed) for seed in range(3)], spec)
    file = tmp_path / "set" / "data" / "main_data.hdf5"
    with h5py.File(file) as opened:
        place = opened["episode_1/actions"].id.get_chunk_info(0).byte_offset
    flipped(file, place + 20)
    released(tmp_path / "set")
    with pytest.raises(DemonstrationError, match=r"main_data\.hdf5: episode 1 cannot be read"):
        read_demos(tmp_path / "set")
    assert len(read_episode(tmp_path / "set", 2)) == 40


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_written_can_be_read(tmp_path, value):
    spec = make_spec()
    episode = make_episode(spec, 4, meta={"horizon": value})
    write_demos(tmp_path / "set", [episode], spec, meta={"recorded": {"horizon": [value]}})
    demos = read_demos(tmp_path / "set")
    assert (demos.meta, demos.episodes[0].meta) == ({"recorded": {"horizon": [None]}}, {"horizon": None})
    with pytest.raises(DemonstrationError, match="NaN or infinity"):
        write_demos(tmp_path / "other", [episode], replace(spec, control_hz=value))
    assert not (tmp_path / "other").exists()


def test_missing_parts_are_named(tmp_path):
    spec = make_spec()
    write_demos(tmp_path / "set", [make_episode(spec, 4, seed) for seed in range(2)], spec)
    file = released(tmp_path / "set") / "data" / "main_data.hdf5"
    with h5py.File(file, "a") as opened:
        del opened["episode_1/rewards"]
    with pytest.raises(DemonstrationError, match="episode 1 cannot be read"):
        read_demos(tmp_path / "set")
    with pytest.raises(DemonstrationError, match="episodes 0 to 1; episode 2 does not exist"):
        read_episode(tmp_path / "set", 2)
    with h5py.File(file, "a") as opened:
        del opened["episode_1"]
    with pytest.raises(DemonstrationError, match=r"holds 1 episodes, its metadata promises 2"):
        read_demos(tmp_path / "set")


def test_fit_prints_both_sides():
    spec = make_spec(state=3, action=2)
    demos = DemoSet(spec, [make_episode(spec, 4)], path="here/set")
    check_fit(demos, spec)
    check_fit(demos, replace(spec, id="fake:push", time_limit=9))
    with pytest.raises(DemonstrationError) as caught:
        check_fit(demos, make_spec(state=5, action=4))
    for part in ("here/set", "(2,) against (4,)", "float32[3] against float32[5]", "zoomrl demos collect"):
        assert part in str(caught.value)


def test_fit_refuses_actions_out_of_bounds():
    spec = make_spec()
    episodes = [make_episode(spec, 4, seed) for seed in range(2)]
    episodes[1].actions[2, 1] = 1.0 + 5e-7
    check_fit(DemoSet(spec, episodes), spec)
    episodes[1].actions[2, 1] = 1.5
    with pytest.raises(DemonstrationError, match=r"episode 1, step 2, action dimension 1 is 1\.5, .* -1 \.\. 1"):
        check_fit(DemoSet(spec, episodes), spec)
