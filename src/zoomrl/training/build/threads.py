"""How many CPU threads learn."""

from __future__ import annotations

from pathlib import Path

import torch
from rich.console import Console

from zoomrl.agents.learner import CPU
from zoomrl.spec import EnvSpec
from zoomrl.training.config import TrainConfig
from zoomrl.training.measure.threads import fastest_threads
from zoomrl.training.measure.trial import Trial
from zoomrl.training.run_files import read_threads, write_threads


def set_threads(
    config: TrainConfig, spec: EnvSpec, directory: Path, console: Console, device: torch.device = CPU
) -> None:
    """Fix the number of CPU threads; a resumed run keeps the number that it began with, since sums depend on it."""
    count = config.threads or read_threads(directory) or 0
    if not count and device.type == "cuda":
        count = 1
        console.print("threads: 1 (the GPU learns; more would only wait)", highlight=False)
    if not count:
        console.print("threads: measuring which number of them is fastest ...", highlight=False)
        count, medians = fastest_threads(Trial(config, spec, device, config.precision).update)
        timings = ", ".join(f"{n}: {1000 * s:.1f} ms" for n, s in medians.items())
        console.print(f"threads: {count} (measured per update: {timings})", highlight=False)
    torch.set_num_threads(count)
    write_threads(directory, count)
