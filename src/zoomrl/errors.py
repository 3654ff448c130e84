"""Errors that users meet, and the advice they carry: nearest names, and commands that work as they are printed."""

from __future__ import annotations

import difflib
import importlib
import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


class ZoomrlError(Exception):
    """Base of every error that zoomrl raises on purpose: bad input, or a state that cannot continue."""


class ConfigError(ZoomrlError, ValueError):
    """An option, name or combination that cannot work. Says what was expected, what came and what to do."""


class MissingDependencyError(ZoomrlError, ImportError):
    """A simulator or tool cannot be used: it is not installed. Names the extra that installs it."""


class BrokenDependencyError(MissingDependencyError):
    """A simulator or tool cannot be used: it is installed, and importing it fails. Says what broke."""


class DemonstrationError(ZoomrlError):
    """A demonstration file that is damaged, or that does not fit the environment."""


class CheckpointError(ZoomrlError):
    """A run directory or checkpoint that cannot be used as asked."""


class RunHeldError(CheckpointError):
    """Another process is at the run in a directory."""


class DamagedFileError(CheckpointError):
    """A file of a run whose content is not what was written. A file that cannot be read now is not damaged."""


class NonFiniteLossError(ZoomrlError):
    """A loss or parameter became NaN or infinite. The last good checkpoint is intact."""


class WorkerError(ZoomrlError):
    """An environment worker process failed in a way that a restart does not mend."""


class SimulatorError(WorkerError, RuntimeError):
    """An environment raised, or answered with what it did not promise. Names environment, versions, call and cause."""


LISTED = 60
"""Names that an error lists at most."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> ConfigError:
    """Build the error for an unknown ``kind`` called ``name``, suggesting the nearest of ``known``."""
    names = sorted(known)
    near = [one for one in names if one.endswith(f".{name}")][:3]
    near = near or difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    # Hundreds of names on a screen help nobody.
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(names[:LISTED])}{more}."
    hint = hint if names else "There is none."
    return ConfigError(f"unknown {kind} {name!r}. {hint}")


def import_optional(module: str, extra: str) -> Any:
    """The module called ``module``, which the extra ``extra`` installs.

    Raises:
        MissingDependencyError: it is not installed.
        BrokenDependencyError: it is, and cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise import_problem(error, module, extra) from error
    except Exception as error:  # libraries that fail while they are imported raise what they like
        raise _broken(error, module, extra) from error


def import_problem(error: ImportError, module: str, extra: str) -> MissingDependencyError:
    """What ``error`` means, which came from importing ``module``: it is missing, or something in it is broken."""
    if is_missing(error, module):
        return missing_extra(module.partition(".")[0], extra)
    return _broken(error, module, extra)


def _broken(error: Exception, module: str, extra: str) -> BrokenDependencyError:
    return BrokenDependencyError(
        f"{module!r} is installed, but cannot be imported: {type(error).__name__}: {error}. Install it again, with "
        f"what it needs: {install_command(extra)}"
    )


def is_missing(error: ImportError, module: str) -> bool:
    """Whether ``error`` says that ``module``, or the package that it is a part of, is not installed."""
    named = error.name or ""
    return isinstance(error, ModuleNotFoundError) and bool(named) and f"{module}.".startswith(f"{named}.")


def missing_extra(module: str, extra: str) -> MissingDependencyError:
    """Build the error for a ``module`` that the extra ``extra`` would install."""
    return MissingDependencyError(
        f"{module!r} is not installed. The extra zoomrl[{extra}] brings it: {install_command(extra)}"
    )


def install_command(extra: str) -> str:
    """The command that adds the extra ``extra`` to the zoomrl that is running, wherever that came from."""
    return f"{_pip()} install {_requirement(extra)}"


def command_line(*words: object) -> str:
    """``words`` as one command that a shell reads back as just these words."""
    return shlex.join(map(str, words))


def plural(count: int, noun: str) -> str:
    """``count`` with its noun: 1 episode, 2 episodes."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _pip() -> str:
    """How pip of this very interpreter is called here; another one would install where nobody looks."""
    found = shutil.which("pip")
    ours = Path(sys.executable).parent
    if found is not None and Path(found).parent == ours:
        return "pip"
    python = sys.executable
    if ours.is_relative_to(Path.cwd()):
        python = os.path.relpath(python)
    return command_line(python, "-m", "pip")


def _requirement(extra: str) -> str:
    """What pip is asked for: the checkout that this file lies in, what was installed from elsewhere, or the name."""
    root = Path(__file__).resolve().parents[2]
    if (root / "pyproject.toml").is_file() and root.joinpath("src", "zoomrl") == Path(__file__).resolve().parent:
        place = "." if root == Path.cwd().resolve() else str(root)
        return f"-e {shlex.quote(f'{place}[{extra}]')}"
    named = f"zoomrl[{extra}]"
    try:
        origin = json.loads(metadata.distribution("zoomrl").read_text("direct_url.json") or "{}")
        url, version_control = str(origin["url"]), origin.get("vcs_info")
    except (metadata.PackageNotFoundError, KeyError, TypeError, ValueError):
        return shlex.quote(named)
    if version_control:
        return shlex.quote(f"{named} @ {version_control['vcs']}+{url}@{version_control['commit_id']}")
    if "dir_info" not in origin:
        return shlex.quote(f"{named} @ {url}")
    folder = Path(unquote(urlsplit(url).path))
    if not folder.is_dir():  # moved or deleted since
        return shlex.quote(named)
    return ("-e " if origin["dir_info"].get("editable") else "") + shlex.quote(f"{folder}[{extra}]")
