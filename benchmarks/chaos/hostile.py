"""Hostile run directories and demonstration sets, and one attack with each of them.

A case builds its files in an empty folder, where :data:`SECRET` lies beside them, and gives the words of a command.
:func:`attack` runs the command in a process of its own and tells what came of it: code of the case that was run, the
secret's content in what was printed or written, a traceback, memory, silence.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch

from zoomrl.agents.cqn.config import CQNConfig
from zoomrl.control.config import ControlConfig
from zoomrl.data.config import ReplayConfig
from zoomrl.data.episode import Episode
from zoomrl.demos.config import DemoConfig
from zoomrl.demos.store.writer import write_demos
from zoomrl.envs.config import EnvConfig
from zoomrl.spec import ArraySpec, EnvSpec
from zoomrl.training.config import CheckpointConfig, EvalConfig, LogConfig, TrainConfig

SECRET = "what only another file of this computer holds"
SECRET_NUMBER = 0.1251953125
CANARY = "canary"
"""File that appears when code of a case was run."""
ALLOWED_BYTES = 200 << 20
"""Memory beyond twice the files of a case."""
CEILING_BYTES = 3 << 30
"""Where a process that goes beyond is stopped, so that the machine survives."""
SECONDS = 60
_STEPS = 23


class Case(NamedTuple):
    """One attack.

    Attributes:
        name: unique.
        build: makes its files in an empty folder.
        command: words after ``zoomrl``, relative to that folder; ``load_policy RUN`` is the function.
    """

    name: str
    build: Callable[[Path], None]
    command: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """What came of an attack. ``fault`` is empty when it was repelled, or did no harm."""

    name: str
    code: int
    said: str
    memory: int
    allowed: int
    seconds: float
    fault: str

    def line(self) -> str:
        """One line that says it."""
        last = (self.said.strip().splitlines() or ["silence"])[-1][:200]
        found = f"{self.name}: {self.fault or 'repelled'}; exit {self.code}"
        return f"{found}, {self.seconds:.1f} s, {self.memory >> 20} of {self.allowed >> 20} MB; {last}"


def hostile_cases() -> list[Case]:
    """All attacks."""
    from .hostile_formats import format_cases  # which is built upon this module

    own = [*_run_cases(), *_hdf5_cases(), *_metadata_cases(), *_npz_cases(), *_lerobot_cases(), *_rlbench_cases()]
    return [*own, *format_cases()]


def attack(case: Case, seconds: float = SECONDS) -> Outcome:
    """Build ``case`` in a folder of its own, run its command in a fork of this process, and judge."""
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        place = Path(folder).resolve()
        (place / "secret.json").write_text(json.dumps({SECRET: SECRET}))
        (place / "secret.bin").write_bytes(np.full(4096, SECRET_NUMBER, np.float32).tobytes())
        (place / "evil.py").write_text(f"open({str(place / CANARY)!r}, 'w').write('x')\n")
        (place / "work").mkdir()
        case.build(place / "work")
        size = sum(path.lstat().st_size for path in (place / "work").rglob("*") if path.is_file())
        begun = time.monotonic()
        code, said, memory = _forked(case.command, place / "work", seconds)
        allowed = 2 * size + ALLOWED_BYTES
        fault = next(_faults(place, code, said, memory, allowed), "")
        return Outcome(case.name, code, said, memory, allowed, time.monotonic() - begun, fault)


def _faults(place: Path, code: int, said: str, memory: int, allowed: int) -> Iterator[str]:
    if (place / CANARY).exists():
        yield "its code was run"
    if "Traceback (most recent call last)" in said:
        yield "a traceback"
    if SECRET in said or any(_holds_secret(path) for path in (place / "work" / "out").rglob("*") if path.is_file()):
        yield "the content of another file"
    if code == _TIME_OUT:
        yield "no answer in time"
    elif code < 0:
        yield f"killed by signal {-code}"
    if memory > allowed:
        yield f"{memory >> 20} MB of memory, {allowed >> 20} are allowed"


def _holds_secret(path: Path) -> bool:
    if path.suffix != ".hdf5":
        return SECRET.encode() in path.read_bytes()
    found: list[bool] = []
    # A set that was being written when its process was ended cannot be opened, nor does anybody read it.
    with contextlib.suppress(OSError, RuntimeError), h5py.File(path) as file:
        file.visititems(
            lambda _, part: (
                found.append(bool(np.any(np.isclose(part[()], SECRET_NUMBER))))
                if isinstance(part, h5py.Dataset) and part.dtype.kind == "f"
                else None
            )
        )
    return any(found)


_TIME_OUT = 1000


def _forked(words: tuple[str, ...], place: Path, seconds: float) -> tuple[int, str, int]:
    """Exit code, everything printed, and the memory that was taken beyond what the process began with."""
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as told:
        child = os.fork()
        if child == 0:
            os.setsid()
            _run(words, place, said.fileno(), told)
        deadline = time.monotonic() + seconds
        status = 0
        while time.monotonic() < deadline:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                break
            time.sleep(0.01)
        else:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
        said.seek(0)
        told.seek(0)
        memory = int(told.read() or b"0")
        text = said.read().decode(errors="replace")
        return _TIME_OUT if time.monotonic() >= deadline else os.waitstatus_to_exitcode(status), text, memory


def _run(words: tuple[str, ...], place: Path, said: int, told: Any) -> None:
    """In the fork: run, note the memory, leave."""
    code = 99
    try:
        os.dup2(said, 1)
        os.dup2(said, 2)
        os.chdir(place)
        sys.path.insert(0, str(place.parent))
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + CEILING_BYTES, hard))
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
        code = _command(words)
        told.write(str(max(0, _status("VmHWM") - before)).encode())
        told.flush()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def _command(words: tuple[str, ...]) -> int:
    from zoomrl.cli.main import main
    from zoomrl.errors import ZoomrlError
    from zoomrl.training.policy import load_policy

    sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False))
    sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb", closefd=False))
    if words[0] != "load_policy":
        return main(words)
    try:
        load_policy(words[1])
    except ZoomrlError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _status(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


# ---- honest files, which the cases then change -------------------------------------------------------------

_SPEC = EnvSpec(
    "gym:Pendulum-v1",
    {"state": ArraySpec((3,))},
    ArraySpec((1,), "float32", (-2.0,), (2.0,)),
    control_hz=20.0,
    time_limit=200,
)


def honest_set(place: Path) -> None:
    """A set that every command accepts."""
    rng = np.random.default_rng(0)
    episodes = [
        Episode(
            {"state": rng.normal(size=(_STEPS + 1, 3)).astype(np.float32)},
            rng.uniform(-1, 1, (_STEPS, 1)).astype(np.float32),
            np.zeros(_STEPS, np.float32),
            terminated=False,
            truncated=True,
            success=True,
            is_demo=True,
            seed=seed,
        )
        for seed in range(2)
    ]
    write_demos(place / "set", episodes, _SPEC)


@cache
def _trained() -> Path:
    """A run of seconds, made once."""
    from rich.console import Console

    from zoomrl.training.run import train

    folder = Path(tempfile.mkdtemp(prefix="hostile-run-"))
    config = TrainConfig(
        preset="cqn-dmc",
        env=EnvConfig(id="gym:Pendulum-v1", time_limit=5),
        agent=CQNConfig(hidden_dim=8, trunk_dim=4, atoms=5, bins=3, levels=2),
        replay=ReplayConfig(batch_size=4, capacity=40, demo_fraction=0.0),
        control=ControlConfig(noise="0.1", executor="open_loop"),
        demos=DemoConfig(source="none"),
        eval=EvalConfig(every=10, episodes=1, final_episodes=1, video=False),
        log=LogConfig(every=10, tensorboard=False),
        checkpoint=CheckpointConfig(every=10),
        steps=20,
        threads=1,
        seed_steps=5,
        run_dir=str(folder / "run"),
    )
    train(config, console=Console(file=io.StringIO()))
    return folder / "run"


def honest_run(place: Path) -> None:
    """A run that every command accepts."""
    shutil.copytree(_trained(), place / "run")


# ---- run directories ---------------------------------------------------------------------------------------

_EVAL = ("eval", "run", "--episodes", "1")
_LOAD = ("load_policy", "run")
_PLOT = ("plot", "run", "--out", "out/plot.png")


def _run_cases() -> Iterator[Case]:
    def evil(place: Path) -> None:
        script = place.parent / "evil.sh"
        script.write_text(f"#!/bin/sh\ntouch {place.parent / CANARY}\n")
        script.chmod(0o755)
        _edit_json(place / "run/config.json", ("env", "python"), str(script))

    def built(change: Callable[[Path], None]) -> Callable[[Path], None]:
        def build(place: Path) -> None:
            honest_run(place)
            change(place)

        return build

    yield Case("run names an interpreter", built(evil), _EVAL)
    yield Case("run names an interpreter, loaded", built(evil), _LOAD)
    for name in ("gym:evil:Evil-v0", "gym:evil:deep:Evil-v0", "gym:evil.part:X"):
        change = partial(_edit_json_in, "run/config.json", ("env", "id"), name)
        yield Case(f"run imports {name}", built(change), _EVAL)
    both = partial(_edit_json_in, "run/config.json", ("env", "id"), "gym:evil:Evil-v0")
    yield Case("run imports a module, interpreter given", built(both), (*_EVAL, "--env-python", ""))
    yield Case("run imports a module, loaded", built(both), _LOAD)
    for command in (_EVAL, _LOAD, _PLOT):
        for name in ("config.json", "policy.json"):
            for kind, spoil in _SPOILT_JSON.items():
                yield Case(f"{command[0]}: {name} {kind}", built(partial(_spoil, f"run/{name}", spoil)), command)
    for keys, value in _ODD_CONFIG:
        change = partial(_edit_json_in, "run/config.json", keys, value)
        yield Case(f"config {'.'.join(keys)} = {str(value)[:30]}", built(change), _EVAL)
    for keys, value in _ODD_POLICY:
        change = partial(_edit_json_in, "run/policy.json", keys, value)
        yield Case(f"policy {'.'.join(keys)} = {str(value)[:30]}", built(change), _LOAD)
    for kind, line in _ODD_ROWS.items():
        yield Case(f"metrics {kind}", built(partial(_prepend, "run/metrics.jsonl", line)), _PLOT)
    for kind in ("a pipe", "a link to a secret", "a folder"):
        yield Case(f"metrics is {kind}", built(partial(_spoil, "run/metrics.jsonl", _SPOILT_JSON[kind])), _PLOT)
    for kind, spoil in _SPOILT_CHECKPOINTS.items():
        change = partial(_spoil_checkpoints, spoil)
        yield Case(f"checkpoint {kind}", built(change), _LOAD)


def _spoil(name: str, spoil: Callable[[Path], None], place: Path) -> None:
    (place / name).unlink()
    spoil(place / name)


def _spoil_checkpoints(spoil: Callable[[Path], None], place: Path) -> None:
    for path in sorted((place / "run/checkpoints").glob("step_*.pt")):
        spoil(path)


def _edit_json_in(name: str, keys: tuple[str, ...], value: Any, place: Path) -> None:
    _edit_json(place / name, keys, value)


def _edit_json(path: Path, keys: tuple[str, ...], value: Any) -> None:
    data = json.loads(path.read_text())
    data.pop("digest", None)  # whoever changes a file of a run can also seal it
    part = data
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    path.write_text(json.dumps(data).replace('"1e999"', "1e999"))


def _prepend(name: str, line: str, place: Path) -> None:
    path = place / name
    path.write_text(line + "\n" + path.read_text())


def _text(text: str | bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(text if isinstance(text, bytes) else text.encode()) and None


_SPOILT_JSON: dict[str, Callable[[Path], None]] = {
    "empty": _text(""),
    "a list": _text("[1, 2]"),
    "nested deeply": _text("[" * 200_000),
    "nested deeply in an object": _text('{"a":' * 900 + "1" + "}" * 900),
    "no text": _text(b"\xff\xfe\x00{}"),
    "many lists": _text('{"a": [' + "[]," * 1_500_000 + "1]}"),
    "an object of others": _text(json.dumps({"agent": "x", "env": [], "spec": 3, "preset": {}})),
    "a pipe": lambda path: os.mkfifo(path),
    "a folder": lambda path: path.mkdir(),
    "a link to a secret": lambda path: path.symlink_to("../../secret.json"),
    "endless": lambda path: path.symlink_to("/dev/zero"),
}
_ODD_CONFIG: tuple[tuple[tuple[str, ...], Any], ...] = (
    (("agent", "hidden_dim"), 10**9),
    (("agent", "hidden_dim"), 30_000),
    (("agent", "atoms"), 10**9),
    (("agent", "levels"), 10**9),
    (("agent", "bins"), -1),
    (("agent", "name"), ["cqn"]),
    (("agent", "encoder"), {"weights": "../secret.json"}),
    (("replay", "frame_stack"), 10**9),
    (("replay", "batch_size"), "1e999"),
    (("seed",), "x"),
    (("env", "id"), "gym:"),
    (("env", "id"), "metaworld:../../secret"),
    (("env", "cameras"), ["render"]),
    (("env", "image_size"), 10**9),
    (("control", "executor"), "os.system"),
    (("control", "noise"), "__import__('os').system('touch canary')"),
)
_ODD_POLICY: tuple[tuple[tuple[str, ...], Any], ...] = (
    (("spec", "observations", "state", "shape"), [10**12]),
    (("spec", "observations", "state", "shape"), [30_000, 30_000]),
    (("spec", "observations", "state", "shape"), "abc"),
    (("spec", "observations", "state", "dtype"), "U100000000"),
    (("spec", "observations", "state", "dtype"), "object"),
    (("spec", "action", "shape"), [10**12]),
    (("spec", "action", "low"), [[0.0]]),
    (("action_low",), "abc"),
    (("action_low",), [0.0] * 10),
)
_ODD_ROWS = {
    "list": "[1]",
    "number": "3",
    "nested": "[" * 100_000,
    "without kind": '{"step": 1}',
    "with a list for a number": '{"kind": "eval", "env_steps": [1], "success_rate": 1, "episodes": 1}',
    "with a text for a number": '{"kind": "eval", "env_steps": 1, "return_mean": "x", "return_std": 1, "episodes": 1}',
    "with infinity": '{"kind": "eval", "env_steps": 1, "return_mean": 1e999, "return_std": 1, "episodes": 1}',
    "with a huge number": '{"kind": "eval", "env_steps": 1, "return_mean": 1e308, "return_std": 1e308, "episodes": 1}',
    "without episodes": '{"kind": "eval", "env_steps": 1, "return_mean": 1, "return_std": 1, "episodes": 0}',
    "with a step of many digits": '{"kind": "eval", "env_steps": 1' + "0" * 4000 + ', "return_mean": 1}',
}


class _Touch:
    """Unpickled, it leaves the canary."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (f"open('../{CANARY}', 'w')",)


def _torch(value: Any) -> Callable[[Path], None]:
    return lambda path: torch.save(value, path)


def _with_state(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        torch.save(change(torch.load(path, weights_only=True)), path)

    return spoil


def _stretched(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return torch.zeros(1).expand(10**6, 10**6)
    return {key: _stretched(part) for key, part in value.items()} if isinstance(value, dict) else value


def _inflated(path: Path) -> None:
    """The same archive, its largest record replaced by 400 MB of zeros, deflated."""
    with zipfile.ZipFile(path) as file:
        parts = {one.filename: file.read(one) for one in file.infolist()}
    largest = max((name for name in parts if "/data/" in name), key=lambda name: len(parts[name]))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name, content in parts.items():
            if name == largest:
                _write_zeros(file, name, 3 << 27)
            else:
                file.writestr(name, content, zipfile.ZIP_STORED)


def _write_zeros(file: zipfile.ZipFile, name: str, size: int, head: bytes = b"") -> None:
    with file.open(name, "w", force_zip64=True) as part:
        part.write(head)
        block = bytes(1 << 20)
        for _ in range(size >> 20):
            part.write(block)


def _replaced(kind: str) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        path.unlink()
        _SPOILT_JSON[kind](path)

    return spoil


_SPOILT_CHECKPOINTS: dict[str, Callable[[Path], None]] = {
    "runs code": _torch({"agent": _Touch()}),
    "is a pickle": lambda path: path.write_bytes(pickle.dumps(_Touch())) and None,
    "is a list": _torch([1, 2]),
    "is empty": _torch({}),
    "has an agent of another kind": _with_state(lambda state: {**state, "agent": "x"}),
    "has no steps": _with_state(lambda state: {key: part for key, part in state.items() if key != "env_steps"}),
    "has steps of text": _with_state(lambda state: {**state, "env_steps": "x"}),
    "has weights of another shape": _with_state(lambda state: {**state, "agent": _stretched(state["agent"])}),
    "asks for a terabyte": _torch({"agent": torch.zeros(1).expand(10**6, 10**6)}),
    "is deflated": _inflated,
    "is a pipe": _replaced("a pipe"),
    "is a folder": _replaced("a folder"),
    "is a link to a secret": lambda path: path.unlink() or path.symlink_to("../../../secret.json"),
    "is no archive": _text("x" * 1000),
}


# ---- HDF5 --------------------------------------------------------------------------------------------------

_IMPORT = ("demos", "import", "minari", "set", "--out", "out")
_COMMANDS = {
    "import": _IMPORT,
    "inspect": ("demos", "inspect", "set"),
    "check": ("demos", "check", "set", "--no-replay", "--no-write"),
}
_ROBOMIMIC = ("demos", "import", "robomimic", "low_dim.hdf5", "--out", "out")


def _hdf5_cases() -> Iterator[Case]:
    for kind, spoil in _SPOILT_HDF5.items():
        for name, command in _COMMANDS.items():
            yield Case(f"{name}: {kind}", partial(_minari, spoil), command)
        yield Case(f"robomimic: {kind}", partial(_robomimic, spoil), _ROBOMIMIC)

    def module(place: Path) -> None:
        honest_set(place)
        _edit_json(place / "set/data/metadata.json", ("zoomrl_spec", "id"), "gym:evil:Evil-v0")

    for kind, size in _FULL.items():
        for name, command in _COMMANDS.items():
            yield Case(f"{name}: {kind}", partial(_full_minari, *size), command)
        cameras = ("--cameras", "rgb", "--image-size", "84") if kind == "images" else ()
        yield Case(f"robomimic: {kind}", partial(_full_robomimic, *size), (*_ROBOMIMIC, *cameras))
    yield Case("check imports a module", module, ("demos", "check", "set", "--no-write"))
    yield Case("check is told the environment by Minari", _minari_names_module, ("demos", "check", "set", "--no-write"))


def _minari(spoil: Callable[[h5py.Group, str, Path], None], place: Path) -> None:
    honest_set(place)
    with h5py.File(place / "set/data/main_data.hdf5", "a") as file:
        spoil(file["episode_0"], "actions", place)
    _release(place)


def _release(place: Path) -> None:
    """Whoever changes the arrays of a set can also take away what is said of them."""
    path = place / "set/data/metadata.json"
    data = json.loads(path.read_text())
    path.write_text(json.dumps({key: part for key, part in data.items() if key not in ("zoomrl_main_data", "digest")}))


def _robomimic(spoil: Callable[[h5py.Group, str, Path], None], place: Path) -> None:
    with h5py.File(place / "low_dim.hdf5", "w") as file:
        for index in range(2):
            group = file.create_group(f"data/demo_{index}")
            group["actions"] = np.zeros((_STEPS, 1), np.float32)
            group["obs/state"] = np.zeros((_STEPS, 3), np.float32)
        spoil(file["data/demo_0"], "actions", place)


def _minari_names_module(place: Path) -> None:
    honest_set(place)
    path = place / "set/data/metadata.json"
    data = json.loads(path.read_text())
    del data["zoomrl_spec"]
    path.write_text(json.dumps({**data, "env_spec": json.dumps({"id": "evil:Evil-v0"})}))


_FULL: dict[str, tuple[int, int, tuple[int, ...], str]] = {
    "one long episode that is hardly stored": (1, 1_000_000, (4,), "f4"),
    "one wide episode that is hardly stored": (1, 190, (1 << 15,), "f4"),
    "one episode too wide": (1, 60, (1 << 17,), "f4"),
    "episodes that are hardly stored": (60, 3100, (64,), "f4"),
    "images": (1, 1180, (84, 84, 3), "u1"),
    "more than is believed": (2, 8000, (4096,), "f4"),
}
"""Of states: episodes, steps, shape and type. All but the last are as large as readers believe."""


def _full_robomimic(episodes: int, steps: int, shape: tuple[int, ...], dtype: str, place: Path) -> None:
    with h5py.File(place / "low_dim.hdf5", "w") as file:
        for index in range(episodes):
            group = file.create_group(f"data/demo_{index}")
            _packed(group, "actions", (steps, 1), "f4")
            _packed(group, "obs/rgb" if dtype == "u1" else "obs/state", (steps, *shape), dtype)


def _full_minari(episodes: int, steps: int, shape: tuple[int, ...], dtype: str, place: Path) -> None:
    name, view = ("rgb", (1, *shape)) if dtype == "u1" else ("state", shape)
    array = ArraySpec(view, {"u1": "uint8", "f4": "float32"}[dtype])
    spec = replace(_SPEC, observations={name: array}, cameras=("a",) if dtype == "u1" else ())
    one = Episode(
        {name: np.zeros((2, *view), dtype)},
        np.zeros((1, 1), np.float32),
        np.zeros(1, np.float32),
        terminated=False,
        truncated=True,
        success=True,
        is_demo=True,
    )
    write_demos(place / "set", [one] * episodes, spec)
    with h5py.File(place / "set/data/main_data.hdf5", "a") as file:
        for group in file.values():
            for part, rest, kind in (
                ("actions", (1,), "f4"),
                ("rewards", (), "f4"),
                (f"observations/{name}", view, dtype),
            ):
                del group[part]
                _packed(group, part, (steps + (part[0] == "o"), *rest), kind)
    _release(place)


def _packed(group: h5py.Group, name: str, shape: tuple[int, ...], dtype: str) -> None:
    """An array of zeros in almost no room."""
    rows = max(1, min(shape[0], (1 << 20) // max(1, int(np.prod(shape[1:])))))
    made = group.create_dataset(name, shape, dtype, chunks=(rows, *shape[1:]), compression="gzip")
    packed = zlib.compress(bytes(made.dtype.itemsize * int(np.prod(made.chunks))), 9)
    for row in range(0, shape[0], rows):
        made.id.write_direct_chunk((row, *[0] * (len(shape) - 1)), packed)


def _external(group: h5py.Group, name: str, place: Path) -> None:
    del group[name]
    group.create_dataset(name, (_STEPS, 1), "f4", external=[(str(place.parent / "secret.bin"), 0, 4 * _STEPS)])


def _linked(make: Callable[[Path], Any]) -> Callable[[h5py.Group, str, Path], None]:
    def spoil(group: h5py.Group, name: str, place: Path) -> None:
        with h5py.File(place.parent / "other.hdf5", "w") as other:
            other["x"] = np.full((_STEPS, 1), SECRET_NUMBER, np.float32)
        del group[name]
        group[name] = make(place)

    return spoil


def _virtual(group: h5py.Group, name: str, place: Path) -> None:
    with h5py.File(place.parent / "other.hdf5", "w") as other:
        other["x"] = np.full((_STEPS, 1), SECRET_NUMBER, np.float32)
    layout = h5py.VirtualLayout((_STEPS, 1), "f4")
    layout[:] = h5py.VirtualSource(str(place.parent / "other.hdf5"), "x", (_STEPS, 1))
    del group[name]
    group.create_virtual_dataset(name, layout)


def _made(**options: Any) -> Callable[[h5py.Group, str, Path], None]:
    """The array replaced by one of 8 GB or more, of which nothing is stored."""

    def spoil(group: h5py.Group, name: str, place: Path) -> None:
        del group[name]
        group.create_dataset(name, **{"shape": (2 * 10**9, 1), "dtype": "f4", **options})

    return spoil


def _zeros(group: h5py.Group, name: str, place: Path) -> None:
    """512 MB of zeros in half a megabyte."""
    del group[name]
    made = group.create_dataset(name, (1 << 27, 1), "f4", chunks=(1 << 22, 1), compression="gzip")
    packed = zlib.compress(bytes(1 << 24), 9)
    for index in range(32):
        made.id.write_direct_chunk((index << 22, 0), packed)


def _overflowing(group: h5py.Group, name: str, place: Path) -> None:
    """A chunk whose stream goes on for 400 MB behind the chunk's end."""
    del group[name]
    made = group.create_dataset(name, (_STEPS, 1), "f4", chunks=(_STEPS, 1), compression="gzip")
    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(bytes(1 << 24)) for _ in range(24)) + packer.flush()
    made.id.write_direct_chunk((0, 0), packed)


def _shared(group: h5py.Group, name: str, place: Path) -> None:
    """A thousand names of one megabyte."""
    group["big"] = np.zeros((1 << 18, 1), np.float32)
    for index in range(1000):
        group[f"big_{index}"] = group["big"]
    del group[name]
    group[name] = group["big"]


def _looped(group: h5py.Group, name: str, place: Path) -> None:
    group["again"] = group.parent


def _deep(group: h5py.Group, name: str, place: Path) -> None:
    for _ in range(200):
        group = group.create_group("a")


def _filtered(group: h5py.Group, name: str, place: Path) -> None:
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_chunk((_STEPS, 1))
    made.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (3,))
    del group[name]
    space = h5py.h5s.create_simple((_STEPS, 1))
    h5py.h5d.create(group.id, name.encode(), h5py.h5t.IEEE_F32LE, space, made)


def _typed(dtype: Any, value: Any = None) -> Callable[[h5py.Group, str, Path], None]:
    def spoil(group: h5py.Group, name: str, place: Path) -> None:
        del group[name]
        made = group.create_dataset(name, (_STEPS, 1), dtype)
        if value is not None:
            made[:] = value(group)

    return spoil


def _named_type(group: h5py.Group, name: str, place: Path) -> None:
    del group[name]
    group[name] = np.dtype("f4")


def _attributes(group: h5py.Group, name: str, place: Path) -> None:
    group.attrs.create("success", ["x"] * 1000, dtype=h5py.string_dtype())
    group.parent.attrs.create("env_args", ["x" * 10_000] * 1000, dtype=h5py.string_dtype())
    for key in ("seed", "zoomrl_meta"):
        group.attrs[key] = "[" * 50_000


def _same_text(group: h5py.Group, name: str, place: Path) -> None:
    del group[name]
    group.create_dataset(name, data=["x" * 1000] * 5000, dtype=h5py.string_dtype())


_SPOILT_HDF5: dict[str, Callable[[h5py.Group, str, Path], None]] = {
    "external storage": _external,
    "external link": _linked(lambda place: h5py.ExternalLink(str(place.parent / "other.hdf5"), "/x")),
    "external link of a relative path": _linked(lambda place: h5py.ExternalLink("../other.hdf5", "/x")),
    "dangling external link": _linked(lambda place: h5py.ExternalLink("/nowhere.hdf5", "/x")),
    "soft link": _linked(lambda place: h5py.SoftLink("../rewards")),
    "dangling soft link": _linked(lambda place: h5py.SoftLink("/nowhere")),
    "soft link to itself": _linked(lambda place: h5py.SoftLink("actions")),
    "virtual data set": _virtual,
    "24 GB never written": _made(chunks=(10**6, 1)),
    "8 GB contiguous, never written": _made(),
    "terabytes": _made(shape=(10**12, 100), chunks=(10**6, 1)),
    "a huge chunk": _made(shape=(_STEPS, 1), maxshape=(None, 1), chunks=(10**9, 1), compression="gzip"),
    "half a gigabyte of zeros": _zeros,
    "a chunk that overflows": _overflowing,
    "one array under a thousand names": _shared,
    "a group within itself": _looped,
    "two hundred groups deep": _deep,
    "a filter that is a plug-in": _filtered,
    "references": _typed(h5py.ref_dtype, lambda group: group.ref),
    "lists of free length": _typed(h5py.vlen_dtype(np.float32)),
    "texts": _same_text,
    "a compound": _typed(np.dtype([("a", "f4"), ("b", "i4", (1000,))])),
    "a named type": _named_type,
    "odd attributes": _attributes,
}


# ---- what lies beside the arrays ---------------------------------------------------------------------------


def _metadata_cases() -> Iterator[Case]:
    def spoilt(spoil: Callable[[Path], None], name: str, place: Path) -> None:
        honest_set(place)
        (place / name).unlink(missing_ok=True)
        spoil(place / name)

    for kind, spoil in _SPOILT_JSON.items():
        build = partial(spoilt, spoil, "set/data/metadata.json")
        yield Case(f"metadata {kind}", build, _COMMANDS["inspect"])
    for kind in ("a pipe", "a folder", "endless", "a link to a secret"):
        yield Case(f"arrays are {kind}", partial(spoilt, _SPOILT_JSON[kind], "set/data/main_data.hdf5"), _IMPORT)
    for kind in ("nested deeply", "a pipe", "a list", "a link to a secret"):
        build = partial(spoilt, _SPOILT_JSON[kind], "set/manifest.json")
        yield Case(f"manifest {kind}", build, ("demos", "check", "set", "--no-replay"))
    for keys, value in _ODD_METADATA:

        def odd(place: Path, keys: tuple[str, ...] = keys, value: Any = value) -> None:
            honest_set(place)
            _edit_json(place / "set/data/metadata.json", keys, value)

        for name in ("import", "inspect"):
            yield Case(f"{name}: metadata {'.'.join(keys)} = {str(value)[:30]}", odd, _COMMANDS[name])


_ODD_METADATA: tuple[tuple[tuple[str, ...], Any], ...] = (
    (("total_episodes",), 10**12),
    (("total_episodes",), "1e999"),
    (("total_episodes",), [1]),
    (("total_episodes",), -1),
    (("zoomrl_spec",), 3),
    (("zoomrl_spec", "observations", "state", "dtype"), "U100000000"),
    (("zoomrl_spec", "observations", "state", "dtype"), "object"),
    (("zoomrl_spec", "observations", "state", "shape"), [10**12]),
    (("zoomrl_spec", "action", "low"), "abc"),
    (("zoomrl_spec", "time_limit"), "1e999"),
    (("zoomrl_meta",), "x"),
)


# ---- NumPy -------------------------------------------------------------------------------------------------


def _npz_cases() -> Iterator[Case]:
    command = ("demos", "import", "npz", "set", "--out", "out")
    for kind, spoil in _SPOILT_NPZ.items():

        def build(place: Path, spoil: Callable[[Path], None] = spoil) -> None:
            (place / "set").mkdir()
            arrays = {"actions": np.zeros((_STEPS, 1)), "state": np.zeros((_STEPS, 3)), "success": np.array(True)}
            for index in range(2):
                np.savez(place / f"set/episode_{index}.npz", **arrays)
            spoil(place / "set/episode_0.npz")

        yield Case(f"npz {kind}", build, command)


def _member(name: str, head: bytes, zeros: int) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
            _write_zeros(file, name, zeros, head)

    return spoil


def _header(shape: tuple[int, ...], dtype: str = "<f4") -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": dtype, "fortran_order": False, "shape": shape})
    return out.getvalue()


def _beside(spoil: Callable[[Path], None]) -> Callable[[Path], None]:
    return lambda path: spoil(path.with_name("spec.json"))


def _endless(method: int) -> Callable[[Path], None]:
    """An entry that says 40 bytes and unpacks to 400 MB."""

    def spoil(path: Path) -> None:
        head = _header((10, 1))
        with zipfile.ZipFile(path, "w", method) as file:
            _write_zeros(file, "actions.npy", 3 << 27, head)
            size = file.infolist()[0].file_size
        content = path.read_bytes().replace(struct.pack("<Q", size), struct.pack("<Q", len(head) + 40))
        path.write_bytes(content.replace(struct.pack("<L", size), struct.pack("<L", len(head) + 40)))

    return spoil


def _full_npz(path: Path) -> None:
    arrays = {"actions": np.zeros((_LONG, 1), np.float32), "state": np.zeros((_LONG, 4), np.float32)}
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


_LONG = 1_200_000
_SPOILT_NPZ: dict[str, Callable[[Path], None]] = {
    "endless by deflate": _endless(zipfile.ZIP_DEFLATED),
    "endless by bzip2": _endless(zipfile.ZIP_BZIP2),
    "endless by LZMA": _endless(zipfile.ZIP_LZMA),
    "as large as is believed": _full_npz,
    "bomb": _member("state2.npy", _header((3 << 25, 1)), 3 << 27),
    "declares a terabyte": _member("state2.npy", _header((1 << 38,)), 0),
    "declares a negative size": _member("state2.npy", _header((-1, 4)), 0),
    "holds objects": lambda path: np.savez(path, actions=np.array([_Touch()], object)),
    "is one pickle": lambda path: path.write_bytes(pickle.dumps(_Touch())) and None,
    "is one array": lambda path: path.write_bytes(_header((1 << 38,))) and None,
    "is a pipe": _replaced("a pipe"),
    "is a link to a secret": lambda path: path.unlink() or path.symlink_to("../../secret.bin"),
    "has meta nested deeply": lambda path: np.savez(path, actions=np.zeros((2, 1)), meta=np.array("[" * 100_000)),
    "has a spec that is a pipe": _beside(_SPOILT_JSON["a pipe"]),
    "has a spec nested deeply": _beside(_SPOILT_JSON["nested deeply"]),
    "has a spec that is a link": _beside(lambda path: path.symlink_to("../../secret.json")),
    "has a spec of others": _beside(_SPOILT_JSON["an object of others"]),
}


# ---- LeRobot -----------------------------------------------------------------------------------------------


def _lerobot_cases() -> Iterator[Case]:
    command = ("demos", "import", "lerobot", "set", "--out", "out")
    for kind, spoil in _SPOILT_LEROBOT.items():

        def build(place: Path, spoil: Callable[[Path], None] = spoil) -> None:
            from zoomrl.demos.formats import write
            from zoomrl.demos.store.reader import read_demos

            honest_set(place)
            demos = read_demos(place / "set")
            shutil.rmtree(place / "set")
            write("lerobot", place / "set", demos)
            spoil(place / "set")

        yield Case(f"lerobot {kind}", build, command)

    for name, frames, height, width in (
        ("large frames", 40, 1200, 1920),
        ("frames too large", 6, 2048, 4096),
        ("hundreds of frames", 590, 64, 64),
    ):
        build_video = partial(_video, frames, height, width)
        yield Case(f"lerobot video of {name}", build_video, (*command, "--cameras", "front"))

    for kind, spoil in _SPOILT_LEROBOT_2.items():
        yield Case(f"lerobot v2 {kind}", partial(_second, spoil), command)


def _second(spoil: Callable[[Path], None], place: Path) -> None:
    """A set of version 2.1 with two episodes, spoilt."""
    import pyarrow as pa
    from pyarrow import parquet

    root, steps = place / "set", 23
    columns = {"action": [1], "observation.state": [2], "frame_index": [1], "episode_index": [1], "task_index": [1]}
    features = {name: {"dtype": "float32", "shape": shape, "names": None} for name, shape in columns.items()}
    info = {"codebase_version": "v2.1", "fps": 20, "total_episodes": 2, "chunks_size": 1000, "features": features}
    info["data_path"] = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
    for folder in ("meta", "data/chunk-000"):
        (root / folder).mkdir(parents=True)
    for number in range(2):
        data = {"action": [0.5] * steps, "observation.state": [[0.0, 1.0]] * steps, "frame_index": range(steps)}
        table = pa.table({**data, "episode_index": [number] * steps, "task_index": [0] * steps})
        parquet.write_table(table, root / f"data/chunk-000/episode_{number:06d}.parquet")
    (root / "meta/info.json").write_text(json.dumps(info))
    rows = [{"episode_index": number, "length": steps, "tasks": ["push"]} for number in range(2)]
    (root / "meta/episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "meta/tasks.jsonl").write_text('{"task_index": 0, "task": "push"}\n')
    spoil(root)


def _restless(root: Path) -> None:
    """An episode whose task is another one in every frame."""
    import pyarrow as pa
    from pyarrow import parquet

    rows = 150_000
    table = {
        "action": np.zeros(rows, np.float32),
        "observation.state": pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(2 * rows, np.float32)), 2),
        "frame_index": np.arange(rows),
        "episode_index": np.zeros(rows, np.int64),
        "task_index": np.arange(rows) % 2,
    }
    parquet.write_table(pa.table(table), root / "data/chunk-000/episode_000000.parquet")
    lines = [{"episode_index": 0, "length": rows}, {"episode_index": 1, "length": 23}]
    (root / "meta/episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    (root / "meta/tasks.jsonl").write_text("".join(f'{{"task_index": {n}, "task": "{n}"}}\n' for n in range(2)))


def _video(frames: int, height: int, width: int, place: Path) -> None:
    """One episode with a video of black frames."""
    from zoomrl.demos.formats import write
    from zoomrl.demos.formats.lerobot.video import VideoWriter
    from zoomrl.demos.store.reader import DemoSet

    spec = replace(_SPEC, observations={"rgb": ArraySpec((1, 16, 16, 3), "uint8")}, cameras=("front",))
    episode = Episode(
        {"rgb": np.zeros((frames + 1, 1, 16, 16, 3), np.uint8)},
        np.zeros((frames, 1), np.float32),
        np.zeros(frames, np.float32),
        terminated=False,
        truncated=True,
        success=True,
        is_demo=True,
    )
    write("lerobot", place / "set", DemoSet(spec, [episode]), video=True)
    for name in ("zoomrl.json", "zoomrl.parquet"):
        (place / "set/meta" / name).unlink()
    next(place.glob("set/videos/**/*.mp4")).unlink()
    video = VideoWriter(place / "set", "observation.images.front", 20)
    video.add(np.broadcast_to(np.zeros((1, 1, 1, 1), np.uint8), (frames, height, width, 3)))
    video.close()


def _info(*keys: str, value: Any) -> Callable[[Path], None]:
    return lambda root: _edit_json(root / "meta/info.json", keys, value)


def _table(change: Callable[[Any], Any], name: str = "data/*/*.parquet", **options: Any) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        from pyarrow import parquet

        for path in root.glob(name):
            parquet.write_table(change(parquet.read_table(path)), path, **options)

    return spoil


def _repeated(table: Any) -> Any:
    """The last row millions of times: runs of equal values take almost no room."""
    import pyarrow as pa

    return pa.concat_tables([table, *[table.slice(len(table) - 1).take(pa.array(np.zeros(1 << 20, np.int64)))] * 4])


def _numbered(table: Any) -> Any:
    """Rows in order, in one episode: all columns but one are constant."""
    import pyarrow as pa

    rows = table.slice(0, 1).take(pa.array(np.zeros(_ROWS, np.int64)))
    place = rows.schema.get_field_index("frame_index")
    rows = rows.set_column(place, "frame_index", pa.array(np.arange(_ROWS)))
    return pa.concat_tables([rows, table.slice(_STEPS)])


_ROWS = 150_000


def _many_rows(root: Path) -> None:
    _table(_numbered)(root)
    _table(_as_long, "meta/episodes/*/*.parquet")(root)


def _as_long(table: Any) -> Any:
    import pyarrow as pa

    return table.set_column(table.schema.get_field_index("length"), "length", pa.array([_ROWS, _STEPS]))


def _with_text(table: Any) -> Any:
    """A text of a megabyte in every row of a table, stored once."""
    import pyarrow as pa

    rows = pa.concat_tables([table] * 500)
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(rows), np.int32)), pa.array(["x" * (1 << 20)]))
    return rows.append_column("extra", column.cast(pa.string()) if len(rows) < 1 else column)


def _replaced_below(name: str, spoil: Callable[[Path], None]) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        for path in sorted(root.glob(name)):
            path.unlink()
            spoil(path)

    return change


_SPOILT_LEROBOT: dict[str, Callable[[Path], None]] = {
    "path of a gigabyte": _info("data_path", value="data/{chunk_index:>1000000000d}.parquet"),
    "path of many digits": _info("data_path", value="data/{chunk_index:01000000000d}.parquet"),
    "path with an attribute": _info("data_path", value="{chunk_index.__class__.__mro__}"),
    "path with an index": _info("data_path", value="{chunk_index[0]}"),
    "path to elsewhere": _info("data_path", value="../../secret.json"),
    "absolute path": _info("data_path", value="/etc/passwd"),
    "path of a list": _info("data_path", value=["x"]),
    "endless episodes": _info("total_episodes", value="1e999"),
    "10^12 episodes": _info("total_episodes", value=10**12),
    "endless rate": _info("fps", value="1e999"),
    "features of others": _info("features", value=[1]),
    "a huge feature": _info("features", "action", "shape", value=[10**12]),
    "info nested deeply": _replaced_below("meta/info.json", _SPOILT_JSON["nested deeply"]),
    "info is a pipe": _replaced_below("meta/info.json", _SPOILT_JSON["a pipe"]),
    "info is a link": _replaced_below("meta/info.json", lambda path: path.symlink_to("../../../secret.json")),
    "table is a pipe": _replaced_below("data/*/*.parquet", _SPOILT_JSON["a pipe"]),
    "table is a link": _replaced_below("data/*/*.parquet", lambda path: path.symlink_to("/etc/passwd")),
    "table of millions of rows": _table(_repeated),
    "an episode of 150,000 rows": _many_rows,
    "episodes with a text in every row": _table(_with_text, "meta/episodes/*/*.parquet"),
    "own rows is a pipe": _replaced_below("meta/zoomrl.parquet", _SPOILT_JSON["a pipe"]),
    "own spec is a link": _replaced_below("meta/zoomrl.json", lambda path: path.symlink_to("../../../secret.json")),
}

_LISTS = ("meta/episodes.jsonl", "meta/tasks.jsonl")
_SPOILT_LEROBOT_2: dict[str, Callable[[Path], None]] = {
    f"{name} {kind}": _replaced_below(name, spoil)
    for name in _LISTS
    for kind, spoil in {
        "nested deeply": _SPOILT_JSON["nested deeply"],
        "is a pipe": _SPOILT_JSON["a pipe"],
        "is a link": _SPOILT_JSON["a link to a secret"],
        "is a folder": _SPOILT_JSON["a folder"],
        "of blank lines": _text("\n" * (60 << 20)),
        "of empty objects": _text("{}\n" * 660_000),
        "of many lists": _text('{"a": [' + "[]," * 990_000 + "1]}"),
        "of numbers of many digits": _text('{"episode_index": ' + "9" * 4000 + ', "length": 1, "task_index": 0}\n'),
    }.items()
} | {
    "path with an attribute": _info("data_path", value="{episode_index.__class__.__mro__}"),
    "path to elsewhere": _info("data_path", value="../../secret.json"),
    "chunks of nothing": _info("chunks_size", value=-1),
    "a split of many digits": _info("splits", value={"train": "9" * 4000 + ":"}),
    "a task of its own in every frame": _restless,
}


# ---- RLBench -----------------------------------------------------------------------------------------------


def _rlbench_cases() -> Iterator[Case]:
    command = ("demos", "import", "rlbench", "set", "--out", "out")
    for kind, data in _PICKLES.items():

        def build(place: Path, data: bytes = data) -> None:
            for index in range(2):
                folder = place / f"set/open_drawer/variation0/episodes/episode{index}"
                folder.mkdir(parents=True)
                (folder / "low_dim_obs.pkl").write_bytes(data)

        yield Case(f"rlbench {kind}", build, command)


def _image(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds nothing."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(head)) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
    return b"\x89PNG\r\n\x1a\n" + chunk


_PICKLES = {
    "runs code": pickle.dumps(_Touch()),
    "numbers a part two billion": b"\x80\x04K\x01r" + struct.pack("<I", 0x7FFFFFFF) + b".",
    "declares a long text": b"\x80\x04\x8d" + struct.pack("<Q", 10**12) + b".",
    "declares a long frame": b"\x80\x04\x95" + struct.pack("<Q", 10**12) + b".",
    "is nested": b"\x80\x04" + b"(" * 100_000 + b"l" * 100_000 + b".",
    "is empty": b"",
}


def main(words: list[str]) -> int:
    """Attack with every case whose name holds one of ``words``, or with all; print what did harm."""
    cases = [case for case in hostile_cases() if not words or any(word in case.name for word in words)]
    outcomes = []
    for case in cases:
        outcomes.append(attack(case))
        print(outcomes[-1].line(), flush=True)
    harm = [outcome for outcome in outcomes if outcome.fault]
    print(f"{len(outcomes)} attacks, {len(harm)} did harm")
    for outcome in harm:
        print(outcome.line())
    return min(len(harm), 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
