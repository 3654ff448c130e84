"""A long run whose episodes are made by actors, some of which are killed: does anything grow, or stay behind?

Usage: python benchmarks/soak.py [--minutes 60] [--kill-every 60] [--name NAME]

Two actors, a simulator that sleeps 10 ms a step, one update for each step, evaluations and checkpoints on the way.
Every ten seconds: memory of the learner, its file descriptors, threads and children, and what lies in shared memory.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from actors_speed import LENGTH, Timed
from provenance import keep, provenance
from zoomrl.agents.td3.config import TD3Config
from zoomrl.control.config import ControlConfig
from zoomrl.data.config import ReplayConfig
from zoomrl.demos.config import DemoConfig
from zoomrl.envs.config import EnvConfig
from zoomrl.training.callbacks import Callback, Run
from zoomrl.training.collect.config import CollectConfig
from zoomrl.training.config import CheckpointConfig, EvalConfig, LogConfig, TrainConfig
from zoomrl.training.run import train

EVERY_S = 10.0


class Until(Callback):
    """Ends the run when its time is over."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    def on_step(self, run: Run) -> None:
        if time.monotonic() > self.end:
            run.end("the time is over")


def learn(directory: str, seconds: float) -> None:
    """The run that is watched."""
    config = TrainConfig(
        env=EnvConfig(id="gym:timed", time_limit=LENGTH),
        agent=TD3Config(hidden=(64, 64)),
        replay=ReplayConfig(batch_size=64, capacity=2000),
        control=ControlConfig(executor="open_loop", noise="0.1"),
        demos=DemoConfig(source="none"),
        collect=CollectConfig(lag=4, backend="process", actors=2),
        eval=EvalConfig(every=2000, episodes=2, final_episodes=2, video=False),
        log=LogConfig(every=500, tensorboard=False),
        checkpoint=CheckpointConfig(every=1000),
        steps=10_000_000,
        threads=1,
        run_dir=directory,
    )
    train(config, make_env=partial(Timed, 0.01, False), callbacks=[Until(seconds)])


def sample(learner: psutil.Process) -> dict[str, float]:
    """What the learner holds now."""
    actors = [one for one in learner.children() if "collect.serve" in " ".join(one.cmdline())]
    shared = os.statvfs("/dev/shm")
    return {
        "learner_mb": learner.memory_info().rss / 1e6,
        "actors_mb": sum(one.memory_info().rss for one in actors) / 1e6,
        "actors": len(actors),
        "children": len(learner.children(recursive=True)),
        "zombies": sum(one.status() == psutil.STATUS_ZOMBIE for one in learner.children()),
        "descriptors": learner.num_fds(),
        "threads": learner.num_threads(),
        "shared_memory_mb": (shared.f_blocks - shared.f_bfree) * shared.f_frsize / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--kill-every", type=float, default=60.0, metavar="S", help="seconds between kills of an actor")
    parser.add_argument("--name", default="", help="write benchmarks/results/NAME.json")
    parser.add_argument("--learn", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.learn:
        learn(options.learn, 60 * options.minutes)
        return
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, __file__, "--learn", f"{folder}/run", "--minutes", str(options.minutes)]
        log = Path(folder) / "log"
        with open(log, "wb") as file:
            process = subprocess.Popen(words, stdout=file, stderr=file, env={**os.environ, "OMP_NUM_THREADS": "1"})
        rows, kills, code = watch(process, options.kill_every)
        result = json.loads((Path(folder) / "run" / "result.json").read_text()) if code == 0 else {}
        losses = " ".join(log.read_text(errors="replace").split()).count("is made anew by another")
    # Without its parent a process belongs to the first one.
    left = [one.pid for one in psutil.process_iter() if one.ppid() == 1 and "collect.serve" in " ".join(_words(one))]
    summary = {
        **_summary(rows),
        "exit_code": code,
        "kills": kills,
        "episodes_made_anew": losses,
        "env_steps": result.get("env_steps"),
        "processes_left": len(left),
    }
    print(json.dumps(summary, indent=1))
    if options.name:
        keep({"name": options.name, **provenance(["python", *sys.argv]), "samples": rows, "summary": summary})


def watch(process: subprocess.Popen[bytes], kill_every: float) -> tuple[list[dict[str, float]], int, int]:
    """Samples until ``process`` ends, kills of its actors, and its exit code."""
    learner, rows, kills = psutil.Process(process.pid), [], 0
    chosen, began = random.Random(0), time.monotonic()
    next_kill = began + kill_every
    while process.poll() is None:
        time.sleep(EVERY_S)
        try:
            rows.append({"minutes": (time.monotonic() - began) / 60, **sample(learner)})
            actors = [one for one in learner.children() if "collect.serve" in " ".join(one.cmdline())]
            if time.monotonic() >= next_kill and actors:
                next_kill += kill_every
                chosen.choice(actors).send_signal(signal.SIGKILL)
                kills += 1
        except psutil.Error:
            continue
    return rows, kills, int(process.returncode)


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _summary(rows: list[dict[str, float]]) -> dict[str, Any]:
    """First and last third, and the slope, of what was sampled while both actors were there."""
    whole = [row for row in rows if row["actors"] == 2]
    third = max(1, len(whole) // 3)
    found: dict[str, Any] = {"samples": len(rows)}
    for name in ("learner_mb", "descriptors", "threads", "children", "shared_memory_mb"):
        values = np.array([row[name] for row in whole])
        # Of the second half: everything has its size by then.
        minutes = np.array([row["minutes"] for row in whole])
        half = len(values) // 2
        slope = 60 * float(np.polyfit(minutes[half:], values[half:], 1)[0]) if half > 2 else 0.0
        found[name] = {
            "first_third": float(np.median(values[:third])),
            "last_third": float(np.median(values[-third:])),
            "most": float(values.max()),
            "slope_an_hour": slope,
        }
    found["most_zombies"] = max(row["zombies"] for row in rows)
    return found


if __name__ == "__main__":
    main()
