"""``zoomrl train``: every field of the config as an option, and a few short forms."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import arg

from zoomrl.agents.config import AgentConfig
from zoomrl.agents.registry import AGENT_CONFIGS
from zoomrl.envs.config import EnvConfig
from zoomrl.errors import ConfigError
from zoomrl.recipes.compose import fitted, fork_of, with_agent
from zoomrl.recipes.presets import find
from zoomrl.training.config import TrainConfig, run_directory
from zoomrl.training.lock import run_lock

if TYPE_CHECKING:
    AgentName = str
else:
    AgentName = Literal[tuple(AGENT_CONFIGS)]

_PRESET_HELP = "Recipe that the other defaults come from; listed above."
_AGENT_HELP = "Algorithm; another one than the preset's keeps what belongs to the task."


@dataclass(frozen=True)
class Train(TrainConfig):
    """Train a policy, or continue an interrupted run. No option is needed."""

    # The fields of the config, and short forms that only the command line has.

    preset: Annotated[str, arg(metavar="NAME", help=_PRESET_HELP)] = "quickstart"
    agent_name: Annotated[AgentName, arg(name="agent", help=_AGENT_HELP)] = "cqn_as"
    env_id: Annotated[str | None, arg(name="env", metavar="ID", help="Short for --env.id.", help_behavior_hint="")] = (
        None
    )
    demo_source: Annotated[
        str | None,
        arg(
            name="demos",
            metavar="PATH|scripted|none",
            help="Short for --demos.source.",
            help_behavior_hint="",
        ),
    ] = None

    env_python: Annotated[
        str | None, arg(name="env-python", metavar="PATH", help="Short for --env.python.", help_behavior_hint="")
    ] = None

    def __post_init__(self) -> None:
        """Nothing is checked before the short forms are in their places; the config proper does it then."""

    def to_config(self) -> TrainConfig:
        """The config proper, with the short forms put in their places."""
        fields = _fields(self)
        if self.env_id is not None:
            fields["env"] = replace(self.env, id=self.env_id)
        if self.env_python is not None:
            fields["env"] = replace(fields["env"], python=self.env_python)
        if self.demo_source is not None:
            fields["demos"] = replace(self.demos, source=self.demo_source)
        if fields["demos"].source == "none" and self.offline_updates:
            raise ConfigError(
                f"without demonstrations there is nothing for the {self.offline_updates} updates before the "
                "first step to learn from; add --offline-updates 0"
            )
        return TrainConfig(**fields)

    def run(self) -> int:
        """Train and report."""
        config = self.to_config()
        directory = run_directory(config)
        if directory.exists():
            # Said before PyTorch is imported, which takes seconds; train() holds the lock for good.
            with run_lock(directory):
                pass
        from rich.console import Console

        from zoomrl.analysis.plot import load_plotting
        from zoomrl.cli.report import finished_before, report
        from zoomrl.training.run import train

        if finished_before(config, directory):
            longer = "--steps" if config.steps else "--offline-updates"
            print(f"{directory} is finished already; raise {longer} to go on, or choose another --seed.\n")
            report(directory, config)
            return 0
        with suppress(Exception):  # the plot at the end will name it
            load_plotting()
        # Long paths stay on one line.
        result = train(config, console=Console(stderr=True, soft_wrap=True, emoji=False))
        if not result.finished:
            # train() has said where it stopped and how to resume.
            return 128 + int(result.stopped_by or 0)
        report(directory, config)
        return 0


def defaults(words: Sequence[str]) -> Train:
    """The defaults of `zoomrl train`: ``--preset``, ``--env``, ``--agent`` and ``--fork`` among ``words`` choose them.

    Raises:
        ConfigError: for an unknown preset or agent; or for an agent that needs to know the range of values of a task
            that nothing is known of, where ``words`` do not give it.
    """
    config = _origin(words)
    name = _value_of("--agent", words) or config.agent.name
    fields = with_agent(config, name)
    if not {"--help", "-h"} & set(words):
        env, discount = _task(config, words)
        asked = _value_of("--agent.value", words)
        given = all(_value_of(option, words) is not None for option in ("--agent.v-min", "--agent.v-max"))
        fields["agent"] = fitted(fields["agent"], config.agent, env, discount, asked, given)
    return Train(**fields, agent_name=name)


def check_agent_options(words: Sequence[str], agent: AgentConfig) -> None:
    """Refuse an option that other algorithms have, and say which; the parser knows those of ``agent`` alone."""
    own = {option.name for option in dataclasses.fields(agent)}
    for word in words:
        name, _, _ = _spelt(word)
        first = name.removeprefix("--agent.no-").removeprefix("--agent.").partition(".")[0].replace("-", "_")
        if not name.startswith("--agent.") or first in own:
            continue
        others = [other for other, kind in AGENT_CONFIGS.items() if first in {f.name for f in dataclasses.fields(kind)}]
        if others:
            raise ConfigError(f"{agent.name} has no {name}, which belongs to {', '.join(others)}")


def _origin(words: Sequence[str]) -> TrainConfig:
    """What the other defaults come from: a preset on a task, or the run that is forked."""
    name, env = _value_of("--preset", words), _value_of("--env", words) or _value_of("--env.id", words)
    run = _value_of("--fork", words)
    if run is None:
        return find(name or "quickstart").config(env)
    if name is not None:
        raise ConfigError("--fork takes the options of the run that it goes on from: leave --preset out")
    return fork_of(run)


def _task(config: TrainConfig, words: Sequence[str]) -> tuple[EnvConfig, float]:
    """The environment and the discount of ``config``, with what ``words`` replace of them that decides on values."""
    env, discount = config.env, config.replay.discount
    # What is no number is the parser's to refuse.
    with suppress(ValueError):
        env = replace(env, action_repeat=int(_value_of("--env.action-repeat", words) or env.action_repeat))
    with suppress(ValueError):
        discount = float(_value_of("--replay.discount", words) or discount)
    if _value_of("--env.reward", words) == "dense":
        env = replace(env, reward="dense")
    if "--env.no-terminate-on-success" in {_spelt(word)[0] for word in words}:
        env = replace(env, terminate_on_success=False)
    return env, discount


def _fields(config: TrainConfig) -> dict[str, Any]:
    return {f.name: getattr(config, f.name) for f in dataclasses.fields(TrainConfig)}


def _value_of(option: str, words: Sequence[str]) -> str | None:
    """The last value of ``option`` among ``words``, which hold ``--option value`` or ``--option=value``."""
    found = None
    for index, word in enumerate(words):
        name, given, value = _spelt(word)
        if name == option:
            found = value if given else (words[index + 1] if index + 1 < len(words) else found)
    return found


def _spelt(word: str) -> tuple[str, str, str]:
    """Name, ``=`` where it is there, and value of an option. Like the parser, names take ``_`` for ``-``."""
    name, given, value = word.partition("=")
    return name.replace("_", "-") if name.startswith("--") else name, given, value
