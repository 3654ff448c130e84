"""How long a process that runs an environment may take, and what is said of one that died."""

from __future__ import annotations

import pickle
from typing import Any

from zoomrl.errors import WorkerError

# Importing a simulator and loading its assets takes seconds, and far longer from a cold network disk.
START_TIMEOUT_S = 180.0
CLOSE_TIMEOUT_S = 5.0
DEATHS_IN_A_ROW = 3


class SimulatorDied(WorkerError):  # noqa: N818  (it says what happened)
    """An isolated simulator crashed or hung. Its episode is lost; the next ``reset`` starts it again."""


def exit_reason(code: int | None) -> str:
    """What the exit code of a process says, as the end of a sentence; None where there is no code."""
    if code is None:
        return "closed its pipe"
    return f"killed by signal {-code}" if code < 0 else f"exited with code {code}"


def unanswered(timeout_s: float) -> str:
    """What is said of a process that was given up after ``timeout_s`` seconds."""
    return f"did not answer within {timeout_s:g} s"


def pickled(what: Any) -> bytes:
    """What another process is to build from, closures included where cloudpickle is installed."""
    try:
        import cloudpickle  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        return pickle.dumps(what)
    payload: bytes = cloudpickle.dumps(what)
    return payload
