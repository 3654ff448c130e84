"""``zoomrl parity``: do compiled, captured and low-precision updates agree with eager ones?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from zoomrl.errors import ConfigError
from zoomrl.recipes.compose import preset

if TYPE_CHECKING:
    from zoomrl.training.measure.parity import Parity as Result


@dataclass(frozen=True)
class Parity:
    """Run the same updates eagerly, compiled, captured as a CUDA graph and in low precision, and compare."""

    preset: str = "quickstart"
    """Recipe whose agent and batches are used; see `zoomrl presets`."""
    env: str = ""
    """Environment in place of the recipe's; observations and actions have its shapes."""
    updates: int = 10
    """Updates of each way."""
    batch_size: int = 0
    """Samples per update; 0 for the recipe's."""
    device: Literal["cpu", "cuda", "auto"] = "auto"
    """Where to run."""

    def run(self) -> int:
        """Compare and print a table; 1 when something that ran disagrees."""
        if self.updates < 1:
            raise ConfigError(f"--updates must be at least 1, got {self.updates}")
        config = preset(self.preset)
        if self.env:
            config = replace(config, env=replace(config.env, id=self.env))
        if not config.env.id:
            raise ConfigError(f"preset {self.preset} names no environment; add --env")
        if self.batch_size:
            config = replace(config, replay=replace(config.replay, batch_size=self.batch_size))
        import torch

        from zoomrl.agents.engine import Precision, Speed
        from zoomrl.envs.registry import make_env
        from zoomrl.training.build.agent import choose_device
        from zoomrl.training.measure.parity import compare

        device = choose_device(self.device)
        if device.type == "cpu":
            torch.set_num_threads(1)
        env = make_env(config.env)
        spec = env.env_spec
        env.close()
        ways: list[tuple[Speed, Precision]] = [
            ("eager", "float32"),
            ("compile", "float32"),
            ("graph", "float32"),
            ("eager", "tf32"),
            ("eager", "bf16"),
            ("graph", "bf16"),
        ]
        print(f"{config.agent.name} on {spec.id}, batch {config.replay.batch_size}, {self.updates} updates, {device}")
        agreed = [_print(result) for result in compare(config, spec, device, self.updates, ways)]
        return 0 if all(agreed) else 1


def _print(result: Result) -> bool:
    """One line; whether it is no cause for alarm."""
    name = f"  {result.speed:8}{result.precision:9}"
    if result.problem is not None:
        print(f"{name}not available: {result.problem}")
        return True
    verdict = "agrees" if result.agrees else "DISAGREES"
    print(
        f"{name}{verdict:10} loss differs by {result.loss_difference:.1e}, gradient by "
        f"{result.gradient_difference:.1e}, weights by {result.weight_difference:.1e} of their way; "
        f"{result.median_ms:.1f} ms per update, first {result.first_ms / 1e3:.1f} s",
        flush=True,
    )
    return result.agrees
