"""How long a process that runs an environment may take, and what is said of one that died."""

from __future__ import annotations

import pickle
import sys
from typing import Any

from zoomrl.errors import ConfigError, WorkerError

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
    """What another process is to build from, closures included where cloudpickle is installed.

    Raises:
        ConfigError: it holds what cannot be sent.
    """
    try:
        import cloudpickle  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        cloudpickle = pickle
    else:
        if (main := sys.modules.get("__mp_main__")) is not None:  # which other processes cannot import either
            cloudpickle.register_pickle_by_value(main)
    try:
        payload: bytes = cloudpickle.dumps(what)
    except Exception as error:  # what is sent decides what it raises
        raise ConfigError(
            f"the environment cannot be built in another process: {error}. Let make_env make all that it needs when it "
            "is called, such as locks, open files and connections"
        ) from error
    return payload
