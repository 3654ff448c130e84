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
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata
from typing import Any, Literal

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
        _optional("tools", "Weights & Biases", "wandb", "wandb", install_command("wandb")),
    ]
    try:
        import imageio_ffmpeg  # type: ignore[import-untyped]

        checks.append(Diagnosis("tools", "ffmpeg", "ok", f"{imageio_ffmpeg.get_ffmpeg_version()}, for videos"))
    except (ImportError, RuntimeError) as error:
        checks.append(Diagnosis("tools", "ffmpeg", "warning", str(error), "pip install 'imageio[ffmpeg]'"))
    return [*checks, *(_extra(name, *facts) for name, facts in _EXTRAS.items())]


_EXTRAS: dict[str, tuple[str, tuple[str, ...]]] = {
    "export": ("zoomrl export", ("onnx", "onnxscript", "onnxruntime", "safetensors", "yaml")),
    "serve": ("zoomrl serve", ("onnxruntime", "websockets", "msgpack")),
    "hub": ("zoomrl push and pull", ("huggingface_hub",)),
}
"""What a policy leaves by: extra, commands, modules."""


def _extra(name: str, commands: str, modules: tuple[str, ...]) -> Diagnosis:
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        detail = f"{commands}: {', '.join(missing)} not installed"
        return Diagnosis("tools", name, "warning", detail, install_command(name))
    return Diagnosis("tools", name, "ok", f"{commands} can run")


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
    facts["cpu_products"] = library
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
