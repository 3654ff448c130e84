"""What a run leaves to whoever started it. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import signal

    from zoomrl.training.config import TrainConfig
    from zoomrl.training.evaluate import Evaluation


@dataclass(frozen=True)
class RunResult:
    """Outcome of :func:`train`.

    Attributes:
        directory: of the run.
        finished: False when a signal stopped it; running the same config again resumes.
        evaluation: the evaluation at the end; None when stopped.
        training_seconds: wall time of the run's learning so far, evaluations during training included.
        video: the video that was made; None without one.
        video_problem: why there is none, or None.
        stopped_by: the signal that stopped it, if one did.
    """

    directory: Path
    finished: bool
    evaluation: Evaluation | None
    training_seconds: float
    video: Path | None
    video_problem: str | None
    stopped_by: signal.Signals | None = None


def is_final(result: Mapping[str, Any], config: TrainConfig) -> bool:
    """Whether ``result.json`` is that of a whole run of ``config``, or of one that a callback ended early."""
    if result.get("end_reason"):
        return True
    steps, updates = result.get("env_steps"), result.get("updates")
    if not isinstance(steps, int) or not isinstance(updates, int):
        return False
    return steps >= config.steps if config.steps else updates >= config.offline_updates
