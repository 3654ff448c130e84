"""What every command is, and how one is printed for the user to repeat."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Protocol

from zoomrl.envs.config import EnvConfig
from zoomrl.errors import command_line

_NOT_OF_A_TASK = ("id", "num_envs", "workers")
"""Fields of an environment's options that have an option of their own, or say how it is run."""


class Command(Protocol):
    """A frozen dataclass whose fields are the command's options, and which can be run."""

    def run(self) -> int:
        """Do it; returns the exit code."""
        ...


def to_type(*words: object) -> str:
    """``words`` as a command of this program, quoted for the shell. Paths and ids may hold spaces and quotes."""
    return f"{_program()} {command_line(*words)}"


def env_options(env: EnvConfig) -> list[object]:
    """Words that make ``env`` of its id."""
    return given_options(env, "env.", _NOT_OF_A_TASK)


def given_options(options: Any, prefix: str = "", leave_out: Collection[str] = ()) -> list[object]:
    """Words that make ``options``, a dataclass, of its defaults.

    Args:
        options: fields without a default and those that are dataclasses are left out.
        prefix: of the names of options, ``env.``.
        leave_out: names of further fields.
    """
    words: list[object] = []
    for one in fields(options):
        value, name = getattr(options, one.name), prefix + one.name.replace("_", "-")
        if one.name in leave_out or value == one.default or is_dataclass(value):
            continue
        if one.default is MISSING and one.default_factory is MISSING:
            continue
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--{prefix}no-{one.name.replace('_', '-')}")
        else:
            words += [f"--{name}", *(value if isinstance(value, tuple) else [value])]
    return words


@contextmanager
def when_stopped(stop: Callable[[], object]) -> Iterator[None]:
    """Ctrl-C and SIGTERM call ``stop``."""
    before = {number: signal.signal(number, lambda *_: stop()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _program() -> str:
    """How this program is called here: a virtual environment that is not active is named by its path."""
    if shutil.which("zoomrl"):
        return "zoomrl"
    path = Path(sys.argv[0])
    if path.name == "zoomrl":
        return shlex.quote(os.path.relpath(path))
    active = shutil.which("python") == sys.executable
    return command_line("python" if active else sys.executable, "-m", "zoomrl")
