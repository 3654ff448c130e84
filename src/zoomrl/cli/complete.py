"""What may come next on a command line: ``python -m zoomrl.cli.complete SHELL WORD ...`` prints it for a shell.

A program of its own that the shell's script asks at each press of the Tab key. So completion always knows the options
of the agent that the words before name, and the runs that are there now.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import tyro
from tyro.conf import AvoidSubcommands

from zoomrl.agents.registry import AGENT_CONFIGS
from zoomrl.cli import env_ids
from zoomrl.cli.train import Train, defaults
from zoomrl.cli.tree import COMMANDS, NESTED
from zoomrl.demos.store.layout import METADATA_FILE
from zoomrl.envs.suites.ogbench.tasks import SCENES
from zoomrl.errors import ConfigError
from zoomrl.recipes.latent import ABLATIONS
from zoomrl.recipes.presets import PRESETS


@dataclass(frozen=True)
class Candidate:
    """A word that may stand where the cursor is. After one that ends in ``/``, ``:`` or ``=`` more may follow."""

    word: str
    about: str = ""


Source = Callable[[str], Iterable[Candidate]]
"""From the beginning of a word to whole ones; others may be among them, which are left out later."""


def main() -> None:
    """Print one candidate a line: the word, and for shells that show it, a tab and what it means."""
    shell, *words = sys.argv[1:]
    typed, words = _unquoted(shell, words)
    for candidate in complete(words):
        word = candidate.word[len(words[-1]) - len(typed) :] if shell == "bash" else candidate.word
        print(word if shell in ("bash", "tcsh") or not candidate.about else f"{word}\t{candidate.about}")


def complete(words: Sequence[str]) -> list[Candidate]:
    """What the last of ``words``, the words after the program's name, may become."""
    *before, word = words
    found = {c.word: c for c in _candidates(before, word) if c.word.startswith(word)}
    return list(found.values())


def _candidates(before: Sequence[str], word: str) -> Iterator[Candidate]:
    before = [w for w in before if w != "--debug"]
    if not before:
        flags = (("--help", "help"), ("--version", "the version"), ("--debug", "show the traceback of an error"))
        yield from (Candidate(name, _line(kind.__doc__)) for name, kind in COMMANDS.items())
        yield from (Candidate(*flag) for flag in flags if word)
    elif before[0] == "sweep" and before[1:2] and before[1] in NESTED["sweep"]:
        yield from _after(_options_of(NESTED["sweep"][before[1]]), f"sweep {before[1]}", before[2:], word)
    elif before[0] in COMMANDS:
        if before == ["sweep"]:  # its parser knows the file alone
            yield from (Candidate(name, _line(kind.__doc__)) for name, kind in NESTED["sweep"].items())
        yield from _after(_parser(before), before[0], before[1:], word)


def _parser(before: Sequence[str]) -> argparse.ArgumentParser:
    """The options of the command that ``before`` begins with."""
    kind = COMMANDS[before[0]]
    if kind is not Train:
        return _options_of(kind)
    try:
        default = defaults(before)
    except ConfigError:  # an agent or preset that is not typed in full
        default = defaults(())
    return _options_of(Train, default=default, config=(AvoidSubcommands,))


def _options_of(kind: Any, **options: Any) -> argparse.ArgumentParser:
    with warnings.catch_warnings():
        # Nothing else in tyro tells the options of a command; its next major version is excluded in pyproject.toml.
        warnings.simplefilter("ignore", DeprecationWarning)
        return cast(argparse.ArgumentParser, tyro.extras.get_parser(kind, **options))


def _after(parser: argparse.ArgumentParser, command: str, before: Sequence[str], word: str) -> Iterator[Candidate]:
    """What may follow ``before``, the words after ``command``."""
    actions = parser._actions
    options = {text: action for action in actions for text in action.option_strings}
    positionals = [action for action in actions if not action.option_strings]
    given, open_option, values = 0, None, 0
    for index, earlier in enumerate(before):
        if earlier.startswith("-") and not _is_number(earlier):
            name, equals, _ = earlier.partition("=")
            open_option, values = options.get(name), int(bool(equals))
        elif open_option is not None and values < _most(open_option):
            values += 1
        elif given < len(positionals):
            open_option = None
            inner = positionals[given].choices
            if isinstance(inner, dict):
                if earlier in inner:
                    yield from _after(inner[earlier], f"{command} {earlier}", before[index + 1 :], word)
                return
            given += _most(positionals[given]) == 1
    if word.startswith("-"):
        name, equals, _ = word.partition("=")
        if equals and name in options:
            yield from (Candidate(f"{name}={c.word}", c.about) for c in _values(options[name], command, word))
        yield from (Candidate(text, _line(action.help)) for text, action in options.items())
        return
    if open_option is not None and values < _most(open_option):
        yield from _values(open_option, command, word)
        if values == 0 or word:
            return
    elif given < len(positionals):
        yield from _values(positionals[given], command, word)
        return
    if not word:
        yield from (Candidate(text, _line(action.help)) for text, action in options.items())


def _values(action: argparse.Action, command: str, word: str) -> Iterable[Candidate]:
    """The values of an option or positional."""
    word = word.partition("=")[2] if word.startswith("-") else word
    names = [*action.option_strings, action.dest.rpartition(".")[2]]
    for key in ((command, name) for name in names):
        if key in _SOURCES:
            return _SOURCES[key](word)
    for name in names:
        if name in _EVERYWHERE:
            return _EVERYWHERE[name](word)
    if action.choices:
        inner = action.choices if isinstance(action.choices, dict) else {}
        abouts = {name: _line(parser.description) for name, parser in inner.items()}
        return [Candidate(str(choice), abouts.get(str(choice), "")) for choice in action.choices]
    return paths(word) if "PATH" in str(action.metavar) else []


def _most(action: argparse.Action) -> float:
    """How many values an option or positional takes at most."""
    if isinstance(action.nargs, int):
        return action.nargs
    return 1 if action.nargs in (None, "?") else float("inf")


# ---- where values come from -------------------------------------------------------------------------------


def presets(word: str) -> Iterator[Candidate]:
    """Names of presets."""
    for name, recipe in PRESETS.items():
        yield Candidate(name, _line(recipe.about))


def environments(word: str) -> Iterator[Candidate]:
    """Domains; after the colon, the ids of the domain."""
    domain, colon, _ = word.partition(":")
    if colon:
        yield from map(Candidate, env_ids.ids(domain))
    else:
        yield from (Candidate(f"{name}:") for name in env_ids.DOMAINS)


def agents(word: str) -> Iterator[Candidate]:
    """Names of agents."""
    yield from (Candidate(name, _line(kind.__doc__)) for name, kind in AGENT_CONFIGS.items())


def paths(
    word: str,
    whole: Callable[[Path], bool] = lambda folder: False,
    wanted: Callable[[Path], bool] = lambda file: True,
) -> Iterator[Candidate]:
    """Folders and files. A folder that is ``whole`` is a value by itself; of other files, only those ``wanted``."""
    head, tail = os.path.split(word)
    with suppress(OSError):
        for entry in sorted(Path(os.path.expanduser(head) or ".").iterdir()):
            if entry.name.startswith(".") and not tail.startswith("."):
                continue
            name = os.path.join(head, entry.name)
            if entry.is_dir():
                yield Candidate(name if whole(entry) else f"{name}/")
            elif wanted(entry):
                yield Candidate(name)


def runs(word: str, wanted: Callable[[Path], bool] = lambda file: False) -> Iterator[Candidate]:
    """Run directories; before anything is typed, those in ``runs``, where they usually are."""
    usual = [] if word else [c for c in paths("runs/", _is_run, wanted) if not c.word.endswith("/")]
    yield from usual or paths(word, _is_run, wanted)


def policies(word: str) -> Iterator[Candidate]:
    """Run directories, and the checkpoints in them."""
    yield from runs(word, lambda file: file.suffix == ".pt")


def sets(word: str) -> Iterator[Candidate]:
    """Demonstration sets."""
    yield from paths(word, lambda folder: (folder / "data" / METADATA_FILE).is_file(), lambda file: False)


def _sets_or_words(word: str) -> Iterator[Candidate]:
    yield from (Candidate("scripted", "collected from the environment's expert"), Candidate("none"))
    yield from sets(word)


def _is_run(folder: Path) -> bool:
    return (folder / "config.json").is_file()


def _formats(kind: str) -> Source:
    def source(word: str) -> Iterator[Candidate]:
        from zoomrl.demos import formats

        yield from map(Candidate, ("auto", *formats.READERS) if kind == "import" else formats.WRITERS)

    return source


def _references(word: str) -> Iterator[Candidate]:
    from zoomrl.analysis.references import reference_names

    yield from map(Candidate, reference_names())


def _experiments(word: str) -> Iterator[Candidate]:
    from zoomrl.reproduce.registry import MODULES

    yield from map(Candidate, MODULES)


_EVERYWHERE: dict[str, Source] = {
    "--preset": presets,
    "--env.id": environments,
    "--demos.source": _sets_or_words,
    "--demos.directory": paths,
    "--run-dir": runs,
    "--env.python": paths,
    "--agent.encoder.weights": paths,
}
_SOURCES: dict[tuple[str, str], Source] = {
    ("train", "--agent"): agents,
    ("train", "--env"): environments,
    ("train", "--demos"): _sets_or_words,
    ("parity", "--env"): environments,
    ("ablate", "--env"): environments,
    ("ablate", "--directory"): paths,
    ("ablate", "--variants"): lambda word: map(Candidate, ("iqrl", *ABLATIONS)),
    ("reproduce", "name"): _experiments,
    ("reproduce", "--out"): paths,
    ("env", "id"): environments,
    ("sweep", "--env"): environments,
    ("sweep", "--agent"): agents,
    ("sweep", "--out"): paths,
    ("sweep", "file"): paths,
    ("sweep status", "directory"): paths,
    ("sweep stop", "directory"): paths,
    ("eval", "path"): policies,
    ("lens", "path"): policies,
    ("lens", "--out"): paths,
    ("lens", "--rrd"): paths,
    ("plot", "runs"): runs,
    ("compare", "runs"): paths,
    ("report", "runs"): paths,
    ("report", "--out"): paths,
    ("report", "--csv"): paths,
    ("compare", "--reference"): _references,
    ("demos collect-play", "scene"): lambda word: map(Candidate, SCENES),
    ("demos inspect", "path"): sets,
    ("demos view", "path"): sets,
    ("demos check", "path"): sets,
    ("demos export", "set"): sets,
    ("demos import", "format"): _formats("import"),
    ("demos export", "format"): _formats("export"),
}
"""By command, and option or name of a positional."""


# ---- words ------------------------------------------------------------------------------------------------


def _unquoted(shell: str, words: Sequence[str]) -> tuple[str, list[str]]:
    """The last word as the shell would replace it, and all words without quotes.

    bash cuts words at ``:`` and ``=`` and leaves quotes in: pieces are put together, and only the part after the last
    cut is replaced. tcsh hands over the whole line.
    """
    if shell == "tcsh":
        line = os.environ.get("COMMAND_LINE", "")
        words = [*line.split()[1:], *([""] if line[-1:].isspace() else [])] or [""]
    if shell != "bash":
        return words[-1], list(words)
    joined: list[str] = []
    glue = False
    for word in words:
        cut = word in (":", "=", "::")
        if joined and (glue or cut):
            joined[-1] += word
        else:
            joined.append(word)
        glue = cut
    plain = [_plain(word) for word in joined]
    typed = "" if words[-1] in (":", "=", "::") else _plain(words[-1])
    return typed, plain


def _plain(word: str) -> str:
    """A word as bash read it, without its quotes and backslashes; the last quote may still be open."""
    return re.sub(r"\\(.)|['\"]", lambda found: found[1] or "", word)


def _is_number(word: str) -> bool:
    return re.fullmatch(r"-\d*\.?\d+", word) is not None


def _line(text: str | None) -> str:
    """The first sentence of a description, on one line, without what would upset a shell or terminal."""
    words = " ".join((text or "").replace("``", "").split())
    end = words.find(". ")
    return "".join(letter for letter in (words[:end] if end > 0 else words) if letter.isprintable()).rstrip(".")


if __name__ == "__main__":
    main()
