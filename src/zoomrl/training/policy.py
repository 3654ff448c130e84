"""A trained policy for use outside the training loop."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.agents.build import make_agent
from zoomrl.control.controller import Controller
from zoomrl.data.finite import first_not_finite
from zoomrl.errors import CheckpointError
from zoomrl.spec import EnvSpec
from zoomrl.training.bounded import bounded, check_counts, stored_bytes
from zoomrl.training.checkpoint import Checkpoints
from zoomrl.training.config import TrainConfig
from zoomrl.training.run_files import CONFIG, POLICY, read_config, read_policy_file


class Policy:
    """Noise-free policy of a run: observations in, actions in the environment's units out.

    The executor (temporal ensemble, receding horizon) is the one used in training, so that call :meth:`reset` when
    an episode begins and :meth:`act` once per agent step.
    """

    def __init__(
        self, config: TrainConfig, spec: EnvSpec, controller: Controller, env_steps: int, num_envs: int
    ) -> None:
        self.config = config
        self.spec = spec
        self.env_steps = env_steps
        self.controller = controller
        self._num_envs = num_envs

    def reset(self, which: NDArray[np.bool_] | None = None) -> None:
        """Begin new episodes in the environments ``which`` [N] bool, or everywhere."""
        self.controller.reset(np.ones(self._num_envs, dtype=bool) if which is None else np.asarray(which, bool))

    def act(self, observation: Mapping[str, NDArray[Any]] | NDArray[Any]) -> NDArray[np.float32]:
        """Action for the newest observation.

        Args:
            observation: {name: array} as the environment shows it, or the bare state vector; for ``num_envs`` > 1
                with a leading axis [N, ...].

        Returns:
            [A] in the environment's units; [N, A] for several environments.

        Raises:
            ValueError: an observation is missing, or has another shape, or numbers where bytes are expected, or holds
                NaN or infinity.
        """
        named = observation if isinstance(observation, Mapping) else {"state": observation}
        arrays: dict[str, NDArray[Any]] = {}
        for name, spec in self.spec.observations.items():
            if name not in named:
                shapes = ", ".join(f"{n!r}: {s.dtype}{list(s.shape)}" for n, s in self.spec.observations.items())
                raise ValueError(
                    f"the policy expects observations {{{shapes}}}, got {sorted(named)}; pass what "
                    "zoomrl.wrap_gym_env(your_environment, config) shows"
                )
            given = np.asarray(named[name])
            if np.issubdtype(spec.dtype, np.integer) and not np.issubdtype(given.dtype, np.integer):
                # Images in 0..1 would all become black.
                raise ValueError(f"observation {name!r} must be {spec.dtype} (0 to 255 for images), got {given.dtype}")
            with np.errstate(over="ignore"):  # refused below
                array = given.astype(spec.dtype, copy=False)
            expected = spec.shape if self._num_envs == 1 else (self._num_envs, *spec.shape)
            if array.shape not in (expected, (self._num_envs, *spec.shape)):
                raise ValueError(f"observation {name!r} must have shape {expected}, got {array.shape}")
            if found := first_not_finite(name, given):
                raise ValueError(f"observation {name!r} must be finite, but {found}")
            arrays[name] = array.reshape(self._num_envs, *spec.shape)
        action = self.controller.act(arrays)
        return action[0] if self._num_envs == 1 else action


def load_policy(run: str | Path, *, num_envs: int = 1, seed: int = 0) -> Policy:
    """Load a run directory's newest checkpoint (with ``eval.keep_best`` its best one), or a given checkpoint file.

    Args:
        run: ``runs/<name>`` or ``runs/<name>/checkpoints/step_<n>.pt``.
        num_envs: environments acted for together.
        seed: of tie-breaks.

    Raises:
        CheckpointError: there is no readable checkpoint.
    """
    path = Path(run)
    if path.suffix == ".pt" and not path.exists():
        there = sorted(one.name for one in path.parent.glob("*.pt"))
        listed = f"{path.parent} holds {', '.join(there)}" if there else "its folder holds none"
        raise CheckpointError(f"there is no checkpoint {path}; {listed}")
    directory = path.parent.parent if path.is_file() else path
    config = read_config(directory)
    held, policy_path = read_policy_file(directory), directory / POLICY
    spec, scaler = held.env_spec(policy_path), held.scaler(policy_path)
    checkpoints = Checkpoints(directory, config.checkpoint.keep, held.run)
    state = checkpoints.read(path) if path.is_file() else _newest_or_best(checkpoints, config)
    # Statistics come with the weights; zeros take their place until they are loaded.
    stack = config.replay.frame_stack
    check_counts({"agent": config.agent.to_dict(), "frame_stack": stack}, "config.json")
    try:
        with bounded(stored_bytes(state)):
            agent = make_agent(config.agent, spec, frame_stack=stack, restoring=True, movable=scaler.movable)
        agent.load_state_dict(state["agent"])
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise CheckpointError(
            f"the weights of {path} do not fit the agent that {directory / CONFIG} describes: {error}"
        ) from error
    controller = Controller(agent, config.control, scaler, num_envs, config.replay.frame_stack, seed)
    return Policy(config, spec, controller, state["env_steps"], num_envs)


def _newest_or_best(checkpoints: Checkpoints, config: TrainConfig) -> dict[str, Any]:
    loaded = checkpoints.load(resuming=False)
    if loaded is None:
        raise CheckpointError(
            f"{checkpoints.directory} holds no checkpoint yet; train first, or wait for the first one"
        )
    best = checkpoints.load_best(loaded[0]) if config.eval.keep_best else None
    return loaded[0] if best is None else best
