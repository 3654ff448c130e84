"""What does averaging overlapping chunks do? Ceilings without a network, and training with other gains."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from zoomrl.control.chunk import ActionChunk
from zoomrl.control.config import ControlConfig
from zoomrl.control.executor import make_executor
from zoomrl.control.scaling import make_scaler
from zoomrl.data.episode import Episode
from zoomrl.demos.config import DemoConfig
from zoomrl.envs.base import Env
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.registry import make_env
from zoomrl.math.grid import snap
from zoomrl.reproduce.experiment import FULL, SMALL, Arm, Claim, Contrast, Experiment, Scale
from zoomrl.reproduce.experiments.papers import CQN_AS, INDEPENDENT, SMALL_METAWORLD, SMALL_TRAINING, on_bigym
from zoomrl.reproduce.read import EPISODES, SUCCESS, final_numbers
from zoomrl.training.scripted import scripted_demos

LENGTH = 16
"""Steps of the chunks of a ceiling."""
_LEVELS, _BINS = 3, 5


def coarse_chunks(actions: Tensor, knots: int) -> Tensor:
    """The chunk that begins at each step, told by a few points on the zoom grid.

    The points lie at equal distances from the first step of the chunk to its last; between them the action is
    interpolated. Beyond the end the last action goes on.

    Args:
        actions: [T, A] in [-1, 1].
        knots: 2 to 16; 0 leaves the actions as they are.

    Returns:
        [T, 16, A].
    """
    steps = torch.arange(LENGTH)
    whole = torch.cat([actions, actions[-1:].expand(LENGTH, -1)])
    chunks = whole[torch.arange(len(actions))[:, None] + steps]
    if not knots:
        return chunks
    places = torch.linspace(0, LENGTH - 1, knots).round().long()
    points = snap(chunks[:, places], _LEVELS, _BINS)
    after = torch.bucketize(steps, places).clamp(min=1)
    first, last = places[after - 1], places[after]
    weight = ((steps - first) / (last - first))[:, None]
    return torch.lerp(points[:, after - 1], points[:, after], weight)


def replays(env: Env, episode: Episode, chunks: Tensor, control: ControlConfig) -> bool:
    """Whether the episode's task is solved when its coarse ``chunks`` [T, 16, A], in [-1, 1], are executed."""
    scaler = make_scaler(ControlConfig(), env.env_spec.action, [])
    executor = make_executor(control, 1, LENGTH, chunks.shape[-1])
    env.reset(seed=episode.seed)
    for chunk in chunks:
        asked = ActionChunk(chunk[None], torch.ones(1, LENGTH, dtype=torch.bool)) if executor.needs_chunk() else None
        _, _, terminated, truncated, info = env.step(scaler.to_env(executor.step(asked)[0].numpy()))
        if info["success"]:
            return True
        if terminated or truncated:
            break
    return False


def measure(arm: Arm, task: str, seed: int, scale: Scale, place: Path) -> dict[str, float]:
    """Replay clean scripted demonstrations through coarse chunks.

    Returns:
        ``success``: fraction of the demonstrations that still succeed.
    """
    options: Mapping[str, Any] = arm.options
    limit, count = int(scale.options["env.time_limit"]), int(options["replays"])
    # The expert goes on after its success, so that a replay that is late has something left to replay.
    env = EnvConfig(id=task, time_limit=limit, terminate_on_success=False)
    demos = DemoConfig(episodes=count, seed=seed, directory=str(place))
    episodes = [
        one for one in scripted_demos(demos, env, Console(file=io.StringIO(), emoji=False)).episodes if one.is_demo
    ]
    control = ControlConfig(executor="temporal_ensemble", ensemble_gain=0.01)
    if options["execute"]:
        control = ControlConfig(executor="receding_horizon", replan_every=int(options["execute"]))
    simulator = make_env(replace(env, terminate_on_success=True))
    scaler = make_scaler(ControlConfig(), simulator.env_spec.action, [])
    try:
        solved = [
            replays(
                simulator,
                episode,
                coarse_chunks(torch.from_numpy(scaler.to_unit(episode.actions)), int(options["knots"])),
                control,
            )
            for episode in episodes
        ]
    finally:
        simulator.close()
    return {SUCCESS: float(np.mean(solved)), EPISODES: float(len(solved))}


def _ceiling(knots: int, execute: int) -> Arm:
    how = f"{execute} of its 16 steps executed" if execute else "overlapping chunks averaged"
    what = f"chunks told by {knots} points on the zoom grid" if knots else "the demonstrated actions themselves"
    name = f"replay-{knots or 'exact'}-{execute or 'ensemble'}"
    options = {"knots": knots, "execute": execute, "replays": 20}
    return Arm(name, f"without a network: {what}, {how}", options, measured=True)


def _trained(name: str, about: str, **control: object) -> Arm:
    return Arm(name, f"trained with {about}", {f"control.{option}": value for option, value in control.items()})


_ENSEMBLE = Claim(
    "Averaging overlapping chunks matters: without it, or with an unsuited gain, success is lower.",
    f"{CQN_AS}, ablation of the temporal ensemble",
    "success with the ensemble above success without it (BiGym; figure only)",
)
_CEILING = Claim(
    "A coarse chunk that is executed for longer cannot repeat even a perfect demonstration.",
    f"{INDEPENDENT}: replays of move_plate (BiGym) through chunks of two points",
    "success 0.867, 0.833, 0.500, 0.117 and 0.100 with 1, 2, 4, 8 and 16 steps executed",
)
_REPAIRS = Claim(
    "Averaging overlapping chunks repairs a coarse chunk.",
    f"{INDEPENDENT}: replays of move_plate (BiGym)",
    "success 0.617 with the ensemble, 0.100 with 16 steps executed",
)
_NEWEST = Claim(
    "A large gain in favour of the oldest prediction can hurt where reactions must be fast.",
    f"{CQN_AS}, ablation of the temporal ensemble",
    "direction only",
)
_TRAINED_ON = SMALL_METAWORLD[:2]
_CEILINGS = (
    _ceiling(0, 16),
    _ceiling(16, 16),
    *(_ceiling(4, execute) for execute in (16, 0)),
    *(_ceiling(2, execute) for execute in (1, 2, 4, 8, 16, 0)),
)
_TRAINED = (
    _trained("gain-0.01", "the published gain of 0.01 in favour of the oldest"),
    _trained("off", "no ensemble: a new chunk at each step", executor="receding_horizon"),
    _trained("gain-0", "equal weights", ensemble_gain=0.0),
    _trained("gain-0.1", "a gain of 0.1 in favour of the oldest", ensemble_gain=0.1),
    _trained("gain-1", "a gain of 1 in favour of the oldest", ensemble_gain=1.0),
    _trained("newest-1", "a gain of 1 in favour of the newest", ensemble_gain=1.0, ensemble_favours="newest"),
)
EXPERIMENT = Experiment(
    name="ensemble",
    title="What does the temporal ensemble do, with and without learning?",
    claims=(_CEILING, _REPAIRS, _ENSEMBLE, _NEWEST),
    arms=(*_CEILINGS, *_TRAINED),
    scales={
        SMALL: Scale(
            (*_TRAINED_ON, "metaworld:door-open", "metaworld:pick-place"),
            (1, 2, 3, 4),
            seconds=25,
            options=SMALL_TRAINING,
            only=dict.fromkeys((arm.name for arm in _TRAINED), _TRAINED_ON),
        ),
        FULL: on_bigym(arms=tuple(arm.name for arm in _TRAINED)),
    },
    contrasts=(
        Contrast("16 steps against 1", "success", "replay-2-16", "replay-2-1", "below", _CEILING),
        Contrast("8 steps against 1", "success", "replay-2-8", "replay-2-1", "below", _CEILING),
        Contrast("4 steps against 1", "success", "replay-2-4", "replay-2-1", "below", _CEILING),
        Contrast("ensemble against 16 steps", "success", "replay-2-ensemble", "replay-2-16", "above", _REPAIRS),
        Contrast("ensemble against none", "success", "gain-0.01", "off", "above", _ENSEMBLE, methods=True),
        Contrast("gain 1 against 0.01", "success", "gain-1", "gain-0.01", "below", _NEWEST, methods=True),
        Contrast("oldest against newest", "success", "gain-1", "newest-1", "below", _NEWEST, methods=True),
    ),
    metrics={"success": "fraction of episodes solved: of replays, or of the evaluation at the end"},
    stop_rule="All cells; none is added after the verdict.",
    deviations=(
        "Ceilings: Meta-World in place of move_plate. Chunks of 16 steps are told by two or four points at equal "
        "distances, quantised to the zoom grid (3 levels, 5 bins) and interpolated; how the published chunks were "
        "fitted is not known.",
        "A demonstration quantised step by step (replay-16-16) is the same for all numbers of steps executed, and for "
        "the ensemble: it is replayed once.",
        "Training: Meta-World from state with chunks of 4, a narrow network, ten demonstrations with noise 0.3; "
        "training and evaluation use one executor.",
        "At the full scale there are no ceilings: they need demonstrations with their reset seeds.",
    ),
    read=final_numbers,
    measure=measure,
)
