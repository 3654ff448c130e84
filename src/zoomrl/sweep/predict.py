"""What the runs of a sweep will take of memory and disk, measured on one of each kind before any begins."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoomrl.errors import ConfigError
from zoomrl.sweep.plan import Sweep
from zoomrl.training.config import TrainConfig, changes

EXTRAS = 20 << 20
"""Bytes on disk for rows, event files, a plot and a video."""


@dataclass(frozen=True)
class Needs:
    """Of one run, in bytes.

    Attributes:
        memory: at most, of its process.
        disk: at its end.
    """

    memory: int
    disk: int


def measure(config: TrainConfig) -> dict[str, int]:
    """What a run of ``config`` takes; builds its environment and its networks and makes an update.

    Memory: this process with all of that, as many again as there are actors on this machine, the frames that the replay
    will receive and the demonstrations. Disk: the checkpoints that are kept, and the frames.
    """
    import io

    import torch

    from zoomrl.data.replay import ReplayBuffer
    from zoomrl.envs.vector.make import make_vector_env
    from zoomrl.training.build.agent import choose_device
    from zoomrl.training.measure.memory import expected_frames, peak_rss
    from zoomrl.training.measure.trial import Trial

    torch.set_num_threads(1)
    with make_vector_env(config.env) as envs:
        spec = envs.env_spec
        trial = Trial(config, spec, choose_device(config.device), config.precision)
        trial.update()
        saved = io.BytesIO()
        torch.save(trial.agent.state_dict(), saved)
        frame = ReplayBuffer.frame_bytes(spec)
        online = expected_frames(config, spec) * frame if config.steps else 0
        held = online if config.replay.storage == "ram" else 0
        # Of a set, the number of its steps is not known here; of scripted episodes it is at most this.
        scripted = config.demos.episodes * (spec.time_limit + 1) * frame if config.demos.source == "scripted" else 0
        ahead = config.collect
        in_flight = (envs.num_envs + ahead.lag + 1) * spec.time_limit * frame
        weights = sum(tensor.nbytes for tensor in trial.agent.weights("all").values())
        versions = (ahead.lag + 1) * weights if ahead.lag else 0
        processes = 1 + (ahead.actors if ahead.backend == "process" else 0)
        checkpoints = (config.checkpoint.keep + 1) * (saved.tell() + versions) + config.eval.keep_best * saved.tell()
        return {
            "memory": processes * peak_rss() + versions + scripted + in_flight + held,
            "disk": checkpoints + online * (1 + (config.replay.storage == "disk")) + EXTRAS,
        }


def predict(sweep: Sweep, names: Sequence[str], say: Callable[[str], None] = lambda text: None) -> dict[str, Needs]:
    """What each of the runs ``names`` takes; runs that differ in their seeds alone are measured once.

    Raises:
        ConfigError: one of them cannot be built; it is named.
    """
    kinds: list[tuple[dict[str, Any], Needs]] = []
    found: dict[str, Needs] = {}
    for name in names:
        config = sweep.runs[name].to_dict()
        known = next((needs for other, needs in kinds if not changes(other, config).keys() - {"seed"}), None)
        if known is None:
            say(f"measuring what {name} takes ...")
            known = _measured(sweep, name)
            kinds.append((config, known))
        found[name] = known
    return found


def _measured(sweep: Sweep, name: str) -> Needs:
    words = [sys.executable, "-m", "zoomrl.sweep.child", "--predict"]
    config = json.dumps(sweep.runs[name].to_dict())
    done = subprocess.run(words, input=config, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        raise ConfigError(f"the run {name} cannot be built: {last}")
    numbers: Mapping[str, int] = json.loads(done.stdout.strip().splitlines()[-1])
    return Needs(numbers["memory"], numbers["disk"])


def fitting_slots(needs: Sequence[Needs], available: int) -> int:
    """How many of the largest runs fit into ``available`` bytes of memory at once."""
    return max((available // max(one.memory, 1) for one in sorted(needs, key=lambda one: -one.memory)[:1]), default=1)


def check_room(needs: Sequence[Needs], slots: int, memory: int, disk: int, directory: Path) -> None:
    """Refuse what does not fit.

    Args:
        needs: of the runs that are not finished.
        slots: runs at once.
        memory: bytes available now.
        disk: bytes free where the sweep lies.
        directory: of the sweep, for the message.

    Raises:
        ConfigError: together they need more; says how much, and what would fit.
    """
    at_once = sum(sorted((one.memory for one in needs), reverse=True)[:slots])
    if at_once > memory:
        fitting = fitting_slots(needs, memory)
        remedy = f"--workers {fitting} fits" if fitting else "lower replay.capacity, or use replay.storage=disk"
        raise ConfigError(
            f"{slots} runs at once need {at_once / 1e9:.1f} GB of memory, and {memory / 1e9:.1f} GB are available: "
            + remedy
        )
    total = sum(one.disk for one in needs)
    if total > disk:
        raise ConfigError(
            f"the runs need {total / 1e9:.1f} GB in {directory}, and {disk / 1e9:.1f} GB are free there: choose "
            "another place with --out, or lower replay.capacity, steps or checkpoint.keep"
        )
