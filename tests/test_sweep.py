"""Many runs: what a grid expands to, what a sweep keeps, and workers that share it, are killed, and are stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from benchmarks.chaos.compare import differences
from hypothesis import given
from hypothesis import strategies as st

from zoomrl.cli.main import main
from zoomrl.cli.sweep import _Display
from zoomrl.errors import CheckpointError, ConfigError
from zoomrl.files import write_json
from zoomrl.recipes.grid import Grid, parse_option, parse_seeds, read_grid
from zoomrl.sweep import child, worker
from zoomrl.sweep.plan import plan, read_sweep
from zoomrl.sweep.predict import Needs, check_room, fitting_slots, measure, predict
from zoomrl.sweep.state import state_of, states
from zoomrl.training.ray_cluster import joined
from zoomrl.training.rows import sealed_row
from zoomrl.training.run import train

ROOT = Path(__file__).parents[1]
ENV = "gym:benchmarks.chaos.toy:Chaos-v0"
SMALL = {
    "steps": (60,),
    "seed_steps": (10,),
    "control.uniform_steps": (10,),
    "replay.batch_size": (8,),
    "replay.capacity": (200,),
    "agent.hidden_dim": (8,),
    "eval.every": (30,),
    "eval.episodes": (2,),
    "eval.final_episodes": (2,),
    "eval.video": (False,),
    "log.every": (10,),
    "log.tensorboard": (False,),
    "checkpoint.every": (15,),
    "env.time_limit": (12,),
}
WORDS = [f"{name}={str(value[0]).lower()}" for name, value in SMALL.items()]


def grid(**changes):
    return Grid(**{"preset": ("cqn-gym",), "env": (ENV,), "seeds": (1, 2), "options": SMALL, **changes})


# ---- the grid ------------------------------------------------------------------------------------------------


def test_runs_are_all_combinations_seed_by_seed_and_named_by_what_differs():
    found = grid(agent=("cqn", "td3"), options={"agent.lr": (1e-3, 3e-4)}).runs()
    assert list(found) == [
        f"{agent}-lr{lr}-s{seed}" for seed in (1, 2) for agent in ("cqn", "td3") for lr in (0.001, 0.0003)
    ]
    config = found["td3-lr0.0003-s2"]
    assert (config.agent.name, config.agent.lr, config.seed, config.env.id, config.threads) == ("td3", 3e-4, 2, ENV, 1)
    assert list(grid(seeds=(7,)).runs()) == ["s7"]
    two = grid(env=("gym:Pendulum-v1", "metaworld:drawer-open"), preset=("cqn-gym",), options={}).runs()
    assert list(two)[:2] == ["Pendulum-v1-s1", "drawer-open-s1"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": ()}, "seeds has no value"),
        ({"seeds": (1, 1)}, "seeds has one value twice: 1, 1"),
        ({"options": {"seed": (1, 2)}}, "seeds are an axis of their own"),
        ({"options": {"run_dir": ("x",)}}, "leave run_dir out"),
        ({"options": {"agent.lr": (1e-3, 1e-3)}}, "agent.lr has one value twice"),
    ],
)
def test_axes_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        grid(**changes)


def test_a_combination_that_cannot_be_is_named():
    with pytest.raises(ConfigError, match=r"the run lr-1-s1 cannot be: agent.lr must be positive, got -1"):
        grid(options={"agent.lr": (1e-3, -1)}).runs()
    with pytest.raises(ConfigError, match=r"the run s1 cannot be: unknown option 'agent\.learning_rate'"):
        grid(options={"agent.learning_rate": (1,)}).runs()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("agent.lr=1e-3,3e-4", ("agent.lr", (1e-3, 3e-4))),
        ("agent.hidden=[256,256],[64]", ("agent.hidden", ([256, 256], [64]))),
        ("eval.video=false", ("eval.video", (False,))),
        ("control.noise=linear(1.0,0.1,500),0.1", ("control.noise", ("linear(1.0,0.1,500)", 0.1))),
        ("env.image-size=64", ("env.image_size", (64,))),
        ("demos.source=demos/a=b", ("demos.source", ("demos/a=b",))),
    ],
)
def test_options_as_they_are_typed(text, expected):
    assert parse_option(text) == expected


@pytest.mark.parametrize("text", ["agent.lr", "=3", "agent.lr=", ""])
def test_what_sets_nothing_is_refused(text):
    with pytest.raises(ConfigError, match="written NAME=VALUE"):
        parse_option(text)


@given(st.lists(st.integers(0, 500), min_size=1, max_size=6))
def test_seeds_one_by_one(seeds):
    assert parse_seeds(",".join(map(str, seeds))) == tuple(seeds)


@pytest.mark.parametrize(("text", "seeds"), [("1-4", (1, 2, 3, 4)), ("3", (3,)), ("1-2,7", (1, 2, 7)), ("5 6", (5, 6))])
def test_ranges_of_seeds(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "1-", "4-1", "1.5", "-3", "0-99999"])
def test_what_is_no_seed_is_refused(text):
    with pytest.raises(ConfigError, match="seeds"):
        parse_seeds(text)


def test_a_file_says_the_same(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text(
        'preset = "cqn-gym"\nenv = ["gym:Pendulum-v1"]\nseeds = "1-2"\n[set]\nsteps = 100\nagent.lr = [1e-3, 3e-4]\n'
        '"agent.hidden_dim" = [8]\n'
    )
    assert read_grid(path) == Grid(
        ("cqn-gym",),
        (),
        ("gym:Pendulum-v1",),
        (1, 2),
        {"steps": (100,), "agent.lr": (1e-3, 3e-4), "agent.hidden_dim": (8,)},
    )
    for text, message in (
        ("presets = 1", "unknown entry of grid.toml 'presets'. Did you mean preset"),
        ("preset = 1", "preset must be a text or a list of texts, got 1"),
        ("set = 1", "set must be a table"),
        ("preset =", "is no TOML file that can be read"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            read_grid(path)
    with pytest.raises(ConfigError, match="is no TOML file that can be read"):
        read_grid(tmp_path / "none.toml")


# ---- what is kept --------------------------------------------------------------------------------------------


def test_a_sweep_is_kept_joined_and_extended(tmp_path):
    first = plan(tmp_path / "sweep", grid().runs())
    assert plan(tmp_path / "sweep", grid().runs()) == first == read_sweep(tmp_path / "sweep")
    more = plan(tmp_path / "sweep", grid(seeds=(2, 3)).runs())
    assert list(more.runs) == ["s1", "s2", "s3"]
    assert more.config("s3").run_dir == str(tmp_path / "sweep" / "runs" / "s3")
    longer = plan(tmp_path / "sweep", grid(options={**SMALL, "steps": (90,)}).runs())
    assert [config.steps for config in longer.runs.values()] == [90, 90, 60]
    other = grid(options={**SMALL, "agent.hidden_dim": (9,)}).runs()
    longer.run_dir("s1").mkdir(parents=True)
    (longer.run_dir("s1") / "config.json").touch()
    with pytest.raises(CheckpointError, match=r"has a run s1 with other options: agent.hidden_dim: 8 -> 9"):
        plan(tmp_path / "sweep", other)
    assert read_sweep(tmp_path / "sweep") == longer
    # One that never began may still be mended.
    mended = plan(tmp_path / "sweep", {"s2": other["s2"]})
    assert mended.runs["s2"].agent.hidden_dim == 9
    unwritten = plan(tmp_path / "sweep", grid(seeds=(8,)).runs(), write=False)
    assert "s8" in unwritten.runs
    assert read_sweep(tmp_path / "sweep") == mended


def test_other_directories_are_left_alone(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="holds no sweep, and is not empty"):
        plan(tmp_path, grid().runs())
    with pytest.raises(CheckpointError, match=r"holds no sweep: .*sweep.json is missing"):
        read_sweep(tmp_path)
    write_json(tmp_path / "sweep.json", {"format": 9, "zoomrl": "9.9", "runs": {}})
    with pytest.raises(CheckpointError, match=r"of another version of zoomrl \(9.9\)"):
        read_sweep(tmp_path)
    write_json(tmp_path / "sweep.json", {"format": 1, "runs": {"s1": {"preset": 3}}})
    with pytest.raises(CheckpointError, match="holds what this version does not take"):
        read_sweep(tmp_path)


def holder(directory: Path, **changes) -> None:
    told = {"pid": os.getpid(), "host": socket.gethostname(), "since": "2999-01-01T00:00:00+00:00", **changes}
    write_json(directory / ".holder.json", told)


def test_states_are_read_from_the_directories_alone(tmp_path):
    sweep = plan(tmp_path / "sweep", grid(seeds=tuple(range(8))).runs())
    for name in list(sweep.runs)[1:]:
        sweep.run_dir(name).mkdir(parents=True)
    rows = [
        {"kind": "train", "env_steps": 20, "seconds": 4.0, "loss": 1.0},
        {"kind": "eval", "env_steps": 30, "seconds": 6.0, "success_rate": 0.5, "return_mean": 2.0},
    ]
    (sweep.run_dir("s1") / "metrics.jsonl").write_text("".join(f"{sealed_row(row)}\n" for row in rows) + '{"kind": "tr')
    holder(sweep.run_dir("s1"))
    holder(sweep.run_dir("s2"), host="elsewhere", since="2026-01-01T00:00:00+00:00")
    holder(sweep.run_dir("s3"), pid=2**22 + 7)  # it died
    (sweep.run_dir("s3") / "config.json").touch()
    holder(sweep.run_dir("s4"), since="2001-01-01T00:00:00+00:00")  # another process has its number now
    worker.fail(sweep, "s5", "it broke")
    write_json(sweep.run_dir("s6") / "result.json", {"env_steps": 60, "updates": 50, "return_mean": 3.0})
    write_json(sweep.run_dir("s7") / "result.json", {"env_steps": 59, "updates": 50, "return_mean": 3.0})
    found = {state.name: state for state in states(sweep)}
    assert {name: state.state for name, state in found.items()} == {
        "s0": "waiting",
        "s1": "running",
        "s2": "running",
        "s3": "interrupted",
        "s4": "waiting",
        "s5": "failed",
        "s6": "finished",
        "s7": "waiting",
    }
    one = found["s1"]
    assert (one.step, one.steps, one.success, one.mean_return, one.seconds_left) == (30, 60, 0.5, 2.0, 6.0)
    assert one.detail == f"process {os.getpid()}"
    assert found["s2"].detail == "on elsewhere, since 2026-01-01T00:00:00+00:00"
    assert (found["s5"].detail, found["s6"].mean_return, found["s6"].step) == ("it broke", 3.0, 60)


# ---- what they take ------------------------------------------------------------------------------------------


def test_runs_of_one_kind_are_measured_once(tmp_path, monkeypatch):
    sweep = plan(tmp_path / "sweep", grid(options={**SMALL, "agent.hidden_dim": (8, 16)}).runs())
    asked = []

    def measured(_, name):
        asked.append(name)
        return Needs(len(asked), 10)

    monkeypatch.setattr("zoomrl.sweep.predict._measured", measured)
    found = predict(sweep, list(sweep.runs))
    assert asked == ["hidden_dim8-s1", "hidden_dim16-s1"]
    assert {name: needs.memory for name, needs in found.items()} == {
        "hidden_dim8-s1": 1,
        "hidden_dim16-s1": 2,
        "hidden_dim8-s2": 1,
        "hidden_dim16-s2": 2,
    }


def test_a_run_is_measured(tmp_path):
    small, large = (
        measure(dataclasses.replace(next(iter(grid(options={**SMALL, "steps": (steps,)}).runs().values()))))
        for steps in (100, 100_000)
    )
    # 200 frames are the capacity of the replay, which both reach or not.
    assert 100e6 < small["memory"] <= large["memory"]
    assert 20e6 < small["disk"] < large["disk"] < 100e6


def test_what_does_not_fit_is_refused(tmp_path):
    needs = [Needs(4 * 10**9, 10**9), Needs(2 * 10**9, 10**9)]
    check_room(needs, 2, 6 * 10**9, 2 * 10**9, tmp_path)
    assert fitting_slots(needs, 9 * 10**9) == 2
    with pytest.raises(ConfigError, match=r"2 runs at once need 6.0 GB of memory, and 5.0 GB .*: --workers 1 fits"):
        check_room(needs, 2, 5 * 10**9, 10**10, tmp_path)
    with pytest.raises(ConfigError, match=r"need 4.0 GB .*: lower replay.capacity, or use replay.storage=disk"):
        check_room(needs, 1, 10**9, 10**10, tmp_path)
    with pytest.raises(ConfigError, match=r"the runs need 2.0 GB in .*, and 1.0 GB are free there"):
        check_room(needs, 1, 10**10, 10**9, tmp_path)


# ---- workers -------------------------------------------------------------------------------------------------


def fake_processes(monkeypatch, statuses):
    """Children that end with the given statuses, one after the other for each run, and write what they should."""
    begun = []

    class Process:
        def __init__(self, sweep, name):
            self.sweep, self.name, self.polls, self.signals = sweep, name, 0, []
            self.status = statuses[name].pop(0)

        def poll(self):
            self.polls += 1
            if self.polls < 2 and not self.signals:
                return None
            status = -self.signals[0] if self.signals else self.status
            if status == child.FINISHED:
                self.sweep.run_dir(self.name).mkdir(parents=True, exist_ok=True)
                config = self.sweep.runs[self.name]
                result = {"env_steps": config.steps, "updates": 1, "return_mean": 1.0}
                write_json(self.sweep.run_dir(self.name) / "result.json", result)
            return status

        def send_signal(self, number):
            self.signals.append(number)

        def terminate(self):
            self.signals.append(signal.SIGTERM)

    def start(sweep, name):
        sweep.log(name).parent.mkdir(parents=True, exist_ok=True)
        sweep.log(name).write_text("warm\nerror: it broke\nlast line\n")
        begun.append(name)
        return Process(sweep, name)

    monkeypatch.setattr(worker, "start", start)
    monkeypatch.setattr(worker, "POLL_S", 0.001)
    monkeypatch.setattr(worker, "HELD_S", 0.002)
    return begun


def test_a_worker_takes_each_run_once_and_deals_with_every_end(tmp_path, monkeypatch):
    sweep = plan(tmp_path / "sweep", grid(seeds=(1, 2, 3, 4, 5)).runs())
    kill = -signal.SIGKILL
    begun = fake_processes(
        monkeypatch,
        {
            "s1": [0],
            "s2": [child.FAILED],
            "s3": [kill, kill, 0],
            "s4": [kill] * 3,
            "s5": [child.HELD, child.STOPPED, 0],
        },
    )
    said = []
    assert worker.Worker(sweep, 2, 2, said.append).run()
    assert {name: begun.count(name) for name in sweep.runs} == {"s1": 1, "s2": 1, "s3": 3, "s4": 3, "s5": 3}
    assert [state.state for state in states(sweep)] == ["finished", "failed", "finished", "failed", "finished"]
    assert json.loads(sweep.failure("s2").read_text())["message"] == "it broke"
    assert json.loads(sweep.failure("s4").read_text())["message"] == "its process was killed by SIGKILL 3 times"
    assert said.count("s3: killed by SIGKILL; it goes on where it was") == 2
    begun.clear()
    assert worker.Worker(sweep, 2).run()
    assert begun == []


def test_a_run_that_leaves_no_result_is_not_begun_for_ever(tmp_path, monkeypatch):
    sweep = plan(tmp_path / "sweep", grid(seeds=(1,)).runs())
    begun = fake_processes(monkeypatch, {"s1": [child.FINISHED] * 5})
    monkeypatch.setattr(worker, "finished", lambda *_: None)
    assert worker.Worker(sweep, 1).run()
    assert begun == ["s1"]
    assert "left no result" in json.loads(sweep.failure("s1").read_text())["message"]


def test_no_more_runs_at_once_than_asked_for(tmp_path, monkeypatch):
    sweep = plan(tmp_path / "sweep", grid(seeds=tuple(range(6))).runs())
    fake_processes(monkeypatch, {name: [0] for name in sweep.runs})
    one, most = worker.Worker(sweep, 2), []
    assert one.run(lambda: most.append(len(one._processes)))
    assert max(most) == 2


@pytest.mark.parametrize("by", ["call", "file"])
def test_a_worker_that_is_stopped_asks_its_runs_for_a_checkpoint(tmp_path, monkeypatch, by):
    sweep = plan(tmp_path / "sweep", grid(seeds=(1, 2, 3)).runs())
    begun = fake_processes(monkeypatch, {name: [None] * 9 for name in sweep.runs})
    one = worker.Worker(sweep, 2)
    assert not one.run(lambda: one.stop() if by == "call" else sweep.stop_file.touch())
    assert begun == ["s1", "s2"]
    assert [state.state for state in states(sweep)] == ["waiting"] * 3


def same_as_in_series(out: Path, series: Path, names) -> None:
    """Each run, trained by itself, leaves the same; but for the files of its lock and the like."""
    runs = read_sweep(out).runs
    for name in names:
        train(dataclasses.replace(runs[name], run_dir=str(series / name)))
        left = [line for line in differences(series / name, out / "runs" / name) if "files" not in line]
        assert not left, (name, left)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]), "OMP_NUM_THREADS": "1"}


def command(out: Path, seeds: str, *options: str, more: tuple[str, ...] = ()) -> list[str]:
    words = [sys.executable, "-m", "zoomrl", "sweep", "--preset", "cqn-gym", "--env", ENV, "--seeds", seeds]
    return [*words, "--set", *WORDS, *more, "--out", str(out), *options]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Commands are run in this process, and find what runs take without measuring; runs have their own processes."""
    monkeypatch.chdir(tmp_path)
    for name in ("PYTHONPATH", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, environment()[name])
    monkeypatch.setattr("zoomrl.sweep.predict._measured", lambda *_: Needs(10**8, 10**7))
    return tmp_path


@pytest.mark.long
def test_the_command_trains_all_with_the_same_bytes_as_in_series(here, capsys):
    words = command(here / "sweep", "1", "--workers", "2")[3:]
    assert main(words) == 0
    said = capsys.readouterr()
    assert "1 run in " in said.out
    assert "1 finished" in said.out
    assert "s1: finished, success " in said.err
    same_as_in_series(here / "sweep", here / "series", ["s1"])
    assert main(words) == 0
    assert "0 of them to be trained" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_that_fails_is_named_and_tried_again_when_asked_to(here, capsys, monkeypatch):
    lost = ("demos.source=nowhere", "replay.demo_fraction=0.5")
    words = command(here / "sweep", "1", "--workers", "1", more=lost)[3:]
    assert main(words) == 1
    assert "s1 failed: no demonstration set at nowhere" in capsys.readouterr().err
    assert main(words) == 1
    assert "0 of them to be trained" in capsys.readouterr().out
    begun = []

    def start(sweep, name):
        begun.append(name)
        return subprocess.Popen([sys.executable, "-c", "raise SystemExit(1)"])

    monkeypatch.setattr(worker, "start", start)
    assert main([*words, "--retry-failed"]) == 1
    assert begun == ["s1"]


def test_status_stop_and_a_dry_run(here, capsys, monkeypatch):
    out = here / "sweep"
    words = command(out, "1-2")[3:]
    assert main([*words, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "2 runs in " in said
    assert "s2: 0.10 GB of memory, 0.01 GB on disk" in said
    assert "at once; nothing was begun" in said
    assert not out.exists()
    plan(out, grid().runs())
    worker.fail(read_sweep(out), "s2", "it broke")
    assert main(["sweep", "status", str(out)]) == 0
    said = capsys.readouterr().out
    assert "1 waiting, 1 failed" in said
    headings = [cell.strip() for cell in re.split("[┃│]", next(line for line in said.splitlines() if "state" in line))]
    assert headings[1:-1] == ["run", "state", "step", "of steps", "success", "return", "time left", "worker, or error"]
    assert "s2 failed: it broke" in said
    assert main(["sweep", "stop", str(out)]) == 0
    assert (out / "stop").exists()
    monkeypatch.setattr("zoomrl.sweep.predict._measured", lambda *_: Needs(10**15, 10**7))
    assert main(words) == 2
    assert "GB of memory" in capsys.readouterr().err
    assert main(["sweep", "status", str(here)]) == 1
    (here / "grid.toml").write_text('preset = "cqn-gym"')
    assert main(["sweep", str(here / "grid.toml"), "--seeds", "3"]) == 2
    assert "leave --preset" in capsys.readouterr().err
    assert main(["sweep", "--set", "steps=1", "steps=2"]) == 2
    assert "names an option twice" in capsys.readouterr().err
    assert main(["sweep", "--env", ENV, "--env", ENV]) == 2
    assert "--env is given 2 times: write its values together" in capsys.readouterr().err
    assert main(["sweep", "statsu", str(out)]) == 2
    assert "Did you mean status" in capsys.readouterr().err
    assert main(["sweep", "--set", "agent.lr=log(1e-4,1e-2)"]) == 2
    assert "is a range, which is searched: add --search optuna" in capsys.readouterr().err


# ---- attacks: by hand ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_workers_killed_at_random_leave_what_a_series_leaves(tmp_path):
    """24 runs, three workers, twenty kills of workers and of their runs: each run once, with the same bytes."""
    runs = grid(seeds=tuple(range(1, 25))).runs()
    out, chance = tmp_path / "sweep", random.Random(0)
    words = command(out, "1-24", "--workers", "1", "--retries", "99")
    workers = [begin(words, tmp_path) for _ in range(3)]
    kills = 0
    while kills < 20:
        time.sleep(chance.uniform(0.5, 4))
        if (
            all(state.state == "finished" for state in states(read_sweep(out)))
            if (out / "sweep.json").exists()
            else False
        ):
            break
        which = chance.randrange(3)
        if chance.random() < 0.5 and out.exists():
            pids = [state.detail.split()[-1] for state in states(read_sweep(out)) if state.state == "running"]
            if not pids:
                continue
            try:
                os.kill(int(chance.choice(pids)), signal.SIGKILL)
            except (ProcessLookupError, ValueError):
                continue
        else:
            workers[which].kill()
            workers[which].wait()
            workers[which] = begin(words, tmp_path)
        kills += 1
    for one in workers:
        assert one.wait(900) == 0
    assert kills == 20
    same_as_in_series(out, tmp_path / "series", list(runs))


def begin(words: list[str], place: Path) -> subprocess.Popen[bytes]:
    with (place / "workers.log").open("ab") as log:
        return subprocess.Popen(words, stdout=log, stderr=log, env=environment(), cwd=place)


@pytest.mark.slow
def test_jobs_of_slurms_local_executor(tmp_path):
    pytest.importorskip("submitit")
    out = tmp_path / "sweep"
    words = command(out, "1-3", "--backend", "slurm", "--slurm-cluster", "local", "--slurm-jobs", "2", "--workers", "1")
    done = subprocess.run(words, capture_output=True, text=True, env=environment(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "submitted: " in done.stdout
    began = time.monotonic()
    while any(state.state != "finished" for state in states(read_sweep(out))):
        assert time.monotonic() - began < 240
        time.sleep(0.5)
    same_as_in_series(out, tmp_path / "series", ["s1", "s2", "s3"])


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, list[Any]]]:
    """A Ray cluster, and its nodes of one core."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    # At Ray's own low priority workers would starve on a busy machine.
    for name, value in {"RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0", "OMP_NUM_THREADS": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster, nodes
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize(("count", "strikes"), [(4, 1), (24, 20)])
def test_tasks_on_a_ray_cluster_whose_nodes_and_processes_die(tmp_path, two_nodes, count, strikes):
    """Each run once, with the bytes of a series. The first strike is always at a node that works."""
    from zoomrl.sweep import on_ray

    cluster, nodes = two_nodes
    # Long enough that a strike finds them at work on a fast machine, too.
    longer = {**SMALL, "steps": (600,), "eval.every": (200,), "checkpoint.every": (50,)}
    sweep = plan(tmp_path / "sweep", grid(seeds=tuple(range(1, count + 1)), options=longer).runs())
    chance, struck = random.Random(0), []

    def strike() -> None:
        pids = [int(one.detail.split()[-1]) for one in states(sweep) if one.state == "running" and one.step]
        if not pids or len(struck) == strikes:
            return
        if not struck or chance.random() < 0.4:
            cluster.remove_node(nodes.pop(0), allow_graceful=False)
            nodes.append(cluster.add_node(num_cpus=1))
            struck.append("node")
        else:
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(pids), signal.SIGKILL)
                struck.append("process")

    assert on_ray.work(sweep, tuple(sweep.runs), {}, retries=99, on_poll=strike)
    assert len(struck) == strikes
    assert [state.state for state in states(sweep)] == ["finished"] * count
    same_as_in_series(sweep.directory, tmp_path / "series", list(sweep.runs))


def test_a_cluster_that_does_not_answer_is_named_at_once(monkeypatch):
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    began = time.monotonic()
    with pytest.raises(ConfigError, match=f"no Ray cluster answers at {address} .*ray start --head --port"):
        joined()
    assert time.monotonic() - began < 30


def test_a_run_of_another_process_is_told_by_its_own_status(tmp_path, monkeypatch):
    """The child says that the run is held; it neither fails nor is it counted as killed."""
    from zoomrl.training.lock import run_lock

    sweep = plan(tmp_path / "sweep", grid(seeds=(1,)).runs())
    monkeypatch.setattr(child, "end_with_parent", lambda: None)
    with run_lock(sweep.run_dir("s1")):
        assert child.main([str(sweep.directory), "s1"]) == child.HELD
    assert child.main([str(sweep.directory), "s1"]) == child.FINISHED
    assert child.main([str(sweep.directory), "s1"]) == child.FINISHED
    assert state_of(sweep, "s1").state == "finished"


# ---- searches ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (("log(1e-5, 1e-3)",), ("log", 1e-5, 1e-3)),
        (("int(1,4)",), ("int", 1, 4)),
        (("float(0,1)",), ("float", 0, 1)),
        (("logint(32,512)",), ("logint", 32, 512)),
    ],
)
def test_ranges_of_a_search(values, expected):
    from zoomrl.sweep.space import axis_of

    axis = axis_of("x", values)
    assert (axis.kind, axis.low, axis.high) == expected


def test_choices_and_ranges_that_are_none():
    from zoomrl.sweep.space import axis_of

    assert axis_of("x", ([64, 64], [32])).choices == ([64, 64], [32])
    assert axis_of("x", ("linear(1.0,0.1,500)",)).kind == "choice"
    for text in ("log(0,1)", "int(4,1)", "float(a,b)"):
        with pytest.raises(ConfigError, match="must"):
            axis_of("x", (text,))


def searched(directory, trials, scores, *, seeds=(1,), at_once=2, stop_after=0, steps=(60, 70), fixed=None):
    """A search for the lr nearest to 1e-2, whose runs are not trained but told by ``scores``."""
    from zoomrl.sweep import search as searching
    from zoomrl.sweep import space as space_of

    space = {
        "agent.lr": space_of.axis_of("agent.lr", ("log(1e-4,1)",)),
        "steps": space_of.Axis("choice", choices=steps),
    }
    rounds = []

    def runs_of(values):
        options = {**SMALL, **{name: (value,) for name, value in values.items()}}
        return {config.seed: config for config in grid(seeds=seeds, options=options).runs().values()}

    def work(sweep, names):
        rounds.append(names)
        if stop_after and len(rounds) > stop_after:
            return False
        for name in names:
            score = scores(sweep.runs[name])
            if score == "lost":
                sweep.run_dir(name).mkdir(parents=True, exist_ok=True)
                write_json(sweep.run_dir(name) / "result.json", {"env_steps": 70, "updates": 1, "episodes": 0})
            elif score is not None:
                sweep.run_dir(name).mkdir(parents=True, exist_ok=True)
                result = {"env_steps": 70, "updates": 1, "success_rate": score}
                write_json(sweep.run_dir(name) / "result.json", result)
            else:
                worker.fail(sweep, name, "broken")
        return True

    done = searching.search(directory, trials, space, runs_of, work, fixed=fixed, at_once=at_once)
    return done, rounds, searching.best_values(directory, space), searching.open_study(directory)


def near(config):
    return 1 - abs(math.log10(config.agent.lr) + 2) / 2


def test_a_search_finds_what_is_better_and_goes_on_where_it_was(tmp_path):
    pytest.importorskip("optuna")
    done, rounds, *_ = searched(tmp_path / "s", 12, near, stop_after=2)
    assert (done, len(rounds)) == (False, 3)
    done, rounds, best, study = searched(tmp_path / "s", 12, near)
    assert done
    assert rounds[0] == ("t4-s1", "t5-s1"), "those that were begun"
    assert [trial.number for trial in study.trials] == list(range(12))
    values, score = best
    assert score == max(near(config) for config in read_sweep(tmp_path / "s").runs.values())
    assert values["steps"] in (60, 70)
    assert 10**-3 < values["agent.lr"] < 10**-1
    configs = read_sweep(tmp_path / "s").runs
    assert configs["t3-s1"].callback == ("zoomrl.sweep.pruning:Pruning",)
    rates = [config.agent.lr for config in configs.values()]
    assert len(set(rates)) == 12, "what goes on proposes other values"
    searched(tmp_path / "s", 12, near)
    assert len(read_sweep(tmp_path / "s").runs) == 12


def test_trials_of_several_seeds_are_means_and_failed_ones_count_as_none(tmp_path):
    pytest.importorskip("optuna")
    *_, study = searched(tmp_path / "s", 4, lambda config: 0.25 * config.seed, seeds=(1, 3), at_once=1)
    assert [trial.value for trial in study.trials] == [0.5] * 4
    assert read_sweep(tmp_path / "s").runs["t0-s3"].callback == ()
    *_, best, study = searched(tmp_path / "f", 3, lambda config: None)
    assert best is None
    assert [trial.state.name for trial in study.trials] == ["FAIL"] * 3


def test_a_search_goes_on_with_what_it_was_of_alone(tmp_path):
    pytest.importorskip("optuna")
    searched(tmp_path / "s", 3, near, fixed={"preset": "a"})
    with pytest.raises(ConfigError, match=r"was of something else.*: steps: 60,70 -> 60,80\. Choose another directory"):
        searched(tmp_path / "s", 6, near, steps=(60, 80), fixed={"preset": "a"})
    with pytest.raises(ConfigError, match=r"preset: a -> b"):
        searched(tmp_path / "s", 6, near, fixed={"preset": "b"})
    assert len(read_sweep(tmp_path / "s").runs) == 3


def test_a_trial_whose_evaluation_was_lost_ends_no_search(tmp_path):
    pytest.importorskip("optuna")
    done, *_, study = searched(tmp_path / "s", 3, lambda config: "lost")
    assert done
    assert [trial.state.name for trial in study.trials] == ["FAIL"] * 3
    done, *_, study = searched(tmp_path / "s", 5, near)
    assert done
    assert [trial.state.name for trial in study.trials[3:]] == ["COMPLETE"] * 2


def test_a_run_that_is_there_under_another_name_is_not_trained_again(tmp_path):
    first = grid(seeds=(1, 2)).runs()
    plan(tmp_path / "s", first)
    again = {f"toy-{name}": config for name, config in first.items()}
    with pytest.raises(ConfigError, match=r"the run toy-s1 is in .* already, as s1: names hold an axis once it has"):
        plan(tmp_path / "s", again)
    assert read_sweep(tmp_path / "s").runs.keys() == first.keys()


def test_what_is_asked_of_slurm_is_what_the_options_say(tmp_path, monkeypatch, capsys):
    submitit = pytest.importorskip("submitit")
    asked = {}

    class Executor:
        def __init__(self, folder, cluster):
            asked.update(folder=folder, cluster=cluster, jobs=0)

        def update_parameters(self, **parameters):
            asked.update(parameters)

        def batch(self):
            return contextlib.nullcontext()

        def submit(self, work):
            asked["jobs"] += 1
            return types.SimpleNamespace(job_id=f"7_{asked['jobs']}")

    monkeypatch.setattr(submitit, "AutoExecutor", Executor)
    monkeypatch.setattr("zoomrl.sweep.predict.predict", lambda *_: {})
    words = ("--backend", "slurm", "--slurm-partition", "gpu", "--slurm-minutes", "90", "--slurm-jobs", "2")
    words += ("--slurm-set", "account=lab", "qos=low", "--workers", "3")
    assert main(command(tmp_path / "s", "1-2", *words)[3:]) == 0
    assert "submitted: 7_1, 7_2" in capsys.readouterr().out
    assert (asked["cluster"], asked["timeout_min"], asked["slurm_partition"]) == ("slurm", 90, "gpu")
    assert asked["slurm_additional_parameters"] == {"account": "lab", "qos": "low"}
    assert (asked["slurm_array_parallelism"], asked["cpus_per_task"]) == (2, 3)
    assert main(command(tmp_path / "t", "1", "--backend", "slurm", "--slurm-set", "account")[3:]) == 2
    assert "NAME=VALUE" in capsys.readouterr().err


def test_the_cluster_of_ray_is_the_one_that_is_named(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    found = {}

    def work(sweep, left, needs, **options):
        found.update(options, left=left)
        return True

    monkeypatch.setattr("zoomrl.sweep.on_ray.work", work)
    monkeypatch.setattr("zoomrl.sweep.predict.predict", lambda *_: {})
    main(command(tmp_path / "s", "1-2", "--backend", "ray", "--ray-address", "10.0.0.1:6379", "--retries", "5")[3:])
    assert (found["address"], found["retries"], found["left"]) == ("10.0.0.1:6379", 5, ("s1", "s2"))


def test_messages_of_failed_runs_are_printed_as_they_are(tmp_path, capsys):
    display = _Display(plan(tmp_path / "s", grid(seeds=(1,)).runs()))
    display.say("s1: failed: no [/data/x]; pip install 'zoomrl[stats]'")
    assert "no [/data/x]; pip install 'zoomrl[stats]'" in capsys.readouterr().err


def test_one_process_proposes(tmp_path):
    pytest.importorskip("optuna")
    from zoomrl.sweep.search import _alone

    plan(tmp_path / "s", {})
    with _alone(tmp_path / "s"), pytest.raises(ConfigError, match="another process searches in"):
        searched(tmp_path / "s", 2, near)


def test_a_trial_that_was_asked_for_and_never_written_down_is_given_up(tmp_path):
    pytest.importorskip("optuna")
    from zoomrl.sweep.search import open_study

    plan(tmp_path / "s", {})
    open_study(tmp_path / "s").ask()
    *_, study = searched(tmp_path / "s", 2, near)
    assert [trial.state.name for trial in study.trials] == ["FAIL", "COMPLETE"]


def test_an_unpromising_run_ends_early(tmp_path, monkeypatch):
    """The callback alone, in runs that are trained: the last of them is far below the median of those before."""
    optuna = pytest.importorskip("optuna")
    monkeypatch.setattr(child, "end_with_parent", lambda: None)
    from zoomrl.sweep.search import PRUNER, open_study

    plan(tmp_path / "s", {})
    study = open_study(tmp_path / "s")
    for _ in range(5):
        trial = study.ask()
        trial.report(1.0, 30)
        study.tell(trial, 1.0)
    number = study.ask().number
    config = next(iter(grid().runs().values()))
    sweep = plan(tmp_path / "s", {f"t{number}-s1": dataclasses.replace(config, callback=(PRUNER,))})
    result = train(sweep.config(f"t{number}-s1"))
    assert result.finished
    kept = json.loads((sweep.run_dir(f"t{number}-s1") / "result.json").read_text())
    assert kept["end_reason"].startswith("pruned at step 30: the median")
    assert kept["env_steps"] < config.steps
    assert state_of(sweep, f"t{number}-s1").state == "finished"
    assert child.main([str(sweep.directory), f"t{number}-s1"]) == child.FINISHED
    assert open_study(tmp_path / "s").trials[number].intermediate_values.keys() == {0, 30}
    assert open_study(tmp_path / "s").trials[number].state == optuna.trial.TrialState.RUNNING
    with pytest.raises(ConfigError, match="is for the runs of a search, and other is none"):
        train(dataclasses.replace(config, callback=(PRUNER,), run_dir=str(tmp_path / "s" / "runs" / "other")))


@pytest.mark.slow
def test_the_command_searches(here, capsys):
    pytest.importorskip("optuna")
    words = (here / "sweep", "1", "--workers", "2", "--search", "optuna", "--trials", "3")
    assert main(command(*words, more=("agent.lr=log(1e-4,1e-2)",))[3:]) == 0
    said = capsys.readouterr().out
    assert "trial 2: " in said
    assert "best: " in said
    assert main(command(*words)[3:]) == 2
    assert "a search is of options" in capsys.readouterr().err
