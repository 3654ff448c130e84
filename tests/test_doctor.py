"""What `zoomrl doctor` says: about this machine, and about what can be missing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib import metadata

import pytest
from packaging.requirements import Requirement

from zoomrl.cli import checks
from zoomrl.cli.main import main
from zoomrl.cli.rendering import rendering_fix


@pytest.mark.slow
def test_json_tells_what_a_program_needs(capsys, monkeypatch):
    monkeypatch.setattr(checks, "_BACKENDS", {sys.platform: ("egl",)})
    code = main(["doctor", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert code == 0
    assert report["can_train"] is True
    assert set(report) == {"can_train", "can_render", "backend", "checks"}
    by_name = {check["name"]: check for check in report["checks"]}
    expected = {
        "python",
        "zoomrl",
        "torch",
        "torchrl",
        "tensordict",
        "numpy",
        "cores",
        "memory",
        "disk",
        "egl",
    }
    expected |= {"Meta-World", "DeepMind Control", "MuJoCo", "TensorBoard", "wandb", "ffmpeg"}
    assert expected <= set(by_name)
    assert all(set(c) == {"group", "name", "status", "detail", "fix", "facts"} for c in report["checks"])
    assert {"version", "threads", "cuda", "gpu", "cpu_matmuls"} <= set(by_name["torch"]["facts"])
    # Whatever is not as it should be comes with its remedy.
    assert all(c["fix"] for c in report["checks"] if c["status"] != "ok")


@pytest.mark.parametrize(("working", "hidden"), [("egl", True), ("osmesa", False)])
def test_other_backends_do_not_alarm_where_the_chosen_one_works(monkeypatch, working, hidden):
    def probe(backend):
        status = "ok" if backend == working else "warning"
        return checks.Diagnosis("rendering", backend, status, "AttributeError", "apt-get install x")

    monkeypatch.setattr(checks, "_BACKENDS", {sys.platform: ("egl", "osmesa", "glfw")})
    monkeypatch.setattr(checks, "probe_backend", probe)
    monkeypatch.setattr(checks, "chosen_backend", lambda: "egl")
    monkeypatch.setattr(checks.importlib.util, "find_spec", lambda name: name)
    others = [check for check in checks.check_rendering() if check.name != working]
    assert [check.status for check in others] == ["warning", "warning"]
    assert [check.detail == "not needed: egl works" and not check.fix for check in others] == [hidden, hidden]


@pytest.mark.long
def test_backend_that_works_is_found():
    egl = checks.probe_backend("egl")
    if egl.status != "ok":
        pytest.skip(f"no EGL on this machine: {egl.detail}")
    assert egl.facts["fps"] > 0
    assert egl.facts["renderer"]


def test_backend_that_fails_is_reported_with_its_fix():
    check = checks.probe_backend("no-such-backend")
    assert check.status == "warning"
    assert "no-such-backend" in check.detail
    assert check.fix


def test_backend_that_hangs_is_given_up():
    check = checks.probe_backend("egl", seconds=0.01)
    assert check.status == "warning"
    assert "within" in check.detail


@pytest.mark.parametrize(
    ("reason", "backend", "package"),
    [
        ("AttributeError: 'NoneType' object has no attribute 'glGetError'", "egl", "libopengl0"),
        ("AttributeError: 'NoneType' object has no attribute 'glGetError'", "osmesa", "libosmesa6"),
        ("AttributeError: 'NoneType' object has no attribute 'eglQueryString'", None, "libegl1"),
        ("ImportError: Cannot initialize a headless EGL display.", None, "libgl1-mesa-dri"),
        ("FatalError: gladLoadGL error", "glfw", "display"),
        ("ModuleNotFoundError: No module named 'mujoco'", None, "pip install"),
        ("RuntimeError: something else", None, "zoomrl doctor"),
    ],
)
def test_known_failures_have_a_remedy(reason, backend, package):
    assert package in rendering_fix(reason, backend)


def test_missing_package_is_named_with_its_install_command(monkeypatch):
    found = checks._optional("simulators", "Nothing", "no_such_module", "x", "pip install x")
    assert (found.status, found.fix) == ("warning", "pip install x")
    assert checks._required("no_such_module").status == "failed"
    found = checks._extra("serve", [Requirement("numpy>=1"), Requirement("no-such-package>=2")])
    assert (found.status, found.detail) == ("warning", "not installed: no-such-package")
    assert found.fix.endswith("'.[serve]'") or "zoomrl[serve]" in found.fix or "[serve]'" in found.fix


def test_every_extra_of_the_package_is_told_of():
    named = set(metadata.metadata("zoomrl").get_all("Provides-Extra"))  # as it was when zoomrl was installed
    found = {check.name: check for check in checks.check_extras()}
    assert {"ray", "slurm", "search", "stats", "rerun", "runtime", "deploy"} <= found.keys()
    assert found.keys() == named - {"dev", "docs"}
    for name, check in found.items():
        if check.status == "ok":
            assert re.fullmatch(r"[\w.-]+ \d[\w.+]*(, [\w.-]+ \d[\w.+]*)*", check.detail), check.detail
        else:
            assert f"[{name}]" in check.fix
    # What an extra takes of another one counts as its own.
    assert {"onnxruntime", "websockets"} <= {package.name for package in packages_of("serve")}
    assert {"onnx", "huggingface_hub"} <= {package.name for package in packages_of("deploy")}


def packages_of(extra):
    return checks._packages(extra, [Requirement(line) for line in metadata.requires("zoomrl")])


def test_a_package_that_is_too_new_for_an_extra_is_named():
    found = checks._extra("stats", [Requirement("numpy<1")])
    assert found.status == "warning"
    assert found.detail == f"numpy {metadata.version('numpy')}, where zoomrl needs <1"


def test_sources_that_were_never_installed_say_so(monkeypatch):
    def nowhere(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(checks.metadata, "metadata", nowhere)
    (found,) = checks.check_extras()
    assert (found.group, found.status) == ("extras", "warning")
    assert "pip install" in found.fix


def test_what_training_needs_decides_the_exit_code(capsys, monkeypatch):
    monkeypatch.setattr(checks, "_BACKENDS", {})
    broken = checks.Diagnosis("core", "torch", "failed", "broken", "pip install torch")
    monkeypatch.setattr(checks, "check_core", lambda: [broken])
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "Training cannot run" in out
    assert "pip install torch" in out


def test_without_opengl_training_from_images_is_not_promised(capsys, monkeypatch):
    monkeypatch.setattr(checks, "_BACKENDS", {})
    assert main(["doctor"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Neither videos nor camera images can be made" in out
    assert "training from state needs neither" in out


GL_CHOICE = """
import ctypes, os, sys
if sys.argv[1] == "hidden":
    def refuse(name, *args, **kwargs):
        raise OSError(name)
    ctypes.CDLL = refuse
import zoomrl
print(os.environ.get("MUJOCO_GL"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the choice is made on Linux only")
@pytest.mark.parametrize("libraries", ["present", "hidden"])
def test_import_never_asks_mujoco_for_libraries_that_are_missing(libraries):
    # MUJOCO_GL=egl without libEGL would make `import mujoco` fail, which torchrl does when it is imported.
    environment = {k: v for k, v in os.environ.items() if k not in ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY")}
    command = [sys.executable, "-c", GL_CHOICE, libraries]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    expected = {"glfw"} if libraries == "hidden" else {"egl", "glfw"}
    assert done.stdout.strip() in expected
