"""``zoomrl train``: every field of the config as an option, and a few short forms."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import arg

from zoomrl.agents.config import AGENT_CONFIGS, IMITATION, SACConfig, TD7Config, chunked, convert
from zoomrl.control.config import ControlConfig
from zoomrl.errors import ConfigError, unknown_name
from zoomrl.recipes.presets import preset
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
            print(f"{directory} is finished already; raise --steps to go on, or choose another --seed.\n")
            report(directory, config, video_problem=None)
            return 0
        with suppress(Exception):  # the plot at the end will name it
            load_plotting()
        # Long paths stay on one line.
        result = train(config, console=Console(stderr=True, soft_wrap=True))
        if not result.finished:
            # train() has said where it stopped and how to resume.
            return 128 + int(result.stopped_by or 0)
        report(directory, config, video_problem=result.video_problem)
        return 0


def defaults(words: Sequence[str]) -> Train:
    """The defaults of `zoomrl train`: ``--preset`` and ``--agent`` among its ``words`` choose them.

    Raises:
        ConfigError: for an unknown preset or agent.
    """
    config = preset(_value_of("--preset", words) or "quickstart")
    name = _value_of("--agent", words) or config.agent.name
    if name not in AGENT_CONFIGS:
        raise unknown_name("agent", name, AGENT_CONFIGS)
    return Train(**with_agent(config, name), agent_name=name)


def with_agent(config: TrainConfig, name: str) -> dict[str, Any]:
    """The fields of ``config`` with the agent called ``name``, keeping the hyper-parameters that both agents have.

    Nothing is checked: other options may yet be given. What belongs to the algorithm and not to the task follows it:
    how plans are executed, where exploration comes from, what is sampled and when updates are made.
    """
    fields = _fields(config)
    if config.agent.name == name:
        return fields
    agent = convert(config.agent, AGENT_CONFIGS[name])
    # A single action leaves nothing to average, and CQN stores what its grid can express.
    executor = ControlConfig().executor if chunked(agent) else "open_loop"
    control = replace(config.control, executor=executor, snap=agent.name == "cqn")
    replay, demos = config.replay, config.demos
    if isinstance(agent, SACConfig):
        control = replace(control, noise="0.0")  # it explores by its own policy
    elif isinstance(config.agent, SACConfig):
        control = replace(control, noise="0.1")
    if isinstance(agent, TD7Config):
        replay = replace(replay, sampling="priority")
        fields["update_at"] = "episode"
    elif replay.sampling == "priority":
        replay = replace(replay, sampling="transition")
    if isinstance(agent, IMITATION):
        fields["steps"] = 0
        replay = replace(replay, demo_fraction=1.0)
    else:
        demos = replace(demos, validation=0.0)
    return fields | {"agent": agent, "control": control, "replay": replay, "demos": demos}


def _fields(config: TrainConfig) -> dict[str, Any]:
    return {f.name: getattr(config, f.name) for f in dataclasses.fields(TrainConfig)}


def _value_of(option: str, words: Sequence[str]) -> str | None:
    """The last value of ``option`` among ``words``, which hold ``--option value`` or ``--option=value``."""
    found = None
    for index, word in enumerate(words):
        if word == option and index + 1 < len(words):
            found = words[index + 1]
        elif word.startswith(f"{option}="):
            found = word.removeprefix(f"{option}=")
    return found
