"""Which parts a state is joined of, and in which order: an episode's against an environment's.

Programs join the parts of an observation in orders of their own, and a policy that learns from one order fails in
another. Order is therefore compared by name and size, and mended where these agree; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.data.episode import Episode
from zoomrl.errors import ConfigError, DemonstrationError
from zoomrl.spec import EnvSpec, StateEntry, list_entries

Entries = tuple[StateEntry, ...]

UNNAMED = "state"
"""Name of a vector whose source gives it none."""


def align(episode: Episode, spec: EnvSpec, where: str) -> Episode:
    """``episode`` with its state in the order of ``spec``; unchanged where it has that order, or either knows none.

    Args:
        episode: one without entries is taken for what the environment of ``spec`` itself has shown.
        spec: of the environment.
        where: what the episode is called in messages.

    Raises:
        DemonstrationError: where names or sizes differ; names both sides.
    """
    have, want = episode.state_entries, spec.state_entries
    if not have or not want or "state" not in episode.observations:
        return episode
    columns = columns_for(have, want)
    if columns is None:
        raise DemonstrationError(refusal(have, spec, where))
    state = episode.observations["state"]
    if not np.array_equal(columns, np.arange(len(columns))):
        state = np.ascontiguousarray(state[:, columns])
    return replace(episode, observations={**episode.observations, "state": state}, state_entries=want)


def align_spec(spec: EnvSpec, env_spec: EnvSpec) -> EnvSpec:
    """``spec`` with its state in the order of ``env_spec``, as :func:`align` makes it; unchanged where it cannot be."""
    have, want = spec.state_entries, env_spec.state_entries
    if not have or not want or columns_for(have, want) is None:
        return spec
    return replace(spec, state_entries=want)


def columns_for(have: Entries, want: Entries) -> NDArray[np.intp] | None:
    """Columns of a state joined of ``have`` that give one joined of ``want``; None where names or sizes differ.

    Entries fit by name, apart from a leading ``observation.``. Those of named dimensions, ``column[dimension]``, fit by
    the name of the dimension or, all together, by that of their column. One entry alone fits one alone, of
    equal size, where either has no name of its own: no order can be wrong.
    """
    if have == want:
        return np.arange(sum(entry.size for entry in have))
    for parts in (have, _whole_columns(have)):
        ours, theirs = _places(parts), _places(want)
        if len(parts) == len(want) == 1 and UNNAMED in {*ours, *theirs} and parts[0].size == want[0].size:
            return np.arange(want[0].size)
        # Two of one name cannot be told apart.
        unique = len(ours) == len(parts) and len(theirs) == len(want)
        if unique and {n: len(c) for n, c in ours.items()} == {n: len(c) for n, c in theirs.items()}:
            return np.concatenate([ours[name] for name in theirs])
    return None


def refusal(have: Entries, spec: EnvSpec, where: str) -> str:
    """Why a state joined of ``have`` is none of the environment of ``spec``, and what to do."""
    return (
        f"{where}: its state is made of {list_entries(have)}, and that of {spec.id} of "
        f"{list_entries(spec.state_entries)}{_difference(have, spec.state_entries)}. Nothing shows how one becomes the "
        f"other. {remedy(spec)}"
    )


def remedy(spec: EnvSpec) -> str:
    """How to import a set so that its state fits the environment of ``spec``."""
    return (
        "Import the set again: with --env.id and the other --env options, which takes the environment's entries by "
        "their names; with --state to choose entries by the names that the set has; or, where you know of which parts "
        "and in which order the state is joined, with --entries "
        f"{' '.join(f'{e.name}:{e.size}' for e in spec.state_entries)} (name:size, in the order of the set)"
    )


def set_entries(spec: EnvSpec, meta: Mapping[str, Any]) -> Entries:
    """The entries that a stored set has.

    Older sets name none. What was recorded then was in the environment's own order, which empty stands for; what was
    imported may have been joined in another, and counts as one vector without names.
    """
    if spec.state_entries or not spec.state_dim or not is_imported(meta):
        return spec.state_entries
    return (StateEntry(UNNAMED, spec.state_dim),)


def is_imported(meta: Mapping[str, Any]) -> bool:
    """Whether a set of that provenance was first recorded by another program; ours may have been out and in again."""
    while isinstance(inner := meta.get("recorded"), Mapping):
        meta = inner
    return "format" in meta


def match(names: Sequence[str], want: Entries) -> list[str] | None:
    """Of ``names``, those that the entries ``want`` have, in the order of ``want``; None where any is missing."""
    known = {_plain(name): name for name in names}
    found = [known.get(_plain(entry.name)) for entry in want]
    if len(known) < len(names) or not all(found):
        return None
    return [name for name in found if name]


def parse_entry(text: str) -> StateEntry:
    """The entry that ``name:size`` describes; ConfigError for anything else."""
    name, _, size = text.rpartition(":")
    if not name or not size.isdecimal() or int(size) < 1:
        raise ConfigError(f"an entry of the state is name:size, such as goal:3; got {text!r}")
    return StateEntry(name, int(size))


def _plain(name: str) -> str:
    _, bracket, dimension = name.removesuffix("]").partition("[")
    return dimension if bracket else name.removeprefix("observation.")


def _whole_columns(entries: Entries) -> Entries:
    """``entries`` with the named dimensions of a column joined to that column."""
    found: list[StateEntry] = []
    for entry in entries:
        column, bracket, _ = entry.name.partition("[")
        if bracket and found and found[-1].name == column:
            found[-1] = StateEntry(column, found[-1].size + entry.size)
        else:
            found.append(StateEntry(column, entry.size))
    return tuple(found)


def _places(entries: Entries) -> dict[str, NDArray[np.intp]]:
    """Name -> columns of each entry."""
    ends = np.cumsum([entry.size for entry in entries])
    return {_plain(e.name): np.arange(end - e.size, end) for e, end in zip(entries, ends, strict=True)}


def _difference(have: Entries, want: Entries) -> str:
    ours, theirs = ({_plain(entry.name): entry.size for entry in side} for side in (have, want))
    said = [f"{name} is missing" for name in theirs if name not in ours]
    said += [f"{name} is not asked for" for name in ours if name not in theirs]
    for name, size in ours.items():
        if theirs.get(name, size) != size:
            said.append(f"{name} has {size} numbers, not {theirs[name]}")
    return f" ({'; '.join(said)})" if said else ""
