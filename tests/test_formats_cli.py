"""``zoomrl demos import`` and ``zoomrl demos export`` from end to end."""

from __future__ import annotations

import dataclasses
import shlex

import numpy as np
import pytest
import tyro

from test_demos_store import assert_same
from test_formats import make_set
from test_formats_npz import plain
from test_formats_robomimic import demo, write_file
from zoomrl.cli.demos_convert import ExportDemos, ImportDemos
from zoomrl.cli.main import main
from zoomrl.cli.tree import parse
from zoomrl.demos.formats import ImportOptions, read
from zoomrl.demos.formats.spool import Spool
from zoomrl.demos.store.reader import read_demos
from zoomrl.demos.store.writer import write_demos
from zoomrl.errors import ConfigError, DemonstrationError


def run(kind, *words):
    return tyro.cli(kind, args=[str(word) for word in words]).run()


def test_import_says_what_was_read_left_out_and_assumed(tmp_path, capsys):
    plain(tmp_path / "theirs", 0)
    plain(tmp_path / "theirs", 1, actions=np.full((4, 2), np.nan))
    words = ["npz", tmp_path / "theirs", "--out", tmp_path / "ours", "--meaning", "delta", "gripper"]
    assert run(ImportDemos, *words, "--control-hz", 20) == 0
    out, err = capsys.readouterr()
    assert err == "left out or doubtful: episode_1.npz: 'actions' holds NaN or infinite values\n"
    for line in (
        "read 1 episode, 1 of them demonstrations, 4 steps",
        "observed: state float32[3]; actions: 2 dimensions",
        "success: assumed",
        "action bounds: derived: the smallest and largest recorded",
    ):
        assert line in out
    last, alone = out.splitlines()[-2:]
    assert last.startswith("its bounds and rates are derived: before training, import it for an environment")
    assert alone.startswith("or, of a robot without a simulator, imitate these recordings alone: ")
    assert alone.endswith(f"train --preset act-demos --env demos:{tmp_path / 'ours'}")
    again = shlex.split(last[last.index("zoomrl ") :])
    assert again == [
        "zoomrl",
        "demos",
        "import",
        *map(str, words),
        "--control-hz",
        "20.0",
        "--env",
        "ID",
        "--overwrite",
    ]
    spec = read_demos(tmp_path / "ours").spec
    assert (spec.control_hz, spec.action_meaning) == (20.0, ("delta", "gripper"))
    with pytest.raises(DemonstrationError, match="already holds demonstrations; pass --overwrite"):
        run(ImportDemos, *words)
    assert run(ImportDemos, *words, "--overwrite") == 0


def test_import_with_cameras_states_and_an_environment(tmp_path, capsys):
    made = {f"demo_{i}": demo(i)[0] for i in range(3)}
    file = write_file(tmp_path / "a.hdf5", made)
    words = ["auto", file, "--out", tmp_path / "ours", "--cameras", "wrist", "--image-size", 6]
    assert run(ImportDemos, *words, "--state", "object", "--episodes", 2) == 0
    demos = read_demos(tmp_path / "ours")
    assert len(demos) == 2
    assert not [one.name for one in tmp_path.iterdir() if one.name.startswith(".")], "what waited is removed"
    assert demos.spec.observations["rgb"].shape == (1, 6, 6, 3)
    assert demos.meta["resized"] == "images from 12 x 12 to 6 x 6, by area where they shrink, linearly where they grow"
    with pytest.raises(DemonstrationError, match="actions have 7 dimensions; gym:Pendulum-v1 takes 1"):
        run(ImportDemos, "robomimic", file, "--out", tmp_path / "other", "--env.id", "gym:Pendulum-v1")
    assert not (tmp_path / "other").exists()
    plain(tmp_path / "theirs", 0, actions=np.zeros((4, 1)))
    capsys.readouterr()
    assert run(ImportDemos, "npz", tmp_path / "theirs", "--out", tmp_path / "p", "--env.id", "gym:Pendulum-v1") == 0
    assert f"zoomrl train --env gym:Pendulum-v1 --demos {tmp_path / 'p'}" in capsys.readouterr().out
    assert read_demos(tmp_path / "p").spec.id == "gym:Pendulum-v1"


def test_episodes_that_wait_in_files_are_those_in_memory(tmp_path):
    made = {f"demo_{i}": demo(i)[0] for i in range(4)}
    made["demo_2"]["actions"] = made["demo_2"]["actions"][:, :3]  # of another shape than the others
    file = write_file(tmp_path / "a.hdf5", made)
    options = ImportOptions(cameras=("wrist",), image_size=6)
    (tmp_path / "spool").mkdir()
    kept, waiting = (
        read("robomimic", file, one) for one in (options, dataclasses.replace(options, spool=tmp_path / "spool"))
    )
    assert isinstance(waiting.episodes, Spool)
    assert (kept.spec, kept.meta, kept.faults) == (waiting.spec, waiting.meta, waiting.faults)
    assert len(kept.episodes) == len(waiting.episodes) == 3
    for before, after in zip(kept.episodes, waiting.episodes, strict=True):
        assert_same(before, after)
    assert_same(kept.episodes[-1], waiting.episodes[1:][-1])


@pytest.mark.parametrize("format", ["lerobot", "npz", "minari"])
def test_export_and_import_again(tmp_path, capsys, format):
    if format == "lerobot":
        pytest.importorskip("pyarrow")
    demos = make_set()
    write_demos(tmp_path / "ours", demos.episodes, demos.spec, meta=demos.meta)
    assert run(ExportDemos, format, tmp_path / "ours", "--out", tmp_path / "theirs") == 0
    said, *notes = capsys.readouterr().out.splitlines()
    assert said == f"wrote 3 episodes, 16 steps, as {format} to {tmp_path / 'theirs'}"
    assert [note.partition(":")[0] for note in notes] == (["control hz"] if format == "lerobot" else []), "12.5 Hz"
    with pytest.raises(DemonstrationError, match="already holds"):
        run(ExportDemos, format, tmp_path / "ours", "--out", tmp_path / "theirs")
    run(ExportDemos, format, tmp_path / "ours", "--out", tmp_path / "theirs", "--overwrite")
    run(ImportDemos, format, tmp_path / "theirs", "--out", tmp_path / "again")
    for before, after in zip(demos.episodes, read_demos(tmp_path / "again").episodes, strict=True):
        assert_same(before, after)


@pytest.mark.parametrize(("words", "size"), [((), 8), (("--image-size", 4), 4)])
def test_a_set_of_ours_keeps_its_images_unless_another_size_is_asked_for(tmp_path, words, size):
    demos = make_set()
    wide = demos.spec.observations["rgb"].shape[1]
    write_demos(tmp_path / "ours", demos.episodes, demos.spec, meta=demos.meta)
    run(ExportDemos, "npz", tmp_path / "ours", "--out", tmp_path / "theirs")
    run(ImportDemos, "npz", tmp_path / "theirs", "--out", tmp_path / "again", *words)
    found = read_demos(tmp_path / "again").spec.observations["rgb"].shape
    assert found[1] == (size if words else wide)


@pytest.mark.parametrize("command", [["inspect"], ["check"], ["view"]])
def test_a_file_of_another_program_is_no_set_yet(tmp_path, capsys, command):
    file = write_file(tmp_path / "lift.hdf5", {"demo_0": demo(0)[0]})
    assert main(["demos", *command, str(file)]) == 1
    made = f"Make one of it: zoomrl demos import auto {file} --out demos/lift"
    assert made in capsys.readouterr().err


def test_images_that_no_encoder_takes_are_said_before_training(tmp_path, capsys):
    demos = make_set()
    rgb = demos.spec.observations["rgb"].shape
    assert rgb[1] != rgb[2]
    write_demos(tmp_path / "ours", demos.episodes, demos.spec, meta=demos.meta)
    run(ExportDemos, "npz", tmp_path / "ours", "--out", tmp_path / "theirs")
    run(ImportDemos, "npz", tmp_path / "theirs", "--out", tmp_path / "again")
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"its images have {rgb[1]} x {rgb[2]} pixels, and encoders need squares")
    run(ImportDemos, "npz", tmp_path / "theirs", "--out", tmp_path / "square", "--image-size", 8)
    assert capsys.readouterr().out.splitlines()[-1].startswith("train on them with: ")


def test_mistakes_are_explained(tmp_path):
    with pytest.raises(ConfigError, match="unknown demonstration format 'robomimc'"):
        run(ImportDemos, "robomimc", tmp_path, "--out", tmp_path / "x")
    with pytest.raises(ConfigError, match="cannot tell what format"):
        run(ImportDemos, "auto", tmp_path, "--out", tmp_path / "x")
    demos = make_set()
    write_demos(tmp_path / "ours", demos.episodes, demos.spec)
    with pytest.raises(ConfigError, match="videos are written for lerobot only"):
        run(ExportDemos, "npz", tmp_path / "ours", "--out", tmp_path / "x", "--video")
    with pytest.raises(DemonstrationError, match="no demonstration set at"):
        run(ExportDemos, "npz", tmp_path, "--out", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_the_commands_are_in_the_tree(tmp_path, capsys):
    """From the program's own line to its exit code."""
    assert parse(["demos", "export", "npz", "a", "--out", "b"])
    assert main(["demos", "import", "npz", str(tmp_path), "--out", str(tmp_path / "x")]) == 1
    assert "error: " in capsys.readouterr().err
