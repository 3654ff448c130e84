"""The replay, and batches of what is held out of it."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

import psutil
import torch
from rich.console import Console

from zoomrl.agents.contract import Agent
from zoomrl.agents.learner import CPU
from zoomrl.control.scaling import ActionScaler
from zoomrl.data.episode import Episode
from zoomrl.data.replay import ReplayBuffer
from zoomrl.errors import ConfigError
from zoomrl.spec import EnvSpec
from zoomrl.training.config import TrainConfig
from zoomrl.training.measure.memory import agent_steps, expected_frames, readable
from zoomrl.training.seeds import derive


def build_replay(
    config: TrainConfig,
    spec: EnvSpec,
    agent: Agent,
    episodes: Sequence[Episode],
    scaler: ActionScaler,
    directory: Path,
    console: Console,
    device: torch.device = CPU,
) -> ReplayBuffer:
    """The replay, after saying what it takes; what cannot fit is refused. Batches go to ``device``."""
    if config.replay.capacity <= spec.time_limit:
        raise ConfigError(
            f"replay.capacity is {config.replay.capacity}, but an episode may take {spec.time_limit + 1} frames. "
            "Raise replay.capacity or lower env.time_limit."
        )
    # Each agent step is one frame, and each episode's end another: a short run needs no more than that.
    most = 2 * agent_steps(config, spec) + spec.time_limit + 1
    options = dataclasses.replace(config.replay, capacity=min(config.replay.capacity, most))
    reserved_frames = 0 if config.intervene.source == "none" else config.intervene.capacity
    demo_frames = sum(len(e) + 1 for e in episodes) + reserved_frames
    # Slots that no frame reaches take nothing, except on a GPU.
    count = options.capacity if options.storage == "gpu" else expected_frames(config, spec)
    needed = (count + demo_frames) * ReplayBuffer.frame_bytes(spec)
    place = {"ram": "of memory", "disk": "on disk", "gpu": "of GPU memory"}[options.storage]
    console.print(
        f"replay: {readable(needed)} {place} for {count:,} online and {demo_frames:,} demonstration frames",
        highlight=False,
    )
    files = directory / "replay" / "frames" if options.storage == "disk" else None
    free = _free(options.storage, files, device)
    if free is not None and needed > free:
        remedy = {"ram": ", or keep it on disk with replay.storage=disk", "gpu": ", or use replay.storage=ram"}
        raise ConfigError(
            f"the replay needs {readable(needed)} {place}, but {readable(free)} are free. "
            f"Lower replay.capacity{remedy.get(options.storage, '')}."
        )
    seed = derive(config.seed, "replay")
    return ReplayBuffer(
        options,
        spec,
        agent.chunk_length,
        episodes,
        scaler.to_unit,
        seed,
        files,
        device,
        agent.sequence_length,
        reserved_frames,
    )


def build_validation(
    config: TrainConfig,
    spec: EnvSpec,
    agent: Agent,
    episodes: Sequence[Episode],
    scaler: ActionScaler,
    device: torch.device,
) -> ReplayBuffer | None:
    """Batches of the demonstrations that are not learnt from."""
    if not episodes:
        return None
    options = dataclasses.replace(
        config.replay,
        capacity=2,
        storage="ram",
        demo_fraction=0.0,
        success_fraction=0.0,
        sampling="transition",
        tail="shorten",
    )
    seed = derive(config.seed, "validation")
    return ReplayBuffer(
        options,
        spec,
        agent.chunk_length,
        episodes,
        scaler.to_unit,
        seed,
        device=device,
        sequence_length=agent.sequence_length,
    )


def _free(storage: str, files: Path | None, device: torch.device) -> int | None:
    """Bytes that a replay may take; None where that is found out otherwise."""
    if files is not None:
        # A resumed run has its files already.
        return None if files.exists() else shutil.disk_usage(files.parents[1]).free
    if storage == "gpu":
        return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
    return psutil.virtual_memory().available
