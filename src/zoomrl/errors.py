"""Errors that users meet, and the nearest-name suggestions they carry."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ZoomrlError(Exception):
    """Base of every error that zoomrl raises on purpose: bad input, or a state that cannot continue."""


class ConfigError(ZoomrlError, ValueError):
    """An option, name or combination that cannot work. Says what was expected, what came and what to do."""


class MissingDependencyError(ZoomrlError, ImportError):
    """A simulator or tool is not installed. Names the extra that installs it."""


class DemonstrationError(ZoomrlError):
    """A demonstration file that is damaged, or that does not fit the environment."""


class CheckpointError(ZoomrlError):
    """A run directory or checkpoint that cannot be used as asked."""


class DamagedFileError(CheckpointError):
    """A file of a run whose content is not what was written. A file that cannot be read now is not damaged."""


class NonFiniteLossError(ZoomrlError):
    """A loss or parameter became NaN or infinite. The last good checkpoint is intact."""


class WorkerError(ZoomrlError):
    """An environment worker process failed in a way that a restart does not mend."""


class SimulatorError(WorkerError, RuntimeError):
    """An environment raised, or answered with what it did not promise. Names environment, versions, call and cause."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> ConfigError:
    """Build the error for an unknown ``kind`` called ``name``, suggesting the nearest of ``known``."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(names)}."
    return ConfigError(f"unknown {kind} {name!r}. {hint}")


def missing_extra(module: str, extra: str) -> MissingDependencyError:
    """Build the error for a ``module`` that the extra ``extra`` would install."""
    return MissingDependencyError(f"{module!r} is not installed. Install it with: pip install 'zoomrl[{extra}]'")
