"""Do compiled, captured and low-precision updates agree with eager float32 ones? Measured, not assumed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from zoomrl.agents.engine import WARM_UP, Precision, Speed
from zoomrl.errors import ConfigError
from zoomrl.spec import EnvSpec
from zoomrl.training.config import TrainConfig
from zoomrl.training.measure.trial import Trial

TOLERANCE: dict[Precision, float] = {"float32": 1e-3, "tf32": 1e-2, "bf16": 1e-2}
"""Largest relative difference of the critic's loss that counts as agreement: rounding grows over the updates."""
GRADIENT_TOLERANCE: dict[Precision, float] = {"float32": 2e-2, "tf32": 1e-1, "bf16": 1e-1}
"""Largest relative difference of the gradient's running mean, all weights as one vector, after the first and the last
update."""


@dataclass(frozen=True)
class Parity:
    """One way of running updates, compared with eager float32 ones.

    Attributes:
        speed, precision: the way.
        problem: why it is not available here; None when it ran.
        loss_difference: largest relative difference of the critic's loss over the updates (an actor's loss has no
            scale of its own: it passes through zero).
        gradient_difference: norm of the difference of the gradients' running means (those of Adam), relative to the
            mean's; the larger of those after the first and the last update.
        weight_difference: norm of the difference of all weights after them, relative to the way they have gone.
        first_ms, median_ms: milliseconds of the first update (compilation, capture) and of the others.
    """

    speed: Speed
    precision: Precision
    problem: str | None = None
    loss_difference: float = 0.0
    gradient_difference: float = 0.0
    weight_difference: float = 0.0
    first_ms: float = 0.0
    median_ms: float = 0.0

    @property
    def agrees(self) -> bool:
        """Whether it stayed within :data:`TOLERANCE`."""
        return self.within(TOLERANCE[self.precision], GRADIENT_TOLERANCE[self.precision])

    def within(self, loss: float, gradient: float) -> bool:
        """Whether it ran, and the differences are no larger than these."""
        return self.problem is None and self.loss_difference <= loss and self.gradient_difference <= gradient


def compare(
    config: TrainConfig, spec: EnvSpec, device: torch.device, updates: int, ways: list[tuple[Speed, Precision]]
) -> Iterator[Parity]:
    """Run ``updates`` eager updates and as many in each of the ``ways``, from the same weights, on the same batches."""
    if any(speed == "graph" for speed, _ in ways):
        # Enough that each kind of update is replayed from its capture.
        updates = max(updates, (WARM_UP + 2) * config.agent.policy_delay)
    eager = _Run(config, spec, device, "eager", "float32", updates)
    for speed, precision in ways:
        try:
            run = _Run(config, spec, device, speed, precision, updates)
        except ConfigError as error:
            yield Parity(speed, precision, problem=str(error))
            continue
        differences = [abs(a - b) / max(abs(b), 1e-8) for a, b in zip(run.losses, eager.losses, strict=True)]
        gradients = [_apart(a, b) for a, b in zip(run.gradients, eager.gradients, strict=True)]
        gone = (eager.weights - eager.start).norm().clamp(min=1e-12)
        yield Parity(
            speed,
            precision,
            loss_difference=max(differences),
            gradient_difference=max(gradients),
            weight_difference=((run.weights - eager.weights).norm() / gone).item(),
            first_ms=run.first_ms,
            median_ms=run.median_ms,
        )


class _Run:
    """Losses, weights and times of a number of updates."""

    def __init__(
        self,
        config: TrainConfig,
        spec: EnvSpec,
        device: torch.device,
        speed: Speed,
        precision: Precision,
        updates: int,
    ) -> None:
        trial = Trial(config, spec, device, precision, speed)
        self.start = _weights(trial)
        times, losses = [], []
        self.gradients = []
        for index in range(updates):
            started = time.perf_counter()
            losses.append(trial.update()[trial.agent.parity_metric])
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(1e3 * (time.perf_counter() - started))
            if index in (0, updates - 1):
                self.gradients.append(_gradients(trial))
        self.losses = [float(loss) for loss in losses]
        self.weights = _weights(trial)
        self.first_ms = times[0]
        self.median_ms = sorted(times[1:] or times)[len(times[1:]) // 2]


def _apart(one: torch.Tensor, other: torch.Tensor) -> float:
    return ((one - other).norm() / other.norm().clamp(min=1e-12)).item()


def _gradients(trial: Trial) -> torch.Tensor:
    """The optimizers' running means of the gradients, as one vector.

    Not what the last update left in ``grad``: there each capture has places of its own, and weights point to those of
    the one that was made last, which need not be the one that ran last.
    """
    optimizers = [part for part in trial.agent.parts.values() if isinstance(part, torch.optim.Optimizer)]
    weights = [(o, p) for o in optimizers for group in o.param_groups for p in group["params"]]
    # An actor that has not had its turn has none.
    means = [o.state[p]["exp_avg"].flatten() for o, p in weights if p in o.state]
    return torch.cat(means).double().cpu()


def _weights(trial: Trial) -> torch.Tensor:
    """All parameters, the targets' included, as one vector."""
    modules = [part for part in trial.agent.parts.values() if isinstance(part, torch.nn.Module)]
    return torch.cat([p.detach().flatten() for module in modules for p in module.parameters()]).double().cpu()
