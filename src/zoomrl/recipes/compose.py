"""A preset with another agent, on another environment, with other options: in Python and on the command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from zoomrl.agents.config import AgentConfig
from zoomrl.agents.convert import convert
from zoomrl.agents.registry import AGENT_CONFIGS
from zoomrl.envs.config import EnvConfig
from zoomrl.errors import ConfigError, unknown_name
from zoomrl.recipes.presets import find
from zoomrl.recipes.support import fit_values
from zoomrl.training.config import TrainConfig, flat
from zoomrl.training.renamed import RENAMED

USUAL_NOISE = "0.1"
"""Exploration noise where the preset has none, since its agent explores by its own policy."""


def preset(
    name: str, *, agent: str | None = None, env: str | None = None, demos: str | None = None, **options: Any
) -> TrainConfig:
    """The preset called ``name``, changed as ``zoomrl train --preset NAME`` with the same options changes it.

    Args:
        name: of the preset; see :data:`zoomrl.PRESETS`.
        agent: another algorithm by name; what belongs to the task is kept.
        env: another environment by its id, with the numbers that the preset has for it. One of another suite has its
            own time limit.
        demos: ``scripted``, ``none``, or the path of a demonstration set.
        options: other fields by their full names, as in ``preset("cqn-dmc", agent="sac", **{"agent.lr": 1e-4})``.

    Raises:
        ConfigError: an unknown preset, agent or field, a value that cannot work, or an agent whose values need a range
            that is not known for the environment.
    """
    options |= {name: value for name, value in {"env.id": env, "demos.source": demos}.items() if value is not None}
    if env is not None and not isinstance(env, str):
        raise ConfigError(
            f'env is the id of an environment, with options by name: {{"env.cameras": ...}}; got {env!r:.60}'
        )
    return _changed(find(name).config(env), agent, options)


def fork(run: str | Path, **options: Any) -> TrainConfig:
    """The config of a run that goes on from the run ``run``, changed as ``zoomrl train --fork RUN`` changes it.

    Args:
        run: directory of the run.
        options: other fields by their full names, as for :func:`preset`.

    Raises:
        CheckpointError: there is no run.
        ConfigError: an unknown field, or a value that cannot work.
    """
    return _changed(fork_of(run), None, options)


def fork_of(run: str | Path) -> TrainConfig:
    """The config of the run ``run``, for one that goes on from it in a directory of its own."""
    from zoomrl.training.run_files import read_config  # loads torch

    return replace(read_config(Path(run)), fork=str(run), init_from="", run_dir="", resume=True)


def _changed(origin: TrainConfig, agent: str | None, options: Mapping[str, Any]) -> TrainConfig:
    """``origin`` with another agent and other options."""
    fields = with_agent(origin, agent or origin.agent.name)
    data: dict[str, Any] = {
        key: value.to_dict() if isinstance(value, AgentConfig) else _plain(value) for key, value in fields.items()
    }
    known = flat(data)
    for option, value in options.items():
        if option not in known:
            raise _unknown(option, known)
        *path, last = option.split(".")
        place = data
        for part in path:
            place = place[part]
        place[last] = value
    data["agent"]["name"] = agent or origin.agent.name
    config = TrainConfig.from_dict(data)
    given = {"agent.v_min", "agent.v_max"} <= options.keys()
    fitting = fitted(config.agent, origin.agent, config.env, config.replay.discount, options.get("agent.value"), given)
    return replace(config, agent=fitting)


def with_agent(config: TrainConfig, name: str) -> dict[str, Any]:
    """The fields of ``config`` with the agent called ``name``, keeping the hyperparameters that both agents have.

    Nothing is checked: other options may yet be given. What belongs to the algorithm and not to the task follows it:
    how action chunks are executed, where exploration comes from, what is sampled and when updates are made.

    Raises:
        ConfigError: there is no such agent.
    """
    if name not in AGENT_CONFIGS:
        raise unknown_name("agent", name, AGENT_CONFIGS)
    fields = {field.name: getattr(config, field.name) for field in dataclasses.fields(TrainConfig)}
    if config.agent.name == name:
        return fields
    agent = convert(config.agent, AGENT_CONFIGS[name])
    replay, demos, follows = config.replay, config.demos, agent.task_defaults()
    control = config.control.with_executor(follows.executor, snap=follows.snap)
    if follows.noise is not None:
        control = replace(control, noise=follows.noise)
    elif config.agent.task_defaults().noise is not None:
        control = replace(control, noise=USUAL_NOISE)  # that of the preset stood for none
    if follows.prioritized:
        replay = replace(replay, sampling="priority")
    elif replay.sampling == "priority":
        replay = replace(replay, sampling="transition")
    if follows.update_at is not None:
        fields["update_at"] = follows.update_at
    if agent.imitation:
        fields["steps"] = 0
        replay = replace(replay, demo_fraction=1.0, success_fraction=0.0)
    else:
        demos = replace(demos, validation=0.0)
    return fields | {"agent": agent, "control": control, "replay": replay, "demos": demos}


def fitted(
    agent: AgentConfig, of_preset: AgentConfig, env: EnvConfig, discount: float, asked: str | None, given: bool
) -> AgentConfig:
    """``agent`` with atoms for the values of ``env``, unless those of the preset hold them.

    The atoms of a preset are those of its task; a preset whose agent has none leaves the class's own, which fit no
    task in particular.

    Args:
        agent: of the run.
        of_preset: the agent that the preset is made for.
        env, discount: of the run.
        asked: ``agent.value``, where the user has chosen it.
        given: whether the user has chosen the range.
    """
    if asked == "categorical" and hasattr(agent, "value"):
        agent = agent.replaced(value="categorical")
    if given or asked == "scalar" or agent.support is None or of_preset.support is not None or not env.id:
        return agent
    fitting = fit_values(agent, env, discount)
    if fitting is None or (asked and fitting.support is None):
        raise ConfigError(
            f"{agent.name} learns values between agent.v_min and agent.v_max, and the range of returns on {env.id} is "
            "not known: give --agent.v-min and --agent.v-max. They should hold every discounted return: the smallest "
            "and the largest reward of an agent step, divided by 1 - discount, where episodes go on for ever. Or use "
            "--agent.value scalar, which needs no range"
        )
    return fitting


def _plain(value: Any) -> Any:
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value


def _unknown(option: str, known: Mapping[str, Any]) -> ConfigError:
    if option in RENAMED:
        return ConfigError(f"{option} is called {RENAMED[option]} now")
    return unknown_name("option", option, known)
