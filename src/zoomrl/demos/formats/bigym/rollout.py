"""BiGym's recorded commands at another rate, and what an environment shows when it executes them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.data.episode import Episode, EpisodeBuilder
from zoomrl.envs.base import Env, action_bounds
from zoomrl.spec import EnvSpec


def to_agent_steps(actions: NDArray[np.floating], hz: float, spec: EnvSpec) -> NDArray[np.float32]:
    """Convert one action per recorded step to one action per agent step.

    An agent step covers ``hz / spec.control_hz`` recorded steps; the last action fills up the last agent step. Absolute
    targets are averaged and changes of position summed; grippers take the last value. What a sum exceeds the bounds by
    is carried over to the next agent step.

    Args:
        actions: [N, A].
        hz: steps of the recording per second.
        spec: of the environment: control rate, action repeat, bounds and meaning of the actions.

    Returns:
        [T, A] within the bounds, T = N recorded steps divided by those of an agent step, rounded up.

    Raises:
        ValueError: when A is not the environment's, or an agent step is no whole number of recorded steps.
    """
    if actions.shape[1:] != spec.action.shape:
        raise ValueError(f"its actions have {actions.shape[1]} entries, those of {spec.id} have {spec.action_dim}")
    steps = round(hz / spec.control_hz)
    if steps < 1 or abs(steps * spec.control_hz - hz) > 1e-3 * hz:
        raise ValueError(
            f"its {hz:g} steps per second cannot be converted to the {spec.control_hz:g} agent steps of {spec.id}; use "
            "the recording of 500 steps per second, or another --env.control-hz"
        )
    filled = np.concatenate([actions, np.repeat(actions[-1:], -len(actions) % steps, axis=0)])
    windows = filled.reshape(-1, steps, spec.action_dim)
    meaning = np.array(spec.action_meaning)
    delta, gripper = meaning == "delta", meaning == "gripper"
    averaged = windows.mean(axis=1)
    averaged[:, gripper] = windows[:, -1, gripper]
    low, high = action_bounds(spec.action)
    excess = np.zeros(int(delta.sum()))
    # An action that is repeated moves as often.
    for action, move in zip(averaged, windows[..., delta].sum(axis=1) / spec.action_repeat, strict=True):
        wanted = move + excess
        action[delta] = np.clip(wanted, low[delta], high[delta])
        excess = wanted - action[delta]
    # Deviation: BiGym also carries what an absolute target exceeds its bounds by. A target is no motion to be made up.
    return np.clip(averaged.astype(np.float32), low, high)


def replay(env: Env, actions: NDArray[np.floating], seed: int, meta: dict[str, Any]) -> Episode:
    """Execute ``actions`` [T, A] from a reset with ``seed`` until they, or the episode, end.

    Row 0 of the observations is that of the reset, which BiGym's own records lack. An episode that does not succeed is
    no demonstration.

    Raises:
        ValueError: when the environment shows NaN or infinity.
    """
    observation, _ = env.reset(seed=seed)
    builder = EpisodeBuilder(observation, seed)
    terminated = False
    for action in actions:
        observation, reward, terminated, truncated, info = env.step(action)
        builder.add(action, reward, observation, bool(info["success"]))
        if terminated or truncated:
            break
    episode = builder.build(terminated=terminated, truncated=not terminated, is_demo=builder.success, **meta)
    return replace(episode, state_entries=env.env_spec.state_entries)
