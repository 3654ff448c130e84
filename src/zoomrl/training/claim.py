"""Whose directory a run's is: another run's, this run's, or nobody's. Nothing that is there is overwritten."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from zoomrl.control.scaling import ActionScaler
from zoomrl.errors import CheckpointError
from zoomrl.spec import EnvSpec
from zoomrl.training.checkpoint import Checkpoints
from zoomrl.training.config import TrainConfig, differences
from zoomrl.training.rows import METRICS
from zoomrl.training.run_files import POLICY, RESULT, THREADS, read_config, read_policy_file, read_threads
from zoomrl.training.run_place import CONFIG


def claim(config: TrainConfig, directory: Path) -> None:
    """Refuse a directory that holds another run, or of this run something but nothing that can be resumed."""
    checkpoints = Checkpoints(directory, config.checkpoint.keep)
    rows = [name for name in (METRICS, RESULT) if _has_content(directory / name)]
    traces = [*checkpoints.traces(), *rows]
    if not (directory / CONFIG).exists():
        if traces:
            raise CheckpointError(
                f"{directory} holds a run ({', '.join(traces)}) but no {CONFIG}, by which it would be known. Restore "
                "that file from a copy, or choose another --run-dir"
            )
        return
    changed = differences(read_config(directory), config)
    if changed:
        raise CheckpointError(
            f"{directory} holds a run with another config, which is not overwritten. Its {CONFIG} differs in:\n  "
            + "\n  ".join(changed)
            + "\nChoose another --run-dir, or delete that directory."
        )
    if not config.resume:
        raise CheckpointError(
            f"{directory} holds this run already, and resume is off. Choose another --run-dir, or delete "
            f"that directory."
        )
    # A fork that was killed while it copied has segments alone: its checkpoint comes last, and rows after that.
    copied = config.fork and not rows and not any(name.endswith(".damaged") for name in traces)
    if traces and checkpoints.newest() is None and not copied:
        raise CheckpointError(
            f"{directory} holds a run ({', '.join(traces)}) but no checkpoint to resume it from. Restore one from a "
            "copy, or choose another --run-dir; nothing was changed"
        )
    if checkpoints.newest() is not None and not config.threads and read_threads(directory) is None:
        raise CheckpointError(
            f"{directory} has no {THREADS} any more: with how many CPU threads it was trained is unknown, and sums "
            "depend on it. Restore that file from a copy, or say --threads"
        )


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def check_same(
    directory: Path, fingerprint: Mapping[str, str], device: torch.device, scaler: ActionScaler, spec: EnvSpec
) -> None:
    """Refuse to go on in another environment, with other demonstrations, corrections or action range, or elsewhere."""
    held = read_policy_file(directory)
    before = held.env_spec(directory / POLICY)
    changed = before.mismatches(spec)
    for name in ("reports_success", "reward", "time_limit", "image_fit", "image_crop", "camera_sizes"):
        was, now = getattr(before, name), getattr(spec, name)
        changed += [f"{name} {was!r} against {now!r}"] if was != now else []
    if changed:
        raise CheckpointError(
            f"the environment is not the one that {directory} was trained in:\n  "
            + "\n  ".join(changed)
            + "\n(then against now). Bring that environment back, in its versions of then, or choose another --run-dir"
        )
    for name, value in fingerprint.items():
        if getattr(held, name) != value:
            raise CheckpointError(
                f"the {name.partition('_')[0].replace('demos', 'demonstrations')} are not those that {directory} was "
                "trained with (their contents differ). Restore them to resume, or choose another --run-dir."
            )
    if (held.action_low, held.action_high) != (scaler.low.tolist(), scaler.high.tolist()):
        raise CheckpointError(
            f"{directory} was trained with another range of actions, by a version of zoomrl that took it from the "
            "demonstrations in another way: its replay and weights mean other actions. Continue it with that version "
            f"({held.zoomrl or 'not recorded'}), or choose another --run-dir."
        )
    if held.device != device.type:
        raise CheckpointError(
            f"{directory} was trained on {held.device}, and device=auto now stands for {device.type}: the run would "
            "go on with other random numbers and other rounding. Choose another --run-dir."
        )
