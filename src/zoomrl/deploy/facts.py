"""``policy.json`` of a bundle: everything that a program needs to know of a policy besides its graph."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from zoomrl.control.config import ControlConfig
from zoomrl.deploy.graph import ActingGraph, Port, StepGraph
from zoomrl.envs.config import crops_of
from zoomrl.envs.registry import can_step
from zoomrl.files import finite_or_null, read_json
from zoomrl.nets.normalize import CLIP, Normalizer
from zoomrl.runtime import FORMAT, VERSION
from zoomrl.spec import EnvSpec
from zoomrl.training.config import TrainConfig
from zoomrl.training.policy import TrainedAgent
from zoomrl.training.run_files import RESULT, read_policy_file
from zoomrl.version import __version__

_PRIVATE = ("run_dir", "init_from", "fork", "callback", "log", "intervene", "resume", "threads", "checkpoint")
"""Options that say where things lie on somebody's machine, or how a run was watched."""


def describe(
    held: TrainedAgent, trained: TrainConfig, run: Path, graph: ActingGraph, step: StepGraph | None
) -> dict[str, Any]:
    """The content of ``policy.json``, but for what is measured later.

    Args:
        held: the agent and what it was trained for.
        trained: with what it was trained; of ``held`` the execution of chunks may be another.
        run: its run directory.
        graph: that ``model.onnx`` holds.
        step: that ``model_step.onnx`` holds; None without one.
    """
    config, spec = held.config, held.spec
    about = {
        "format": FORMAT,
        "version": VERSION,
        "agent": config.agent.name,
        "chunk_length": graph.agent.chunk_length,
        "grid": _grid(held),
        "environment": _environment(config, spec),
        "observations": _observations(spec),
        "frame_stack": config.replay.frame_stack,
        "normalizer": _normalizer(graph),
        "action": _action(held),
        "executor": _executor(config.control, graph.agent.chunk_length),
        "control_hz": spec.control_hz,
        "inputs": [asdict(port) for port in graph.inputs],
        "outputs": [asdict(port) for port in graph.outputs],
        "step": None if step is None else {"inputs": _ports(step.inputs), "outputs": _ports(step.outputs)},
        "discount": config.replay.discount,
        "training": _training(held, trained, run),
        "versions": {
            "zoomrl": __version__,
            "commit": source_commit(),
            "python": sys.version.split()[0],
            **{name: metadata.version(name) for name in ("torch", "numpy", "onnx", "onnxruntime")},
        },
    }
    found: dict[str, Any] = finite_or_null(about)
    return found


def _ports(ports: list[Port]) -> list[dict[str, Any]]:
    return [asdict(port) for port in ports]


def _grid(held: TrainedAgent) -> dict[str, int] | None:
    grid = held.config.agent.grid
    return None if grid is None else {"levels": grid[0], "bins": grid[1]}


def _environment(config: TrainConfig, spec: EnvSpec) -> dict[str, Any]:
    options = {**asdict(config.env), "python": "", "cameras": list(config.env.cameras or spec.cameras)}
    if not can_step(config.env.id):
        options["id"] = spec.id  # recordings lie in a place of this machine
    return {
        "id": spec.id,
        "options": options,
        "spec": spec.to_dict(),
        "time_limit": spec.time_limit,
        "action_repeat": spec.action_repeat,
    }


def _observations(spec: EnvSpec) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, array in spec.observations.items():
        found[name] = {"shape": list(array.shape), "dtype": array.dtype}
    if "state" in found:
        found["state"]["entries"] = [asdict(entry) for entry in spec.state_entries]
    if "rgb" in found:
        views = found["rgb"]["shape"][0]
        found["rgb"] |= {
            "cameras": list(spec.cameras) or [f"camera_{view}" for view in range(views)],
            "fit": spec.image_fit,
            "crop": [list(crop) for crop in crops_of(spec.image_crop, views)],
            "camera_sizes": [list(size) for size in spec.camera_sizes],
        }
    return found


def _normalizer(graph: ActingGraph) -> dict[str, Any] | None:
    """How the state is scaled inside the graph; None where it is not."""
    found = [part for part in graph.agent.modules() if isinstance(part, Normalizer) and part.active]
    if not found:
        return None
    return {"mean": found[0].mean.tolist(), "scale": found[0].std.tolist(), "clip": CLIP}


def _action(held: TrainedAgent) -> dict[str, Any]:
    action = held.spec.action
    return {
        "size": held.spec.action_dim,
        "low": list(action.low or ()),
        "high": list(action.high or ()),
        "meaning": list(held.spec.action_meaning),
        "range_low": held.scaler.low.tolist(),
        "range_high": held.scaler.high.tolist(),
    }


def _executor(control: ControlConfig, chunk_length: int) -> dict[str, Any]:
    if control.executor == "temporal_ensemble":
        return {"name": control.executor, "gain": control.ensemble_gain, "favours": control.ensemble_favours}
    every = chunk_length if control.executor == "open_loop" else control.replan_every
    return {"name": control.executor, "replan_every": every}


def _training(held: TrainedAgent, trained: TrainConfig, run: Path) -> dict[str, Any]:
    """Where the weights come from. The run's result is told where it is theirs, executed as this bundle is."""
    config = trained.to_dict()
    options = {name: value for name, value in config.items() if name not in (*_PRIVATE, "env")}
    options["demos"] = _without_places(options["demos"])
    same = held.config.control == trained.control
    result = read_json(run / RESULT) if same and (run / RESULT).exists() else {}
    if (result.get("env_steps"), result.get("updates")) != (held.env_steps, held.updates):
        result = {}  # of other weights: the run went on, or this is an earlier checkpoint
    policy = read_policy_file(run)
    kept = ("episodes", "success_rate", "success_low", "success_high", "return_mean", "return_low", "return_high")
    return {
        "env_steps": held.env_steps,
        "updates": held.updates,
        "seed": held.config.seed,
        "demos_sha256": policy.demos_sha256,
        "trained_with": {"zoomrl": policy.zoomrl, "torch": policy.torch, "python": policy.python},
        "executed_alike": same,
        "result": {name: result[name] for name in kept if name in result} or None,
        "options": options,
    }


def _without_places(demos: Mapping[str, Any]) -> dict[str, Any]:
    source = demos["source"] if demos["source"] in ("none", "scripted") else "a set"
    return {**{name: value for name, value in demos.items() if name != "directory"}, "source": source}


def source_commit() -> str | None:
    """Of the checkout that this program runs from, or that it was installed from; None where neither is known."""
    root = Path(__file__).resolve().parents[3]
    if (root / ".git").exists():
        done = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True)
        if done.returncode == 0:
            return done.stdout.strip()
    try:
        origin = json.loads(metadata.distribution("zoomrl").read_text("direct_url.json") or "{}")
        commit = origin["vcs_info"]["commit_id"]
    except (metadata.PackageNotFoundError, KeyError, ValueError):
        return None
    return str(commit)
