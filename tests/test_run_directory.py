"""What a run directory may be when a run starts in it: nothing is taken for a new run, or read in silence."""

import dataclasses
import errno
import json
import multiprocessing
import os
import shutil
import time
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from rich.console import Console

from envs_toy import ToyEnv
from forked import Forked
from test_resume import CrashError, at_step, crash, crash_at
from toy import assert_equal_trees, assert_same_run, checkpoint_files, demo_set, last_state, rows, run, tiny
from zoomrl.errors import CheckpointError, DamagedFileError
from zoomrl.files import read_json, write_json
from zoomrl.training import checkpoint as checkpoint_module
from zoomrl.training.checkpoint import Checkpoints, read_state
from zoomrl.training.lock import HOLDER, run_lock
from zoomrl.training.policy import load_policy
from zoomrl.training.run import train

LAST = "step_0000000060.pt"


@pytest.fixture(scope="module")
def demos(tmp_path_factory):
    return demo_set(tmp_path_factory.mktemp("demos") / "toy")


@pytest.fixture(scope="module")
def straight(demos, tmp_path_factory):
    directory = tmp_path_factory.mktemp("straight") / "run"
    assert run(tiny(directory, demos))[0].finished
    return directory


@pytest.fixture(scope="module")
def crashed(demos, tmp_path_factory):
    """A run that died at step 50; read only."""
    directory = tmp_path_factory.mktemp("crashed") / "run"
    crash_at(50, tiny(directory, demos))
    return directory


@pytest.fixture
def copy(crashed, tmp_path):
    return Path(shutil.copytree(crashed, tmp_path / "run"))


def content(directory):
    return {p.relative_to(directory): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


# ---- checkpoints ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("problem", [OSError(errno.EMFILE, "Too many open files"), MemoryError()])
@pytest.mark.slow
def test_checkpoints_that_cannot_be_read_now_end_the_start_and_stay(problem, straight, copy, demos, monkeypatch):
    before = content(copy)

    def refuse(*args, **kwargs):
        raise problem

    with monkeypatch.context() as patch:
        patch.setattr(torch, "load", refuse)
        with pytest.raises(CheckpointError, match=r"cannot be read now.*(Too many open files|memory)"):
            run(tiny(copy, demos))
    assert content(copy) == before
    run(tiny(copy, demos))
    assert_same_run(straight, copy)


def test_a_file_without_permission_is_not_damaged(copy, demos, monkeypatch):
    before = content(copy)

    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(checkpoint_module, "check_archive", refuse)
    with pytest.raises(CheckpointError, match=r"step_0000000045\.pt cannot be read now: Permission denied") as caught:
        run(tiny(copy, demos))
    assert not isinstance(caught.value, DamagedFileError)
    assert content(copy) == before


def flip(path, place=0.5):
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 16
    path.write_bytes(data)


@pytest.mark.long
def test_a_flipped_bit_is_named_and_the_checkpoint_before_is_used(straight, copy, demos, caplog):
    newest = checkpoint_files(copy)[-1]
    flip(newest)
    said = run(tiny(copy, demos))[1]
    assert "resuming at step 30" in said
    assert newest.name in caplog.text
    assert_same_run(straight, copy)
    for path in checkpoint_files(copy):
        flip(path)
    with pytest.raises(CheckpointError, match=checkpoint_files(copy)[0].name):
        load_policy(copy)
    with pytest.raises(DamagedFileError, match=checkpoint_files(copy)[0].name):
        load_policy(checkpoint_files(copy)[0])


@pytest.mark.long
def test_a_damaged_segment_that_only_the_newest_needs_falls_back(straight, copy, demos, caplog):
    segment = sorted((copy / "replay").glob("*.npz"))[-1]
    flip(segment)
    said = run(tiny(copy, demos))[1]
    assert "resuming at step 30" in said
    assert segment.name in caplog.text
    assert_same_run(straight, copy)


@pytest.mark.slow
def test_a_hole_in_the_episodes_is_refused_by_number_and_nothing_is_changed(demos, tmp_path):
    config = tiny(tmp_path / "run", demos, replay__capacity=1000)
    crash_at(50, config)
    segments = sorted((tmp_path / "run" / "replay").glob("*.npz"))
    gone = segments[len(segments) // 2]
    gone.rename(tmp_path / gone.name)
    first, end = (int(part) for part in gone.stem.split("_")[1:])
    before = content(tmp_path / "run")
    with pytest.raises(CheckpointError, match=rf"holds the online episodes {first} to {end - 1}"):
        run(config)
    assert content(tmp_path / "run") == before
    # Another file under its name does not fill the hole.
    shutil.copy(segments[0], gone)
    with pytest.raises(CheckpointError, match="holds other episodes than"):
        run(config)
    (tmp_path / gone.name).rename(gone)
    assert run(config)[0].finished


@pytest.mark.long
def test_files_of_other_names_are_left_alone(straight, copy, demos):
    foreign = [
        copy / name for name in ("checkpoints/step_zzz.pt", "checkpoints/step_45 (copy).pt", "replay/episodes_a_b.npz")
    ]
    for path in foreign:
        path.write_bytes(b"not ours")
    assert run(tiny(copy, demos))[0].finished
    for path in foreign:
        path.unlink()  # it was left alone
    assert_same_run(straight, copy)


# ---- what is no new run ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", ["metrics.jsonl", "replay", "checkpoints", "result.json"])
def test_traces_of_a_run_without_checkpoint_are_never_begun_again(kept, straight, demos, tmp_path):
    directory = tmp_path / "run"
    shutil.copytree(straight, directory)
    for path in checkpoint_files(directory):
        path.rename(f"{path}.damaged") if kept == "checkpoints" else path.unlink()
    for name in ("metrics.jsonl", "result.json"):
        if name != kept:
            (directory / name).unlink()
    if kept != "replay":
        shutil.rmtree(directory / "replay")
    before = content(directory)
    with pytest.raises(CheckpointError, match="no checkpoint to resume it from"):
        run(tiny(directory, demos))
    assert content(directory) == before


@pytest.mark.long
def test_a_run_that_wrote_nothing_but_its_config_begins(straight, demos, tmp_path):
    directory = tmp_path / "run"
    directory.mkdir()
    for name in ("config.json", "policy.json", "threads.json"):
        shutil.copy(straight / name, directory)
    (directory / "metrics.jsonl").touch()
    run(tiny(directory, demos))
    assert_same_run(straight, directory)


def test_a_run_without_config_is_refused(copy, demos):
    (copy / "config.json").unlink()
    before = content(copy)
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        run(tiny(copy, demos, agent__lr=0.5))
    assert content(copy) == before


@pytest.mark.parametrize("name", ["config.json", "policy.json", "threads.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "list", "deep", "other"])
def test_a_damaged_file_of_the_run_is_named(name, damage, copy, demos):
    path = copy / name
    if damage == "flip":
        flip(path)
    else:
        deep = b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}"
        whole = path.read_bytes()
        path.write_bytes({"cut": whole[:30], "empty": b"", "list": b"[]", "deep": deep, "other": b'{"x": 1}'}[damage])
    before = content(copy)
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        run(tiny(copy, demos, threads=0))
    assert content(copy) == before
    if name != "threads.json":
        with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
            load_policy(copy)


def test_an_unknown_number_of_threads_is_not_measured_anew(copy, demos):
    (copy / "threads.json").unlink()
    with pytest.raises(CheckpointError, match=r"threads\.json.*--threads"):
        run(tiny(copy, demos, threads=0))


@pytest.mark.slow
def test_missing_best_weights_are_not_replaced_in_silence(demos, tmp_path):
    config = tiny(tmp_path / "run", demos, eval__keep_best=True)
    assert run(config)[0].finished
    best = tmp_path / "run" / "checkpoints" / "best.pt"
    flip(best)
    for broken in (lambda: run(config), lambda: load_policy(tmp_path / "run")):
        with pytest.raises(CheckpointError, match=r"best\.pt is damaged"):
            broken()
    best.unlink()
    for broken in (lambda: run(config), lambda: load_policy(tmp_path / "run")):
        with pytest.raises(CheckpointError, match=r"best\.pt.* is missing.*--eval\.no-keep-best"):
            broken()


@pytest.mark.long
def test_a_directory_removed_under_a_run_is_named(demos, tmp_path):
    directory = tmp_path / "run"
    with (
        at_step(24, lambda: directory.rename(tmp_path / "elsewhere")),
        pytest.raises(CheckpointError, match="removed, renamed or replaced"),
    ):
        run(tiny(directory, demos))
    assert not directory.exists()


@pytest.mark.slow
def test_a_directory_made_anew_under_a_run_is_the_other_run_s(demos, tmp_path):
    """The first one writes nothing more there, its holder's name and its lock included."""
    directory, other = tmp_path / "run", tmp_path / "other"
    crash_at(20, tiny(other, demos, seed=2))
    (other / HOLDER).write_text("the second one's")

    def replace():
        directory.rename(tmp_path / "elsewhere")
        shutil.copytree(other, directory)

    with at_step(24, replace), pytest.raises(CheckpointError, match="removed, renamed or replaced"):
        run(tiny(directory, demos))
    assert content(directory) == content(other)


@pytest.mark.parametrize("keep_best", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.slow
def test_files_of_another_run_are_refused_and_stay(keep_best, copy, demos, tmp_path):
    """They are whole, and of the same config but for the seed."""
    other, name = tmp_path / "other", "best.pt" if keep_best else "step_0000000045.pt"
    if keep_best:
        crash_at(50, tiny(shutil.rmtree(copy) or copy, demos, eval__keep_best=True))
    crash_at(50, tiny(other, demos, seed=2, eval__keep_best=keep_best))
    shutil.copy(other / "checkpoints" / name, copy / "checkpoints" / name)
    before = content(copy)
    for start in (lambda: run(tiny(copy, demos, eval__keep_best=keep_best, steps=50)), lambda: load_policy(copy)):
        with pytest.raises(CheckpointError, match=rf"{name} was saved by another run than that of"):
            start()
    assert keep_best or content(copy) == before


@pytest.mark.slow
def test_episodes_of_another_run_are_not_looked_at(straight, copy, demos, tmp_path):
    crash_at(20, tiny(tmp_path / "other", demos, seed=2))
    stray = sorted((tmp_path / "other" / "replay").glob("*.npz"))[0]
    names = {path.name for path in (copy / "replay").iterdir()}
    shutil.copy(stray, copy / "replay" / "episodes_00000000_00000099.npz")
    assert run(tiny(copy, demos))[0].finished
    assert_equal_trees(last_state(straight), last_state(copy))
    assert stray.name not in names or (copy / "replay" / stray.name).exists()


@pytest.mark.slow
def test_what_a_process_killed_before_it_tidied_up_left_is_removed(straight, demos, tmp_path, monkeypatch):
    """Killed right behind the last checkpoint: no later one would do it."""
    config = tiny(tmp_path / "run", demos)
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "_prune", lambda self: crash() if self.newest().name == LAST else None)
        with pytest.raises(CrashError):
            run(config)
    assert len(checkpoint_files(tmp_path / "run")) > len(checkpoint_files(straight))
    assert run(config)[0].finished
    for folder in ("checkpoints", "replay"):
        assert sorted(os.listdir(tmp_path / "run" / folder)) == sorted(os.listdir(straight / folder))
    assert_same_run(straight, tmp_path / "run")


@pytest.mark.parametrize("folder", ["checkpoints", "replay"])
def test_a_folder_that_cannot_be_listed_now_is_not_an_empty_one(folder, copy, demos, monkeypatch):
    before, scandir = content(copy), os.scandir

    def refuse(path="."):
        if Path(path) == copy / folder:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        with pytest.raises(CheckpointError, match=f"{folder} cannot be read now: Permission denied"):
            run(tiny(copy, demos))
    assert content(copy) == before


@pytest.mark.slow
def test_a_best_evaluation_beyond_the_last_checkpoint_is_told(demos, tmp_path):
    """Killed between evaluation and checkpoint, and then ended before that evaluation would be made again."""
    config = tiny(tmp_path / "run", demos, eval__keep_best=True, eval__every=8)
    for better in (False, True):
        crash_at(49 if better else 46, config)
    (best,) = (tmp_path / "run" / "checkpoints").glob("best.pt")
    state = read_state(checkpoint_files(tmp_path / "run")[-1])
    late = {**read_state(best), "env_steps": 48, "updates": 30}
    checkpoint_module._write_state(best, late)
    assert load_policy(tmp_path / "run").env_steps == 48, "a run that goes on may be ahead of its checkpoint"
    with pytest.raises(CheckpointError, match=r"best\.pt is of step 48, and the best evaluation of this run was after"):
        run(dataclasses.replace(config, steps=46))
    checkpoint_module._write_state(best, {**late, **dict(zip(("env_steps", "updates"), state["best_at"], strict=True))})
    assert run(dataclasses.replace(config, steps=46))[0].finished


@pytest.mark.long
@pytest.mark.slow
def test_a_checkpoint_of_before_runs_had_ids_is_resumed(demos, tmp_path):
    """Nor did it keep where its best evaluation was, or rank by lost episodes."""
    straight, old = tmp_path / "straight", tmp_path / "old"
    assert run(tiny(straight, demos, eval__keep_best=True))[0].finished
    crash_at(50, tiny(old, demos, eval__keep_best=True))
    write_json(old / "policy.json", {k: v for k, v in read_json(old / "policy.json").items() if k != "run"})
    for path in (old / "checkpoints").glob("*.pt"):
        state = {k: v for k, v in read_state(path).items() if k not in ("run", "best_at")}
        checkpoint_module._write_state(path, state | ({"best": state["best"][1:]} if state.get("best") else {}))
    assert load_policy(old).env_steps == read_state(old / "checkpoints" / "best.pt")["env_steps"]
    assert run(tiny(old, demos, eval__keep_best=True))[0].finished
    assert_equal_trees(*({**last_state(place), "best_at": None} for place in (straight, old)))
    assert rows(straight) == rows(old)


WRONG = {
    "env_steps": "abc",
    "updates": -1,
    "agent_steps": True,
    "log_position": -5,
    "replay": None,
    "segments": 5,
    "best": 7,
    "agent": 3,
}


@pytest.mark.parametrize("name", WRONG)
def test_an_entry_of_a_checkpoint_that_is_not_what_it_should_be_is_named(name, copy, demos):
    path = checkpoint_files(copy)[-1]
    checkpoint_module._write_state(path, {**read_state(path), name: WRONG[name]})
    before = content(copy)
    for start in (lambda: run(tiny(copy, demos)), lambda: load_policy(copy), lambda: load_policy(path)):
        with pytest.raises(CheckpointError, match=rf"{path.name} holds no state of a run: its {name} is"):
            start()
    assert content(copy) == before


def test_a_checkpoint_that_is_not_there_is_told_from_a_run(copy):
    with pytest.raises(CheckpointError, match=r"no checkpoint .*step_99\.pt; .*holds step_0000000030\.pt, step_"):
        load_policy(copy / "checkpoints" / "step_99.pt")
    with pytest.raises(CheckpointError, match="its folder holds none"):
        load_policy(copy / "step_99.pt")


@pytest.mark.parametrize("threads", [-5, 0, True, "one"])
def test_threads_that_are_no_number_of_threads_are_named(threads, copy, demos):
    write_json(copy / "threads.json", {"threads": threads})
    with pytest.raises(CheckpointError, match=r"threads\.json does not hold what it should"):
        run(tiny(copy, demos, threads=0))


SPEC_FAULTS = {
    "a shape of nothing": {"action": {"shape": [], "dtype": "float32", "low": [], "high": []}},
    "bounds of nothing": {"action": {"shape": [2], "dtype": "float32", "low": [], "high": [1.0, 1.0]}},
    "an endless entry": {"state_entries": [{"name": "state", "size": 10**400}]},
    "half an entry": {"state_entries": [{"name": "state", "size": 1.5}]},
}


@pytest.mark.parametrize("fault", SPEC_FAULTS)
def test_a_policy_file_that_describes_no_environment_is_named(fault, copy, demos):
    held = read_json(copy / "policy.json")
    write_json(copy / "policy.json", {**held, "spec": {**held["spec"], **SPEC_FAULTS[fault]}})
    for start in (lambda: run(tiny(copy, demos)), lambda: load_policy(copy)):
        with pytest.raises(CheckpointError, match=r"policy\.json describes no environment"):
            start()


class Swapped(ToyEnv):
    """The same numbers, under another name."""

    observation_space = gymnasium.spaces.Dict({"place": gymnasium.spaces.Box(-10, 10, (3,), np.float32)})

    def _show(self):
        return {"place": super()._show()}


class Silent(ToyEnv):
    """Tells nobody whether it succeeded."""

    def reset(self, **options):
        return super().reset(**options)[0], {}

    def step(self, action):
        return *super().step(action)[:4], {}


@pytest.mark.parametrize(
    ("other", "named"), [(Swapped, "state entries"), (Silent, "reports_success True against False")]
)
@pytest.mark.long
def test_another_environment_than_the_one_that_a_run_began_in_is_refused(other, named, tmp_path):
    directory = tmp_path / "run"
    config = tiny(directory)
    crash_at(20, config)
    before = content(directory)
    with pytest.raises(CheckpointError, match=rf"(?s)not the one that .*run was trained in.*{named}"):
        train(config, make_env=other, console=Console(quiet=True))
    assert content(directory) == before


# ---- what may move --------------------------------------------------------------------------------------


@pytest.mark.long
def test_demonstrations_may_move_and_frames_may_go_to_disk(straight, copy, demos, tmp_path):
    shutil.copytree(demos, tmp_path / "elsewhere")
    config = tiny(copy, tmp_path / "elsewhere", replay__storage="disk")
    assert run(config)[0].finished
    assert_same_run(straight, copy)


# ---- one process ----------------------------------------------------------------------------------------


@pytest.fixture
def holder(copy):
    ready = multiprocessing.get_context("fork").Event()

    def hold():
        with run_lock(copy):
            ready.set()
            time.sleep(300)

    process = Forked(hold)
    assert ready.wait(60)
    yield process
    process.kill()


@pytest.mark.long
def test_a_second_process_is_refused_by_the_name_of_the_first(holder, straight, copy, demos):
    before = content(copy)
    with pytest.raises(CheckpointError, match=rf"a run is going on.*process {holder.pid} on {os.uname().nodename}"):
        run(tiny(copy, demos))
    assert content(copy) == before
    load_policy(copy)  # reading needs no lock
    holder.kill()
    assert (copy / HOLDER).exists(), "a killed process leaves its name"
    run(tiny(copy, demos))
    assert not (copy / HOLDER).exists()
    assert_same_run(straight, copy)


@pytest.mark.long
def test_a_holder_on_another_machine_that_did_not_end_is_said(copy, demos, caplog):
    (copy / HOLDER).write_text(json.dumps({"pid": 7, "host": "elsewhere", "since": "2026-01-01T00:00:00+00:00"}))
    assert run(tiny(copy, demos))[0].finished
    assert "process 7 on elsewhere" in caplog.text


@pytest.mark.long
def test_what_a_killed_process_was_writing_is_removed(copy, demos):
    for name in (".config.json.7.tmp", "checkpoints/.step_0000000060.pt.7.tmp", "replay/.episodes_0_1.npz.7.tmp"):
        (copy / name).write_bytes(b"half")
    run(tiny(copy, demos))
    assert not list(copy.rglob("*.tmp"))


@pytest.mark.long
def test_two_processes_one_directory(straight, demos, tmp_path):
    """Both begin at once, where nothing is yet: one trains, the other says why it does not."""
    config, logs = tiny(tmp_path / "run", demos), [tmp_path / "one.log", tmp_path / "two.log"]
    both = [Forked(lambda: run(config), log) for log in logs]
    codes = sorted(process.wait() for process in both)
    said = [log.read_text() for log in logs]
    if codes != [0, 0]:  # where they came one after the other, the second one repeats the end of the first
        assert codes == [0, 1]
        assert sum("a run is going on in" in text for text in said) == 1
    assert_same_run(straight, tmp_path / "run")
