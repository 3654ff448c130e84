"""What reset and step return, and what they do to what they are given."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.envs.base import Env
from zoomrl.envs.check.base import Check, Status, Subject, actions_of, leaves
from zoomrl.envs.check.spaces import observation_faults
from zoomrl.envs.suites.gym.env import SUCCESS_KEYS

EPISODES = 2
"""Episodes that are run: one alone cannot tell a time limit from a task that ended."""

SECONDS = 20.0
"""Time after which an episode is left as it is."""

_CLEAN = {
    "reset": "an observation and a dict",
    "step": "five values",
    "observations": "as their space promises",
    "reward": "finite numbers",
    "flags": "never both set",
    "info": "",
    "arrays": "what was shown is left alone",
    "actions": "left alone",
}
"""What is looked at, and what is said of it where nothing is wrong."""


class ContractError(Exception):
    """What came back cannot be read any further."""


def check_contract(subject: Subject, steps: int, seed: int) -> Iterator[Check]:
    """Run episodes with random actions, and check everything that reset and step return.

    Args:
        subject: the environment; left where the last episode ended.
        steps: most actions per episode.
        seed: of the first episode and of the actions.
    """
    watch = _Watch(subject)
    ends = []
    most = steps if subject.limit is None else min(steps, subject.limit)
    try:
        for episode in range(EPISODES):
            ends.append(watch.run(seed + episode, most))
    except ContractError:
        pass
    for name, clean in _CLEAN.items():
        found = watch.faults.get(name, {})
        for what, (status, fix) in found.items():
            yield Check(subject.group, name, status, what, fix)
        if not found and (name == "reset" or watch.stepped):
            yield Check(subject.group, name, "ok", clean or watch.success)
    if len(ends) == EPISODES:
        yield _judge_ends(subject, ends, watch.hurried)
    if watch.late:
        yield Check(
            subject.group,
            "success",
            "warning",
            f"{watch.late} is in the info of an episode's last step, and not in that of reset or of the first step, "
            "where zoomrl looks for it: no success would be reported",
            "put it into the info of reset and of every step, False until it holds",
        )


class _Watch:
    """Runs episodes and keeps every kind of fault once, with the first place where it occurred."""

    def __init__(self, subject: Subject) -> None:
        self._subject, self._env = subject, subject.env
        self.faults: dict[str, dict[str, tuple[Status, str]]] = {}
        self.success = ""
        self._kinds: set[tuple[str, str]] = set()
        self.stepped = False
        self.hurried = False
        self.late = ""
        """The key of a success that appears after the first step alone."""
        self._early = False

    def run(self, seed: int, steps: int) -> tuple[int, bool, bool]:
        """One episode: (actions, terminated, truncated)."""
        began = time.perf_counter()
        seen = self._reset(seed)
        for step, action in enumerate(actions_of(self._env, seed)):
            if step == steps:
                return step, False, False
            if time.perf_counter() - began > SECONDS:
                self.hurried = True
                return step, False, False
            before = {name: (array, array.copy()) for name, array in leaves(seen).items()}
            given = np.array(action, copy=True)
            seen, terminated, truncated = self._step(action, step)
            self._left_alone(before, step)
            if not np.array_equal(np.asarray(action), given):
                fix = "copy it first: action = np.array(action)"
                self._fault("actions", "mutated", "warning", f"step {step} changed the action that it was given", fix)
            if terminated or truncated:
                return step + 1, terminated, truncated
        raise AssertionError("actions never end")

    def _reset(self, seed: int) -> Any:
        try:
            answer: Any = self._env.reset(seed=seed)
        except TypeError as error:
            fix = "declare reset(self, *, seed=None, options=None)"
            self._fault("reset", "seed", "error", f"reset(seed={seed}) fails: {error}", fix)
            raise ContractError from error
        if not (isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], Mapping)):
            fix = "return (observation, info) with a dict info, as Gymnasium does since 0.26"
            self._fault("reset", "pair", "error", f"reset returned {_brief(answer)} instead of a pair", fix)
            raise ContractError
        self._observed(answer[0], "reset")
        self._early = any(key in answer[1] for key in SUCCESS_KEYS)
        return answer[0]

    def _step(self, action: Any, step: int) -> tuple[Any, bool, bool]:
        answer: Any = self._env.step(action)
        if not (isinstance(answer, tuple) and len(answer) == 5):
            fix = "return (observation, reward, terminated, truncated, info), as Gymnasium does since 0.26"
            self._fault("step", "five", "error", f"step returned {_brief(answer)} instead of five values", fix)
            raise ContractError
        self.stepped = True
        seen, reward, terminated, truncated, info = answer
        self._observed(seen, f"step {step}")
        self._paid(reward, step)
        for name, flag in (("terminated", terminated), ("truncated", truncated)):
            if not isinstance(flag, bool | np.bool_):
                fix = f"return bool({name})"
                self._fault("flags", name, "warning", f"{name} is {_brief(flag)} at step {step}, not a bool", fix)
        if terminated and truncated:
            fix = "set truncated only where the episode was cut off: a value continues there, and ends with terminated"
            self._fault("flags", "both", "warning", f"step {step} is both terminated and truncated", fix)
        if not isinstance(info, Mapping):
            self._fault("info", "dict", "error", f"info is {_brief(info)} at step {step}", "return a dict")
            raise ContractError
        self.success = self._success(info)
        present = [key for key in SUCCESS_KEYS if key in info]
        self._early |= bool(present) and step == 0
        if present and not self._early:
            self.late = f"info[{present[0]!r}]"
        return seen, bool(terminated), bool(truncated)

    def _success(self, info: Mapping[str, Any]) -> str:
        present = [key for key in SUCCESS_KEYS if key in info]
        # zoomrl's own environments always have the key; their spec says whether it means something.
        if present and (not isinstance(self._env, Env) or self._env.env_spec.reports_success):
            return f"success is read from info[{present[0]!r}]"
        return "no success in info: returns alone tell progress"

    def _observed(self, seen: Any, when: str) -> None:
        for status, what, fix in observation_faults(self._env.observation_space, seen):
            # Of one entry and one remedy the first is kept; the numbers in the message change with every step.
            self._fault("observations", " ".join([*what.split()[:2], fix]), status, f"{when}: {what}", fix)

    def _paid(self, reward: Any, step: int) -> None:
        if isinstance(reward, np.ndarray) and reward.shape != ():
            what = f"the reward is an array of shape {list(reward.shape)} at step {step}"
            self._fault("reward", "array", "error", what, "return float(reward)")
            raise ContractError
        try:
            finite = bool(np.isfinite(float(reward)))
        except (TypeError, ValueError):
            self._fault("reward", "type", "error", f"the reward is {_brief(reward)} at step {step}", "return a float")
            raise ContractError from None
        if not finite:
            fix = "find where the reward divides by zero or leaves its range"
            self._fault("reward", "finite", "error", f"the reward is {float(reward)} at step {step}", fix)

    def _left_alone(self, before: Mapping[str, tuple[NDArray[Any], NDArray[Any]]], step: int) -> None:
        for name, (array, copy) in before.items():
            # Bits, not numbers: NaN is not equal to itself.
            if array.tobytes() != copy.tobytes():
                what = f"step {step} wrote into entry {name!r} of the observation before it"
                fix = "return a copy: zoomrl copies what it keeps, other programs may not"
                self._fault("arrays", name, "warning", what, fix)

    def _fault(self, name: str, kind: str, status: Status, what: str, fix: str) -> None:
        if (name, kind) not in self._kinds:
            self._kinds.add((name, kind))
            self.faults.setdefault(name, {})[what] = (status, fix)


def _judge_ends(subject: Subject, ends: list[tuple[int, bool, bool]], hurried: bool) -> Check:
    lengths = [length for length, *_ in ends]
    how = ["terminated" if t else "truncated" if c else "still going" for _, t, c in ends]
    said = [f"{way} after {length} steps" for length, way in zip(lengths, how, strict=True)]
    detail = "; ".join(dict.fromkeys(said))

    def result(status: Status, text: str, fix: str = "") -> Check:
        return Check(subject.group, "end of an episode", status, text, fix)

    if all(t for _, t, _ in ends) and len(set(lengths)) == 1 and (lengths[0] == subject.limit or lengths[0] > 1):
        at = "its time limit" if lengths[0] == subject.limit else f"step {lengths[0]}"
        text = f"both episodes end by terminated at {at} exactly, as a time limit does that should truncate"
        return result(
            "warning",
            text,
            "return terminated=False, truncated=True at a time limit: the value of the last state continues",
        )
    if "still going" not in how:
        return result("ok", detail)
    going = max(length for length, way in zip(lengths, how, strict=True) if way == "still going")
    if subject.limit is not None and not subject.limited and going >= subject.limit:
        return result("error", f"{detail}, beyond the limit of {subject.limit}", "end an episode at its time limit")
    if subject.limit is None:
        return result("warning", f"{detail}, and no time limit is known", "set one with --env.time-limit")
    if going >= subject.limit:
        return result("ok", f"{detail}; truncated at its limit of {subject.limit} from outside")
    why = "that took long" if hurried else "--steps runs longer episodes"
    return result("note", f"{detail}; the limit is {subject.limit} ({why})")


def _brief(value: Any) -> str:
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return (
        f"{type(value).__name__} {str(value)[:40]}" if not isinstance(value, np.ndarray) else f"an array {value.shape}"
    )
