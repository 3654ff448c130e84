"""The parent's side of isolation: another interpreter that runs one simulator, from its start to its end."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any

from zoomrl import errors
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.isolation.channel import Block, Channel, nameless_file
from zoomrl.envs.isolation.protocol import OLDEST, PROTOCOL
from zoomrl.envs.processes import CLOSE_TIMEOUT_S, START_TIMEOUT_S, SimulatorDied, exit_reason, unanswered
from zoomrl.errors import (
    ConfigError,
    MissingDependencyError,
    SimulatorError,
    WorkerError,
    ZoomrlError,
    command_line,
)
from zoomrl.spec import EnvSpec

_WORKER = Path(__file__).with_name("worker.py")
_TAIL_CHARACTERS = 8000
_TAIL_LINES = 20


class Simulator:
    """A process of the interpreter ``config.python`` that runs the environment of ``config``.

    Attributes:
        spec: of the environment.
        has_expert: whether it has one.
        block: where its arrays travel.

    Raises:
        ConfigError: when the interpreter cannot be started, is none, or is too old.
        MissingDependencyError: when it lacks NumPy or the simulator.
        SimulatorDied: when it crashes or hangs while it builds the environment.
        WorkerError: when the environment raises while it is built. zoomrl's own errors arrive unchanged.
    """

    def __init__(self, config: EnvConfig) -> None:
        self._python = interpreter(config.python)
        self._name = f"the simulator of {config.id} in {self._python}"
        self._timeout_s = self._allowed_s = config.timeout
        self._ticket = 0
        self._deadline = 0.0
        ours, theirs = socket.socketpair()
        self._channel = Channel(ours)
        self._memory = nameless_file()
        try:
            # Only the simulator may hold this end, or its death would not close the connection.
            with theirs:
                self._process = self._start(theirs)
        except BaseException:
            self._let_go()
            raise
        assert self._process.stdout is not None
        self._output = _Output(self._process.stdout)
        try:
            self._meet()
            self._build(config)
        except BaseException:
            self.end()
            raise

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def send(self, name: str, *, timeout_s: float | None = None, **arguments: Any) -> None:
        """Send a request; its reply is due within ``timeout_s``, by default that of the config."""
        self._ticket += 1
        self._allowed_s = self._timeout_s if timeout_s is None else timeout_s
        self._deadline = time.monotonic() + self._allowed_s
        # A failed send means a dead process, which receiving the reply then finds out.
        with contextlib.suppress(OSError):
            self._channel.send({"ticket": self._ticket, "name": name, **arguments})

    def receive(self) -> dict[str, Any]:
        """The reply to the latest request; those to requests that were given up are passed over.

        Raises:
            SimulatorDied: when there is none and will be none. The process is gone then.
            WorkerError: with the traceback, when the environment raised. zoomrl's own errors arrive unchanged.
        """
        while True:
            try:
                reply = self._channel.receive(self._deadline)
            except TimeoutError:
                raise self._died(unanswered(self._allowed_s)) from None
            except EOFError:
                raise self._died(self._exit_reason()) from None
            if reply.get("ticket") == self._ticket:
                break
        if "error" in reply:
            raise self._error(**reply["error"])
        return reply

    def close(self) -> None:
        """Let the simulator end, by force where it does not end by itself. Safe to call twice."""
        if self._process.poll() is None:
            self.send("close")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(CLOSE_TIMEOUT_S)
        self.end()

    def end(self) -> None:
        """Make sure that the process is gone. It gets no chance to object: it may hang anywhere."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._let_go()

    # ---- the start ---------------------------------------------------------------------------------------

    def _start(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        descriptors = (theirs.fileno(), self._memory)
        # What it printed last is wanted when it crashes.
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}
        try:
            return subprocess.Popen(
                [self._python, str(_WORKER), *map(str, descriptors)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=descriptors,
                env=environment,
            )
        except OSError as error:
            raise ConfigError(f"python {self._python!r} cannot be started: {error}. {_WANTED}") from error

    def _meet(self) -> None:
        """Learn what the interpreter is, and refuse one that will not do."""
        try:
            facts = self._channel.receive(time.monotonic() + START_TIMEOUT_S)
        except (TimeoutError, EOFError) as error:
            gone = unanswered(START_TIMEOUT_S) if isinstance(error, TimeoutError) else self._exit_reason()
            self.end()
            raise ConfigError(
                f"python {self._python!r} does not behave like a Python 3 interpreter: it {gone} before it had said "
                f"its version. {_WANTED}{self._output.tail()}"
            ) from None
        if facts["protocol"] != PROTOCOL:
            raise WorkerError(
                f"{self._name} speaks protocol {facts['protocol']} and this side {PROTOCOL}: zoomrl was updated "
                "meanwhile. Start again"
            )
        version, needed = ".".join(map(str, facts["python"])), ".".join(map(str, OLDEST))
        if tuple(facts["python"]) < OLDEST:
            raise ConfigError(
                f"python {self._python!r} is Python {version}, and an isolated simulator needs {needed} or newer. "
                "Make its environment with a newer Python"
            )
        if not facts["numpy"]:
            raise MissingDependencyError(
                f"NumPy cannot be imported by {self._python} (Python {version}): {facts['problem']}\n"
                "An isolated simulator needs it. Install it there: "
                + command_line(self._python, "-m", "pip", "install", "numpy")
            )

    def _build(self, config: EnvConfig) -> None:
        # In the other interpreter, "this one" is where it runs.
        self.send("build", timeout_s=max(START_TIMEOUT_S, config.timeout), config=asdict(replace(config, python="")))
        reply = self.receive()
        self.spec = EnvSpec.from_dict(reply["spec"])
        self.has_expert: bool = reply["has_expert"]
        self.block = Block(self._memory, self.spec, allocate=False)

    # ---- the end -----------------------------------------------------------------------------------------

    def _exit_reason(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(CLOSE_TIMEOUT_S)
        return exit_reason(self._process.returncode)

    def _died(self, reason: str) -> SimulatorDied:
        self.end()
        return SimulatorDied(f"{self._name} died ({reason}){self._output.tail()}")

    def _error(self, own: str, text: str, trace: str) -> ZoomrlError:
        kind = getattr(errors, own, None)
        if kind is None:
            return WorkerError(f"{self._name} raised {text}\n\nIts traceback:\n{trace}")
        if kind is MissingDependencyError and ("ModuleNotFoundError:" in trace or "\nImportError:" in trace):
            text += (
                f"\nIt is missing in the environment of {self._python}, where the simulator runs. zoomrl itself is not "
                f"needed there; the simulator alone is enough: {command_line(self._python, '-m', 'pip', 'install')} ..."
            )
        if kind is SimulatorError:
            text += f"\n\nIt runs in {self._python}. Its traceback:\n{trace}"
        error: ZoomrlError = kind(text)
        return error

    def _let_go(self) -> None:
        self._channel.close()
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1


class _Output:
    """What a process prints: passed on to our stderr, and its end kept for the report of a crash."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._kept = ""
        self._thread = threading.Thread(target=self._pass_on, args=(pipe,), daemon=True)
        self._thread.start()

    def tail(self) -> str:
        """The last lines, under a heading; empty where nothing was printed. Asked for when the process is gone."""
        # Not for long: a process that it has started may hold the pipe open.
        self._thread.join(1.0)
        lines = self._kept.strip().splitlines()[-_TAIL_LINES:]
        return "\n".join(["", "The last that it printed:", *lines]) if lines else ""

    def _pass_on(self, pipe: IO[bytes]) -> None:
        with pipe:
            while part := os.read(pipe.fileno(), 65536):
                text = part.decode(errors="replace")
                self._kept = (self._kept + text)[-_TAIL_CHARACTERS:]
                # stderr may be closed, or none at all.
                with contextlib.suppress(Exception):
                    sys.stderr.write(text)
                    sys.stderr.flush()


_WANTED = "Give the path of the other environment's interpreter, for example /path/to/environment/bin/python"


def interpreter(path: str) -> str:
    """The interpreter that ``path`` names, a file or a name on PATH; ConfigError when it cannot be run."""
    expanded = os.path.expanduser(path)
    found = shutil.which(expanded)
    if found is not None:
        return found
    fault = "does not exist"
    if os.path.exists(expanded):
        fault = "is a directory" if os.path.isdir(expanded) else "is not executable"
    raise ConfigError(f"python {path!r} {fault}. {_WANTED}")
