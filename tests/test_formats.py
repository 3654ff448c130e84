"""Demonstrations out to each format and in again, and what is said of damaged, odd and unknown ones."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from test_demos_store import assert_same, make_episode, make_spec
from zoomrl.demos.formats import READERS, WRITERS, ImportOptions, detect, read, write
from zoomrl.demos.store.reader import DemoSet, read_demos
from zoomrl.demos.store.writer import write_demos
from zoomrl.errors import ConfigError, DemonstrationError
from zoomrl.spec import ArraySpec

FORMATS = sorted(WRITERS)


def make_set(lengths=(4, 7, 5), *, state=3, action=2, views=("front", "wrist"), **fields):
    spec = replace(make_spec(state, action, views=views), control_hz=12.5, reports_success=True)
    episodes = [make_episode(spec, steps, seed, **fields) for seed, steps in enumerate(lengths)]
    return DemoSet(spec, episodes, {"policy": "p", "nested": {"a": [1, None]}})


def files_of(folder):
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=6)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    state=st.integers(0, 3),
    views=st.sampled_from([("front",), ("wrist", "front")]),
    action=st.integers(1, 3),
    flags=st.tuples(*[st.booleans()] * 4),
    seed=st.sampled_from([-1, 0, 2**32 - 1]),
    task=st.sampled_from([{}, {"policy": "p", "nested": {"a/b": [1, None]}}]),
)
@pytest.mark.long
def test_out_and_in_again_changes_nothing(name, tmp_path_factory, lengths, state, views, action, flags, seed, task):
    if name == "lerobot":
        pytest.importorskip("pyarrow")
    path = tmp_path_factory.mktemp("set")
    named = dict(zip(("terminated", "truncated", "success", "is_demo"), flags, strict=True))
    # Without a state there are images, alone; else both, or the state alone.
    demos = make_set(lengths, state=state, action=action, views=views if state % 2 == 0 else (), **named)
    first = [replace(episode, seed=seed, meta=task) for episode in demos.episodes]
    write_demos(path / "ours", first, demos.spec, meta=demos.meta)
    stored = read_demos(path / "ours")
    write(name, path / "theirs", stored)
    found = read(name, path / "theirs")
    assert (found.faults, found.meta["recorded"]) == ([], demos.meta)
    write_demos(path / "again", found.episodes, found.spec)
    again = read_demos(path / "again")
    assert again.spec == demos.spec
    assert again.sha256 == stored.sha256
    for before, after in zip(first, again.episodes, strict=True):
        assert_same(before, after)
    assert detect(path / "theirs") == name


@pytest.mark.parametrize("name", FORMATS)
def test_cameras_are_taken_by_name_and_in_order(name, tmp_path):
    demos = make_set()
    write(name, tmp_path / "set", demos)
    for cameras, views in ((("wrist", "front"), [1, 0]), (("wrist",), [1])):
        found = read(name, tmp_path / "set", ImportOptions(cameras=cameras))
        assert found.spec.cameras == cameras, "a view keeps its name"
        assert "cameras_renamed" not in found.meta
        for before, after in zip(demos.episodes, found.episodes, strict=True):
            np.testing.assert_array_equal(after.observations["rgb"], before.observations["rgb"][:, views])
    with pytest.raises(ConfigError, match=r"unknown camera of set 'frnt'. Did you mean front"):
        read(name, tmp_path / "set", ImportOptions(cameras=("frnt",)))
    with pytest.raises(ConfigError, match="unknown low-dimensional entry of set 'pose'"):
        read(name, tmp_path / "set", ImportOptions(state=("pose",)))


@pytest.mark.parametrize("name", FORMATS)
def test_only_some_episodes(name, tmp_path):
    write(name, tmp_path / "set", make_set())
    assert [len(e) for e in read(name, tmp_path / "set", ImportOptions(episodes=2)).episodes] == [4, 7]


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=20)
@given(data=st.data())
@pytest.mark.long
def test_a_cut_or_garbled_file_is_never_a_raw_error(name, tmp_path_factory, data):
    """Cut anywhere, or with a byte flipped anywhere: what loads is right, what does not is named."""
    source, work = _exported(name, tmp_path_factory), tmp_path_factory.mktemp("cut")
    files = files_of(source)
    victim = data.draw(st.sampled_from(sorted(files)))
    content = bytearray(files[victim])
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content = content[:place]
    else:
        content[place] ^= data.draw(st.integers(1, 255))
    for relative, original in (files | {victim: bytes(content)}).items():
        (work / relative).parent.mkdir(parents=True, exist_ok=True)
        (work / relative).write_bytes(original)
    try:
        found = read(name, work)
    except (DemonstrationError, ConfigError):
        return
    known = {episode.actions.tobytes(): episode for episode in make_set().episodes}
    assert len(found.episodes) == 3 or found.faults
    if victim.endswith((".json", "zoomrl.parquet")):
        return  # plain text holds no checksum: what it says otherwise cannot be noticed
    for episode in found.episodes:
        np.testing.assert_array_equal(episode.rewards, known[episode.actions.tobytes()].rewards)


_CACHE = {}


def _exported(name, tmp_path_factory):
    if name not in _CACHE:
        _CACHE[name] = tmp_path_factory.mktemp("exported") / "set"
        write(name, _CACHE[name], make_set())
    return _CACHE[name]


# ---- overwriting -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lerobot", "npz"])
def test_what_is_there_is_replaced_only_on_request(name, tmp_path):
    write(name, tmp_path / "set", make_set())
    before = files_of(tmp_path / "set")
    with pytest.raises(DemonstrationError, match="already holds an exported set"):
        write(name, tmp_path / "set", make_set((3,)))
    assert files_of(tmp_path / "set") == before
    write(name, tmp_path / "set", make_set((3,)), overwrite=True)
    assert len(read(name, tmp_path / "set").episodes) == 1
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(DemonstrationError, match="was not exported by zoomrl; it is left alone"):
        write(name, tmp_path / "mine", make_set(), overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "set"]


@pytest.mark.parametrize("name", ["lerobot", "npz"])
def test_a_failure_half_way_leaves_nothing(name, tmp_path):
    demos = make_set()
    demos.episodes[1] = replace(demos.episodes[1], meta={"x": object()})
    with pytest.raises(TypeError):
        write(name, tmp_path / "set", demos)
    assert list(tmp_path.iterdir()) == []
    pose = replace(demos.spec, observations={"pose": ArraySpec((3,))}, cameras=())
    with pytest.raises(DemonstrationError, match="only state and rgb are exported; this set observes pose"):
        write(name, tmp_path / "set", replace(demos, spec=pose))


# ---- choosing a format -----------------------------------------------------------------------------------------------


def test_unknown_formats_are_named(tmp_path):
    with pytest.raises(ConfigError, match="unknown demonstration format 'lerobt'"):
        read("lerobt", tmp_path)
    with pytest.raises(ConfigError, match="unknown demonstration format 'robomimic'"):
        write("robomimic", tmp_path, make_set())
    with pytest.raises(ConfigError, match="videos are written for lerobot only"):
        write("npz", tmp_path / "x", make_set(), video=True)


@pytest.mark.parametrize(
    ("file", "format"),
    [
        ("demo.hdf5", "robomimic"),
        ("a/b/move.safetensors", "bigym"),
        ("reach/variation0/episodes/episode0/low_dim_obs.pkl", "rlbench"),
        ("main_data.hdf5", "minari"),
    ],
)
def test_formats_are_told_apart_by_their_files(tmp_path, file, format):
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    assert detect(path if format == "robomimic" else tmp_path) == format
    assert format in READERS


def test_what_looks_like_nothing_is_not_guessed(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot tell what format .* name it: robomimic, lerobot"):
        detect(tmp_path)
    with pytest.raises(DemonstrationError, match="there is nothing at"):
        detect(tmp_path / "nowhere")
