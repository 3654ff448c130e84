"""All commands as one tree, which parsing, help and completion share. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass
from typing import Annotated, Any, cast, get_args, get_origin, get_type_hints

import tyro
from tyro.conf import AvoidSubcommands, Positional, arg, subcommand

from zoomrl.cli.ablate import Ablate
from zoomrl.cli.command import Command
from zoomrl.cli.compare import Compare
from zoomrl.cli.completion import Shell, completion_script
from zoomrl.cli.demos import CollectDemos, CollectPlay, InspectDemos
from zoomrl.cli.demos_check import CheckDemos
from zoomrl.cli.demos_convert import ExportDemos, ImportDemos
from zoomrl.cli.demos_view import ViewDemos
from zoomrl.cli.diagnose import Diagnose
from zoomrl.cli.doctor import Doctor
from zoomrl.cli.env import Environments
from zoomrl.cli.evaluate import Evaluate
from zoomrl.cli.execution import Execution
from zoomrl.cli.export import Export
from zoomrl.cli.hub import Pull, Push
from zoomrl.cli.lens import ValueLens
from zoomrl.cli.parity import Parity
from zoomrl.cli.plot import Plot
from zoomrl.cli.presets import Presets, preset_names
from zoomrl.cli.report_page import ReportPage
from zoomrl.cli.reproduce import Reproduce
from zoomrl.cli.serve import Serve
from zoomrl.cli.sweep import Sweep, SweepStatus, SweepStop
from zoomrl.cli.train import Train, check_agent_options, defaults
from zoomrl.errors import ConfigError, unknown_name
from zoomrl.training.renamed import RENAMED

PROG = "zoomrl"
_DESCRIPTION = """\
Coarse-to-fine reinforcement learning of continuous control from a handful of demonstrations.

  zoomrl doctor         what this machine can do, and how to get what is missing
  zoomrl train          trains the quickstart preset; no option is needed
  zoomrl train --help   every option; each command has such a help
  zoomrl --version      the version
  zoomrl ... --debug    shows the traceback of an error (as does ZOOMRL_DEBUG=1)"""


@dataclass(frozen=True)
class Demos:
    """Record demonstrations, look at some, check them, or bring them from and to other formats."""

    command: Annotated[
        Annotated[CollectDemos, subcommand("collect")]
        | Annotated[CollectPlay, subcommand("collect-play")]
        | Annotated[InspectDemos, subcommand("inspect")]
        | Annotated[ViewDemos, subcommand("view")]
        | Annotated[CheckDemos, subcommand("check")]
        | Annotated[ImportDemos, subcommand("import")]
        | Annotated[ExportDemos, subcommand("export")],
        arg(name=""),
    ]

    def run(self) -> int:
        """Run the command below."""
        return self.command.run()


@dataclass(frozen=True)
class Completion:
    """Print the script that completes commands and options on the Tab key."""

    shell: Positional[Shell]
    """Shell to print the script for."""

    def run(self) -> int:
        """Print the script."""
        print(completion_script(self.shell), end="")
        return 0


COMMANDS: dict[str, type[Any]] = {
    "train": Train,
    "eval": Evaluate,
    "execution": Execution,
    "export": Export,
    "serve": Serve,
    "push": Push,
    "pull": Pull,
    "demos": Demos,
    "env": Environments,
    "sweep": Sweep,
    "compare": Compare,
    "plot": Plot,
    "report": ReportPage,
    "diagnose": Diagnose,
    "lens": ValueLens,
    "presets": Presets,
    "doctor": Doctor,
    "parity": Parity,
    "ablate": Ablate,
    "reproduce": Reproduce,
    "completion": Completion,
}
_COMPLETION_SETUP = """Add the line of your shell to its start-up file:
  bash  ~/.bashrc                   eval "$(zoomrl completion bash)"
  zsh   ~/.zshrc                    eval "$(zoomrl completion zsh)"
  tcsh  ~/.tcshrc                   zoomrl completion tcsh > ~/.zoomrl.tcsh; source ~/.zoomrl.tcsh
  fish  ~/.config/fish/config.fish  zoomrl completion fish | source"""
NESTED: dict[str, dict[str, type[Any]]] = {
    "demos": {
        "collect": CollectDemos,
        "collect-play": CollectPlay,
        "inspect": InspectDemos,
        "view": ViewDemos,
        "check": CheckDemos,
        "import": ImportDemos,
        "export": ExportDemos,
    },
    "env": {"check": Environments},
    "sweep": {"status": SweepStatus, "stop": SweepStop},
}
_SHORT = {"--env": "--env.id", "--env-python": "--env.python"}
"""Short forms of the commands below; others have options of their own by these names."""
_WITH_ENVIRONMENT = (CollectDemos, CheckDemos, ImportDemos, Environments)


def check_command(words: Sequence[str]) -> None:
    """Refuse an unknown command with the nearest known one; the parser would only list them all."""
    if words and not words[0].startswith("-") and words[0] not in COMMANDS:
        raise unknown_name("command", words[0], COMMANDS)
    if words[:1] == ["sweep"] and len(words) > 1:
        word = words[1]
        if not (word.startswith("-") or word.endswith(".toml") or word in NESTED["sweep"]):
            raise unknown_name("sweep command, or TOML file,", word, NESTED["sweep"])
    nested = NESTED.get(words[0], ()) if len(words) > 1 and words[0] != "sweep" else ()  # which takes a file too
    if nested and not words[1].startswith("-") and words[1] not in nested:
        raise unknown_name(f"{words[0]} command", words[1], nested)


def check_options(words: Sequence[str]) -> None:
    """Refuse an option by its earlier name, and say the new one."""
    for word in words:
        name = word.partition("=")[0].removeprefix("--").replace("-", "_")
        if word.startswith("--") and name in RENAMED:
            new = RENAMED[name].replace("_", "-")
            raise ConfigError(f"{word.partition('=')[0]} is called --{new} now")


def parse(words: Sequence[str]) -> Command:
    """The command that ``words`` ask for. Leaves with SystemExit after help (0) or a usage error (2)."""
    if words and words[0] in COMMANDS:
        name, kind, rest = words[0], COMMANDS[words[0]], list(words[1:])
        if name in ("demos", "sweep") and rest[:1] and rest[0] in NESTED[name]:
            # By itself, so that messages name its own help.
            name, kind, rest = f"{name} {rest[0]}", NESTED[name][rest[0]], rest[1:]
        return _parse_one(name, kind, _in_full(rest) if kind in _WITH_ENVIRONMENT else rest)
    choices: Any = None
    for name, kind in COMMANDS.items():
        # The short description: the long ones would drown the list of commands.
        default: dict[str, Any] = {"default": defaults(())} if kind is Train else {}
        marker = subcommand(name, prefix_name=False, description=_summary(kind), **default)
        choice = Annotated[kind, marker]  # type: ignore[valid-type]
        choices = choice if choices is None else choices | choice
    return cast(
        Command,
        tyro.cli(choices, args=list(words), prog=PROG, description=_DESCRIPTION, config=(AvoidSubcommands,)),
    )


def _in_full(words: Sequence[str]) -> list[str]:
    """The words with short forms of options written out."""
    pairs = (word.partition("=") for word in words)
    return [_SHORT.get(name, name) + equals + value for name, equals, value in pairs]


def _parse_one(name: str, kind: type[Any], words: list[str]) -> Command:
    """Parse a known command by itself, so that messages name its own help."""
    extra = {
        "train": f"\n\nPresets, which the other defaults come from (more on them: zoomrl presets):\n{preset_names()}",
        "completion": f"\n\n{_COMPLETION_SETUP}",
    }
    prog, about = f"{PROG} {name}", _summary(kind) + extra.get(name, "")
    if kind is Train:
        # Without AvoidSubcommands, the agents would be a level of commands of their own.
        default = defaults(words)
        check_agent_options(words, default.agent)
        # The parser makes options of the fields of a type: of this agent's own.
        described: Any = Annotated[type(default.agent), arg(help=_summary(type(default.agent)))]
        agent = (("agent", described, field(default=default.agent)),)
        own = make_dataclass("Train", agent, bases=(Train,), frozen=True, namespace={"__doc__": Train.__doc__})
        _check_lists(own, words)
        return tyro.cli(
            own,
            args=words,
            default=own(**{option.name: getattr(default, option.name) for option in fields(default)}),
            prog=prog,
            description=about,
            config=(AvoidSubcommands,),
        )
    _check_lists(kind, words)
    return cast(Command, tyro.cli(kind, args=words, prog=prog, description=about))


def _check_lists(kind: type[Any], words: Sequence[str]) -> None:
    """Refuse a list that is given in two places: the parser would keep the last alone."""
    given = [word.partition("=")[0].replace("_", "-") for word in words if word.startswith("--")]
    for name in _lists(kind):
        if given.count(name) > 1:
            raise ConfigError(f"{name} is given {given.count(name)} times: write its values together, {name} A B")


def _lists(kind: type[Any], prefix: str = "--") -> Iterator[str]:
    """Options of a command that take any number of values."""
    for name, hint in get_type_hints(kind).items():
        option = prefix + name.replace("_", "-")
        if get_origin(hint) is tuple and get_args(hint)[-1] is Ellipsis:
            yield option
        elif is_dataclass(hint):
            yield from _lists(cast("type[Any]", hint), f"{option}.")


def _summary(kind: type[Any]) -> str:
    return (kind.__doc__ or "").partition("\n")[0]
