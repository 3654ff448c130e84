"""HumanoidBench with a newer MuJoCo than the one it was written for, without jax, and without its large files."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from zoomrl.envs.mujoco.backend import prefer_headless_gl
from zoomrl.errors import ConfigError, MissingDependencyError

_log = logging.getLogger("zoomrl.envs")

WRITTEN_FOR = "3.1.6"
"""MuJoCo that the benchmark pins."""
_VERSION = "-v0"
_ENTRY = "humanoid_bench.env:HumanoidEnv"
# Module variables that the constructors of G1 tasks lower for every task of the process.
_HEIGHTS = ("_STAND_HEIGHT", "_CRAWL_HEIGHT")
_ABSENT = "HumanoidBench is not installed. It is in no package registry: see docs/environments/humanoidbench.md"


@dataclass(frozen=True)
class Registered:
    """A task as upstream registers it.

    Attributes:
        kwargs: of upstream's environment: robot, control, task.
        steps: control steps after which upstream truncates.
        scene: the MuJoCo model that it needs, which upstream ships for some robots only.
        success_bar: the return from which the benchmark counts it as solved.
    """

    kwargs: Mapping[str, Any]
    steps: int
    scene: Path
    success_bar: float | None


class Heights:
    """Keeps the standing heights of one environment's task apart from those of other robots.

    Upstream holds them in module variables, which the constructor of a G1 task changes for the tasks of all robots.
    """

    def __init__(self, task: object) -> None:
        modules = [sys.modules[base.__module__] for base in type(task).__mro__]
        self._own = [(vars(m), name, getattr(m, name)) for m in modules for name in _HEIGHTS if hasattr(m, name)]

    def apply(self) -> None:
        """Put the task's own heights in place."""
        for variables, name, height in self._own:
            variables[name] = height


@dataclass(frozen=True)
class Benchmark:
    """HumanoidBench, imported: its registered tasks by ``<robot>-<task>``, and its robots by name."""

    tasks: Mapping[str, Registered]
    robots: tuple[str, ...]
    _environment: Any
    _heights: tuple[tuple[dict[str, Any], str, float], ...]

    def build(self, name: str) -> tuple[Any, Heights]:
        """Upstream's environment for a task that has a scene, and what keeps its heights.

        No window or OpenGL context is made.

        Raises:
            MissingDependencyError: a texture or mesh of the scene is not there.
            ConfigError: the installed MuJoCo refuses the scene.
        """
        for variables, variable, height in self._heights:
            variables[variable] = height
        try:
            # Some tasks print.
            with redirect_stdout(sys.stderr):
                sim = self._environment(render_mode=None, **self.tasks[name].kwargs)
        except ValueError as error:
            raise _scene_error(name, str(error)) from error
        return sim, Heights(sim.task)


@cache
def benchmark() -> Benchmark:
    """Import HumanoidBench, once, and make it fit the MuJoCo that is installed.

    The benchmark imports jax, which its environments never use: where it is absent, an empty module takes its place
    during the import.

    Raises:
        MissingDependencyError: HumanoidBench, or a package that it needs, is not installed.
    """
    prefer_headless_gl()
    try:
        with _stand_in("jax", "jax.numpy"):
            upstream = importlib.import_module("humanoid_bench.env")
            sizes = importlib.import_module("humanoid_bench.dmc_deps.dmc_sizes").array_sizes
        from gymnasium.envs.registration import registry
    except ImportError as error:
        absent = error.name == "humanoid_bench"
        page = "docs/environments/humanoidbench.md"
        reason = _ABSENT if absent else f"HumanoidBench cannot be imported: {error}. See {page}"
        raise MissingDependencyError(reason) from error
    dropped = _fit(sizes)
    if dropped:
        import mujoco

        _log.warning(
            "HumanoidBench was written for MuJoCo %s; %s has no %s, which its tasks do not use: left out",
            *(WRITTEN_FOR, mujoco.__version__, ", ".join(dropped)),
        )
    scenes = Path(str(upstream.__file__)).parent / "assets" / "envs"
    tasks = {
        spec.id.removesuffix(_VERSION): Registered(
            kwargs=dict(spec.kwargs),
            steps=int(spec.max_episode_steps or 1000),
            scene=scenes / "{robot}_{control}_{task}.xml".format(**spec.kwargs),
            success_bar=_bar(upstream.TASKS[spec.kwargs["task"]]),
        )
        for spec in registry.values()
        if spec.entry_point == _ENTRY
    }
    modules = [module for name, module in sys.modules.items() if name.startswith("humanoid_bench.envs.")]
    heights = tuple((vars(m), name, getattr(m, name)) for m in modules for name in _HEIGHTS if hasattr(m, name))
    return Benchmark(tasks, tuple(upstream.ROBOTS), upstream.HumanoidEnv, heights)


@contextmanager
def _stand_in(package: str, *inner: str) -> Iterator[None]:
    """Empty modules for a package that is not installed, for as long as this lasts."""
    if sys.modules.get(package) is not None or importlib.util.find_spec(package) is not None:
        yield
        return
    names = (package, *inner)
    before = {name: sys.modules[name] for name in names if name in sys.modules}
    sys.modules.update({name: ModuleType(name) for name in names})
    for name in inner:
        setattr(sys.modules[package], name.removeprefix(f"{package}."), sys.modules[name])
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]
        sys.modules.update(before)


def _fit(sizes: Mapping[str, dict[str, Any]]) -> list[str]:
    """Take out of upstream's table of MuJoCo's arrays those that the installed version no longer has; their names."""
    import mujoco

    model = mujoco.MjModel.from_xml_string("<mujoco/>")
    dropped = []
    for struct, holder in (("mjmodel", model), ("mjdata", mujoco.MjData(model))):
        for name in [name for name in sizes[struct] if not hasattr(holder, name)]:
            del sizes[struct][name]
            dropped.append(name)
    return dropped


def _bar(task: type) -> float | None:
    bar = getattr(task, "success_bar", None)
    return None if bar is None else float(bar)


def _scene_error(name: str, message: str) -> ConfigError | MissingDependencyError:
    """The error for a scene that MuJoCo refused with ``message``."""
    import mujoco

    found = re.search(r"(?:Error opening|error decoding \w+) file '([^']+)'", message)
    if found:
        return MissingDependencyError(
            f"humanoidbench:{name} needs the file {found[1]}, which is not there or is only a pointer. HumanoidBench "
            "keeps it in large-file storage (Git LFS): run `git lfs pull` in a clone of the repository, and copy the "
            "file to that place or install from the clone. Any PNG of that name will do where no camera is observed"
        )
    return ConfigError(
        f"humanoidbench:{name}: MuJoCo {mujoco.__version__} cannot load its scene: {' '.join(message.split())}. "
        f"HumanoidBench was written for MuJoCo {WRITTEN_FOR}; name the Python of an environment with that version by "
        "--env.python"
    )
