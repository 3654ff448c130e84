"""From a run to a bundle: a folder with which a policy acts where neither zoomrl nor PyTorch is."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from zoomrl import runtime
from zoomrl.agents.learner import Learner
from zoomrl.demos.store.staging import staged
from zoomrl.deploy.card import model_card
from zoomrl.deploy.evaluate import Factory, environments, episode_seeds, run_episodes
from zoomrl.deploy.execution import executed
from zoomrl.deploy.facts import describe
from zoomrl.deploy.graph import ActingGraph, StepGraph
from zoomrl.deploy.load import BundlePolicy
from zoomrl.deploy.observations import Arrays, Recorder, stacked, stored
from zoomrl.deploy.onnx import write_onnx
from zoomrl.deploy.parity import ALLOWED_DIFFERENCE, ALLOWED_GAP, Parity, compare, paired
from zoomrl.deploy.places import is_bundle
from zoomrl.errors import CheckpointError, ConfigError, ZoomrlError, import_optional, plural
from zoomrl.files import finite_or_null, write_json
from zoomrl.training.evaluate import evaluate as evaluate_controller
from zoomrl.training.policy import TrainedAgent, load_agent, policy_of

WEIGHTS, STEP, CARD, CODE = "model.safetensors", "model_step.onnx", "README.md", "policy.py"
_NEEDED = ("onnx", "onnxscript", "onnxruntime", "safetensors.torch", "yaml")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Exported:
    """A bundle that was written.

    Attributes:
        folder: where it lies.
        parity: graph against PyTorch, on stored observations; None where none were to be compared.
        success: both on the same episodes, as ``policy.json`` has it; None where none were run.
        control_hz: actions per second; 0 where neither environment nor recordings tell.
    """

    folder: Path
    parity: Parity | None
    success: dict[str, Any] | None
    control_hz: float


def export(
    run: str | Path,
    out: str | Path,
    *,
    observations: int = 10_000,
    episodes: int = 0,
    seed: int = 0,
    make_env: Factory | None = None,
    execution: str = "",
    overwrite: bool = False,
    say: Say = lambda text: None,
) -> Exported:
    """Write the policy of a run as a bundle.

    The bundle holds ``model.onnx``, ``model.safetensors`` (weights of all networks), ``policy.json``, ``policy.py``
    (:mod:`zoomrl.runtime`), ``README.md`` and, for agents that act by a temporal ensemble, ``model_step.onnx`` with the
    ensemble inside. Nothing in it is pickled. Before it takes its place, the graph is compared with PyTorch.

    Args:
        run: a run directory (its newest checkpoint, with ``eval.keep_best`` its best one), or a checkpoint file in one.
        out: folder to write.
        observations: of the run's episodes, its demonstrations and the ``episodes`` below, on which graph and PyTorch
            are compared, at most; 0 for none.
        episodes: episodes that both run, on the same seeds; 0 for none. They need the run's environment.
        seed: of these episodes.
        make_env: builds one environment of your own, as for :func:`zoomrl.train`.
        execution: how chunks are executed, ``ensemble`` or so many actions of each; empty for the run's own.
        overwrite: replace a bundle that is there.
        say: takes a line on what is being done.

    Returns:
        The folder and what was measured.

    Raises:
        CheckpointError: there is no readable checkpoint.
        ConfigError: something else lies at ``out``, or a bundle and ``overwrite`` is off; or ``run`` is a bundle, or
            ``execution`` is none.
        MissingDependencyError: without the extra ``zoomrl[export]``.
        ZoomrlError: the agent is not one that can be written, or the graph strays from PyTorch by more than rounding.
    """
    target = Path(out)
    _check_target(target, overwrite)
    for module in _NEEDED:  # all that is missing is said before the work begins
        import_optional(module, "export")
    if is_bundle(Path(run)):
        raise ConfigError(f"{run} is a bundle already; a run is exported")
    trained = load_agent(run)
    held = executed(trained, execution) if execution else trained
    directory = Path(run).parent.parent if Path(run).is_file() else Path(run)
    if not isinstance(held.agent, Learner):
        raise ZoomrlError(
            f"{held.config.agent.name} is no zoomrl.Learner: what it does is no closed function of tensors, which a "
            "graph could hold"
        )
    graph = ActingGraph(held.agent, held.spec, held.scaler, held.config.replay.frame_stack)
    ensemble = held.config.control.executor == "temporal_ensemble"
    step = StepGraph(graph, held.config.control, held.spec) if ensemble else None
    target.parent.mkdir(parents=True, exist_ok=True)
    with staged(target) as folder:
        say("writing the graph ...")
        write_onnx(graph, folder / runtime.GRAPH)
        if step is not None:
            write_onnx(step, folder / STEP)
        weights = {name: tensor.contiguous().clone() for name, tensor in held.agent.weights("all").items()}
        import_optional("safetensors.torch", "export").save_file(weights, folder / WEIGHTS, {"format": "pt"})
        shutil.copyfile(runtime.__file__, folder / CODE)
        # Its writer leaves it to its owner alone; the others may be read by whoever may read the folder.
        (folder / WEIGHTS).chmod((folder / CODE).stat().st_mode)
        facts = describe(held, trained.config, directory, graph, step)
        facts["files"] = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}
        write_json(folder / runtime.POLICY, facts)
        parity = success = None
        met: list[Arrays] = []
        if episodes:
            success = facts["success"] = finite_or_null(_paired(held, folder, episodes, seed, make_env, met, say))
        if observations:
            chosen = chain(stored(held.config, held.spec, directory), met)
            say(f"comparing the graph with PyTorch on up to {observations:,} observations ...")
            each = stacked(chosen, held.config.replay.frame_stack, held.spec.observations)
            parity = compare(graph, runtime.load_policy(folder), islice(each, observations))
            if not parity.observations:
                raise CheckpointError(
                    f"{run} has no observation to compare the graph on: its replay holds no episode, and its "
                    f"demonstrations ({held.config.demos.source}) cannot be read. Bring them back, export from the "
                    "folder that their path begins in, make --episodes, or write it unchecked with --observations 0"
                )
            facts["parity"] = finite_or_null(parity.row()) if parity.observations else None
        write_json(folder / runtime.POLICY, facts)
        (folder / CARD).write_text(model_card(facts, robotic=_is_robot(held)), encoding="utf-8")
        if parity is not None and not parity.holds:
            raise ZoomrlError(
                f"the graph strays from PyTorch by more than rounding (a gap of {ALLOWED_GAP:g} of the values' range "
                f"between the best two bins, or {ALLOWED_DIFFERENCE:g} of half an action's range): {parity.row()}. No "
                "bundle was written. Please report it; observations=0 (--observations 0) writes one unchecked"
            )
    return Exported(target, parity, success, held.spec.control_hz)


def _check_target(target: Path, overwrite: bool) -> None:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not is_bundle(target):
        raise ConfigError(f"{target} exists and is no bundle of `zoomrl export`; it is left alone, name another folder")
    if not overwrite:
        raise ConfigError(f"{target} already holds a bundle; pass --overwrite or another folder")


def _paired(
    held: TrainedAgent,
    folder: Path,
    episodes: int,
    seed: int,
    make_env: Factory | None,
    met: list[Arrays],
    say: Say,
) -> dict[str, Any]:
    """Both on the same episodes; what PyTorch's have shown is added to ``met``."""
    ours, theirs = policy_of(held, seed=seed), BundlePolicy(folder, seed=seed)
    seeds = episode_seeds(seed, episodes)
    with environments(ours, 1, make_env) as envs:
        say(f"running {plural(episodes, 'episode')} with PyTorch ...")
        recorder = Recorder(ours.controller)
        first = evaluate_controller(recorder, envs, seeds, discount=ours.discount)
        met += recorder.episodes()
        say("running the same with the graph ...")
        second = run_episodes(theirs, envs, seeds)
    assert first is not None  # nothing asked it to stop
    return paired(first, second)


def _is_robot(held: TrainedAgent) -> bool:
    """By the hub's names, robots are a task of their own."""
    return held.spec.id.partition(":")[0] in ("metaworld", "bigym", "rlbench", "humanoidbench", "ogbench")
