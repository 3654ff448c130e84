"""What does a ResNet-18 cost in place of small convolutions? CQN-AS, on encoders."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import torch

from zoomrl.envs.registry import make_env
from zoomrl.reproduce.experiment import FULL, SMALL, Arm, Claim, Contrast, Experiment, Scale, from_options
from zoomrl.reproduce.experiments.papers import CQN_AS
from zoomrl.training.measure.memory import peak_rss
from zoomrl.training.measure.trial import Trial


def measure(arm: Arm, task: str, seed: int, scale: Scale, place: Path) -> dict[str, float]:
    """Updates of a throwaway agent on random images.

    Returns:
        ``milliseconds`` of an update, the fastest of ten; ``gigabytes`` of the process at its peak, without those
        that it held before; ``parameters`` of all its networks, in millions.
    """
    config = from_options(arm, task, seed, scale)
    env = make_env(config.env)
    spec = env.env_spec
    env.close()
    torch.set_num_threads(1)
    before = psutil.Process().memory_info().rss
    trial = Trial(config, spec, torch.device("cpu"))
    trial.update()
    times = []
    for _ in range(10):
        began = time.perf_counter()
        trial.update()
        times.append(time.perf_counter() - began)
    parameters = sum(tensor.numel() for tensor in trial.agent.weights("all").values())
    return {"milliseconds": 1000 * min(times), "gigabytes": (peak_rss() - before) / 1e9, "parameters": parameters / 1e6}


_COSTS = Claim(
    "A ResNet-18 takes prohibitively much memory and time.",
    f"{CQN_AS}, choice of the encoder",
    "direction only",
)
EXPERIMENT = Experiment(
    name="resnet",
    title="What does a ResNet-18 cost in place of small convolutions?",
    claims=(_COSTS,),
    arms=(
        Arm("convolutions", "four strided convolutions", measured=True),
        Arm("resnet-18", "a ResNet-18, trained as well", {"agent.encoder.kind": "resnet18"}, measured=True),
    ),
    scales={
        SMALL: Scale(
            ("metaworld:drawer-open",),
            (1, 2, 3, 4),
            seconds=20,
            options={"preset": "cqn_as-metaworld-pixels", "replay.batch_size": 32, "env.image_size": 84},
        ),
        FULL: Scale(
            ("metaworld:drawer-open",),
            (1, 2, 3, 4),
            seconds=400,
            options={"preset": "cqn_as-metaworld-pixels", "replay.batch_size": 256, "env.image_size": 84},
            guessed=True,
        ),
    },
    contrasts=(
        Contrast("time", "milliseconds", "resnet-18", "convolutions", "above", _COSTS, 2.0, ratio=True),
        Contrast("memory", "gigabytes", "resnet-18", "convolutions", "above", _COSTS, 2.0, ratio=True),
    ),
    metrics={
        "milliseconds": "of an update, on one core",
        "gigabytes": "that the agent and its updates add to a process, at their peak",
        "parameters": "millions, of all networks and their targets",
    },
    stop_rule="All cells; none is added after the verdict.",
    deviations=(
        "On one core of a CPU, two cameras of 84 pixels, batches of 32 (full: 256), convolutions of 16 channels; the "
        "paper has a GPU. Twice as much is taken as prohibitive, which the paper does not say in numbers.",
        "Weights are random: they change neither time nor memory. A frozen ResNet-18 needs pretrained ones, which "
        "are not at hand: there is no such arm. Operations are not counted.",
    ),
    measure=measure,
)
