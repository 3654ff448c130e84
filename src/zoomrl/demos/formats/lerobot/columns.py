"""Which columns of a LeRobot data set are actions, states and cameras: their names are free."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from zoomrl.demos.formats.lerobot import layout
from zoomrl.demos.formats.lerobot.info import IMAGES, NUMBERS, Feature
from zoomrl.errors import ConfigError, DemonstrationError, unknown_name

INDICES = ("timestamp", "frame_index", "episode_index", "index", "task_index")
OUTCOME = ("next.reward", "next.success", "next.done")
_LISTED = 40

Features = Mapping[str, Feature]


def actions(features: Features, asked: Sequence[str], where: str) -> list[str]:
    """The columns that are joined into actions, in this order.

    Those ``asked`` for; else ``action``; else ``actions``; else all ``action.*`` in the order of ``info.json``.

    Raises:
        ConfigError: what is asked for is no column of numbers of the data set ``where``.
        DemonstrationError: nothing is called so; lists what there is.
    """
    numbers = [name for name, feature in features.items() if feature.dtype in NUMBERS]
    for name in asked:
        if name not in numbers:
            raise unknown_name(f"column of numbers of {where}", name, numbers)
    whole = [name for name in sorted(numbers) if name in ("action", "actions")][:1]
    found = list(asked) or whole or [name for name in numbers if name.startswith(("action.", "actions."))]
    if not found:
        there = ", ".join([name for name in numbers if name not in (*INDICES, *OUTCOME)][:_LISTED])
        raise DemonstrationError(
            f"{where} has no column called action, actions or action.*; name the columns of actions with --action"
            + (f". There are: {there}" if there else "")
        )
    return found


def states(features: Features, taken: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """The columns of numbers that may be asked for; those joined into a state by default; and those that were observed.

    By default ``observation.state`` and ``observation.environment_state``; else ``state``; else all floating-point
    vectors ``observation.*`` in alphabetical order.

    Args:
        features: the columns.
        taken: the columns of actions.
    """
    numbers = [name for name, feature in features.items() if feature.dtype in NUMBERS]
    vectors = [name for name in numbers if _is_vector(features[name]) and features[name].dtype.startswith("float")]
    observed = [name for name in numbers if name not in (*INDICES, *OUTCOME, *taken)]
    usual = [name for name in (layout.STATE, layout.ENVIRONMENT) if name in vectors]
    bare = ["state"] if "state" in vectors else []
    default = usual or bare or sorted(name for name in vectors if name.startswith("observation."))
    return numbers, [name for name in default if name not in taken], sorted(observed)


def cameras(features: Features) -> dict[str, str]:
    """Name of each camera -> its column.

    A name is what follows ``observation.images.``, or the last part of any other column; the whole column where two
    have the same.
    """
    keys = [name for name, feature in features.items() if feature.dtype in IMAGES]
    count = Counter(_short(key) for key in keys)
    return {(_short(key) if count[_short(key)] == 1 else key): key for key in keys}


def camera_names(asked: Sequence[str], known: Mapping[str, str]) -> tuple[str, ...]:
    """What is ``asked`` for by columns, names or last parts, by the names of ``known``; what is unknown as it is.

    Raises:
        ConfigError: the last parts of two columns are alike; names both.
    """
    names = {key: name for name, key in known.items()}
    found = []
    for name in asked:
        alike = [key for key in names if name in (_short(key), _last(key))]
        if name in names:
            found.append(names[name])
        elif name in known or not alike:
            found.append(name)
        elif len(alike) == 1:
            found.append(names[alike[0]])
        else:
            raise ConfigError(f"the camera {name!r} may be {' or '.join(sorted(alike))}; name one of them in full")
    return tuple(found)


def unread(features: Features) -> str:
    """The columns that cannot be taken, in words: those of texts and the like."""
    known = (*NUMBERS, *IMAGES)
    return ", ".join(f"{name} {feature}" for name, feature in features.items() if feature.dtype not in known)


def _is_vector(feature: Feature) -> bool:
    return len(feature.shape) <= 1


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _short(key: str) -> str:
    return key.removeprefix(layout.IMAGES) if key.startswith(layout.IMAGES) else _last(key)
