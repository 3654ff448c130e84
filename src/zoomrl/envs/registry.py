"""From an environment id to an environment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from zoomrl.envs.base import Env
from zoomrl.envs.config import EnvConfig
from zoomrl.errors import ConfigError, MissingDependencyError, unknown_name


def make_env(config: EnvConfig | str, **overrides: Any) -> Env:
    """Build one environment.

    Args:
        config: options, or just the id.
        overrides: fields of :class:`EnvConfig` to replace, for example ``time_limit=150``.

    Raises:
        ConfigError: for an unknown id or an option that the environment cannot honour.
        MissingDependencyError: when the simulator is not installed.
        WorkerError: when an isolated simulator fails in another way.
    """
    config = EnvConfig(id=config) if isinstance(config, str) else config
    config = replace(config, **overrides)
    domain, colon, name = config.id.partition(":")
    if not colon:
        raise ConfigError(_without_domain(config.id))
    if domain not in _BUILDERS:
        raise unknown_name("environment domain", domain, _BUILDERS)
    if not name:
        raise ConfigError(f"environment id {config.id!r} names no task after the colon. {_FORMS}")
    if config.control_hz and domain != "bigym":
        raise ConfigError(
            f"control_hz {config.control_hz:g} cannot be chosen for {domain}, whose simulators have one rate each; "
            "leave it out"
        )
    if config.python:
        from zoomrl.envs.isolated import IsolatedEnv

        return IsolatedEnv(config)
    return _BUILDERS[domain](name, config)


def code_named(config: EnvConfig) -> list[str]:
    """What building the environment of ``config`` would run that only ``config`` names: an interpreter, a module.

    Everything else that is run is installed here. What was read from a file of others asks its user first.
    """
    domain, _, name = config.id.partition(":")
    module = name.rpartition(":")[0] if domain == "gym" else ""
    named = [f"start the program {config.python!r} (env.python)"] if config.python else []
    return named + ([f"import the module {module!r} (env.id {config.id})"] if module else [])


def _metaworld(name: str, config: EnvConfig) -> Env:
    from zoomrl.envs.metaworld import MetaWorldEnv

    return MetaWorldEnv(name, config)


def _dmc(name: str, config: EnvConfig) -> Env:
    from zoomrl.envs.dmc import DMCEnv

    return DMCEnv(name, config)


def _gym(name: str, config: EnvConfig) -> Env:
    from zoomrl.envs.gym import make_gym_env

    return make_gym_env(name, config)


def _bigym(name: str, config: EnvConfig) -> Env:
    from zoomrl.envs.bigym import BiGymEnv

    return BiGymEnv(name, config)


def _humanoidbench(name: str, config: EnvConfig) -> Env:
    from zoomrl.envs.humanoidbench import HumanoidBenchEnv

    return HumanoidBenchEnv(name, config)


def _rlbench(name: str, config: EnvConfig) -> Env:
    from zoomrl.envs.rlbench import RLBenchEnv

    return RLBenchEnv(name, config)


_BUILDERS: dict[str, Callable[[str, EnvConfig], Env]] = {
    "metaworld": _metaworld,
    "dmc": _dmc,
    "bigym": _bigym,
    "humanoidbench": _humanoidbench,
    "rlbench": _rlbench,
    "gym": _gym,
}

_FORMS = (
    "Write metaworld:<task>, dmc:<domain>-<task>, bigym:<task>, humanoidbench:<robot>-<task>, rlbench:<task> or "
    "gym:<Gymnasium id>, for example metaworld:drawer-open, dmc:cartpole-swingup or gym:Pendulum-v1."
)


def _without_domain(name: str) -> str:
    message = f"environment id {name!r} has no domain. {_FORMS}"
    task = name.removesuffix("-v3")
    return f"{message} Did you mean metaworld:{task}?" if task in _metaworld_names() else message


def _metaworld_names() -> tuple[str, ...]:
    from zoomrl.envs.metaworld import metaworld_tasks

    try:
        return metaworld_tasks()
    except MissingDependencyError:
        return ()
