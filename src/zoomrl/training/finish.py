"""The end of a run: an evaluation with fresh seeds, its film, the result file."""

from __future__ import annotations

import gc
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoomrl.control.controller import Controller
from zoomrl.envs.vector_base import VectorEnv
from zoomrl.training.checkpoint import write_json
from zoomrl.training.config import TrainConfig
from zoomrl.training.evaluate import Evaluation, evaluate
from zoomrl.training.logger import Logger
from zoomrl.training.seeds import derive
from zoomrl.training.video import write_video


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
    stop: Callable[[], bool],
) -> Outcome | None:
    """Evaluate with seeds not used before, film the first episode, write ``result.json``; None when stopped."""
    seeds = [derive(config.seed, "final_env", index) for index in range(config.eval.final_episodes)]
    problem = _render_problem(envs, seeds[0]) if config.eval.video else "eval.video is off"
    frames: list[NDArray[np.uint8]] = []
    result = evaluate(controller, envs, seeds, stop=stop, on_frame=None if problem else frames.append)
    if result is None:
        return None
    video = None
    if frames:
        video = directory / "video.mp4"
        write_video(video, frames, envs.env_spec.control_hz or 30)
    row = {**counters, **result.row()}
    logger.write("final", row)
    write_json(directory / "result.json", {**row, "training_seconds": seconds, "video_problem": problem})
    return Outcome(result, video, problem)


def _render_problem(envs: VectorEnv, seed: int) -> str | None:
    """Why environment 0 cannot be rendered, or None. Says it once: what renderers print while failing is kept quiet."""
    envs.reset(0, seed)
    hook = sys.unraisablehook
    sys.unraisablehook = lambda _: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            envs.render(0)
        return None
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        gc.collect()
        sys.unraisablehook = hook
