"""The small files of a run directory: its config, what a policy needs besides weights, and what was fixed at its start.

All are sealed JSON (:mod:`zoomrl.seal`), read with limits and a schema, and named in every message.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from zoomrl.control.scaling import ActionScaler
from zoomrl.errors import CheckpointError, ConfigError
from zoomrl.files import read_json, read_record, write_json
from zoomrl.spec import EnvSpec
from zoomrl.training.config import TrainConfig
from zoomrl.training.run_place import CONFIG, check_run
from zoomrl.version import __version__

POLICY, THREADS, WANDB, RESULT = "policy.json", "threads.json", "wandb.json", "result.json"
DEMONSTRATIONS = "demonstrations.json"
HINT = "Restore it from a copy, or choose another --run-dir."


@dataclass(frozen=True)
class PolicyFile:
    """``policy.json``: what a policy needs besides its weights, and what a resumed run must find unchanged.

    Attributes:
        spec: of the environment, as :meth:`EnvSpec.to_dict` gives it.
        action_low, action_high: [A], range of the actions in the environment's units.
        demos_sha256, corrections_sha256: hashes of demonstrations and of a recording of corrections; empty for none.
        device: kind of the device that the agent learns on.
        zoomrl, torch, python: versions.
        run: an id of the run's own, which its checkpoints carry too; empty for a run of earlier versions.
    """

    spec: dict[str, object]
    action_low: list[float]
    action_high: list[float]
    demos_sha256: str = ""
    corrections_sha256: str = ""
    device: str = "cpu"
    zoomrl: str = ""
    torch: str = ""
    python: str = ""
    run: str = ""

    def env_spec(self, path: Path) -> EnvSpec:
        """The spec; CheckpointError naming ``path``, where it was read from, when it is none."""
        try:
            return EnvSpec.from_dict(self.spec)
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise CheckpointError(f"{path} describes no environment ({error!r}). {HINT}") from error

    def scaler(self, path: Path) -> ActionScaler:
        """Of the actions; errors as in :meth:`env_spec`."""
        spec = self.env_spec(path)
        if not len(self.action_low) == len(self.action_high) == spec.action_dim:
            raise CheckpointError(f"{path} has an action range of another length than its actions. {HINT}")
        return ActionScaler(np.asarray(self.action_low), np.asarray(self.action_high), spec.action)


@dataclass(frozen=True)
class _Threads:
    threads: int

    def __post_init__(self) -> None:
        if isinstance(self.threads, bool) or self.threads < 1:
            raise ValueError(f"threads must be a number above 0, got {self.threads!r}")


@dataclass(frozen=True)
class _WandB:
    id: str


def read_config(directory: Path) -> TrainConfig:
    """The config of the run in ``directory``.

    Raises:
        CheckpointError: there is none, or it is damaged or of another version.
    """
    check_run(directory)
    path = directory / CONFIG
    try:
        return TrainConfig.from_dict(read_json(path, hint=HINT))
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}. {HINT}") from error
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise CheckpointError(f"{path} holds no config of a run ({error!r}). {HINT}") from error


def read_policy_file(directory: Path) -> PolicyFile:
    """``policy.json`` of the run in ``directory``; CheckpointError when it is missing or damaged."""
    return read_record(directory / POLICY, PolicyFile, hint=HINT)


def write_run_files(
    config: TrainConfig,
    directory: Path,
    spec: EnvSpec,
    scaler: ActionScaler,
    hashes: Mapping[str, str],
    device: str,
    run: str,
    demos: Mapping[str, float],
) -> None:
    """Write config, policy file and facts of the demonstrations.

    Args:
        hashes: those of demonstrations and corrections.
        run: the run's id.
        demos: numbers of the demonstrations; empty without.
    """
    policy = PolicyFile(
        spec.to_dict(),
        action_low=scaler.low.tolist(),
        action_high=scaler.high.tolist(),
        demos_sha256=hashes["demos_sha256"],
        corrections_sha256=hashes["corrections_sha256"],
        device=device,
        zoomrl=__version__,
        torch=torch.__version__,
        python=sys.version.split()[0],
        run=run,
    )
    write_json(directory / POLICY, asdict(policy))
    if demos:
        write_json(directory / DEMONSTRATIONS, demos)
    # The last one: where it is, the others are.
    write_json(directory / CONFIG, config.to_dict())


def run_id(directory: Path) -> str:
    """The run's own id: that of the run in ``directory``, or a new one."""
    return read_policy_file(directory).run if (directory / POLICY).exists() else secrets.token_hex(8)


def read_threads(directory: Path) -> int | None:
    """Number of CPU threads that the run began with; None where it has not begun."""
    path = directory / THREADS
    return read_record(path, _Threads, hint=HINT).threads if path.exists() else None


def write_threads(directory: Path, threads: int) -> None:
    """Keep the number of CPU threads."""
    write_json(directory / THREADS, asdict(_Threads(threads)))


def wandb_id(directory: Path) -> str:
    """The run's id at Weights & Biases: made once and kept, so that resuming continues the same run there."""
    path = directory / WANDB
    if not path.exists():
        write_json(path, asdict(_WandB(secrets.token_hex(4))))
    return read_record(path, _WandB, hint=HINT).id
