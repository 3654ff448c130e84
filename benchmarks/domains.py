"""Every task of a domain through zoomrl: does it build, step, render and repeat itself, with what sizes and how fast?

Usage: python benchmarks/domains.py bigym|humanoidbench [--tasks NAME ...] [--env-python PATH] [--no-write]

Images are 84x84, without shadows, reflections and antialiasing. A task that fails is listed with its error. One that
ran in another environment (`--env-python`) says with which MuJoCo, and its speeds hold the way there and back.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provenance import RESULTS, keep, provenance
from zoomrl.envs.base import Env, action_bounds
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.registry import make_env

CAMERAS = {"bigym": ("head", "right_wrist", "left_wrist"), "humanoidbench": ("0",)}
"""What is drawn, by domain."""
STEPS = 4
"""Decisions of the small random episode that is compared with itself."""
TIMED = 10
"""Control steps whose speed is measured, without images."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("domain", choices=sorted(CAMERAS))
    parser.add_argument("--tasks", nargs="*", help="only these; the file keeps its other rows")
    parser.add_argument(
        "--env-python", default="", help="interpreter of another environment that the simulator runs in"
    )
    parser.add_argument("--no-write", action="store_true", help="print only")
    options = parser.parse_args()
    module = importlib.import_module(f"zoomrl.envs.{options.domain}")
    tasks = options.tasks or getattr(module, f"{options.domain}_tasks")()
    name = f"domains_{options.domain}"
    path = RESULTS / f"{name}.json"
    rows = json.loads(path.read_text())["tasks"] if options.tasks and path.exists() else {}
    result = {"name": name, **provenance(["python", "benchmarks/domains.py", options.domain]), "summary": {}}
    for task in tasks:
        rows[task] = row = attempt(f"{options.domain}:{task}", CAMERAS[options.domain], options.env_python)
        print(task, json.dumps(row), flush=True)
        result |= {"summary": summary(rows), "tasks": dict(sorted(rows.items()))}
        if not options.no_write:
            # After each: a crash of a simulator then costs one row.
            keep(result)
    print(json.dumps(result["summary"], indent=1))


def attempt(env_id: str, cameras: tuple[str, ...], python: str) -> dict[str, Any]:
    """The row of one task, or what went wrong."""
    try:
        return measure(env_id, cameras, python)
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"}


def measure(env_id: str, cameras: tuple[str, ...], python: str) -> dict[str, Any]:
    """Sizes and speeds of one task, with everything in its state and its cameras."""
    plain = EnvConfig(id=env_id, state="full", python=python)
    config = replace(plain, cameras=cameras, shadows=False, reflections=False, antialiasing=False)
    start = time.perf_counter()
    env = make_env(config)
    built = time.perf_counter() - start
    try:
        spec = env.env_spec
        one = episode(env, seed=0)
        episode(env, seed=1)
        again = episode(env, seed=0)
        frame = env.render()
        return {
            "state_dim": spec.state_dim,
            "action_dim": spec.action_dim,
            "control_hz": spec.control_hz,
            "time_limit": spec.time_limit,
            "has_expert": env.has_expert,
            "repeats": bool(np.array_equal(one, again)),
            "draws": bool(np.isfinite(one).all() and frame.std() > 1.0),
            "build_s": round(built, 2),
            **(speed_over_there(plain) if python else speed(env)),
        }
    finally:
        env.close()


def speed(env: Env) -> dict[str, float]:
    """By parts of the contract of adapters, so that images and physics are told apart."""
    random = np.random.default_rng(0)
    return {
        "reset_s": round(seconds(lambda: env._begin(2), 1), 4),
        "steps_per_s": round(1.0 / seconds(lambda: env._advance(action(env, random, 0.2)), TIMED), 1),
        "observations_per_s": round(1.0 / seconds(env._observe, 1), 1),
    }


def speed_over_there(config: EnvConfig) -> dict[str, float | str]:
    """Of a simulator in another environment, where the parts cannot be called: without cameras instead."""
    env, random = make_env(config), np.random.default_rng(0)
    try:
        return {
            "mujoco": _mujoco_of(config.python),
            "reset_s": round(seconds(lambda: env.reset(seed=2), 1), 4),
            "steps_per_s": round(1.0 / seconds(lambda: env.step(action(env, random, 0.2)), TIMED), 1),
        }
    finally:
        env.close()


def _mujoco_of(python: str) -> str:
    asked = "import importlib.metadata as m; print(m.version('mujoco'))"
    return subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True).stdout.strip()


def episode(env: Env, seed: int) -> NDArray[np.float64]:
    """States, rewards and means of images of a few small random actions, flattened."""
    random = np.random.default_rng(seed)
    observation, _ = env.reset(seed=seed)
    record = [observation["state"], observation["rgb"].mean(axis=(1, 2, 3))]
    for _ in range(STEPS):
        observation, reward, terminated, truncated, _ = env.step(action(env, random, 0.2))
        record += [observation["state"], np.array([reward]), observation["rgb"].mean(axis=(1, 2, 3))]
        if terminated or truncated:
            break
    return np.concatenate(record)


def action(env: Env, random: np.random.Generator, size: float) -> NDArray[np.float32]:
    """A random action of ``size`` times the bounds, as far as they allow."""
    low, high = action_bounds(env.env_spec.action)
    return np.clip(size * random.uniform(low, high), low, high).astype(np.float32)


def seconds(function: Callable[[], object], repeats: int) -> float:
    """Mean seconds of a call, after one that is not counted."""
    function()
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - start) / repeats


def summary(rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """How many tasks there are, work and repeat themselves, and the range of speeds."""
    good = [row for row in rows.values() if "error" not in row]
    speeds = [row["steps_per_s"] for row in good]
    return {
        "tasks": len(rows),
        "work": sum(row["draws"] for row in good),
        "repeat": sum(row["repeats"] for row in good),
        "failed": [name for name, row in rows.items() if "error" in row],
        "steps_per_s": [min(speeds), float(np.median(speeds)), max(speeds)] if good else [],
    }


if __name__ == "__main__":
    main()
