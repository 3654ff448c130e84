"""What checking an environment says, and what all of its checks share."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from zoomrl.errors import ZoomrlError

Status = Literal["ok", "note", "warning", "error"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        group: heading that it belongs under.
        name: what was looked at.
        status: ``ok``; ``note`` where something is good to know; ``warning`` where learning works and may be worse for
            it; ``error`` where the environment cannot be used, or would teach something wrong.
        detail: what was found.
        fix: what to change; empty when there is nothing to change.
        trace: where an exception came from; empty without one.
    """

    group: str
    name: str
    status: Status
    detail: str
    fix: str = ""
    trace: str = ""

    def to_dict(self) -> dict[str, str]:
        """Plain JSON-serialisable form."""
        return asdict(self)


@dataclass(frozen=True)
class Subject:
    """The environment under examination.

    Attributes:
        env: a Gymnasium environment, zoomrl's own or one as its author wrote it.
        build: makes another like it.
        limit: agent steps after which an episode must have ended, or None where that is not known.
        limited: whether something outside ``env`` ends an episode at the limit.
        group: heading of what is found.
    """

    env: gymnasium.Env[Any, Any]
    build: Callable[[], gymnasium.Env[Any, Any]]
    limit: int | None
    limited: bool
    group: str


def guarded(group: str, name: str, run: Callable[[], Iterable[Check]], fix: str = "") -> list[Check]:
    """The checks that ``run`` makes; what it raises ends it, and is an error among them."""
    found: list[Check] = []
    try:
        for check in run():
            found.append(check)  # one by one: those made before an exception are kept
    except Exception as error:  # an environment raises what it likes
        detail = str(error) if isinstance(error, ZoomrlError) else f"{type(error).__name__}: {error}"
        found.append(Check(group, name, "error", detail, fix, traceback.format_exc()))
    return found


def actions_of(env: gymnasium.Env[Any, Any], seed: int) -> Iterator[Any]:
    """Random actions of the action space, the same ones for the same seed."""
    env.action_space.seed(seed)
    while True:
        yield env.action_space.sample()


def leaves(observation: Any, path: str = "") -> dict[str, NDArray[Any]]:
    """The arrays of an observation by their keys, joined by "/" where dicts are nested. Arrays are not copied."""
    if isinstance(observation, Mapping):
        found: dict[str, NDArray[Any]] = {}
        for key, part in observation.items():
            found |= leaves(part, f"{path}/{key}" if path else str(key))
        return found
    return {path or "observation": np.asarray(observation)}


def boxes(space: spaces.Space[Any], path: str = "") -> Iterator[tuple[str, spaces.Space[Any]]]:
    """The leaves of a space by the same names."""
    if isinstance(space, spaces.Dict):
        for key, part in space.spaces.items():
            yield from boxes(part, f"{path}/{key}" if path else str(key))
    else:
        yield path or "observation", space
