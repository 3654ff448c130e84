"""What the spaces of an environment promise, and whether its observations keep to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium import spaces

from zoomrl.envs.base import MAX_BOUND, Env
from zoomrl.envs.camera import described
from zoomrl.envs.check.base import Check, Status, Subject, boxes, leaves
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.options import DEFAULTS, IMAGE_OPTIONS, differences
from zoomrl.envs.suites.gym.observation import FORMS, has_alpha, is_image, looks_like_image

_WRAPPER = "gymnasium.wrappers.TransformObservation"

Fault = tuple[Status, str, str]
"""Status, what is wrong, what to change."""


def check_actions_space(subject: Subject) -> Iterator[Check]:
    """Actions must be a Box of floats with finite bounds, low below high."""
    space = subject.env.action_space
    faults = list(_action_faults(space))
    detail = f"{space}" if not isinstance(space, spaces.Box) else f"{space.dtype}{list(space.shape)}"
    yield from _checks(subject.group, "action space", detail, faults)


def check_observation_space(subject: Subject) -> Iterator[Check]:
    """Observations must be boxes, or dicts of boxes, whose images can be told from vectors."""
    faults, seen = [], []
    for name, space in boxes(subject.env.observation_space):
        faults += list(_leaf_faults(name, space))
        seen.append(
            f"{name} {space.dtype}{list(space.shape or ())}" if isinstance(space, spaces.Box) else f"{name} {space}"
        )
    yield from _checks(subject.group, "observation space", ", ".join(seen), faults)


def check_options(config: EnvConfig, env: Env) -> Iterator[Check]:
    """Whether the environment is what ``config`` asks for, and which options do nothing here."""
    faults: list[Fault] = [
        ("error", gap, "leave the option out, or mend the adapter that does not honour it")
        for gap in differences(config, env.env_spec)
    ]
    if env.env_spec.cameras and not config.cameras:
        shown = ", ".join(env.env_spec.cameras)
        fix = "name the cameras, to be sure of them: --env.cameras all"
        faults.append(("note", f"no camera was asked for; images alone are observed ({shown})", fix))
    idle = [name for name in IMAGE_OPTIONS if getattr(config, name) != DEFAULTS[name] and not env.env_spec.cameras]
    if idle:
        faults.append(("note", f"no images are observed, so that {', '.join(idle)} do nothing", "name cameras"))
    asked = [name for name, default in DEFAULTS.items() if name != "id" and getattr(config, name) != default]
    yield from _checks("zoomrl", "options", ", ".join(asked) or "none but defaults", faults)


def check_images(env: Env) -> Iterator[Check]:
    """What becomes of each camera's images, and whether an encoder can read them."""
    spec = env.env_spec
    if "rgb" not in spec.observations:
        return
    _, height, width, _ = spec.observations["rgb"].shape
    done = described(spec)
    detail = "; ".join(f"{camera}: {done.get(camera, f'{height} x {width} as it comes')}" for camera in spec.cameras)
    faults: list[Fault] = []
    if height != width:
        fix = "fit them to squares of --env.image-size: --env.image-fit stretch, letterbox or crop"
        faults.append(("error", f"{detail}: images are not square, and encoders need square ones", fix))
    yield from _checks("zoomrl", "images", detail, faults)


def check_contract_shapes(env: Env) -> Iterator[Check]:
    """The form that zoomrl promises, and shows: ``state`` float32 [S], ``rgb`` uint8 [V, H, W, 3]."""
    forms = {"state": ("float32", 1), "rgb": ("uint8", 4)}
    faults: list[Fault] = []
    for name, array in env.env_spec.observations.items():
        if name not in forms or forms[name] != (array.dtype, len(array.shape)):
            faults.append(
                (
                    "error",
                    f"observation {name!r} is {array.dtype}{list(array.shape)}",
                    "show state as float32 [S] and images as rgb, uint8 [V, H, W, 3]",
                )
            )
    seen, _ = env.reset(seed=0)
    faults += observation_faults(env.observation_space, seen)
    spec = env.env_spec
    detail = ", ".join(f"{name} {a.dtype}{list(a.shape)}" for name, a in spec.observations.items())
    rate = f"{spec.control_hz:g} agent steps per second" if spec.control_hz else "control rate unknown"
    success = "reports success" if spec.reports_success else "reports no success: only returns can be compared"
    limit = f"{spec.time_limit} agent steps"
    yield from _checks("zoomrl", "spec", f"{detail}; {spec.action_dim} actions; {limit}, {rate}; {success}", faults)


def observation_faults(space: spaces.Space[Any], observation: Any) -> Iterator[Fault]:
    """Where an observation is not what its space promises."""
    promised, shown = dict(boxes(space)), leaves(observation)
    for name in sorted(promised.keys() ^ shown.keys()):
        where = "the space only" if name in promised else "the observation only"
        yield "error", f"entry {name!r} is in {where}", "make observation_space list what is returned"
    for name, array in shown.items():
        box = promised.get(name)
        if not isinstance(box, spaces.Box):
            continue
        if array.shape != box.shape:
            fix = "return what observation_space promises, or change the space"
            yield "error", f"entry {name!r} has shape {list(array.shape)}, its space says {list(box.shape)}", fix
            continue
        if array.dtype != box.dtype:
            image = box.dtype == np.uint8
            fix = f"return np.asarray(..., np.{box.dtype}), or change the space's dtype"
            yield "error" if image else "warning", f"entry {name!r} is {array.dtype}, its space says {box.dtype}", fix
        if np.issubdtype(array.dtype, np.inexact) and not np.isfinite(array).all():
            yield "error", f"entry {name!r} holds NaN or infinite values", "find where the simulator leaves its range"
        elif ((array < box.low) | (array > box.high)).any():
            outside = np.where((array < box.low) | (array > box.high))
            at = tuple(int(axis[0]) for axis in outside)
            yield (
                "warning",
                f"entry {name!r} is {float(array[at]):g} at {list(at)}, outside {float(box.low[at]):g} .. "
                f"{float(box.high[at]):g}",
                "widen the bounds of observation_space, or clip",
            )


def _action_faults(space: spaces.Space[Any]) -> Iterator[Fault]:
    kind = type(space).__name__
    if not isinstance(space, spaces.Box):
        fix = "give it a Box of continuous actions, and turn these into its own inside step()"
        yield "error", f"actions are {kind}; zoomrl needs continuous ones", fix
        return
    if not np.issubdtype(space.dtype, np.floating):
        yield "error", f"actions are {space.dtype}", "declare a Box with dtype=np.float32"
    if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
        dims = np.flatnonzero(~(np.isfinite(space.low) & np.isfinite(space.high)).ravel()).tolist()
        fix = "declare finite bounds, for example with gymnasium.wrappers.TransformAction: the zoom grid divides them"
        yield "error", f"actions are unbounded in dimension {', '.join(map(str, dims))}", fix
    elif max(abs(float(space.low.min())), abs(float(space.high.max()))) >= MAX_BOUND:
        fix = "declare the bounds within which actions are used: the zoom grid divides them"
        yield "error", f"action bounds of {MAX_BOUND:g} and beyond stand for none", fix
    elif (space.low >= space.high).any():
        dims = np.flatnonzero((space.low >= space.high).ravel()).tolist()
        fix = "leave such dimensions out of the action"
        yield "warning", f"low is not below high in dimension {', '.join(map(str, dims))}", fix


def _leaf_faults(name: str, space: spaces.Space[Any]) -> Iterator[Fault]:
    if not isinstance(space, spaces.Box):
        fix = "turn it into a Box of numbers (one-hot for choices), or leave it out of the observation"
        yield "error", f"entry {name!r} is {type(space).__name__}; zoomrl reads Box, and Dict of Box", fix
        return
    what = f"entry {name!r} is {space.dtype}{list(space.shape)}"
    if looks_like_image(space):
        unit = f" in {float(space.low.min()):g} .. {float(space.high.max()):g}"
        fix = (
            f"show uint8 [H, W, 3], {FORMS}, one entry per camera: {_WRAPPER}. zoomrl stacks frames itself "
            "(--replay.frame-stack)"
        )
        yield "error", f"{what}{unit}, which is no image that can be used", fix
    elif has_alpha(space):
        fix = "a stack of four grey images is none: show single ones, and set --replay.frame-stack"
        yield "note", f"{what}: four channels are read as colours and an alpha channel, which is left out", fix
    elif is_image(space) and space.dtype == np.uint8 and int(space.high.max()) <= 1:
        yield "warning", f"entry {name!r} is an image whose values end at 1", "show uint8 in 0 .. 255"


def _checks(group: str, name: str, detail: str, faults: list[Fault]) -> Iterator[Check]:
    if not faults:
        yield Check(group, name, "ok", detail)
    for status, what, fix in faults:
        yield Check(group, name, status, what, fix)
