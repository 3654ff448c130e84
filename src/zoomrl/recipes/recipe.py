"""A preset: a starting point by name, and what the tasks of its domain change of it. Loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from zoomrl.envs.config import EnvConfig
from zoomrl.training.config import TrainConfig

Domain = Literal["metaworld", "dmc", "bigym", "rlbench", "humanoidbench", "ogbench", "gym", "demos"]
Numbers = Mapping[str, Mapping[str, Any]]
"""Environment id, as :func:`canonical` spells it -> full name of a field -> its value there."""


@dataclass(frozen=True)
class Recipe:
    """A preset.

    Attributes:
        build: makes its config; the first line of its docstring is what users read about it.
        domain: of the environments that it is for, as their ids begin: ``dmc``.
        numbers: what each task changes: environment id -> full name of a field -> its value there.
    """

    build: Callable[[], TrainConfig]
    domain: Domain
    numbers: Numbers = field(default_factory=dict)

    @property
    def about(self) -> str:
        """What it is, in a sentence."""
        return (self.build.__doc__ or "").strip().partition("\n")[0].replace("``", "")

    def config(self, env: str | None = None) -> TrainConfig:
        """Its config for the environment ``env``, or for its own; with the numbers of that task.

        An environment of another suite has its own time limit. Whether there is such an environment is not looked at.
        """
        config = self.build()
        if env is not None:
            # The time limit of a preset is that of its suite.
            same = _suite(env) == _suite(config.env.id)
            limit = config.env.time_limit if same else None
            # Gymnasium environments render as they do: how a preset has its own suite render is not for them.
            rendering = {} if same or _suite(env) != "gym" else _AS_THEY_DO
            config = replace(config, env=replace(config.env, id=env, time_limit=limit, **rendering))
            if _suite(env) == "demos":
                config = _of_recordings(config)
        for name, value in self.numbers.get(canonical(config.env.id), {}).items():
            config = with_field(config, name, value)
        return config


_AS_THEY_DO = {name: getattr(EnvConfig(), name) for name in ("shadows", "reflections", "antialiasing")}


def _of_recordings(config: TrainConfig) -> TrainConfig:
    """``config``, of an environment that is a demonstration set: learns from that set, and makes no episodes."""
    return replace(
        config,
        env=EnvConfig(id=config.env.id),
        control=replace(config.control, action_range="demos"),  # what never moved is never moved
        demos=replace(config.demos, source=config.env.id.partition(":")[2], episodes=0),
        eval=replace(config.eval, every=0, episodes=0, final_episodes=0, keep_best=False, video=False),
        steps=0,
    )


def canonical(env: str) -> str:
    """An environment id as tables of numbers spell it: DeepMind Control's tasks with hyphens alone."""
    suite, colon, task = env.partition(":")
    if suite == "dmc":
        task = task.replace("_", "-").replace("ball-in-cup", "cup")
    return f"{suite}{colon}{task}"


def with_field(config: Any, name: str, value: Any) -> Any:
    """``config`` with the field of the full name ``name``, as in ``agent.encoder.feature_dim``, replaced."""
    first, dot, rest = name.partition(".")
    return replace(config, **{first: with_field(getattr(config, first), rest, value) if dot else value})


def _suite(env: str) -> str:
    return env.partition(":")[0]
