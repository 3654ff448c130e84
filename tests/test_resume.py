"""A run that is killed, stopped, starved of disk or damaged ends like one left alone, or says why not."""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from envs_toy import ToyEnv
from forked import Forked
from toy import (
    SEED,
    assert_equal_trees,
    assert_same_run,
    checkpoint_files,
    demo_set,
    last_state,
    rows,
    run,
    tiny,
)
from zoomrl.agents.cqn.learner import CQN
from zoomrl.agents.drqv2.config import DrQv2ASConfig, DrQv2Config
from zoomrl.control.config import ControlConfig
from zoomrl.data.replay import ReplayBuffer
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.suites.gym.env import wrap_gym_env
from zoomrl.envs.vector.base import StepOutcome
from zoomrl.envs.vector.serial import SerialVectorEnv
from zoomrl.errors import CheckpointError, ConfigError, NonFiniteLossError
from zoomrl.nets.config import EncoderConfig
from zoomrl.training.checkpoint import Checkpoints, read_state
from zoomrl.training.config import EvalConfig, TrainConfig
from zoomrl.training.evaluate import evaluate
from zoomrl.training.policy import load_policy
from zoomrl.training.run import train
from zoomrl.training.seeds import derive
from zoomrl.training.trainer import Trainer

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo_set(tmp_path_factory.mktemp("demos") / "toy")


@pytest.fixture(scope="module")
def straight(demos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference: the tiny run with demonstrations, never disturbed. Read only."""
    directory = tmp_path_factory.mktemp("straight") / "run"
    assert run(tiny(directory, demos))[0].finished
    return directory


@contextmanager
def at_step(env_steps: int, act: Callable[[], object]) -> Iterator[None]:
    """Do ``act`` once before the step of ``env_steps``."""
    original, done = Trainer._step, []

    def patched(self: Trainer) -> None:
        if self.env_steps >= env_steps and not done:
            done.append(True)
            act()
        original(self)

    Trainer._step = patched  # type: ignore[method-assign]
    try:
        yield
    finally:
        Trainer._step = original  # type: ignore[method-assign]


class CrashError(Exception):
    pass


def crash() -> None:
    raise CrashError


def crash_at(env_steps: int, config: TrainConfig) -> None:
    with at_step(env_steps, crash), pytest.raises(CrashError):
        run(config)


def moved(config: TrainConfig, directory: Path, **changes: Any) -> TrainConfig:
    return dataclasses.replace(config, run_dir=str(directory), **changes)


def test_the_tiny_run_exercises_everything(straight, demos):
    kinds = [row["kind"] for row in rows(straight)]
    assert {"train", "eval", "episode", "final"} <= set(kinds)
    ends = {row["success"] for row in rows(straight) if row["kind"] == "episode"}
    assert ends == {True, False}
    state = last_state(straight)
    assert state["replay"]["oldest"] > 0, "nothing was evicted"
    assert state["in_flight"][0]["actions"], "the run ends between episodes"


# ---- killed ---------------------------------------------------------------------------------------------


SMALL_EYES = EncoderConfig(channels=2, norm="none", activation="relu", feature_dim=4, shift=2)
IMAGES = {
    "env__id": "gym:toy-images",
    "env__cameras": ("front",),
    "agent": DrQv2Config(encoder=SMALL_EYES, hidden_dim=8),
    "control": ControlConfig(executor="open_loop", noise="linear(0.5,0.1,50)"),
}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="toy"),
        pytest.param(
            {
                "env__id": "dmc:cartpole-swingup",
                "env__time_limit": 13,
                "env__num_envs": 2,
                "env__action_repeat": 2,
            },
            id="dmc",
            marks=pytest.mark.slow,
        ),
        pytest.param(IMAGES, id="images", marks=pytest.mark.slow),
    ],
)
def test_killed_run_ends_like_one_left_alone(changes, demos, tmp_path):
    source = None if "env__id" in changes else demos
    config = tiny(tmp_path / "killed", source, **changes)

    def work() -> None:
        with at_step(40, lambda: os.kill(os.getpid(), signal.SIGKILL)):
            run(config)

    assert Forked(work).wait() == -signal.SIGKILL
    saved = read_state(checkpoint_files(tmp_path / "killed")[-1])
    assert 30 <= saved["env_steps"] < 40
    assert saved["in_flight"][0]["actions"], "the checkpoint should lie inside an episode"
    assert rows(tmp_path / "killed")[-1]["env_steps"] > saved["env_steps"], "rows should run past the checkpoint"
    result, said = run(config)
    assert result.finished
    assert f"resuming at step {saved['env_steps']}" in said
    run(moved(config, tmp_path / "straight"))
    assert_same_run(tmp_path / "straight", tmp_path / "killed")


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"env__num_envs": 3}, marks=pytest.mark.slow),
        {"replay__storage": "disk"},
        pytest.param(
            {"control__executor": "receding_horizon", "control__replan_every": 2, "updates_per_step": 0.5},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"control__executor": "open_loop", "replay__tail": "exclude", "replay__sampling": "transition"},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"control__uniform_steps": 20, "control__action_range": "demos", "agent__normalize": "demos"},
            marks=pytest.mark.slow,
        ),
        pytest.param({"env__num_envs": 2, "env__workers": "process", "steps": 45}, marks=pytest.mark.slow),
        pytest.param(
            {
                "control__snap": True,
                "agent__value": "scalar",
                "replay__padding": "zeros",
                "agent__tie_threshold": 0.3,
            },
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"agent": DrQv2ASConfig(chunk_length=3, hidden_dim=8, atoms=7, target_interval=3), "env__num_envs": 2},
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda c: "-".join(str(c[k]) for k in list(c)[:2]),
)
def test_crashed_run_ends_like_one_left_alone(changes, demos, tmp_path):
    config = tiny(tmp_path / "crashed", demos, **changes)
    crash_at(24, config)
    crash_at(40, config)
    assert run(config)[0].finished
    run(moved(config, tmp_path / "straight"))
    assert_same_run(tmp_path / "straight", tmp_path / "crashed")


@pytest.mark.slow
def test_crash_before_the_first_online_checkpoint_keeps_the_offline_phase(straight, demos, tmp_path):
    config = tiny(tmp_path / "run", demos)
    crash_at(14, config)
    assert [p.name for p in checkpoint_files(tmp_path / "run")] == [
        "step_0000000000.pt",
        "step_0000000000_update_0000000004.pt",
    ]
    assert rows(tmp_path / "run")
    run(config)
    assert_same_run(straight, tmp_path / "run")


@pytest.mark.slow
def test_segments_written_after_the_checkpoint_are_not_used(demos, tmp_path):
    """Killed between the first segment and its checkpoint, then resumed from the one before the first step."""
    config = dataclasses.replace(tiny(tmp_path / "run", demos), offline_updates=0)
    crash_at(14, config)
    with at_step(29, crash), pytest.raises(CrashError):
        run(tiny(tmp_path / "other", demos, seed=2))
    stale = sorted((tmp_path / "other" / "replay").glob("*.npz"))[0]
    shutil.copy(stale, tmp_path / "run" / "replay" / stale.name)
    # The stale file is sorted before the new ones and holds the first episodes too.
    other = moved(config, tmp_path / "run", checkpoint=dataclasses.replace(config.checkpoint, every=40))
    crash_at(41, other)
    run(other)
    run(moved(config, tmp_path / "straight"))
    assert_equal_trees(last_state(tmp_path / "straight"), last_state(tmp_path / "run"))


# ---- stopped --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGINT])
def test_signal_saves_and_the_resumed_run_ends_alike(number, straight, demos, tmp_path):
    config = tiny(tmp_path / "run", demos)
    before = signal.getsignal(number)
    with at_step(37, lambda: os.kill(os.getpid(), number)):
        result, said = run(config)
    assert signal.getsignal(number) is before
    assert not result.finished
    assert result.evaluation is None
    assert number.name in said
    assert "resume" in said
    assert read_state(checkpoint_files(tmp_path / "run")[-1])["env_steps"] == 38
    assert not (tmp_path / "run" / "result.json").exists()
    assert run(config)[0].finished
    assert_same_run(straight, tmp_path / "run")


@pytest.mark.slow
def test_stopping_again_and_again_changes_nothing(straight, demos, tmp_path):
    config = tiny(tmp_path / "run", demos)
    for env_steps in (0, 14, 44, 59):
        with at_step(env_steps, lambda: os.kill(os.getpid(), signal.SIGTERM)):
            assert not run(config)[0].finished
    assert run(config)[0].finished
    assert_same_run(straight, tmp_path / "run")


@pytest.mark.slow
def test_signal_in_the_offline_phase(straight, demos, tmp_path, monkeypatch):
    config = tiny(tmp_path / "run", demos)
    update, calls = Trainer._update, []

    def patched(self: Trainer) -> Any:
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return update(self)

    monkeypatch.setattr(Trainer, "_update", patched)
    assert not run(config)[0].finished
    assert read_state(checkpoint_files(tmp_path / "run")[-1])["updates"] == 2
    assert run(config)[0].finished
    assert_same_run(straight, tmp_path / "run")


@pytest.mark.slow
def test_signal_during_an_evaluation(straight, demos, tmp_path, monkeypatch):
    config = tiny(tmp_path / "run", demos)

    def interrupted(*args: Any, stop: Callable[[], bool], **kwargs: Any) -> Any:
        calls.append(1)
        asked: list[int] = []

        def after_three() -> bool:
            asked.append(1)
            if len(calls) == 2 and len(asked) == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            return stop()

        return evaluate(*args, stop=after_three, **kwargs)

    calls: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr("zoomrl.training.session.evaluate", interrupted)
        assert not run(config)[0].finished
    assert read_state(checkpoint_files(tmp_path / "run")[-1])["env_steps"] == 20
    assert run(config)[0].finished
    assert_same_run(straight, tmp_path / "run")


# ---- what may and may not change ------------------------------------------------------------------------


def test_another_config_is_refused_by_field(straight, demos, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(straight, copy)
    before = {p: p.read_bytes() for p in copy.rglob("*") if p.is_file()}
    changed = tiny(copy, demos, agent__lr=0.5, replay__n_step=3, seed=4)
    with pytest.raises(CheckpointError, match=r"(?s)agent\.lr: 0\.001 -> 0\.5.*replay\.n_step: 2 -> 3.*seed: 5 -> 4"):
        run(changed)
    with pytest.raises(CheckpointError, match="resume is off"):
        run(tiny(copy, demos, resume=False))
    assert before == {p: p.read_bytes() for p in copy.rglob("*") if p.is_file()}


def test_other_demonstrations_are_refused(demos, tmp_path):
    path = tmp_path / "demos"
    shutil.copytree(demos, path)
    config = tiny(tmp_path / "run", path)
    crash_at(20, config)
    before = (tmp_path / "run" / "policy.json").read_bytes()
    shutil.rmtree(path)
    demo_set(path, first_seed=100)
    for _ in range(2):
        with pytest.raises(CheckpointError, match="demonstrations are not those"):
            run(config)
    assert (tmp_path / "run" / "policy.json").read_bytes() == before


def test_finished_run_can_be_extended(straight, demos, tmp_path):
    config = tiny(tmp_path / "run", demos)
    first, _ = run(moved(config, tmp_path / "run", steps=33))
    assert first.finished
    second, said = run(config)
    assert second.finished
    assert "resuming at step 33" in said
    assert_same_run(straight, tmp_path / "run")


@pytest.mark.slow
def test_finished_run_on_disk_can_be_extended(demos, tmp_path):
    """Few steps need fewer frames than ``replay.capacity``, so that the files on disk must grow."""
    config = tiny(tmp_path / "run", demos, replay__storage="disk", replay__capacity=10_000)
    run(moved(config, tmp_path / "run", steps=33))
    run(config)
    run(moved(config, tmp_path / "straight"))
    assert_same_run(tmp_path / "straight", tmp_path / "run")


def test_finished_run_repeats_only_its_final_evaluation(straight, demos, tmp_path):
    shutil.copytree(straight, tmp_path / "run")
    result, _ = run(tiny(tmp_path / "run", demos))
    assert result.finished
    assert_same_run(straight, tmp_path / "run")


@pytest.mark.slow
def test_evaluations_logs_and_checkpoints_leave_the_learning_alone(straight, demos, tmp_path):
    config = tiny(tmp_path / "run", demos, eval__every=0, log__every=1000, checkpoint__every=1000)
    run(config)
    # ``sums`` are the metrics not logged yet.
    skip = ("next_eval", "next_log", "sums", "summed")
    ours, theirs = ({k: v for k, v in last_state(d).items() if k not in skip} for d in (tmp_path / "run", straight))
    assert_equal_trees(ours, theirs)


@pytest.mark.parametrize("seed", range(4))
def test_evaluation_seeds_are_no_training_seeds(seed):
    training = {derive(seed, "train_env", env, episode) for env in range(4) for episode in range(1500)}
    tests = [derive(seed, "eval_env", k) for k in range(50)]
    final = [derive(seed, "final_env", k) for k in range(100)]
    assert len(training) == 6000
    assert len({*tests, *final}) == 150
    assert not training & {*tests, *final}


def test_finished_run_evaluates_with_the_seeds_promised(straight):
    by_kind = {row["kind"]: row["seeds"] for row in rows(straight) if "seeds" in row}
    assert by_kind["eval"] == [derive(SEED, "eval_env", k) for k in range(2)]
    assert by_kind["final"] == [derive(SEED, "final_env", k) for k in range(2)]


def test_offline_run_without_environment_steps_leaves_its_policy(demos, tmp_path):
    """Imitation alone: ``steps=0``."""
    result, _ = run(tiny(tmp_path / "run", demos, steps=0, offline_updates=5))
    assert result.finished
    assert checkpoint_files(tmp_path / "run"), "no checkpoint: what was learnt is lost"
    assert read_state(checkpoint_files(tmp_path / "run")[-1])["updates"] == 5
    load_policy(tmp_path / "run")


# ---- damaged --------------------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def test_damaged_newest_checkpoint_falls_back(straight, demos, tmp_path, caplog):
    config = tiny(tmp_path / "run", demos)
    crash_at(40, config)
    damaged = checkpoint_files(tmp_path / "run")[-1]
    truncate(damaged)
    result, said = run(config)
    assert result.finished
    assert "resuming at step 15" in said
    assert damaged.name in caplog.text
    assert_same_run(straight, tmp_path / "run")


@pytest.mark.slow
def test_damaged_newest_checkpoint_does_not_break_the_next_save(straight, demos, tmp_path):
    """The run falls back, and saves before it reaches the step of the damaged file again."""
    config = tiny(tmp_path / "run", demos)
    crash_at(40, config)
    truncate(checkpoint_files(tmp_path / "run")[-1])
    with at_step(20, lambda: os.kill(os.getpid(), signal.SIGTERM)):
        assert not run(config)[0].finished
    # The stop must be resumable: its checkpoint is the newest good one.
    _, said = run(config)
    assert "resuming at step 21" in said
    assert_same_run(straight, tmp_path / "run")


def test_every_checkpoint_damaged_is_an_error(demos, tmp_path):
    config = tiny(tmp_path / "run", demos)
    crash_at(40, config)
    for path in checkpoint_files(tmp_path / "run"):
        truncate(path)
    with pytest.raises(CheckpointError, match="none of the 2 checkpoints"):
        run(config)


@pytest.mark.slow
def test_missing_replay_file_is_an_error(demos, tmp_path):
    config = tiny(tmp_path / "run", demos)
    crash_at(50, config)
    for path in (tmp_path / "run" / "replay").glob("episodes_*.npz"):
        path.unlink()
    with pytest.raises(CheckpointError, match=r"no file in .* holds the online episodes"):
        run(config)


@pytest.mark.slow
def test_leftovers_after_the_checkpoint_are_dropped(straight, demos, tmp_path):
    directory = tmp_path / "run"
    config = tiny(directory, demos)
    crash_at(43, config)
    saved = read_state(checkpoint_files(directory)[-1])
    added = saved["replay"]["added"]
    assert (directory / "metrics.jsonl").stat().st_size > saved["log_position"]
    with open(directory / "metrics.jsonl", "a") as file:
        file.write('{"kind": "train", "half a ro')
    (directory / "replay" / f"episodes_{added:08d}_{added + 2:08d}.npz").write_bytes(b"half a segment")
    (directory / "replay" / ".episodes_00000090_00000091.npz.tmp").write_bytes(b"half a segment")
    (directory / "checkpoints" / ".step_0000000045.pt.tmp").write_bytes(b"half a checkpoint")
    run(config)
    assert_same_run(straight, directory)


@pytest.mark.slow
def test_missing_metrics_file_does_not_break_resuming(demos, tmp_path):
    directory = tmp_path / "run"
    config = tiny(directory, demos)
    crash_at(40, config)
    (directory / "metrics.jsonl").unlink()
    run(config)
    assert rows(directory)[-1]["kind"] == "final"


def test_only_the_newest_checkpoints_and_their_episodes_are_kept(straight):
    files = checkpoint_files(straight)
    assert [read_state(f)["env_steps"] for f in files] == [45, 60]
    oldest = min(read_state(f)["replay"]["oldest"] for f in files)
    spans = sorted(tuple(map(int, f.stem.split("_")[1:])) for f in (straight / "replay").glob("*.npz"))
    assert all(end > oldest for _, end in spans)
    assert spans[0][0] <= oldest


# ---- diverged -------------------------------------------------------------------------------------------


def test_nan_loss_names_batch_and_checkpoint(demos, tmp_path, monkeypatch):
    config = tiny(tmp_path / "run", demos)
    update = CQN.update

    def poisoned(self: CQN, batch: Any, noise: float = 0.0) -> Any:
        metrics = update(self, batch, noise)
        if self.updates == 21:
            metrics["loss"] = torch.tensor(float("nan"))
        return metrics

    monkeypatch.setattr(CQN, "update", poisoned)
    with pytest.raises(NonFiniteLossError) as caught:
        run(config)
    message = str(caught.value)
    (batch_file,) = (tmp_path / "run").glob("nonfinite_batch_*.pt")
    newest = checkpoint_files(tmp_path / "run")[-1]
    assert str(batch_file) in message
    assert str(newest) in message
    assert "update 20" in message
    batch = torch.load(batch_file, weights_only=True)["batch"]
    assert batch["actions"].shape == (6, 3, 2)
    assert read_state(newest)["env_steps"] == 30
    load_policy(tmp_path / "run")


@pytest.mark.slow
def test_diverging_weights_never_reach_the_last_good_checkpoint(demos, tmp_path, monkeypatch):
    """A step that breaks the weights comes back with a finite loss; only the next loss is NaN."""
    config = tiny(tmp_path / "run", demos, checkpoint__every=1)
    update = CQN.update

    def breaking(self: CQN, batch: Any, noise: float = 0.0) -> Any:
        metrics = update(self, batch, noise)
        if self.updates == 20:
            with torch.no_grad():
                next(self.critic.parameters()).fill_(float("nan"))
        return metrics

    monkeypatch.setattr(CQN, "update", breaking)
    with pytest.raises(NonFiniteLossError):
        run(config)
    newest = read_state(checkpoint_files(tmp_path / "run")[-1])
    assert all(tensor.isfinite().all() for tensor in newest["agent"]["critic"].values())


def test_too_large_learning_rate_is_caught(demos, tmp_path):
    with pytest.raises(NonFiniteLossError, match=r"agent\.lr"):
        run(tiny(tmp_path / "run", demos, agent__lr=1e30))


# ---- no space -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_full_disk_keeps_the_older_checkpoint(straight, demos, tmp_path, monkeypatch):
    config = tiny(tmp_path / "run", demos)
    replace = os.replace

    def full(source: Any, target: Any) -> None:
        if "step_0000000030" in str(target):
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(CheckpointError, match=r"step_0000000030\.pt: No space left.*step_0000000015\.pt") as caught:
            run(config)
    assert isinstance(caught.value.__cause__, OSError)
    assert checkpoint_files(tmp_path / "run")[-1].name == "step_0000000015.pt"
    assert not list((tmp_path / "run").rglob("*.tmp"))
    run(config)
    assert_same_run(straight, tmp_path / "run")


@pytest.mark.parametrize(
    "limit", [40, pytest.param(400, marks=pytest.mark.slow), pytest.param(4000, marks=pytest.mark.slow), 20_000]
)
def test_write_cut_short_by_the_system_keeps_the_older_checkpoint(limit, demos, tmp_path):
    """A real limit on file sizes, reached inside the segment's or the checkpoint's writer."""
    directory = tmp_path / "run"
    config = tiny(directory, demos)
    crash_at(20, config)
    replay_state = read_state(checkpoint_files(directory)[-1])
    checkpoints = Checkpoints(directory, keep=2)
    spec = SerialVectorEnv([lambda: _toy()]).env_spec
    replay = ReplayBuffer(config.replay, spec, 3, [], lambda a: a)
    checkpoints.restore_replay(replay_state, replay)
    before = {p.name: p.read_bytes() for p in directory.rglob("*") if p.is_file()}
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(CheckpointError, match=r"step_0000000020\.pt.*too large.*last good .* step_0000000015\.pt"):
            checkpoints.save(20, {**replay_state, "big": torch.zeros(10_000)}, replay)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert before == {p.name: p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def test_metrics_that_cannot_be_written_are_an_error_by_name(demos, tmp_path, monkeypatch):
    """The metrics file meets a full disk first: it is flushed at every row."""
    config = tiny(tmp_path / "run", demos)
    with pytest.raises(CheckpointError, match="No space left"), at_step(20, lambda: _fill(monkeypatch)):
        run(config)


def _fill(monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("zoomrl.training.logger.os.fsync", fsync)


# ---- environments ---------------------------------------------------------------------------------------


def _toy() -> Any:
    return wrap_gym_env(ToyEnv(), EnvConfig(id="gym:toy", time_limit=12))


class Mortal(SerialVectorEnv):
    """Environment 1 dies at its decision number 8."""

    decisions = 0

    def _step_some(self, actions: Any) -> dict[int, StepOutcome | None]:
        outcomes = super()._step_some(actions)
        self.decisions += 1
        if self.decisions == 8 and 1 in outcomes:
            outcomes[1] = None
        return outcomes


def test_episode_of_a_died_worker_is_dropped(tmp_path, monkeypatch):
    def make(config: Any, num_envs: int | None = None, factory: Any = None, **_: Any) -> SerialVectorEnv:
        return (Mortal if num_envs is None else SerialVectorEnv)([_toy] * (num_envs or config.num_envs))

    begun: list[tuple[int, int]] = []
    reset = Mortal.reset

    def spied(self: Mortal, index: int, seed: int) -> Any:
        if type(self) is Mortal:
            begun.append((index, seed))
        return reset(self, index, seed)

    monkeypatch.setattr("zoomrl.training.session.make_vector_env", make)
    monkeypatch.setattr(Mortal, "reset", spied)
    stored: list[int] = []
    add = ReplayBuffer.add
    monkeypatch.setattr(ReplayBuffer, "add", lambda self, e: (stored.append(e.seed), add(self, e))[1])
    result, said = run(tiny(tmp_path / "run", env__num_envs=2))
    assert result.finished
    assert "environment 1 died and was restarted" in said
    seeds = [seed for index, seed in begun if index == 1]
    assert seeds == [derive(SEED, "train_env", 1, k) for k in range(len(seeds))]
    state = last_state(tmp_path / "run")
    flying = [b["seed"] for b in state["in_flight"] if b]
    lost = [seed for _, seed in begun if seed not in stored and seed not in flying]
    assert len(lost) == 1
    assert lost[0] in seeds
    assert state["env_steps"] == 60


class Fickle(ToyEnv):
    """Answers differently after a restart: its noise depends on how often the class was made."""

    made = 0

    def __init__(self) -> None:
        type(self).made += 1
        self.bias = 0.1 * type(self).made

    def step(self, action: np.ndarray) -> Any:
        self.point = self.point + self.bias
        return super().step(action)


@pytest.mark.slow
def test_episode_in_flight_that_is_not_repeated_is_dropped_by_name(tmp_path, monkeypatch):
    """Dropped should the environment answer differently: also when it only shows other things."""
    Fickle.made = 0
    config = tiny(tmp_path / "run", eval__every=0, env__time_limit=60, replay__capacity=200)
    with at_step(17, crash), pytest.raises(CrashError):
        train(config, make_env=Fickle)
    flying = read_state(checkpoint_files(tmp_path / "run")[-1])["in_flight"][0]
    assert len(flying["actions"]) >= 2
    said = io.StringIO()
    stored: list[int] = []
    add = ReplayBuffer.add
    monkeypatch.setattr(ReplayBuffer, "add", lambda self, e: (stored.append(e.seed), add(self, e))[1])
    train(config, make_env=Fickle, console=Console(file=said, width=500))
    assert "did not repeat" in said.getvalue()
    assert flying["seed"] not in stored


def test_capacity_below_an_episode_is_refused_before_anything_is_learnt(demos, tmp_path):
    with pytest.raises(ConfigError, match=r"replay\.capacity"):
        run(tiny(tmp_path / "run", demos, replay__capacity=12))
    assert not (tmp_path / "run" / "metrics.jsonl").exists(), "found out only after the first episode"


def test_config_survives_json():
    config = TrainConfig(updates_per_step=1, eval=EvalConfig(every=7), steps=5)
    again = TrainConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
