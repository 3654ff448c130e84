"""What is said before training: which cameras, and what the demonstrations say about a run's options."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from rich.console import Console

from zoomrl.agents.cqn.config import CQNConfig
from zoomrl.control.scaling import ActionScaler
from zoomrl.data.episode import Episode
from zoomrl.demos.check.states import constant_entries, name_entries
from zoomrl.envs.camera import described
from zoomrl.envs.config import EnvConfig
from zoomrl.errors import ConfigError
from zoomrl.spec import EnvSpec
from zoomrl.training.config import TrainConfig
from zoomrl.training.diagnosis.causes.values import coarse_values, tells_value
from zoomrl.training.diagnosis.facts import Facts, demo_facts
from zoomrl.training.value_range import check_returns


def announce_demonstrated(
    config: TrainConfig, spec: EnvSpec, episodes: Sequence[Episode], scaler: ActionScaler, say: Callable[[str], None]
) -> None:
    """Name what never changes in demonstrations, returns that the atoms do not hold, and successes that never come.

    Raises:
        ConfigError: with ``agent.coarse_values`` refuse, when the atoms do not tell the value of the first state of a
            demonstration from 0, or no demonstration says what a success is worth.
    """
    frozen = [str(dim) for dim in np.flatnonzero(~scaler.movable)]
    if frozen:
        say(
            f"actions: dimension {', '.join(frozen)} has one value in the demonstrations, which is always commanded; "
            "nothing is learnt for it (--control.action-range env frees it)"
        )
    states = [e.observations["state"] for e in episodes if e.is_demo and "state" in e.observations]
    constant = constant_entries(states) if config.agent.normalize == "demos" else ()
    if constant:
        say(
            f"state: {len(constant)} of {spec.state_dim} entries have a constant value in the demonstrations, and are "
            f"scaled by their magnitude, at least 1: {name_entries(constant, spec)}"
        )
    none = "no episode is made" if not config.steps else "" if spec.reports_success else f"{spec.id} tells no success"
    if config.replay.success_fraction and none and not any(one.success for one in episodes):
        say(
            f"warning: replay.success_fraction={config.replay.success_fraction:g} finds nothing to sample: {none}, and "
            "no demonstration succeeds"
        )
    proposals = config.agent.proposals.count if isinstance(config.agent, CQNConfig) else 0
    corrected = config.intervene.source != "none"
    if proposals and none and not corrected and not any(one.is_demo for one in episodes):
        say(
            f"warning: agent.proposals.count={proposals}: the policy that proposes imitates demonstrations and "
            f"successes, and there are none: {none}. It proposes what it began with"
        )
    if proposals and config.control.executor == "temporal_ensemble" and config.agent.chunk_length > 1:
        say(
            f"warning: agent.proposals.count={proposals} with control.executor=temporal_ensemble: chunks that are "
            "proposed anew at every step are averaged, and the mean of several ways to act may be none of them; "
            "--control.executor open_loop executes what was chosen"
        )
    check_returns(config, episodes, say)
    if getattr(config.agent, "coarse_values", "warn") != "refuse":
        return  # a warning comes with the first row of metrics
    facts = Facts(config, demo_facts(episodes, config.replay.discount, scaler.to_unit), spec)
    if not tells_value(facts):
        raise ConfigError("agent.coarse_values=refuse cannot be judged: no demonstration says what a success is worth")
    if (found := coarse_values(facts)) is not None:
        raise ConfigError(f"agent.coarse_values=refuse: {found.evidence}. {found.advice}")


def announce_steps(config: TrainConfig, say: Callable[[str], None]) -> None:
    """Name a run that ends before its first update."""
    if config.steps and config.steps <= config.seed_steps and not config.offline_updates:
        say(
            f"warning: nothing will be learnt: the run ends after steps={config.steps:,}, and the first update comes "
            f"after seed_steps={config.seed_steps:,}. Raise --steps, or lower --seed-steps and --control.uniform-steps"
        )


def announce_cameras(config: EnvConfig, spec: EnvSpec, console: Console) -> None:
    """Name the cameras, and what rendering leaves out: faster rendering gives other images, which is never silent."""
    if "rgb" not in spec.observations:
        return
    _, height, width, _ = spec.observations["rgb"].shape
    left_out = [name for name in ("shadows", "reflections", "antialiasing") if not getattr(config, name)]
    how = f", rendered without {', '.join(left_out)}" if left_out else ""
    named = config.cameras or "state" in spec.observations
    why = "" if named else f"; none was named, and {spec.id} observes images alone"
    console.print(f"cameras: {', '.join(spec.cameras)}, {width}x{height} pixels{how}{why}", highlight=False)
    for camera, what in described(spec).items():
        console.print(f"  {camera}: {what}", highlight=False)
