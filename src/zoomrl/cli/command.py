"""What every command is, and how one is printed for the user to repeat."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Protocol

from zoomrl.errors import command_line


class Command(Protocol):
    """A frozen dataclass whose fields are the command's options, and which can be run."""

    def run(self) -> int:
        """Do it; returns the exit code."""
        ...


def to_type(*words: object) -> str:
    """``words`` as a command of this program, quoted for the shell. Paths and ids may hold spaces and quotes."""
    return f"{_program()} {command_line(*words)}"


def _program() -> str:
    """How this program is called here: a virtual environment that is not active is named by its path."""
    if shutil.which("zoomrl"):
        return "zoomrl"
    path = Path(sys.argv[0])
    if path.name == "zoomrl":
        return shlex.quote(os.path.relpath(path))
    active = shutil.which("python") == sys.executable
    return command_line("python" if active else sys.executable, "-m", "zoomrl")
