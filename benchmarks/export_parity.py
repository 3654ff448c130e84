"""The graph of every agent against PyTorch, on 10,000 stored observations of a short run of each.

Usage: python benchmarks/export_parity.py FOLDER [--agents cqn td3] [--images] [--observations 10000]
       python benchmarks/export_parity.py --write FOLDER NAME

Runs are of Gymnasium's pendulum: 50 episodes of a simple controller as demonstrations (10,000 observations), then some
hundred updates and a few episodes, so that weights are not those of the start. FOLDER keeps one JSON file per agent;
what it holds already is left out.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zoomrl import EpisodeBuilder, export, make_env, preset, train, write_demos
from zoomrl.agents.registry import AGENT_CONFIGS
from zoomrl.envs.config import EnvConfig

STATE_ALONE = ("td7",)
"""Agents that see no images."""
EPISODES, UPDATES, STEPS = 50, 300, 600
TASK = "gym:Pendulum-v1"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("name", nargs="?", help="of the result, with --write")
    parser.add_argument("--agents", nargs="+", choices=list(AGENT_CONFIGS), default=list(AGENT_CONFIGS))
    parser.add_argument("--images", action="store_true")
    parser.add_argument("--observations", type=int, default=10_000)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.write:
        write(options.folder, options.name)
        return
    torch.set_num_threads(1)
    for agent in options.agents:
        if not (options.images and agent in STATE_ALONE):
            measure(options.folder, agent, options.images, options.observations)


def measure(folder: Path, agent: str, images: bool, observations: int) -> None:
    """Train, export and keep what was measured."""
    kind = "images" if images else "state"
    kept = folder / f"{agent}-{kind}.json"
    if kept.exists():
        return
    run = folder / f"run-{agent}-{kind}"
    config = run_config(agent, images, demonstrations(folder, images), run)
    train(config)
    done = export(run, folder / f"bundle-{agent}-{kind}", observations=observations, overwrite=True)
    assert done.parity is not None
    row = {"agent": agent, "observed": kind, **done.parity.row(), "holds": done.parity.holds}
    kept.write_text(json.dumps(row))
    print(row, flush=True)


def env_config(images: bool) -> EnvConfig:
    return EnvConfig(id=TASK, cameras=("render",), image_size=64) if images else EnvConfig(id=TASK)


def run_config(agent: str, images: bool, demos: Path, run: Path) -> Any:
    """A short run: of demonstrations alone for agents that only imitate."""
    offline = agent in ("bc", "act")
    changes: dict[str, Any] = {
        "env": TASK,
        "demos.source": str(demos),
        "demos.episodes": 0,
        "replay.demo_fraction": 1.0 if offline else 0.5,
        "replay.capacity": 12_000,
        "replay.batch_size": 64,
        "offline_updates": UPDATES if offline else 0,
        "steps": 0 if offline else STEPS,
        "seed_steps": 100,
        "updates_per_step": 0.5,
        "threads": 1,
        "eval.every": 0,
        "eval.final_episodes": 1,
        "eval.video": False,
        "log.tensorboard": False,
        "run_dir": str(run),
    }
    if images:
        changes |= {"env.cameras": ("render",), "env.image_size": 64}
    fields = AGENT_CONFIGS[agent].__dataclass_fields__
    if "v_min" in fields:
        changes |= {"agent.value": "categorical", "agent.v_min": -700.0, "agent.v_max": 0.0}
    if "normalize" in fields:
        changes["agent.normalize"] = "demos"
    base = {"bc": "bc-metaworld", "act": "act-metaworld"}.get(agent, "cqn-gym")
    return preset(base, agent=agent, **changes)


def demonstrations(folder: Path, images: bool) -> Path:
    """Episodes of a controller that swings the pendulum up, and then holds it."""
    path = folder / f"demos-{'images' if images else 'state'}"
    if path.exists():
        return path
    env = make_env(env_config(images), num_envs=1, workers="serial")
    rng = np.random.default_rng(0)
    episodes = []
    for seed in range(EPISODES):
        observation, _ = env.reset(seed=seed)
        builder, over = EpisodeBuilder(observation, seed), False
        while not over:
            cosine, sine, speed = observation["state"][:3]
            swing = np.sign(speed) * 2 if cosine < 0.8 else -8 * np.arctan2(sine, cosine) - 2 * speed
            action = np.clip([swing + 0.3 * rng.normal()], -2, 2).astype(np.float32)
            observation, reward, terminated, truncated, info = env.step(action)
            builder.add(action, reward, observation, bool(info["success"]))
            over = terminated or truncated
        episodes.append(builder.build(terminated=terminated, truncated=truncated, is_demo=True))
    write_demos(path, episodes, env.env_spec)
    env.close()
    return path


def write(folder: Path, name: str) -> None:
    """Gather the files of FOLDER as one result."""
    from provenance import keep, provenance

    rows = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    bins = [row for row in rows if "equal_bins" in row]
    summary = {
        "agents": len({row["agent"] for row in rows}),
        "all_hold": all(row["holds"] for row in rows),
        "least_equal_bins": min((row["equal_bins"] for row in bins), default=None),
        "largest_gap_of_a_flip": max((row["largest_gap_of_a_flip"] for row in bins), default=None),
        "largest_difference": max(row["largest_difference"] for row in rows),
        "fewest_observations": min(row["observations"] for row in rows),
    }
    origin = provenance(["python", "benchmarks/export_parity.py", "FOLDER"], None)
    keep({"name": name, **origin, "task": TASK, "threads": 1, "summary": summary, "runs": rows})


if __name__ == "__main__":
    main()
