"""What this machine has: one check per line of `zoomrl doctor`."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from typing import Any, Literal

from packaging.requirements import Requirement

from zoomrl.cli.rendering import rendering_fix
from zoomrl.errors import install_command
from zoomrl.machine import usable_cores
from zoomrl.version import __version__

GL_SECONDS = 30.0
"""Time after which a backend counts as hanging."""

_BACKENDS = {"linux": ("egl", "osmesa", "glfw"), "darwin": ("cgl",), "win32": ("wgl",)}
_GIGABYTE = 1e9


@dataclass(frozen=True)
class Diagnosis:
    """One finding.

    Attributes:
        group: heading that it belongs under.
        name: what was looked at.
        status: ``ok``; ``warning`` where something optional is missing; ``failed`` where training needs it.
        detail: what was found.
        fix: what to do; empty when there is nothing to do.
        facts: the same for programs.
    """

    group: str
    name: str
    status: Literal["ok", "warning", "failed"]
    detail: str
    fix: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


def check_core() -> list[Diagnosis]:
    """Everything without which nothing can be trained."""
    version = platform.python_version()
    supported = (3, 11) <= sys.version_info[:2] < (3, 14)
    checks = [
        Diagnosis(
            "core",
            "python",
            "ok" if supported else "failed",
            f"{version} at {sys.executable}",
            "" if supported else "Use Python 3.11, 3.12 or 3.13.",
        ),
        Diagnosis("core", "zoomrl", "ok", __version__),
        _torch(),
    ]
    return checks + [_required(name) for name in ("torchrl", "tensordict", "numpy", "gymnasium", "h5py")]


def check_simulators() -> list[Diagnosis]:
    """The extras that bring environments."""
    return [
        _optional("simulators", "Meta-World", "metaworld", "metaworld", install_command("metaworld")),
        _optional("simulators", "DeepMind Control", "dm_control", "dm-control", install_command("dmc")),
        _optional("simulators", "OGBench", "ogbench", "ogbench", install_command("ogbench")),
        _optional("simulators", "MuJoCo", "mujoco", "mujoco", install_command("sim")),
    ]


def check_tools() -> list[Diagnosis]:
    """What is good to have."""
    checks = [
        _optional("tools", "TensorBoard", "tensorboard", "tensorboard", "pip install tensorboard"),
    ]
    try:
        import imageio_ffmpeg  # type: ignore[import-untyped]

        checks.append(Diagnosis("tools", "ffmpeg", "ok", f"{imageio_ffmpeg.get_ffmpeg_version()}, for videos"))
    except (ImportError, RuntimeError) as error:
        checks.append(Diagnosis("tools", "ffmpeg", "warning", str(error), "pip install 'imageio[ffmpeg]'"))
    return checks


def check_extras() -> list[Diagnosis]:
    """Every optional extra that a user may want, as the package's own metadata lists them."""
    try:
        about = metadata.metadata("zoomrl")
        required = [Requirement(line) for line in metadata.requires("zoomrl") or ()]
    except metadata.PackageNotFoundError:
        reason = "zoomrl runs from its sources, which do not say what they need"
        return [Diagnosis("extras", "all", "warning", reason, "pip install -e .")]
    names = [name for name in about.get_all("Provides-Extra") or () if name not in _OF_DEVELOPERS]
    return [_extra(name, _packages(name, required)) for name in names]


_OF_DEVELOPERS = ("dev", "docs")
"""Extras for working on zoomrl itself."""


def _packages(extra: str, required: Sequence[Requirement]) -> list[Requirement]:
    """What ``extra`` installs, with what the extras of zoomrl that it names install."""
    found: dict[str, Requirement] = {}
    for one in required:
        if one.marker is None or not one.marker.evaluate({"extra": extra}) or one.marker.evaluate({"extra": ""}):
            continue
        more = [package for name in sorted(one.extras) for package in _packages(name, required)]
        found |= {package.name: package for package in (more if one.name == "zoomrl" else [one])}
    return list(found.values())


def _extra(name: str, packages: Sequence[Requirement]) -> Diagnosis:
    found = {package.name: _version(package.name) for package in packages}
    versions = {package: version for package, version in found.items() if version is not None}
    if missing := [package for package in found if package not in versions]:
        return Diagnosis("extras", name, "warning", f"not installed: {', '.join(missing)}", install_command(name))
    unfit = [p for p in packages if not p.specifier.contains(versions[p.name], prereleases=True)]
    if unfit:
        detail = ", ".join(f"{p.name} {versions[p.name]}, where zoomrl needs {p.specifier}" for p in unfit)
        return Diagnosis("extras", name, "warning", detail, install_command(name), versions)
    return Diagnosis("extras", name, "ok", ", ".join(map(" ".join, versions.items())), facts=versions)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def check_machine() -> list[Diagnosis]:
    """Processor, memory and disk."""
    import psutil

    memory = psutil.virtual_memory()
    disk = shutil.disk_usage(os.getcwd())
    usable = usable_cores()
    return [
        Diagnosis("machine", "cores", "ok", f"{usable} usable of {os.cpu_count()}", facts={"cores": usable}),
        _room("memory", memory.available, memory.total, least=1.0),
        _room("disk", disk.free, disk.total, least=0.5),
    ]


def check_rendering() -> list[Diagnosis]:
    """One check per OpenGL backend of this platform, each tried in a process of its own."""
    if importlib.util.find_spec("mujoco") is None:
        return [Diagnosis("rendering", "OpenGL", "warning", "needs MuJoCo", install_command("sim"))]
    found = [probe_backend(backend) for backend in _BACKENDS.get(sys.platform, ())]
    working = [check.name for check in found if check.status == "ok"]
    if chosen_backend() not in working:
        return found
    # One way of rendering is enough: why the others do not work would only alarm.
    unneeded = f"not needed: {chosen_backend()} works"
    return [check if check.name in working else replace(check, detail=unneeded, fix="") for check in found]


def probe_backend(backend: str, seconds: float = GL_SECONDS) -> Diagnosis:
    """Render with ``backend`` in a process of its own."""
    environment = {**os.environ, "MUJOCO_GL": backend}
    # Left over from another backend, it would make MuJoCo refuse this one.
    environment.pop("PYOPENGL_PLATFORM", None)
    command = [sys.executable, "-m", "zoomrl.cli.gl_probe"]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds)
        found = _answer(done)
    except subprocess.TimeoutExpired:
        found = {"ok": False, "reason": f"no image within {seconds:.0f} s"}
    if found["ok"]:
        driver = f", {found['renderer']} ({found['vendor']})" if "renderer" in found else ""
        return Diagnosis("rendering", backend, "ok", f"{found['fps']} frames/s{driver}", facts=found)
    return Diagnosis(
        "rendering", backend, "warning", found["reason"], rendering_fix(found["reason"], backend), facts=found
    )


def chosen_backend() -> str:
    """The OpenGL backend that zoomrl uses here, by MUJOCO_GL or by its own choice."""
    from zoomrl.envs.mujoco.backend import prefer_headless_gl

    prefer_headless_gl()
    return os.environ.get("MUJOCO_GL") or {"darwin": "cgl", "win32": "wgl"}.get(sys.platform, "glfw")


def _answer(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    lines = done.stdout.strip().splitlines()
    try:
        found: dict[str, Any] = json.loads(lines[-1])
        return found
    except (IndexError, json.JSONDecodeError):
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {"ok": False, "reason": f"the process ended with code {done.returncode}: {last}"}


def _torch() -> Diagnosis:
    try:
        import torch

        from zoomrl.nets.linear import ONEDNN
    except Exception as error:
        return Diagnosis("core", "torch", "failed", f"{type(error).__name__}: {error}", "pip install torch")
    cuda = torch.cuda.is_available()
    gpu = torch.cuda.get_device_name(0) if cuda else None
    library = "oneDNN" if ONEDNN else "PyTorch's default"
    facts = {"version": torch.__version__, "threads": torch.get_num_threads(), "cuda": cuda, "gpu": gpu}
    facts["cpu_matmuls"] = library
    detail = f"{torch.__version__}, {torch.get_num_threads()} threads, CPU matmuls by {library}, {gpu or 'no CUDA'}"
    return Diagnosis("core", "torch", "ok", detail, facts=facts)


def _required(module: str) -> Diagnosis:
    try:
        # Imported, not only found: a version that does not fit another one fails here.
        importlib.import_module(module)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        return Diagnosis("core", module, "failed", reason, "pip install --upgrade zoomrl")
    return Diagnosis("core", module, "ok", metadata.version(module))


def _optional(group: str, name: str, module: str, package: str, fix: str) -> Diagnosis:
    if importlib.util.find_spec(module) is None:
        return Diagnosis(group, name, "warning", "not installed", fix)
    try:
        return Diagnosis(group, name, "ok", metadata.version(package))
    except metadata.PackageNotFoundError:
        reason = f"a folder named {module!r} hides the package"
        return Diagnosis(group, name, "warning", reason, "Run from another directory, or install it: " + fix)


def _room(name: str, free: float, total: float, least: float) -> Diagnosis:
    detail = f"{free / _GIGABYTE:.1f} GB free of {total / _GIGABYTE:.1f} GB"
    enough = free / _GIGABYTE >= least
    fix = "" if enough else f"A small run takes about {least:g} GB; free some."
    facts = {"free_bytes": int(free), "total_bytes": int(total)}
    return Diagnosis("machine", name, "ok" if enough else "warning", detail, fix, facts)
