"""BiGym's recorded demonstrations, replayed in the environment that will learn from them.

Files hold the commands of 500 steps a second and a reset seed. Observations and rewards are those of a replay: most
files have none, and the others lack the first observation.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from zoomrl.data.episode import Episode
from zoomrl.demos.formats.base import USUAL_SIZE, Imported, ImportOptions
from zoomrl.demos.formats.bigym.rollout import replay, to_agent_steps
from zoomrl.demos.formats.bigym.store import BiGymRecording, find_files, read_file
from zoomrl.envs.base import Env
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.registry import make_env
from zoomrl.envs.suites.bigym.tasks import TASKS, BiGymTask
from zoomrl.errors import ConfigError, DemonstrationError, unknown_name

_PACKAGES = ("mujoco", "bigym")


def read(path: Path, options: ImportOptions) -> Imported:
    """Replay the demonstrations at ``path``: a file, a folder, the root of BiGym's store, or ``store`` for its own.

    Episodes that do not succeed when replayed stay, with ``is_demo`` and ``success`` False; ``meta["failed_replays"]``
    counts them.

    Raises:
        ConfigError: for options that name no BiGym task, or what its files cannot give.
        DemonstrationError: when no file can be used; lists why.
        MissingDependencyError: without BiGym or safetensors.
    """
    config, task = _wanted(options)
    faults: list[str] = []
    files = find_files(path, task)
    recordings = _usable(files, lambda file: read_file(file, task), faults)
    env = make_env(config)
    try:
        spec = env.env_spec
        slowed = _usable(recordings, lambda r: replace(r, actions=to_agent_steps(r.actions, r.hz, spec)), faults)
        slowed = slowed[: options.episodes or None]
        longest = max((len(one.actions) for one in slowed), default=0)
        if longest > spec.time_limit:
            env.close()
            env = make_env(config, time_limit=longest)
        episodes = _usable(slowed, lambda one: _replayed(env, one), faults)
    finally:
        env.close()
    if not episodes:
        raise DemonstrationError("\n  - ".join([f"no demonstration of {task.cls} at {path} can be used:", *faults]))
    meta: dict[str, Any] = {"format": "bigym", "source": path.resolve().name, "files": len(files)}
    meta |= _told(recordings, episodes, config)
    if longest > spec.time_limit:
        told = f"{spec.time_limit} agent steps; demonstrations of up to {longest} were replayed to their end"
        meta["time_limit"] = told
    return Imported(spec, episodes, faults, meta)


def _told(recordings: Sequence[BiGymRecording], episodes: Sequence[Episode], config: EnvConfig) -> dict[str, Any]:
    """What is worth saying of the whole set."""
    failed = sum(not episode.success for episode in episodes)
    meta: dict[str, Any] = {"recorded_hz": sorted({one.hz for one in recordings}), "failed_replays": failed}
    if failed:
        meta["replays"] = f"{failed} of {len(episodes)} did not succeed and are kept with is_demo off"
    recorded = {name: sorted({one.versions.get(name, "unknown") for one in recordings}) for name in _PACKAGES}
    here = _installed(config.python or sys.executable)
    differing = [
        f"{name} {', '.join(versions)} then, {here.get(name, 'unknown')} now"
        for name, versions in recorded.items()
        if versions != [here.get(name)]
    ]
    if differing:
        meta["versions_differ"] = f"{'; '.join(differing)}: replays may end otherwise"
    return meta | {"recorded_with": recorded, "replayed_with": here}


def _wanted(options: ImportOptions) -> tuple[EnvConfig, BiGymTask]:
    """The environment to replay in, and its task."""
    config = options.env
    domain, _, name = config.id.partition(":") if config else ("", "", "")
    if config is None or domain != "bigym":
        asked = f", got {config.id!r}" if config else ""
        raise ConfigError(f"BiGym's demonstrations are replayed: name their task with --env.id bigym:<task>{asked}")
    task = TASKS.get(name.replace("-", "_"))
    if task is None:
        raise unknown_name("BiGym task", name, TASKS)
    if options.image_fit != "auto" or options.image_crop:
        raise ConfigError(
            "BiGym's demonstrations are replayed, so that the environment renders images at --env.image-size: leave "
            "image_fit and image_crop out"
        )
    if options.state or options.entries or options.action_meaning:
        raise ConfigError(
            "BiGym's demonstrations are replayed, so that the environment gives the state and the meaning of actions: "
            "choose the state with --env.state, and leave entries and meaning out"
        )
    return replace(
        config,
        num_envs=1,
        workers="serial",
        cameras=options.cameras or config.cameras,
        image_size=config.image_size if config.cameras else options.image_size or USUAL_SIZE,
        control_hz=options.control_hz or config.control_hz,
    ), task


_Item = TypeVar("_Item", Path, BiGymRecording)
_Made = TypeVar("_Made")


def _usable(items: Iterable[_Item], use: Callable[[_Item], _Made], faults: list[str]) -> list[_Made]:
    """What ``use`` makes of each item; those that it cannot use are listed in ``faults``, by their file."""
    made = []
    for item in items:
        try:
            made.append(use(item))
        except ValueError as error:
            faults.append(f"{item.path if isinstance(item, BiGymRecording) else item}: {error}")
    return made


def _replayed(env: Env, recording: BiGymRecording) -> Episode:
    meta = {
        "policy": "recorded",
        "env": env.env_spec.id,
        "file": recording.path.name,
        "recorded_hz": recording.hz,
        "recorded_with": dict(recording.versions),
    }
    return replay(env, recording.actions, recording.seed, meta)


@cache
def _installed(python: str) -> dict[str, str]:
    """Versions in the interpreter that the simulator ran in."""
    code = (
        "import importlib.metadata as m, json\n"
        f"print(json.dumps({{n: d.version for n in {_PACKAGES} for d in m.distributions(name=n)}}))"
    )
    found = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    versions: dict[str, str] = json.loads(found.stdout)
    return versions
