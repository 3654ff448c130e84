"""How chunks are executed, in one word: averaged, or so many actions of each."""

from __future__ import annotations

from zoomrl.control.config import ControlConfig
from zoomrl.errors import ConfigError

ENSEMBLE = "ensemble"


def execution_of(control: ControlConfig, chunk_length: int) -> str:
    """``ensemble``, or the number of actions of each chunk that are executed."""
    if control.executor == "temporal_ensemble":
        return ENSEMBLE
    return str(chunk_length if control.executor == "open_loop" else control.replan_every)


def with_execution(control: ControlConfig, execution: str, chunk_length: int) -> ControlConfig:
    """``control`` with another execution.

    Args:
        control: of a run.
        execution: ``ensemble``, or a number of actions in 1 .. ``chunk_length``.
        chunk_length: of the agent.

    Raises:
        ConfigError: it is neither.
    """
    if execution == ENSEMBLE:
        return control.with_executor("temporal_ensemble")
    if not execution.isdecimal() or not 1 <= int(execution) <= chunk_length:
        raise ConfigError(
            f"chunks of {chunk_length} are executed by {ENSEMBLE!r}, or 1 to {chunk_length} actions of each; got "
            f"{execution!r}"
        )
    return control.with_executor("receding_horizon", replan_every=int(execution))


def executions(chunk_length: int) -> tuple[str, ...]:
    """Those worth comparing: the ensemble, and 1, 2, 4 and so on up to all actions of a chunk."""
    counts = {chunk_length} | {2**power for power in range(chunk_length.bit_length()) if 2**power < chunk_length}
    return (ENSEMBLE, *map(str, sorted(counts)))
