"""A trained policy from wherever it lies: a run, a bundle, or the hub."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl import runtime
from zoomrl.deploy.hub import pull
from zoomrl.deploy.places import is_bundle, is_hub_name
from zoomrl.envs.config import EnvConfig
from zoomrl.errors import CheckpointError, ConfigError, import_optional
from zoomrl.files import as_record
from zoomrl.spec import EnvSpec
from zoomrl.training.policy import Policy, chosen
from zoomrl.training.policy import load_policy as load_run


class BundlePolicy:
    """The policy of a bundle, for several environments: used as :class:`zoomrl.Policy` is.

    Args:
        folder: the bundle.
        num_envs: environments acted for together, N.
        seed: of the choice among bins whose values are equal, and of the chunks that a policy proposes.

    Attributes:
        facts: the content of ``policy.json``.
        spec: of the environment that it was trained in.
        env: options of that environment.
        discount: of the returns that it predicts.
        env_steps: environment steps that it was trained for.
        controller: acts for all environments at once.

    Raises:
        CheckpointError: the folder holds no bundle, or one that cannot be used here.
        MissingDependencyError: without onnxruntime.
    """

    def __init__(self, folder: Path, *, num_envs: int = 1, seed: int = 0) -> None:
        import_optional("onnxruntime", "runtime")
        try:
            first = runtime.load_policy(folder, seed=seed)
            self.facts: dict[str, Any] = first.facts
            self.spec = EnvSpec.from_dict(self.facts["environment"]["spec"])
            self.env = as_record(self.facts["environment"]["options"], EnvConfig, str(folder / runtime.POLICY))
            self.discount = float(self.facts["discount"])
            self.env_steps = int(self.facts["training"]["env_steps"])
        except runtime.BundleError as error:
            raise CheckpointError(str(error)) from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"{folder / runtime.POLICY} is not what `zoomrl export` writes ({error!r})"
            ) from error
        self.controller = _Controller([first, *(first.another(seed + index) for index in range(1, num_envs))])

    def __repr__(self) -> str:
        return f"BundlePolicy({self.facts['agent']} on {self.spec.id}, step {self.env_steps:,})"

    def reset(self, which: NDArray[np.bool_] | None = None) -> None:
        """Begin new episodes in the environments ``which`` [N] bool, or everywhere."""
        self.controller.reset(chosen(which, len(self.controller.policies)))

    def act(self, observation: Mapping[str, NDArray[Any]] | NDArray[Any]) -> NDArray[np.float32]:
        """Action for the newest observation, in any form that :meth:`zoomrl.runtime.Policy.act` takes.

        Args:
            observation: of one environment; for ``num_envs`` > 1 with a leading axis [N, ...].

        Returns:
            float32 [A], in the environment's units and within its bounds; [N, A] for several environments.

        Raises:
            ValueError: it is not what the policy learnt from.
        """
        policies = self.controller.policies
        if len(policies) == 1:
            return policies[0].act(observation)
        if not isinstance(observation, Mapping):
            only = "state" if "state" in self.facts["observations"] else "rgb"
            observation = {only: observation}
        return self.controller.act(observation)


class _Controller:
    """Executors of several environments, over one graph."""

    def __init__(self, policies: list[runtime.Policy]) -> None:
        self.policies = policies
        self.predicted: NDArray[np.float32] | None = None

    def reset(self, which: NDArray[np.bool_]) -> None:
        for policy, begins in zip(self.policies, which, strict=True):
            if begins:
                policy.reset()

    def act(self, observation: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        given = {name: np.asarray(value) for name, value in observation.items()}
        wrong = [name for name, array in given.items() if array.ndim and len(array) != len(self.policies)]
        if wrong:
            came = len(given[wrong[0]])
            raise runtime.ObservationError(
                f"{wrong[0]!r} must have {len(self.policies)} rows, one of each environment, got {came}"
            )
        parts = {name: array for name, array in given.items() if array.ndim}  # a single number is of no environment
        # All are read before any acts: one that is refused leaves the others as they were.
        rows = [
            policy.read({name: array[index] for name, array in parts.items()})
            for index, policy in enumerate(self.policies)
        ]
        actions = np.stack([policy.act(row) for policy, row in zip(self.policies, rows, strict=True)])
        values = [policy.value if policy.replanned else math.nan for policy in self.policies]
        told = any(policy.replanned and policy.value is not None for policy in self.policies)
        self.predicted = np.asarray(values, np.float32) if told else None
        return actions


def load_policy(source: str | Path, *, num_envs: int = 1, seed: int = 0) -> Policy | BundlePolicy:
    """The policy of a run, of a bundle, or of a bundle on the hub.

    Args:
        source: ``runs/<name>`` (its newest checkpoint, with ``eval.keep_best`` its best one), a checkpoint file
            ``runs/<name>/checkpoints/step_<n>.pt``, a folder that ``zoomrl export`` wrote, or ``owner/name`` on the
            Hugging Face Hub where no such folder exists.
        num_envs: environments acted for together, N.
        seed: of tie-breaks, and of the chunks that a policy proposes.

    Returns:
        A policy on the CPU, in float32; of a bundle one that needs onnxruntime and no PyTorch.

    Raises:
        CheckpointError: there is no readable checkpoint or bundle; the config is of another version, or names an agent
            that is not installed; the weights do not fit it.
        ConfigError: ``num_envs`` below 1, or ``seed`` below 0.
        MissingDependencyError: a bundle without onnxruntime, or a name of the hub without huggingface_hub.
    """
    if num_envs < 1 or seed < 0:
        raise ConfigError(f"num_envs must be at least 1 and seed at least 0, got {num_envs} and {seed}")
    path = Path(source)
    if is_bundle(path):
        return BundlePolicy(path, num_envs=num_envs, seed=seed)
    if is_hub_name(source):
        return BundlePolicy(pull(str(source)), num_envs=num_envs, seed=seed)
    return load_run(path, num_envs=num_envs, seed=seed)
