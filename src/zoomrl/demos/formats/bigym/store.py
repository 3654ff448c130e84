"""Files of BiGym demonstrations: where they lie, and what one holds. Nothing is unpickled, nor is BiGym needed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.demos.store.limits import regular
from zoomrl.envs.suites.bigym.tasks import PHYSICS_HZ, BiGymTask
from zoomrl.errors import (
    BrokenDependencyError,
    DemonstrationError,
    MissingDependencyError,
    import_optional,
    is_missing,
)

STORE = "store"
"""Word that stands for BiGym's own store in place of a path."""

_MODE = "JointPositionActionMode"
_RAW = "lightweight"
_LEGACY_DOFS = ("X", "Y", "RZ")
"""Of the floating base, in files older than the entry that names them."""


@dataclass(frozen=True)
class BiGymRecording:
    """The commands of one file.

    Attributes:
        path: of the file.
        actions: [N, A], one per step of the recording.
        hz: steps of the recording per second.
        seed: of the reset before the first action.
        versions: packages it was recorded with.
    """

    path: Path
    actions: NDArray[np.floating]
    hz: float
    seed: int
    versions: Mapping[str, str]


def find_files(path: Path, task: BiGymTask) -> list[Path]:
    """The files of ``task`` at ``path``, by name.

    Args:
        path: a file, a folder of files, a store of many tasks, or :data:`STORE`, which lets BiGym download its own.
        task: its class and the parts of its base name a folder in a store.

    Raises:
        DemonstrationError: when there are none; says where they were looked for.
        MissingDependencyError: for :data:`STORE` without BiGym.
    """
    tried = ""
    if path == Path(STORE) and not path.exists():
        path, tried = _downloaded()
    if path.is_file():
        return [path]
    base = "_".join(f"pelvis_{dof.lower()}" for dof in task.dofs)
    mode = Path(f"{_MODE}_floating_{base}_absolute", _RAW)
    places = [path, path / task.cls / mode, path / mode, path / _RAW]
    for place in places:
        if files := sorted(place.glob("*.safetensors")):
            return files
    raise DemonstrationError(
        f"no demonstrations of {task.cls} at {path}{tried}. Expected <uuid>.safetensors files there, or in {places[1]}"
    )


def _downloaded() -> tuple[Path, str]:
    """The root of BiGym's store, after it was asked to download, and words for what was tried."""
    try:
        store, const = import_module("demonstrations.demo_store"), import_module("bigym.const")
    except ImportError as error:
        if not any(is_missing(error, package) for package in ("demonstrations.demo_store", "bigym.const")):
            raise BrokenDependencyError(f"BiGym's own store cannot be imported: {error!r}") from error
        raise MissingDependencyError(
            f"BiGym's own store needs BiGym in this interpreter ({error}). Install it (docs/environments/bigym.md), or "
            "name the folder that the demonstrations lie in instead"
        ) from error
    root = Path(const.CACHE_PATH, "demonstrations", const.DEMO_VERSION)
    tried = f", after BiGym was asked to download {const.DEMO_RELEASES}/v{const.DEMO_VERSION}/demonstrations.zip"
    try:
        # It logs a failed download, and goes on.
        store.DemoStore().pull_demos()
    except (store.DemoNotFoundError, RuntimeError, OSError) as error:
        return root, f"{tried} ({error})"
    return root, tried


def read_file(path: Path, task: BiGymTask) -> BiGymRecording:
    """The recording in ``path``.

    Raises:
        ValueError: says what is wrong: damaged, of another task, or recorded with other kinds of actions.
        MissingDependencyError: without safetensors.
    """
    safetensors = import_optional("safetensors", "bigym")
    try:
        with safetensors.safe_open(regular(path), framework="np") as file:
            texts = file.metadata() or {}
            actions = np.asarray(file.get_tensor("info_demo_action"), np.float64)
    except (OSError, safetensors.SafetensorError) as error:
        raise ValueError(f"the file cannot be read ({error})") from error
    try:
        data = {key: json.loads(texts[key]) for key in ("environment_data", "seed", "package_versions")}
        _check_task(data["environment_data"], task)
        seed, versions = int(data["seed"]), {str(k): str(v) for k, v in data["package_versions"].items()}
    except (KeyError, TypeError, AttributeError, OverflowError, RecursionError, json.JSONDecodeError) as error:
        raise ValueError(f"its metadata cannot be read ({error!r})") from error
    if not 0 <= seed < 2**32:
        raise ValueError(f"its seed {seed} lies outside 0 .. {2**32 - 1}")
    if actions.ndim != 2 or not len(actions) or not np.isfinite(actions).all():
        raise ValueError(f"its actions must be finite, [N, A] with N at least 1; their shape is {actions.shape}")
    return BiGymRecording(path, actions, _rate(path), seed, versions)


def _check_task(data: Mapping[str, Any], task: BiGymTask) -> None:
    found = data["env_name"]
    if found != task.cls:
        raise ValueError(f"it was recorded in {found}, not in {task.cls}")
    mode = data["action_mode_name"]
    if mode == _MODE:
        mode += " absolute" if data["action_mode_absolute"] else " delta"
    if mode != f"{_MODE} absolute":
        raise ValueError(f"its actions are those of {mode}; {_MODE} with absolute targets is needed")
    named = data.get("floating_dofs")
    dofs = _LEGACY_DOFS if named is None else tuple(str(dof).removeprefix("pelvis_").upper() for dof in named)
    if not data["floating_base"] or dofs != task.dofs:
        base = ", ".join(dofs) if data["floating_base"] else "nothing"
        raise ValueError(f"its base moves in {base}; {task.cls} is used with one that moves in {', '.join(task.dofs)}")
    robot = data.get("robot_name")
    if robot is not None and not str(robot).startswith("H1"):
        raise ValueError(f"it was recorded with the robot {robot}; H1 is needed")


def _rate(path: Path) -> float:
    """The store keeps recordings of another rate than the simulator's in a folder that names it: ``20hz``."""
    named = re.fullmatch(r"(\d+)hz", path.absolute().parent.name)
    return float(named[1]) if named else float(PHYSICS_HZ)
