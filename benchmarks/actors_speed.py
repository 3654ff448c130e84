"""What making episodes ahead of learning gains, as ratios taken in one run.

Usage: python benchmarks/actors_speed.py overlap [--name NAME]
       python benchmarks/actors_speed.py scale [--backend process|ray] [--actors 1 2 4 8 16 32] [--step-ms 20 100]
                                               [--name NAME]
       python benchmarks/actors_speed.py learner [--name NAME]

``overlap``: a step of the environment takes as long as an update. The loop that steps, against one actor in a process
of its own; with an environment that sleeps, and with one that computes. Beside it what two computing processes gain on
this machine at all.

``scale``: environments that sleep, and no updates: agent steps per second with n actors over those with one. The lag is
twice the number of actors.

``learner``: what the learner does for each agent step besides its updates, and for each episode: actors that bring
ready episodes at once. Of vectors, and of one 84x84 camera.

Nothing else should run.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import torch

from provenance import keep, provenance
from zoomrl.agents.td3.config import TD3Config
from zoomrl.control.config import ControlConfig
from zoomrl.data.config import ReplayConfig
from zoomrl.data.episode import Episode
from zoomrl.demos.config import DemoConfig
from zoomrl.envs.config import EnvConfig
from zoomrl.training.build import collect as collecting
from zoomrl.training.callbacks import Callback, Run
from zoomrl.training.collect.actor import Job
from zoomrl.training.collect.config import CollectConfig
from zoomrl.training.collect.pool import Pool
from zoomrl.training.collect.ticket import Collected, Greeting, Ticket, packed
from zoomrl.training.config import CheckpointConfig, EvalConfig, LogConfig, TrainConfig
from zoomrl.training.run import train

LENGTH = 50
"""Agent steps of an episode."""
LARGE = (64, 128, 256, 512, 1024)
PER_NODE = 32
"""Actors of a node, for predictions."""
NETWORK = 1.25e9
"""Bytes a second that the learner's node sends and receives, for predictions: 10 gigabits."""


class Timed(gymnasium.Env[np.ndarray, np.ndarray]):
    """Its steps take ``seconds``, asleep or busy; it shows 17 numbers and takes 6, as cheetah-run does."""

    observation_space = gymnasium.spaces.Box(-10, 10, (17,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (6,), np.float32)

    def __init__(self, seconds: float, busy: bool) -> None:
        self.seconds, self.busy = seconds, busy

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        return self._show(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        if self.busy:
            end = time.thread_time() + self.seconds
            while time.thread_time() < end:
                pass
        else:
            time.sleep(self.seconds)
        return self._show(), 0.1, False, False, {}

    def _show(self) -> np.ndarray:
        return self.np_random.normal(size=17).astype(np.float32)


class Clock(Callback):
    """When each agent step was over, and how much travels."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.episode_bytes = self.weights_bytes = 0

    def on_episode(self, run: Run, episode: Episode, row: Mapping[str, Any]) -> None:
        self.episode_bytes = sum(array.nbytes for array in (*episode.observations.values(), episode.actions))
        self.weights_bytes = len(packed(run.agent))

    def on_step(self, run: Run) -> None:
        self.times.append(time.perf_counter())


def run(
    collect: CollectConfig, seconds: float, busy: bool, episodes: int, updates: float, width: int, kind: Any = Timed
) -> Clock:
    """Train, and how long it took."""
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(
            env=EnvConfig(id="gym:timed", time_limit=LENGTH, cameras=("all",) if kind is Seen else (), state="full"),
            agent=TD3Config(hidden=(width, width)),
            replay=ReplayConfig(batch_size=256, capacity=100_000),
            control=ControlConfig(executor="open_loop", noise="0.1"),
            demos=DemoConfig(source="none"),
            collect=collect,
            eval=EvalConfig(every=0, episodes=1, final_episodes=0, video=False),
            log=LogConfig(every=10_000_000, tensorboard=False),
            checkpoint=CheckpointConfig(every=10_000_000),
            steps=episodes * LENGTH,
            updates_per_step=updates,
            threads=1,
            run_dir=f"{folder}/run",
        )
        clock = Clock()
        train(config, make_env=partial(kind, seconds, busy), callbacks=[clock])
        return clock


def per_step(clock: Clock, skipped: int) -> float:
    """Seconds an agent step, in the mean over whole episodes without the first ``skipped``, from end to end."""
    times, first = clock.times, skipped * LENGTH - 1
    return (times[-1] - times[first]) / (len(times) - 1 - first)


def overlap() -> dict[str, Any]:
    """Steps of the environment that take as long as an update."""
    alone, ahead = CollectConfig(), CollectConfig(lag=1, backend="process", actors=1)
    update = per_step(run(alone, 0.0, False, 6, 1.0, 512), 2)
    found: dict[str, Any] = {"update_and_acting_ms": 1000 * update, "two_computing_processes_gain": two_processes()}
    for name, busy in (("asleep", False), ("computing", True)):
        ratios = []
        for _ in range(3):
            synchronous = per_step(run(alone, update, busy, 8, 1.0, 512), 2)
            overlapped = per_step(run(ahead, update, busy, 8, 1.0, 512), 3)
            ratios.append(synchronous / overlapped)
        found[name] = {"synchronous_ms": 1000 * synchronous, "overlapped_ms": 1000 * overlapped, "gains": ratios}
        found[name]["gain"] = statistics.median(ratios)
    return found


def two_processes() -> float:
    """What two processes that learn do in the time of one, on this machine: 2 with two cores, 1 with one."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(learn, [0.2, 0.2])
        one = pool.apply(learn, (4.0,))
        both = pool.map(learn, [4.0, 4.0], chunksize=1)
    return sum(both) / one


def learn(seconds: float) -> float:
    """Matrix multiplications per second."""
    torch.set_num_threads(1)
    a = torch.randn(256, 256)
    end, count = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        a @ a
        count += 1
    return count / seconds


def scale(backend: Any, counts: Sequence[int], step_ms: Sequence[float]) -> dict[str, Any]:
    """Agent steps per second with so many actors."""
    Pool.wait_ready = wait_for_all  # type: ignore[method-assign]
    found: dict[str, Any] = {}
    for ms in step_ms:
        rates: dict[str, float] = {}
        for count in counts:
            collect = CollectConfig(lag=2 * count, backend=backend, actors=count)
            skipped, measured = 2 * count, max(6 * count, 12)
            clock = run(collect, ms / 1000, False, skipped + measured, 0.0, 64)
            rates[str(count)] = 1 / per_step(clock, skipped)
            print(f"{backend}, {ms:g} ms a step, {count} actors: {rates[str(count)]:.1f} steps/s", file=sys.stderr)
        least = rates[str(counts[0])] / counts[0]
        found[f"{ms:g} ms a step"] = {
            name: {"steps_per_s": rate, "over_one": rate / least, "efficiency": rate / least / int(name)}
            for name, rate in rates.items()
        }
    return found


class Ready:
    """An actor that has its episode already."""

    def __init__(self, job: Job) -> None:
        random = np.random.default_rng(0)
        shown = {
            name: random.integers(0, 255, (LENGTH + 1, *array.shape)).astype(array.dtype)
            for name, array in job.spec.observations.items()
        }
        actions = np.zeros((LENGTH, job.spec.action_dim), np.float32)
        self.episode = Episode(shown, actions, np.zeros(LENGTH, np.float32), False, True, False)

    def start(self) -> Greeting:
        return Greeting("here", {}, "", "", 0)

    def run(self, ticket: Ticket, weights: Any, deadline_s: float) -> Collected:
        return Collected(ticket.index, LENGTH, self.episode, logged={})

    def release(self) -> None:
        pass

    def close(self) -> None:
        pass


class Seen(Timed):
    """The same, with a camera."""

    observation_space = gymnasium.spaces.Dict(  # type: ignore[assignment]
        {"state": Timed.observation_space, "front": gymnasium.spaces.Box(0, 255, (84, 84, 3), np.uint8)}
    )

    def _show(self) -> Any:
        return {"state": super()._show(), "front": np.zeros((84, 84, 3), np.uint8)}


def learner() -> dict[str, Any]:
    """Costs of the learner's side."""
    collecting._handles = lambda job, stack: [Ready(job), Ready(job)]
    Pool._refuses = lambda self, greeting: ""  # type: ignore[method-assign]
    found: dict[str, Any] = {}
    for name, kind in (("vectors", Timed), ("one camera", Seen)):
        clock = run(CollectConfig(lag=8, backend="process", actors=2), 0.0, False, 80, 0.0, 256, kind)
        steps = np.diff(clock.times[10 * LENGTH :])
        within = float(np.median(steps))
        # The step that begins an episode packs weights and gives out a ticket; the last one stores it.
        episode = float(np.sum(steps)) / (len(steps) / LENGTH) - LENGTH * within
        found[name] = {
            "step_us": 1e6 * within,
            "episode_us": 1e6 * episode,
            "steps_per_s": float(1 / np.mean(steps)),
            "episode_bytes": clock.episode_bytes,
            "weights_bytes": clock.weights_bytes,
        }
        found[name]["predicted"] = {
            f"{ms:g} ms a step": {str(count): predicted(found[name], count, ms / 1000) for count in LARGE}
            for ms in (20, 100)
        }
    return found


def predicted(costs: dict[str, Any], actors: int, seconds: float) -> dict[str, float]:
    """Agent steps per second that each part allows; the least of them is what such a cluster makes.

    Args:
        costs: of the learner's side.
        actors: how many.
        seconds: of a step of the simulator, with the choice of its action.
    """
    # Each episode comes over the network, and its weights go to every node.
    travels = costs["episode_bytes"] + costs["weights_bytes"] * -(-actors // PER_NODE)
    return {
        "actors": actors / seconds,
        "learner": 1e6 * LENGTH / (LENGTH * costs["step_us"] + costs["episode_us"]),
        "network": NETWORK * LENGTH / travels,
        "memory_gb": (2 * actors + 1) * (costs["episode_bytes"] + costs["weights_bytes"]) / 1e9,
    }


def wait_for_all(self: Pool) -> Greeting | None:
    """In place of waiting for the first actor alone: how long they take to start is not what is measured."""
    self._wait(lambda: len(self._ready) == len(self._handles) or None, "all actors")
    return self._ready[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("overlap", "scale", "learner"))
    parser.add_argument("--backend", choices=("process", "ray"), default="process")
    parser.add_argument("--actors", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--step-ms", type=float, nargs="+", default=[20.0, 100.0])
    parser.add_argument("--name", default="", help="write benchmarks/results/NAME.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    measure = {
        "overlap": overlap,
        "scale": partial(scale, options.backend, options.actors, options.step_ms),
        "learner": learner,
    }
    summary = measure[options.what]()
    print(summary)
    if options.name:
        keep({"name": options.name, **provenance(["python", *sys.argv]), "summary": summary})


if __name__ == "__main__":
    main()
