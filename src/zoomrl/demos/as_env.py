"""A demonstration set in place of an environment, for a robot that has no simulator: ``demos:demos/lift``.

It says what the robot shows and takes, so that a policy can learn from the recordings and be exported. There is nothing
to step: such a run makes no episodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from zoomrl.demos.store.reader import open_set
from zoomrl.envs.base import ControlStep, Env, Observation
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.options import ANY, FITTED, Options, differences
from zoomrl.errors import ConfigError


class RecordedEnv(Env):
    """The environment that a demonstration set was recorded in, as far as the set knows it.

    The spec is the set's: names and sizes of observations, the range of the actions, the control rate. Its time limit
    is ``env.time_limit``, or the set's, or without either the longest episode.

    Args:
        path: folder of the set.
        config: its options; what was recorded cannot be chosen any more.

    Raises:
        ConfigError: an option asks for something else than was recorded.
        DemonstrationError: there is no set, or it is damaged.
    """

    can_step = False
    options = Options("a demonstration set", dict.fromkeys((*FITTED, "state", "reward", "control_hz"), ANY))

    def __init__(self, path: str, config: EnvConfig) -> None:
        self.options.check(config, config.id)
        with open_set(path) as source:
            limit = config.time_limit or source.spec.time_limit
            if not limit:
                limit = max(len(source.episode(index, observed=False)) for index in range(source.total_episodes))
            spec = replace(source.spec, time_limit=limit)
        if found := list(differences(config, spec)):
            raise ConfigError(
                f"{config.id} is what was recorded; {'; '.join(found)}. Leave it out here, or choose with the options "
                "of `zoomrl demos import`"
            )
        super().__init__(spec)

    def _begin(self, seed: int) -> Mapping[str, Any]:
        self._refuse()

    def _advance(self, action: NDArray[np.float32]) -> ControlStep:
        self._refuse()

    def _observe(self) -> Observation:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise ConfigError(
            f"{self.env_spec.id} is known by its recordings alone, and there is nothing to step: no episode can be "
            "made. `zoomrl export` writes the policy of a run, to be evaluated on the robot itself"
        )
