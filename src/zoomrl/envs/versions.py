"""Versions of what runs an environment."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata


def installed_version(package: str) -> str | None:
    """Version of an installed distribution; None without it."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def distributions(modules: Iterable[str]) -> tuple[str, ...]:
    """The installed distributions that the top-level ``modules`` come from, sorted. Takes a tenth of a second."""
    known = metadata.packages_distributions()
    return tuple(sorted({known[module][0] for module in modules if known.get(module)}))


def with_versions(packages: Iterable[str]) -> str:
    """``packages`` that are installed, each with its version, as in "mujoco 3.3.0, gymnasium 1.2.0"; may be empty."""
    found = ((package, installed_version(package)) for package in packages)
    return ", ".join(f"{package} {version}" for package, version in found if version is not None)
