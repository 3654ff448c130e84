"""The parts of a run, each built from the config."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import psutil
import torch
from rich.console import Console

from zoomrl.agents.build import make_agent
from zoomrl.agents.contract import Agent
from zoomrl.agents.engine import accelerate
from zoomrl.agents.learner import CPU
from zoomrl.control.controller import Controller
from zoomrl.control.explore import Explorer
from zoomrl.control.scaling import ActionScaler
from zoomrl.data.episode import Episode
from zoomrl.data.replay import ReplayBuffer
from zoomrl.demos.check.manifest import check_manifest
from zoomrl.demos.fit import check_fit
from zoomrl.demos.fit_images import can_fit
from zoomrl.demos.store.reader import DemoSet, read_demos
from zoomrl.envs.camera import described
from zoomrl.envs.config import EnvConfig
from zoomrl.errors import ConfigError
from zoomrl.math.grid import snap
from zoomrl.spec import EnvSpec
from zoomrl.training.config import TrainConfig
from zoomrl.training.measure.memory import agent_steps, expected_frames, readable
from zoomrl.training.measure.parity import compare
from zoomrl.training.measure.threads import fastest_threads
from zoomrl.training.measure.trial import Trial
from zoomrl.training.run_files import read_threads, write_threads
from zoomrl.training.scripted import scripted_demos
from zoomrl.training.seeds import derive

PRECISION_UPDATES = 3
"""Updates that decide whether bfloat16 is precise enough."""
GRADIENT_RATIO = 10
"""Tolerance of the gradient over that of the loss."""
Factory = Callable[[], gymnasium.Env[Any, Any]]


def load_demos(config: TrainConfig, spec: EnvSpec, own_env: bool, console: Console) -> DemoSet | None:
    """The demonstrations that ``config.demos`` names, checked against the environment."""
    source = config.demos.source
    if source == "none":
        return None
    if source == "scripted" and own_env:
        raise ConfigError(
            "an environment built by make_env has no scripted expert. Set demos.source to the path of a demonstration "
            'set, or to "none".'
        )
    demos = scripted_demos(config.demos, config.env, console) if source == "scripted" else read_demos(source)
    recorded = demos.spec
    demos = check_fit(demos, spec)
    if can_fit(recorded, spec):
        height, width = recorded.observations["rgb"].shape[1:3]
        said = f"the demonstrations' images of {height} x {width} pixels are cropped and fitted as the environment's"
        console.print(said, highlight=False)
    check_manifest(demos, spec)
    if demos.spec.id != spec.id:
        # Allowed: tasks may share demonstrations. But the same shapes may also be an accident.
        said = f"the demonstrations were recorded in {demos.spec.id}, and this run is of {spec.id}"
        console.print(said, highlight=False)
    return demos


def choose_episodes(config: TrainConfig, demos: DemoSet | None) -> list[Episode]:
    """The first ``demos.episodes`` demonstrations and the failed attempts among them."""
    if demos is None:
        return []
    limit = config.demos.episodes or len(demos.episodes)
    chosen: list[Episode] = []
    for episode in demos.episodes:
        if sum(e.is_demo for e in chosen) == limit:
            break
        chosen.append(episode)
    found = sum(e.is_demo for e in chosen)
    if config.demos.episodes and found < config.demos.episodes:
        raise ConfigError(
            f"demos.episodes asks for {config.demos.episodes} demonstrations, but the set holds {found} "
            f"successful ones. "
            "Ask for fewer, or for 0 to use all."
        )
    return chosen


def hold_out(episodes: list[Episode], fraction: float) -> tuple[list[Episode], list[Episode]]:
    """Episodes to learn from, and the last ``fraction`` of the demonstrations among them to validate with."""
    demos = [e for e in episodes if e.is_demo]
    count = max(1, round(fraction * len(demos))) if fraction and demos else 0
    if count and count == len(demos):
        raise ConfigError(
            f"demos.validation={fraction} of {len(demos)} demonstrations leaves none to learn from; lower it, or use "
            "more"
        )
    held = {id(e) for e in demos[len(demos) - count :]}
    return [e for e in episodes if id(e) not in held], [e for e in episodes if id(e) in held]


def check_demonstrated(config: TrainConfig, episodes: Sequence[Episode]) -> None:
    """Refuse imitation where there is nothing to imitate."""
    if config.agent.imitation and not any(episode.is_demo for episode in episodes):
        raise ConfigError(
            f"{config.agent.name} imitates successful demonstrations, and none of the {len(episodes)} episodes is one"
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
        config.replay, capacity=2, storage="ram", demo_fraction=0.0, sampling="transition", tail="shorten"
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


def build_agent(
    config: TrainConfig, spec: EnvSpec, episodes: Sequence[Episode], device: torch.device, scaler: ActionScaler
) -> Agent:
    """The agent, before any learning."""
    agent = make_agent(
        config.agent,
        spec,
        frame_stack=config.replay.frame_stack,
        demos=episodes,
        seed=derive(config.seed, "agent"),
        device=device,
        movable=scaler.movable,
    )
    accelerate(agent, config.speed, config.precision)
    return agent


def choose_device(name: str) -> torch.device:
    """The device that ``name`` stands for, a GPU with its number; refuses a GPU that PyTorch does not find."""
    if name == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    if name == "auto":
        return torch.device("cpu")
    raise ConfigError(
        "device=cuda, but PyTorch finds no CUDA device. `zoomrl doctor` says more; device=cpu works everywhere"
    )


def announce_cameras(config: EnvConfig, spec: EnvSpec, console: Console) -> None:
    """Name the cameras, and what rendering leaves out: faster rendering gives other images, which is never silent."""
    if "rgb" not in spec.observations:
        return
    _, height, width, _ = spec.observations["rgb"].shape
    left_out = [name for name in ("shadows", "reflections", "antialiasing") if not getattr(config, name)]
    how = f", rendered without {', '.join(left_out)}" if left_out else ""
    why = "" if config.cameras else f"; none was named, and {spec.id} observes images alone"
    console.print(f"cameras: {', '.join(spec.cameras)}, {width}x{height} pixels{how}{why}", highlight=False)
    for camera, what in described(spec).items():
        console.print(f"  {camera}: {what}", highlight=False)


def check_agent(config: TrainConfig, spec: EnvSpec, device: torch.device, console: Console) -> None:
    """Refuse what cannot work before anything slow is done, such as collecting demonstrations."""
    if config.demos.source == "scripted":
        Trial(config, spec, device, config.precision, config.speed)
    check_precision(config, spec, device, console)


def check_precision(config: TrainConfig, spec: EnvSpec, device: torch.device, console: Console) -> None:
    """Refuse bfloat16 where it changes the loss too much for this agent."""
    if config.precision != "bf16":
        return
    (result,) = compare(config, spec, device, PRECISION_UPDATES, [("eager", "bf16")])
    measured = f"the loss by {result.loss_difference:.1%} and the gradient by {result.gradient_difference:.1%}"
    console.print(f"bf16 changes {measured} over {PRECISION_UPDATES} updates", highlight=False)
    allowed = config.precision_tolerance
    if not result.within(allowed, GRADIENT_RATIO * allowed):
        raise ConfigError(
            f"precision=bf16 changes {measured} over {PRECISION_UPDATES} updates; {allowed:.0%} and "
            f"{GRADIENT_RATIO * allowed:.0%} are allowed (precision_tolerance={allowed}). Use precision=float32 (or "
            "tf32 on a GPU), or a larger precision_tolerance."
        )


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
    needed = ReplayBuffer.bytes_needed(dataclasses.replace(options, capacity=count), spec, demo_frames)
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


def _free(storage: str, files: Path | None, device: torch.device) -> int | None:
    """Bytes that a replay may take; None where that is found out otherwise."""
    if files is not None:
        # A resumed run has its files already.
        return None if files.exists() else shutil.disk_usage(files.parents[1]).free
    if storage == "gpu":
        return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
    return psutil.virtual_memory().available


def set_threads(
    config: TrainConfig, spec: EnvSpec, directory: Path, console: Console, device: torch.device = CPU
) -> None:
    """Fix the number of CPU threads; a resumed run keeps the number that it began with, since sums depend on it."""
    count = config.threads or read_threads(directory) or 0
    if not count and device.type == "cuda":
        count = 1
        console.print("threads: 1 (the GPU learns; more would only wait)", highlight=False)
    if not count:
        count, medians = fastest_threads(Trial(config, spec, device, config.precision).update)
        timings = ", ".join(f"{n}: {1000 * s:.1f} ms" for n, s in medians.items())
        console.print(f"threads: {count} (measured per update: {timings})", highlight=False)
    torch.set_num_threads(count)
    write_threads(directory, count)


def build_explorer(config: TrainConfig) -> Explorer:
    """Exploration noise of the training environments."""
    grid = config.agent.grid
    to_grid = None if grid is None else lambda action: snap(action, *grid)
    generator = torch.Generator().manual_seed(derive(config.seed, "noise"))
    return Explorer(config.control, to_grid, generator)


def build_controller(
    config: TrainConfig,
    agent: Agent,
    scaler: ActionScaler,
    num_envs: int,
    seed: int,
    explorer: Explorer | None = None,
) -> Controller:
    """From observations to actions in ``num_envs`` environments."""
    return Controller(agent, config.control, scaler, num_envs, config.replay.frame_stack, seed, explorer)
