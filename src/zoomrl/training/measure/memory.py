"""What the process will need of memory, said before training; what it did need, said after."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import re
import resource
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from zoomrl.data.replay import ReplayBuffer
from zoomrl.envs.vector.base import VectorEnv
from zoomrl.spec import EnvSpec
from zoomrl.training.config import TrainConfig
from zoomrl.training.measure.trial import Trial
from zoomrl.training.video import MAX_BYTES, probe_image

_POLL_S = 0.002


@dataclass(frozen=True)
class Expected:
    """Highest memory of a run, in bytes.

    Attributes:
        total: of this process (resident set), the part of the replay in it included.
        replay: of the replay once full.
        workers: of worker processes, not part of ``total``.
        storage: where the replay is: ``ram``, ``disk`` or ``gpu``.
    """

    total: int
    replay: int
    workers: int
    storage: str

    def line(self) -> str:
        """For the user."""
        where = {"ram": "", "disk": " of file pages, given back when others need them", "gpu": " more, on the GPU"}
        workers = f", and {readable(self.workers)} in worker processes" if self.workers else ""
        return (
            f"memory: about {readable(self.total)} when the replay is full "
            f"(replay {readable(self.replay)}{where[self.storage]}){workers}"
        )


def expected_memory(
    config: TrainConfig,
    replay: ReplayBuffer,
    envs: VectorEnv,
    eval_envs: VectorEnv,
    trial: Callable[[], Trial],
    actors: int = 0,
    published: int = 0,
) -> Expected:
    """Measure what can be measured once everything is built, and add what is known to come.

    Measured: everything built so far, and updates of the agent that ``trial`` builds. Added: frames that the replay
    will yet receive, episodes in flight, and the larger of an update, the video at the end and a checkpoint's copy of
    new episodes. An update here is one after which the agent measures itself, where it does.

    Args:
        config, replay, envs, eval_envs: of the run.
        trial: builds the agent that is measured.
        actors: memory of the processes of actors on this machine.
        published: memory of the weights that tickets may name.
    """
    spec, options = envs.env_spec, replay.config
    frame = ReplayBuffer.frame_bytes(spec)
    frames = expected_frames(config, spec)
    if "rgb" in spec.observations and config.evaluates:
        for index in range(eval_envs.num_envs):  # renderers are built at the first image
            eval_envs.reset(index, 0)
    video = 0
    image = probe_image(eval_envs, 0) if config.eval.video and config.eval.final_episodes else ""
    if isinstance(image, np.ndarray):
        video = min(image.nbytes * spec.time_limit, MAX_BYTES)
    # A ring that goes round is copied where its end lies between: see ReplayBuffer.segment.
    fresh = min(config.checkpoint.every // spec.action_repeat, frames) if frames >= options.capacity else 0
    coming = (max(0, frames - replay.online_frames) + replay.free_frames) * frame
    if options.storage == "disk":
        coming = min(coming, psutil.virtual_memory().available)
    elif options.storage == "gpu":
        coming = 0
    in_flight = (envs.num_envs + config.collect.lag + 1) * spec.time_limit * frame  # one is copied when it is stored
    steady, update = _trial_bytes(trial)
    total = steady + coming + in_flight + published + max(update, video, fresh * frame)
    workers = actors
    if config.env.workers == "process":
        workers = sum(process.memory_info().rss for process in psutil.Process().children(recursive=True))
    return Expected(max(total, peak_rss()), (replay.protected_frames + frames) * frame, workers, options.storage)


def agent_steps(config: TrainConfig, spec: EnvSpec) -> int:
    """Agent steps of the whole run, over all environments."""
    per_step = config.env.num_envs * spec.action_repeat
    return -(-config.steps // per_step) * config.env.num_envs


def expected_frames(config: TrainConfig, spec: EnvSpec) -> int:
    """Online frames that the replay will hold at the end: one per agent step, and one more per episode."""
    count = agent_steps(config, spec)
    return min(config.replay.capacity, count + count // spec.time_limit + 1)


def peak_rss() -> int:
    """Highest resident set of this process so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return 1024 * int(found[1])
    # Elsewhere the peak of the process that started this one may be counted with it.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def readable(count: float) -> str:
    """Bytes in the unit that suits."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _trial_bytes(build: Callable[[], Trial]) -> tuple[int, int]:
    """Resident set of a process that has begun to learn, without the frames to come; and what an update adds to it."""
    trial = build()
    # These are held twice now; gradients and the optimizer's moments the run's own agent does not have yet.
    twice = _tensor_bytes(trial.agent.state_dict())
    rounds = trial.agent.config.policy_delay  # updates until every network has moved
    for _ in range(2 * rounds):  # libraries load at the first update, and optimizers allocate
        trial.update()
    _give_back()
    process = psutil.Process()
    steady = highest = process.memory_info().rss
    done = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(_POLL_S):
            highest = max(highest, process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        for _ in range(rounds):
            trial.update()
        trial.diagnose()
    finally:
        done.set()
        watcher.join()
    del trial
    _give_back()
    return steady - twice, highest - steady


def _give_back() -> None:
    """Return freed memory to the system; glibc keeps it otherwise, in holes that what comes next may not fit into."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def _tensor_bytes(tree: Any) -> int:
    if isinstance(tree, torch.Tensor):
        return tree.numel() * tree.element_size() if tree.device.type == "cpu" else 0
    return sum(_tensor_bytes(value) for value in tree.values()) if isinstance(tree, Mapping) else 0
