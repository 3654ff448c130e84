"""From an environment id to an environment."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from zoomrl.envs.base import Env, named_errors
from zoomrl.envs.config import EnvConfig
from zoomrl.errors import ConfigError, MissingDependencyError, unknown_name
from zoomrl.plugins import Registry


def make_env(config: EnvConfig | str, **overrides: Any) -> Env:
    """Build one environment.

    Args:
        config: options, or just the id.
        overrides: fields of :class:`EnvConfig` to replace, for example ``time_limit=150``.

    Raises:
        ConfigError: for an unknown id or an option that the environment cannot honour.
        TypeError: for an override that is no field of :class:`EnvConfig`.
        MissingDependencyError: when the simulator is not installed.
        SimulatorError: when the simulator raises while it is built.
        WorkerError: when an isolated simulator fails in another way.
    """
    config = EnvConfig(id=config) if isinstance(config, str) else config
    config = replace(config, **overrides)
    domain, colon, name = config.id.partition(":")
    if not colon:
        raise ConfigError(_without_domain(config.id))
    if domain not in SUITES:
        raise unknown_name("environment domain", domain, SUITES)
    if not name:
        raise ConfigError(f"environment id {config.id!r} names no task after the colon. {_FORMS}")
    if config.python:
        from zoomrl.envs.isolation.env import IsolatedEnv

        return IsolatedEnv(config)
    kind = SUITES[domain]
    return named_errors(config.id, "make", lambda: kind.by_name(name, config), lambda: kind.simulator)


def honours(env_id: str, option: str) -> bool:
    """Whether environments of the domain of ``env_id`` honour the option of :class:`EnvConfig` called ``option``.

    False for an unknown domain.
    """
    domain = env_id.partition(":")[0]
    return domain in SUITES and SUITES[domain].options.honours(option)


def can_step(env_id: str) -> bool:
    """Whether environments of the domain of ``env_id`` can be stepped; True for an unknown domain."""
    domain = env_id.partition(":")[0]
    return domain not in SUITES or SUITES[domain].can_step


def code_named(config: EnvConfig) -> list[str]:
    """What building the environment of ``config`` would run that only ``config`` names: an interpreter, a module.

    Everything else that is run is installed here. What was read from a file of others asks its user first.
    """
    domain, _, name = config.id.partition(":")
    module = name.rpartition(":")[0] if domain == "gym" else ""
    named = [f"start the program {config.python!r} (env.python)"] if config.python else []
    return named + ([f"import the module {module!r} (env.id {config.id})"] if module else [])


SUITES: Registry[type[Env]] = Registry(
    "zoomrl.envs",
    {
        "metaworld": "zoomrl.envs.suites.metaworld:MetaWorldEnv",
        "dmc": "zoomrl.envs.suites.dmc:DMCEnv",
        "bigym": "zoomrl.envs.suites.bigym.env:BiGymEnv",
        "humanoidbench": "zoomrl.envs.suites.humanoidbench.env:HumanoidBenchEnv",
        "rlbench": "zoomrl.envs.suites.rlbench.env:RLBenchEnv",
        "ogbench": "zoomrl.envs.suites.ogbench.env:OGBenchEnv",
        "gym": "zoomrl.envs.suites.gym.env:GymEnv",
        "demos": "zoomrl.demos.as_env:RecordedEnv",
    },
    Env,
)
"""The adapter of each domain."""

_FORMS = (
    "Write metaworld:<task>, dmc:<domain>-<task>, bigym:<task>, humanoidbench:<robot>-<task>, rlbench:<task>, "
    "ogbench:<scene>-task<number>, gym:<Gymnasium id>, or demos:<folder of a demonstration set> where there is no "
    "simulator, for example metaworld:drawer-open, dmc:cartpole-swingup or gym:Pendulum-v1."
)


def _without_domain(name: str) -> str:
    if not name:
        return f"no environment is named: name one with --env. {_FORMS}"
    message = f"environment id {name!r} has no domain. {_FORMS}"
    task = name.removesuffix("-v3")
    return f"{message} Did you mean metaworld:{task}?" if task in _metaworld_names() else message


def _metaworld_names() -> tuple[str, ...]:
    from zoomrl.envs.suites.metaworld import metaworld_tasks

    try:
        return metaworld_tasks()
    except MissingDependencyError:
        return ()
