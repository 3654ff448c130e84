"""A control loop for a robot: a bundle of ``zoomrl export`` at a fixed rate, with a stop that needs no luck.

Copy this file next to a bundle and fill in :class:`Robot` for your own. It needs NumPy and, for the policy,
onnxruntime. As it stands, it drives a simulated pendulum in real time::

    python examples/robot_loop.py bundle --seconds 10

What it takes care of:

* **Rate.** Ticks lie on a fixed grid of time, so that a late one does not move those after it.
* **Late actions.** An action that comes more than ``max_age`` seconds after its observation is not sent: the robot
  holds. After ``max_late`` of them in a row the loop ends.
* **Dead man's switch.** A thread of its own stops the robot when the switch is let go or cannot be read, or when no
  tick has come for ``watchdog`` seconds, whatever the loop is doing. A stop that fails is tried again, and nothing is
  commanded while that thread is silent. The loop goes on when the switch is held again.
* **Executor.** Chunks in flight are dropped when an episode begins, after a stop and after a correction: they were
  made for another course of things.
* **Corrections.** A person's action replaces the policy's for as long as there is one, and is written down in the form
  that ``--intervene.source`` reads.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float32]]
log = logging.getLogger("robot_loop")


class Robot(Protocol):
    """What the loop needs of a robot. ``stop`` is also called from another thread, at any time."""

    def observe(self) -> Mapping[str, Any]:
        """The newest observation: what the policy lists in ``facts["observations"]``, or its parts by name."""

    def command(self, action: Array) -> None:
        """Execute ``action`` [A], in the units that the policy was trained with, until the next command."""

    def hold(self) -> None:
        """Stay where it is, and ready to go on."""

    def stop(self) -> None:
        """Stay where it is at once; ``hold`` or ``command`` make it ready again."""


class Policy(Protocol):
    """What the loop needs of a policy."""

    def reset(self) -> None:
        """An episode begins."""

    def replan(self) -> None:
        """Drop the chunk in flight, and keep what was observed."""

    def act(self, observation: Mapping[str, Any]) -> Array:
        """The action [A] for an observation."""


Person = Callable[[Mapping[str, Any], Array], Array | None]
"""Sees the observation and what the policy proposes; gives the action to execute instead, or None."""


@dataclass
class Limits:
    """When an action is too late, and when the loop gives up."""

    max_age: float
    """Seconds from an observation to its command."""
    max_late: int = 5
    """Late actions in a row."""
    watchdog: float = 0.5
    """Seconds without a tick after which the robot is stopped."""


@dataclass
class Outcome:
    """What happened in an episode."""

    ticks: int = 0
    late: int = 0
    corrected: int = 0
    stops: int = 0
    ended: str = "time"
    milliseconds: list[float] = field(default_factory=list)
    """From observation to command, of each tick."""


class Watchdog:
    """Stops the robot when the switch is let go, or when nobody has said for a while that all is well."""

    def __init__(self, robot: Robot, held: Callable[[], bool], seconds: float) -> None:
        self._robot, self._held, self._seconds = robot, held, seconds
        self._fed = self._looked = time.monotonic()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._stopped = self._still = False
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._robot.stop()
        self._thread.join(self._seconds)  # it may hang in the switch

    def command(self, send: Callable[[], None]) -> bool:
        """Send a command unless the robot was stopped: the two never come in the wrong order."""
        with self._lock:
            self._fed = time.monotonic()
            if not self._stopped and self._fed - self._looked > self._seconds:
                self._halt("nobody has looked at the switch for a while")
            if self._stopped:
                return False
            send()
            return True

    @property
    def stopped(self) -> bool:
        """Whether the robot was stopped, and may not go on yet."""
        return self._stopped

    def release(self) -> bool:
        """Let the robot go on, where it has stopped and the switch is held again."""
        with self._lock:
            self._fed = time.monotonic()
            if self._still and self._is_held() and self._fed - self._looked <= self._seconds:
                self._stopped = self._still = False
            return not self._stopped

    def _watch(self) -> None:
        while not self._ended.wait(0.005):
            overdue = time.monotonic() - self._fed > self._seconds
            released = not self._is_held()
            self._looked = time.monotonic()
            if self._stopped:
                if not self._still:
                    with self._lock:
                        self._halt("once more")
            elif overdue or released:
                with self._lock:
                    self._halt("the switch was let go" if released else "no tick has come for a while")

    def _is_held(self) -> bool:
        """A switch that cannot be read is one that was let go."""
        try:
            return self._held()
        except Exception:
            log.exception("the switch cannot be read")
            return False

    def _halt(self, why: str) -> None:
        """Stop the robot. Where that fails, it is tried again at the next look."""
        self._stopped, self._still = True, False
        try:
            self._robot.stop()
        except Exception:
            log.exception("the robot could not be stopped (%s)", why)
        else:
            self._still = True


def control(
    robot: Robot,
    policy: Policy,
    hz: float,
    limits: Limits,
    *,
    seconds: float,
    held: Callable[[], bool] = lambda: True,
    person: Person = lambda observation, proposed: None,
    corrections: IO[str] | None = None,
    episode: int = 0,
    bounds: tuple[Array, Array] | None = None,
    done: Callable[[Mapping[str, Any]], bool] = lambda observation: False,
) -> Outcome:
    """Run one episode.

    Args:
        robot: to drive.
        policy: that drives it.
        hz: ticks per second: the rate that the policy was trained at, ``facts["control_hz"]``.
        limits: on what is late.
        seconds: time after which the episode ends.
        held: whether the dead man's switch is held.
        person: who may take over.
        corrections: file for a line per corrected tick.
        episode: number of this one, for these lines.
        bounds: lowest and highest actions [A], to which a person's are clipped.
        done: whether an observation ends the episode.

    Raises:
        ValueError: a person's action holds NaN or infinity. The robot is stopped.
    """
    outcome, late_in_a_row, period = Outcome(), 0, 1 / hz
    policy.reset()
    with Watchdog(robot, held, limits.watchdog) as watchdog:
        began = due = time.monotonic()
        while (now := time.monotonic()) - began < seconds:
            if now < due:
                time.sleep(due - now)
            # The next tick of the grid; those that have gone by are left out.
            due += period * max(1, math.ceil((time.monotonic() - due) / period))
            if watchdog.stopped:
                outcome.stops += 1
                policy.reset()
                if not _wait(watchdog, began + seconds):
                    outcome.ended = "stopped"
                    break
                robot.hold()
                continue
            seen, observation = time.monotonic(), robot.observe()
            if done(observation):
                outcome.ended = "done"
                break
            action = policy.act(observation)
            taken = person(observation, action)
            if taken is not None:
                action = np.asarray(taken, np.float32)
                if not np.isfinite(action).all():
                    raise ValueError(f"a person's action must be finite, got {action.tolist()}")
                action = action if bounds is None else np.clip(action, *bounds)
            age = time.monotonic() - seen
            outcome.ticks += 1
            outcome.milliseconds.append(1e3 * age)
            if age > limits.max_age:
                outcome.late, late_in_a_row = outcome.late + 1, late_in_a_row + 1
                watchdog.command(robot.hold)
                policy.replan()  # the rest of its chunk is as old
                if late_in_a_row >= limits.max_late:
                    outcome.ended = f"{late_in_a_row} late actions in a row"
                    break
                continue
            late_in_a_row = 0
            sent = watchdog.command(partial(robot.command, action))
            if sent and taken is not None:
                outcome.corrected += 1
                policy.replan()  # it proposes anew from where the person has led
                if corrections is not None:
                    line = {"episode": episode, "step": outcome.ticks - 1, "action": action.tolist()}
                    corrections.write(json.dumps(line) + "\n")
    return outcome


def _wait(watchdog: Watchdog, until: float) -> bool:
    """Wait for the switch; whether it was held again in time."""
    while time.monotonic() < until:
        if watchdog.release():
            return True
        time.sleep(0.01)
    return False


class Pendulum:
    """Gymnasium's pendulum in real time, in place of a robot: it moves whether or not a command comes."""

    def __init__(self, seed: int = 0) -> None:
        try:
            import gymnasium
        except ImportError as error:
            raise SystemExit(
                "error: the simulated pendulum needs gymnasium[classic-control]; a robot does not"
            ) from error
        self._env = gymnasium.make("Pendulum-v1").unwrapped
        self.hz = 20.0
        self._state, _ = self._env.reset(seed=seed)
        self._torque = np.zeros(1, np.float32)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._move, name="pendulum", daemon=True)
        self._thread.start()

    def observe(self) -> Mapping[str, Any]:
        """Cosine and sine of the angle, and its speed."""
        return {"state": np.array(self._state, np.float32)}

    def command(self, action: Array) -> None:
        """A torque."""
        self._torque = np.array(action, np.float32)

    def hold(self) -> None:
        """No torque: a pendulum cannot stand still."""
        self._torque = np.zeros(1, np.float32)

    stop = hold

    def close(self) -> None:
        """End its motion."""
        self._ended.set()
        self._thread.join()

    def _move(self) -> None:
        due = time.monotonic()
        while not self._ended.is_set():
            self._state = self._env.step(self._torque)[0]
            due += 1 / self.hz
            time.sleep(max(0.0, due - time.monotonic()))


def main() -> None:
    """Drive the pendulum with a bundle, for example one of ``--preset cqn-gym --env gym:Pendulum-v1``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    try:
        from zoomrl import runtime
    except ImportError:
        sys.path.insert(0, str(options.bundle))  # for its policy.py
        import policy as runtime  # type: ignore[import-not-found,no-redef]
    try:
        policy = runtime.load_policy(options.bundle)
    except runtime.BundleError as error:
        raise SystemExit(f"error: {error}") from error
    shape = policy.facts["observations"].get("state", {}).get("shape")
    if shape != [3] or policy.facts["action"]["size"] != 1:
        task = policy.facts["environment"]["id"]
        raise SystemExit(f"error: this bundle is for {task}, and the pendulum is no robot of its kind: fill in Robot")
    robot = Pendulum()
    hz = policy.facts["control_hz"] or robot.hz
    try:
        bounds = tuple(np.asarray(policy.facts["action"][side], np.float32) for side in ("low", "high"))
        outcome = control(robot, policy, hz, Limits(max_age=1 / hz), seconds=options.seconds, bounds=bounds)
    finally:
        robot.close()
    if not outcome.ticks:
        raise SystemExit(f"error: there was no tick in {options.seconds:g} s (ended by {outcome.ended})")
    median, worst = np.median(outcome.milliseconds), max(outcome.milliseconds)
    print(f"{outcome.ticks} ticks at {hz:g} Hz, {outcome.late} late; {median:.2f} ms (median), {worst:.2f} ms (worst)")
    print(f"ended by {outcome.ended}; cosine of the angle at the end: {robot.observe()['state'][0]:.2f}")


if __name__ == "__main__":
    main()
