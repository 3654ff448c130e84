"""The end of a run: an evaluation with fresh seeds, the result file, and then the video."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from zoomrl.control.controller import Controller
from zoomrl.envs.vector.base import VectorEnv
from zoomrl.files import finite_or_null, write_json
from zoomrl.training.config import TrainConfig
from zoomrl.training.evaluate import Evaluation, evaluate
from zoomrl.training.logger import Logger
from zoomrl.training.measure.memory import peak_rss
from zoomrl.training.run_files import RESULT
from zoomrl.training.seeds import derive
from zoomrl.training.video import STOPPED, VideoRecorder, announcement, in_one_line, probe_image

_log = logging.getLogger("zoomrl.training")


@dataclass(frozen=True)
class RunEnd:
    """What the end of a run leaves.

    Attributes:
        evaluation: its episodes.
        video: the video that was written.
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
    held_out: Mapping[str, float],
    end_reason: str,
    seconds: float,
    expected_memory: int,
    mixed: Sequence[str],
    stop: Callable[[], bool],
    say: Callable[[str], None],
) -> RunEnd | None:
    """Evaluate with seeds not used before, write ``result.json``, then run the first episode again for the video.

    The result is on the disk before anything is rendered, and whatever fails over the video becomes its
    ``video_problem``.

    Args:
        config: the run.
        directory: of the run.
        controller: acts without exploration.
        envs: for evaluations.
        logger: takes the row of kind ``final``.
        counters: of the weights that are evaluated.
        held_out: their losses on demonstrations that were not learnt from; empty without such.
        end_reason: why the run ended early; empty where it made all its steps.
        seconds: wall time of the training.
        expected_memory: in bytes, written alongside the peak that was reached.
        mixed: actors that compute other numbers: with any, the run is not exact, and ``result.json`` says so.
        stop: asked at every step.
        say: prints a line for the user.

    Returns:
        None when stopped; an earlier ``result.json`` is then still there.
    """
    seeds = [derive(config.seed, "final_env", index) for index in range(config.eval.final_episodes)]
    evaluation = evaluate(controller, envs, seeds, discount=config.replay.discount, stop=stop)
    if evaluation is None:
        return None
    row = finite_or_null({**counters, **evaluation.row(), **held_out})
    logger.write("final", row)

    def keep(video_problem: str | None) -> None:
        memory = {"peak_memory_gb": peak_rss() / 1e9, "expected_memory_gb": expected_memory / 1e9}
        early = {"end_reason": end_reason} if end_reason else {}
        inexact = {"mixed_actors": list(mixed)} if mixed else {}
        result = {**row, **early, **inexact, "training_seconds": seconds, **memory, "video_problem": video_problem}
        write_json(directory / RESULT, result)

    if not (config.eval.video and seeds):
        reason = "no episode was asked for" if config.eval.video else "eval.video is off"
        keep(reason)
        return RunEnd(evaluation, None, reason)
    keep("the process ended before the video was written")
    path = directory / "video.mp4"
    words = announcement(path, envs.env_spec.time_limit)
    video, problem = _record(path, controller, envs, seeds[0], stop, lambda: say(words))
    try:
        keep(problem)
    except OSError as error:  # the result is there, only its word on the video is the one from before
        _log.warning("%s could not be updated after the video: %s", directory / RESULT, error)
    return RunEnd(evaluation, video, problem)


def _record(
    path: Path,
    controller: Controller,
    envs: VectorEnv,
    seed: int,
    stop: Callable[[], bool],
    begins: Callable[[], None],
) -> tuple[Path | None, str | None]:
    """The video of an episode with ``seed`` at ``path``, or why there is none; ``begins`` is called in between."""
    probe = probe_image(envs, seed)
    if isinstance(probe, str):
        return None, probe
    begins()
    recorder = VideoRecorder()
    try:
        if evaluate(controller, envs, [seed], stop=stop, recorder=recorder) is None:
            return None, STOPPED
    except Exception as error:  # simulators raise what they like
        return None, in_one_line(error)
    return recorder.save(path, envs.env_spec.control_hz or 30), recorder.problem
