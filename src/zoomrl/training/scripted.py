"""Scripted demonstrations, collected once and kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from zoomrl.demos.collect import collect_demos, collection_meta
from zoomrl.demos.config import DemoConfig
from zoomrl.demos.store import DemoSet, read_demos, write_demos
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.registry import make_env


def scripted_path(config: DemoConfig, env: EnvConfig) -> Path:
    """Directory of the set that ``config`` describes; everything that shapes it is in the name."""
    parts = [env.id.replace(":", "-"), str(config.episodes), f"s{config.seed}"]
    if config.noise:
        parts.append(f"n{config.noise:g}")
    if env.action_repeat != 1:
        parts.append(f"r{env.action_repeat}")
    return Path(config.directory) / "-".join(parts)


def scripted_demos(config: DemoConfig, env: EnvConfig, console: Console) -> DemoSet:
    """Read the set, collecting it first if it is not there."""
    path = scripted_path(config, env)
    if not path.exists():
        console.print(f"collecting {config.episodes} demonstrations of {env.id} into {path}", highlight=False)
        simulator = make_env(replace(env, num_envs=1, workers="serial"))
        try:
            episodes = collect_demos(simulator, episodes=config.episodes, seed=config.seed, noise=config.noise)
            meta = collection_meta(simulator, seed=config.seed, noise=config.noise)
            write_demos(path, episodes, simulator.env_spec, meta=meta)
        finally:
            simulator.close()
    return read_demos(path)
