"""The end of a run: an evaluation with fresh seeds, its film, the result file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoomrl.control.controller import Controller
from zoomrl.envs.vector_base import VectorEnv
from zoomrl.files import write_json
from zoomrl.training.config import TrainConfig
from zoomrl.training.evaluate import Evaluation, evaluate
from zoomrl.training.logger import Logger
from zoomrl.training.memory import peak_rss
from zoomrl.training.seeds import derive
from zoomrl.training.video import probe_picture, write_video


@dataclass(frozen=True)
class Outcome:
    """What the end of a run leaves.

    Attributes:
        evaluation: its episodes.
        video: the film that was made.
        video_problem: why there is none.
    """

    evaluation: Evaluation
    video: Path | None
    video_problem: str | None


def finish(
    config: TrainConfig,
    directory: Path,
    controller: Controller,
    envs: VectorEnv,
    logger: Logger,
    counters: dict[str, int],
    seconds: float,
    expected_memory: int,
    stop: Callable[[], bool],
) -> Outcome | None:
    """Evaluate with seeds not used before, film the first episode, write ``result.json``; None when stopped.

    ``expected_memory`` in bytes is written beside the peak that was reached.
    """
    seeds = [derive(config.seed, "final_env", index) for index in range(config.eval.final_episodes)]
    probe = probe_picture(envs, seeds[0]) if config.eval.video else "eval.video is off"
    problem = probe if isinstance(probe, str) else None
    frames: list[NDArray[np.uint8]] = []
    discount, on_frame = config.replay.discount, None if problem else frames.append
    result = evaluate(controller, envs, seeds, discount=discount, stop=stop, on_frame=on_frame)
    if result is None:
        return None
    video = None
    if frames:
        video = directory / "video.mp4"
        write_video(video, frames, envs.env_spec.control_hz or 30)
    row = {**counters, **result.row()}
    logger.write("final", row)
    memory = {"peak_memory_gb": peak_rss() / 1e9, "expected_memory_gb": expected_memory / 1e9}
    write_json(directory / "result.json", {**row, "training_seconds": seconds, **memory, "video_problem": problem})
    return Outcome(result, video, problem)
