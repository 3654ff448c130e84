"""Things that are found by name: those of this package, and those that other packages declare by entry points."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Generic, TypeVar, cast

from zoomrl.errors import ConfigError

T = TypeVar("T")


def import_named(name: str) -> ModuleType:
    """Import the module that a user has named; one that is not installed is looked for in the current folder too."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        top, here = name.partition(".")[0], os.getcwd()
        if error.name != top or here in sys.path or not (Path(f"{top}.py").exists() or Path(top).is_dir()):
            raise
    sys.path.append(here)
    return import_module(name)


class Registry(Mapping[str, T], Generic[T]):
    """Objects by name, each imported when it is asked for. Names are known without importing anything.

    Args:
        group: of the entry points by which other packages add names, such as ``zoomrl.agents``. A package writes
            ``[project.entry-points."zoomrl.agents"]`` and below it ``name = "package.module:Object"``.
        built_in: ``module:Object``, or a module, by name.
        kind: class of which what other packages add must be a subclass; None for anything.
        needs: attributes that it must have.

    Raises:
        KeyError: by ``registry[name]``, for a name that there is not.
        ConfigError: by ``registry[name]``, for a plug-in that cannot be imported, is of another kind, calls itself by
            another name, or lacks what it needs.
    """

    def __init__(
        self, group: str, built_in: Mapping[str, str], kind: type | None = None, needs: Sequence[str] = ()
    ) -> None:
        self.group = group
        self._built_in = built_in
        self._kind = kind
        self._needs = needs

    @cached_property
    def plugins(self) -> dict[str, EntryPoint]:
        """Those of other packages, by name."""
        return {point.name: point for point in entry_points(group=self.group) if point.name not in self._built_in}

    def __getitem__(self, name: str) -> T:
        if name in self._built_in:
            return cast(T, load(self._built_in[name]))
        if name not in self.plugins:
            raise KeyError(name)
        return self._load_plugin(self.plugins[name])

    def __contains__(self, name: object) -> bool:
        return name in self._built_in or name in self.plugins

    def __iter__(self) -> Iterator[str]:
        yield from self._built_in
        yield from sorted(self.plugins)

    def __len__(self) -> int:
        return len(self._built_in) + len(self.plugins)

    def _load_plugin(self, point: EntryPoint) -> T:
        origin = f"the plug-in {point.name!r} of {self.group} ({point.value})"
        try:
            found = point.load()
        except Exception as error:
            raise ConfigError(f"{origin} cannot be imported: {type(error).__name__}: {error}") from error
        kind = self._kind
        if kind is not None and not (isinstance(found, type) and issubclass(found, kind)):
            raise ConfigError(f"{origin} must be a subclass of {kind.__module__}.{kind.__name__}, and is {found!r}")
        own = getattr(found, "name", point.name)
        if isinstance(own, str) and own != point.name:
            # Saved runs know it by its own name.
            raise ConfigError(f"{origin} calls itself {own!r}: give both one name")
        lacking = [name for name in self._needs if not hasattr(found, name)]
        if lacking:
            raise ConfigError(f"{origin} has no {' and no '.join(lacking)}")
        return cast(T, found)


def load(place: str) -> object:
    """The object at ``module:name``, or the module itself where no name is given."""
    module, _, name = place.partition(":")
    found = import_module(module)
    return getattr(found, name) if name else found
