"""Scripted demonstrations, collected once and kept."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from zoomrl.demos.collect import collect_demos, collection_meta
from zoomrl.demos.config import DemoConfig
from zoomrl.demos.store import DemoSet, read_demos, write_demos
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.registry import make_env
from zoomrl.errors import ConfigError


def scripted_path(config: DemoConfig, env: EnvConfig) -> Path:
    """Directory of the set that ``config`` describes; everything that shapes it is in the name."""
    parts = [env.id.replace(":", "-"), str(config.episodes), f"s{config.seed}"]
    if config.noise:
        parts.append(f"n{config.noise:g}")
    if env.action_repeat != 1:
        parts.append(f"r{env.action_repeat}")
    if env.control_hz:
        parts.append(f"{env.control_hz:g}hz")
    if env.time_limit is not None:
        parts.append(f"t{env.time_limit}")
    if env.reward not in ("auto", "sparse"):
        parts.append(env.reward)
    if not env.terminate_on_success:
        parts.append("endless")
    parts += _pictures(env)
    return Path(config.directory) / "-".join(parts)


def _pictures(env: EnvConfig) -> list[str]:
    """What shapes the pictures, and which vector goes with them; nothing without cameras."""
    if not env.cameras:
        return ["robotstate"] if env.state == "robot" else []
    parts = ["+".join(re.sub(r"[^\w.]+", "_", camera) for camera in env.cameras), f"{env.image_size}px"]
    if env.state != "auto":
        parts.append({"full": "fullstate", "robot": "robotstate", "none": "nostate"}[env.state])
    flags = {"noshadows": env.shadows, "noreflections": env.reflections, "noantialiasing": env.antialiasing}
    off = [name for name, on in flags.items() if not on]
    return parts + (["plain"] if len(off) == len(flags) else off)


def scripted_demos(config: DemoConfig, env: EnvConfig, console: Console) -> DemoSet:
    """Read the set, collecting it first if it is not there."""
    if config.episodes < 1:
        raise ConfigError(
            "demos.episodes=0 means all of a set, and there is no set yet. Say how many scripted demonstrations to "
            "collect, or name a set with demos.source"
        )
    path = scripted_path(config, env)
    if not path.exists():
        console.print(f"collecting {config.episodes} demonstrations of {env.id} into {path}", highlight=False)
        _collect(config, env, path)
    return read_demos(path)


def _collect(config: DemoConfig, env: EnvConfig, path: Path) -> None:
    simulator = make_env(replace(env, num_envs=1, workers="serial"))
    try:
        episodes = collect_demos(simulator, episodes=config.episodes, seed=config.seed, noise=config.noise)
        meta = collection_meta(simulator, seed=config.seed, noise=config.noise)
        write_demos(path, episodes, simulator.env_spec, meta=meta)
    finally:
        simulator.close()
