"""A trained policy for use outside the training loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.agents.build import make_agent
from zoomrl.agents.contract import Agent
from zoomrl.control.controller import Controller
from zoomrl.control.scaling import ActionScaler
from zoomrl.data.finite import first_not_finite
from zoomrl.envs.camera import Fitting, fittings
from zoomrl.envs.config import EnvConfig
from zoomrl.errors import CheckpointError
from zoomrl.spec import EnvSpec
from zoomrl.training.bounded import bounded, check_counts, stored_bytes
from zoomrl.training.checkpoint import Checkpoints
from zoomrl.training.config import TrainConfig
from zoomrl.training.run_files import POLICY, read_config, read_policy_file
from zoomrl.training.run_place import CONFIG, run_directory


class Policy:
    """Noise-free policy of a run: observations in, actions in the environment's units out.

    The executor (temporal ensemble, receding horizon) is the one used in training: call :meth:`reset` when an episode
    begins, and :meth:`act` once per agent step. :func:`load_policy` makes one.

    Attributes:
        config: of the run.
        spec: of the environment that it was trained in.
        env_steps: environment steps of the checkpoint.
        controller: what turns the agent's action chunks into actions.
    """

    def __init__(
        self, config: TrainConfig, spec: EnvSpec, controller: Controller, env_steps: int, num_envs: int
    ) -> None:
        self.config = config
        self.spec = spec
        self.env_steps = env_steps
        self.controller = controller
        self._num_envs = num_envs
        self._fittings = fittings(spec)

    def __repr__(self) -> str:
        return f"Policy({self.config.agent.name} on {self.spec.id}, step {self.env_steps:,})"

    @property
    def env(self) -> EnvConfig:
        """Options of the environment that it was trained in."""
        return self.config.env

    @property
    def discount(self) -> float:
        """Of the returns that it predicts."""
        return self.config.replay.discount

    def reset(self, which: NDArray[np.bool_] | None = None) -> None:
        """Begin new episodes in the environments ``which`` [N] bool, or everywhere."""
        self.controller.reset(chosen(which, self._num_envs))

    def act(self, observation: Mapping[str, NDArray[Any]] | NDArray[Any]) -> NDArray[np.float32]:
        """Action for the newest observation.

        Images may also come as the cameras show them, and are then cropped and fitted as in training
        (:func:`zoomrl.envs.camera.fit_image`): each under the name of its camera, or, where the run fits images, all
        of one size as ``rgb`` [V, H, W, C], or as the one image [H, W, C] of a single camera.

        Args:
            observation: {name: array} as the environment shows it (also as a Gymnasium environment with a Dict shows it
                itself): ``state`` [S], ``rgb`` uint8 [V, H, W, 3]. Or the bare state vector (of a policy that observes
                images alone: the bare images). For ``num_envs`` > 1 with a leading axis [N, ...].

        Returns:
            float32 [A], in the environment's units and within its bounds; [N, A] for several environments.

        Raises:
            ValueError: an observation is missing, or has another shape, or numbers where bytes are expected, or holds
                NaN or infinity; an image of a camera has another size than in training.
        """
        bare = "state" if "state" in self.spec.observations else "rgb"
        given_names = observation if isinstance(observation, Mapping) else {bare: observation}
        named = self._with_state(self._with_rgb(given_names))
        arrays: dict[str, NDArray[Any]] = {}
        for name, spec in self.spec.observations.items():
            if name not in named:
                shapes = ", ".join(f"{n!r}: {s.dtype}{list(s.shape)}" for n, s in self.spec.observations.items())
                views = f", or in place of 'rgb' the images of {', '.join(self.spec.cameras)}" if self._fittings else ""
                raise ValueError(
                    f"the policy expects observations {{{shapes}}}{views}, got {sorted(given_names)}; pass what "
                    "zoomrl.wrap_gym_env(your_environment, config) shows"
                )
            given = np.asarray(named[name])
            if given.dtype.kind not in "fiub":
                raise ValueError(f"observation {name!r} must be numbers, got {given.dtype}")
            if np.issubdtype(spec.dtype, np.integer) and not np.issubdtype(given.dtype, np.integer):
                # Images in 0..1 would all become black.
                raise ValueError(f"observation {name!r} must be {spec.dtype} (0 to 255 for images), got {given.dtype}")
            if spec.dtype == "uint8" and given.dtype != np.uint8 and given.size:
                low, high = int(given.min()), int(given.max())
                if low < 0 or high > 255:  # they would come back at the other end
                    raise ValueError(f"observation {name!r} must lie in 0 .. 255, got {low} to {high}")
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

    def _with_state(self, named: Mapping[str, Any]) -> Mapping[str, Any]:
        """``named`` with ``state`` joined of the environment's own entries, where these came."""
        entries = self.spec.state_entries
        if "state" in named or "state" not in self.spec.observations or not entries:
            return named
        if not all(entry.name in named for entry in entries):
            return named
        count = self._num_envs
        parts = [np.asarray(named[entry.name]) for entry in entries]
        for entry, part in zip(entries, parts, strict=True):
            if part.size != count * entry.size:
                raise ValueError(
                    f"observation {entry.name!r} must hold {entry.size} numbers for each environment, "
                    f"got {list(part.shape)}"
                )
        rows = np.concatenate([part.reshape(count, -1) for part in parts], axis=1)
        return {**named, "state": rows if count > 1 else rows[0]}

    def _with_rgb(self, named: Mapping[str, Any]) -> Mapping[str, Any]:
        """``named`` with ``rgb`` made of the cameras' own images, where these came."""
        if not self._fittings:
            return named
        cameras, shape = self.spec.cameras, self.spec.observations["rgb"].shape
        given = np.asarray(named["rgb"]) if "rgb" in named else None
        if given is not None and given.shape in (shape, (self._num_envs, *shape)):
            return named
        if cameras and cameras != ("rgb",) and all(camera in named for camera in cameras):
            views = [self._of_camera(camera, np.asarray(named[camera])) for camera in cameras]
        elif given is not None and (self.spec.fits_images or cameras == ("rgb",)):
            views = self._of_cameras(given)
        else:
            return named
        fitted = [
            [_fitted(fitting, camera, image) for image in images]
            for fitting, camera, images in zip(self._fittings, cameras, views, strict=True)
        ]
        return {**named, "rgb": np.stack([np.stack(images) for images in zip(*fitted, strict=True)])}

    def _of_camera(self, name: str, given: NDArray[Any]) -> list[NDArray[Any]]:
        """One camera's image of each environment; a single environment may leave out the leading axis."""
        if self._num_envs == 1 and (given.ndim < 4 or len(given) != 1):
            return [given]
        if given.ndim < 3 or len(given) != self._num_envs:
            raise ValueError(f"observation {name!r} must hold {self._num_envs} images, got {list(given.shape)}")
        return list(given)

    def _of_cameras(self, given: NDArray[Any]) -> list[list[NDArray[Any]]]:
        """The same of each camera, from [N, V, H, W, C]; a single environment or camera may leave out its axis."""
        views = len(self.spec.cameras)
        images = given[None] if self._num_envs == 1 and given.ndim < 5 else given
        images = images[:, None] if views == 1 and 2 < images.ndim < 5 else images
        if images.ndim < 4 or images.shape[:2] != (self._num_envs, views):
            raise ValueError(
                f"observation 'rgb' must hold the images of {', '.join(self.spec.cameras)} for {self._num_envs} "
                f"environments, {[self._num_envs, views]} and height, width and channels, got {list(given.shape)}"
            )
        return [list(images[:, view]) for view in range(views)]


def chosen(which: NDArray[np.bool_] | None, count: int) -> NDArray[np.bool_]:
    """``which`` of ``count`` environments, all for None; ValueError for flags of another number."""
    flags = np.ones(count, bool) if which is None else np.asarray(which, bool)
    if flags.shape != (count,):
        raise ValueError(f"a reset takes one flag for each of {count} environments, got {list(flags.shape)}")
    return flags


def _fitted(fitting: Fitting, camera: str, image: NDArray[Any]) -> NDArray[np.uint8]:
    try:
        return fitting(image)
    except ValueError as error:
        raise ValueError(f"camera {camera!r}: {error}") from error


def load_policy(run: str | Path, *, num_envs: int = 1, seed: int = 0) -> Policy:
    """Load a run directory's newest checkpoint (with ``eval.keep_best`` its best one), or a given checkpoint file.

    Args:
        run: ``runs/<name>`` or ``runs/<name>/checkpoints/step_<n>.pt``.
        num_envs: environments acted for together, N.
        seed: of tie-breaks.

    Returns:
        A policy on the CPU, in float32.

    Raises:
        CheckpointError: there is no readable checkpoint; the config is of another version, or names an agent that is
            not installed; the weights do not fit it.
    """
    return policy_of(load_agent(run), num_envs=num_envs, seed=seed)


def policy_of(held: TrainedAgent, *, num_envs: int = 1, seed: int = 0) -> Policy:
    """The policy of an agent; arguments as of :func:`load_policy`."""
    config = held.config
    controller = Controller(held.agent, config.control, held.scaler, num_envs, config.replay.frame_stack, seed)
    return Policy(config, held.spec, controller, held.env_steps, num_envs)


@dataclass(frozen=True)
class TrainedAgent:
    """An agent with the weights of a checkpoint, and what it was trained for.

    Attributes:
        config: of its run.
        spec: of the environment.
        scaler: of the actions.
        agent: on the CPU.
        env_steps, updates: of the checkpoint.
    """

    config: TrainConfig
    spec: EnvSpec
    scaler: ActionScaler
    agent: Agent
    env_steps: int
    updates: int


def load_agent(run: str | Path) -> TrainedAgent:
    """The agent of a run; arguments and errors as of :func:`load_policy`."""
    path = Path(run)
    directory = run_directory(path)
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
    return TrainedAgent(config, spec, scaler, agent, state["env_steps"], state["updates"])


def _newest_or_best(checkpoints: Checkpoints, config: TrainConfig) -> dict[str, Any]:
    loaded = checkpoints.load(resuming=False)
    if loaded is None:
        raise CheckpointError(
            f"{checkpoints.directory} holds no checkpoint yet; train first, or wait for the first one"
        )
    best = checkpoints.load_best(loaded[0]) if config.eval.keep_best else None
    return loaded[0] if best is None else best
