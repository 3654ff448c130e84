"""``examples/robot_loop.py`` in real time: rate, late actions, the switch, corrections."""

from __future__ import annotations

import importlib.util
import io
import json
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

PATH = Path(__file__).parents[1] / "examples" / "robot_loop.py"


@pytest.fixture(scope="module")
def loop():
    spec = importlib.util.spec_from_file_location("robot_loop", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["robot_loop"] = module
    spec.loader.exec_module(module)
    return module


class Robot:
    """Writes down what it is told, and when."""

    def __init__(self):
        self.log = []

    def _note(self, *words):
        self.log.append((time.monotonic(), *words))

    def observe(self):
        return {"state": np.zeros(2)}

    def command(self, action):
        self._note("command", float(action[0]))

    def hold(self):
        self._note("hold")

    def stop(self):
        self._note("stop")

    def told(self, kind):
        return [entry for entry in self.log if entry[1] == kind]


class Policy:
    """Counts its steps since the last reset, and may be slow."""

    def __init__(self, slow=()):
        self.slow, self.calls, self.resets, self.replans, self.step = set(slow), 0, 0, 0, 0

    def reset(self):
        self.resets, self.step = self.resets + 1, 0

    def replan(self):
        self.replans, self.step = self.replans + 1, 0

    def act(self, observation):
        if self.calls in self.slow:
            time.sleep(0.12)
        self.calls, self.step = self.calls + 1, self.step + 1
        return np.array([self.step], np.float32)


def test_ticks_lie_on_a_grid_of_time(loop):
    robot, policy = Robot(), Policy()
    outcome = loop.control(robot, policy, 50.0, loop.Limits(max_age=0.1), seconds=0.5)
    assert outcome.ended == "time"
    assert 10 <= outcome.ticks <= 26, "25, and fewer on a busy machine"
    assert outcome.late == outcome.stops == 0
    assert [entry[2] for entry in robot.told("command")] == [float(n + 1) for n in range(outcome.ticks)]
    assert robot.log[-1][1] == "stop", "the end of an episode stops the robot"
    assert policy.resets == 1


def test_late_actions_are_not_sent(loop):
    robot, policy = Robot(), Policy(slow=[5])
    outcome = loop.control(robot, policy, 50.0, loop.Limits(max_age=0.08), seconds=0.5)
    assert outcome.late == 1
    sent = [entry[2] for entry in robot.told("command")]
    assert sent[:5] == [1, 2, 3, 4, 5]
    assert sent[5] == 1, "a new chunk, and not the rest of the late one"
    assert len(robot.told("hold")) == 1
    assert (policy.resets, policy.replans) == (1, 1), "what was observed is not forgotten"
    assert 8 <= outcome.ticks <= 21, "ticks that went by are left out, not made up for"


def test_too_many_late_actions_end_the_loop(loop):
    robot, policy = Robot(), Policy(slow=range(100))
    limits = loop.Limits(max_age=0.05, max_late=3)
    outcome = loop.control(robot, policy, 50.0, limits, seconds=5.0)
    assert outcome.ended == "3 late actions in a row"
    assert outcome.ticks == 3
    assert not robot.told("command")
    assert robot.log[-1][1] == "stop"


def test_the_switch_stops_the_robot_at_once_and_lets_it_go_on(loop):
    robot, policy = Robot(), Policy()
    began = time.monotonic()
    released = (began + 0.2, began + 0.4)

    def held():
        return not released[0] <= time.monotonic() < released[1]

    outcome = loop.control(robot, policy, 50.0, loop.Limits(max_age=0.1), seconds=0.9, held=held)
    stop = robot.told("stop")[0][0]
    assert stop - released[0] < 0.3
    between = [entry for entry in robot.told("command") if stop < entry[0] < released[1]]
    assert not between, "no command comes after the stop"
    after = [entry[2] for entry in robot.told("command") if entry[0] >= released[1]]
    assert after[0] == 1, "it begins anew"
    assert outcome.stops == 1
    assert outcome.ended == "time"


def test_a_switch_that_cannot_be_read_is_one_that_was_let_go(loop):
    robot, began = Robot(), time.monotonic()

    def held():
        if time.monotonic() - began > 0.2:
            raise OSError("unplugged")
        return True

    outcome = loop.control(robot, Policy(), 50.0, loop.Limits(max_age=0.1), seconds=0.6, held=held)
    assert outcome.ended == "stopped"
    stop = robot.told("stop")[0][0]
    assert stop - began < 0.5
    assert not [entry for entry in robot.told("command") if entry[0] > stop]


def test_a_stop_that_fails_is_tried_again(loop):
    class Busy(Robot):
        fails = 3

        def stop(self):
            self.fails -= 1
            if self.fails >= 0:
                raise OSError("bus busy")
            super().stop()

    robot, began = Busy(), time.monotonic()

    def held():
        return time.monotonic() - began < 0.2

    outcome = loop.control(robot, Policy(), 50.0, loop.Limits(max_age=0.1), seconds=0.5, held=held)
    assert (outcome.ended, outcome.stops, robot.fails < 0) == ("stopped", 1, True)
    assert not [entry for entry in robot.told("command") if entry[0] > began + 0.4]


def test_a_switch_that_hangs_stops_the_robot(loop):
    robot, began, stuck = Robot(), time.monotonic(), threading.Event()

    def held():
        if time.monotonic() - began > 0.2:
            stuck.wait(3.0)
        return True

    limits = loop.Limits(max_age=0.1, watchdog=0.15)
    thread = threading.Thread(
        target=loop.control, args=(robot, Policy(), 50.0, limits), kwargs={"seconds": 0.8, "held": held}, daemon=True
    )
    thread.start()
    time.sleep(0.9)
    assert robot.told("stop")[0][0] - began < 0.7
    assert not [entry for entry in robot.told("command") if entry[0] > began + 0.7]
    stuck.set()
    thread.join(5)


def test_a_persons_action_is_clipped_and_must_be_finite(loop):
    robot, policy = Robot(), Policy()
    one = np.ones(1, np.float32)
    options = {"seconds": 0.1, "bounds": (-one, one)}
    loop.control(robot, policy, 50.0, loop.Limits(max_age=0.1), person=lambda seen, proposed: 99 * one, **options)
    assert {entry[2] for entry in robot.told("command")} == {1.0}
    with pytest.raises(ValueError, match=r"a person's action must be finite"):
        loop.control(
            robot, policy, 50.0, loop.Limits(max_age=0.1), person=lambda seen, proposed: np.nan * one, **options
        )
    assert robot.log[-1][1] == "stop"


def test_a_switch_that_stays_open_ends_the_episode(loop):
    robot = Robot()
    outcome = loop.control(robot, Policy(), 50.0, loop.Limits(max_age=0.1), seconds=0.2, held=lambda: False)
    assert outcome.ended == "stopped"
    assert len(robot.told("command")) <= 1, "at most one before the switch was looked at"


def test_a_policy_that_hangs_is_stopped_by_the_watchdog(loop):
    robot = Robot()
    stuck = threading.Event()

    class Hangs(Policy):
        def act(self, observation):
            if self.calls == 3:
                stuck.wait(0.5)
            return super().act(observation)

    limits = loop.Limits(max_age=0.05, watchdog=0.1)
    outcome = loop.control(robot, Hangs(), 50.0, limits, seconds=0.8)
    last = robot.told("command")[2][0]
    assert 0.09 < robot.told("stop")[0][0] - last < 0.45, "while the policy still hangs"
    assert outcome.late == 1
    assert outcome.stops == 1


def test_corrections_replace_actions_and_are_written_down(loop):
    robot, policy = Robot(), Policy()
    file = io.StringIO()

    def person(observation, proposed):
        return np.array([-5.0]) if 3 <= policy.calls - 1 < 6 else None

    outcome = loop.control(
        robot, policy, 50.0, loop.Limits(max_age=0.1), seconds=0.3, person=person, corrections=file, episode=7
    )
    sent = [entry[2] for entry in robot.told("command")]
    assert sent[:8] == [1, 2, 3, -5, -5, -5, 1, 2], "the policy proposes anew from where it was led"
    lines = [json.loads(line) for line in file.getvalue().splitlines()]
    assert lines == [{"episode": 7, "step": step, "action": [-5.0]} for step in (3, 4, 5)]
    assert outcome.corrected == 3


def test_an_episode_ends_where_it_is_done(loop):
    robot, policy = Robot(), Policy()
    outcome = loop.control(
        robot, policy, 50.0, loop.Limits(max_age=0.1), seconds=5.0, done=lambda observation: policy.calls == 4
    )
    assert (outcome.ended, outcome.ticks) == ("done", 4)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (None, "holds no bundle"),
        (
            {"observations": {"state": {"shape": [39]}}},
            "this bundle is for metaworld:reach, and the pendulum is no robot",
        ),
        ({"observations": {"rgb": {"shape": [1, 64, 64, 3]}}}, "fill in Robot"),
    ],
)
def test_a_bundle_for_another_robot_is_told_in_a_line(loop, monkeypatch, tmp_path, facts, said):
    class Loaded:
        pass

    if facts is not None:
        Loaded.facts = {"environment": {"id": "metaworld:reach"}, "action": {"size": 4}, **facts}  # type: ignore[attr-defined]
        monkeypatch.setattr("zoomrl.runtime.load_policy", lambda _: Loaded)
    monkeypatch.setattr(sys, "argv", ["robot_loop.py", str(tmp_path)])
    with pytest.raises(SystemExit, match=said):
        loop.main()


def test_it_drives_a_simulator_in_real_time(loop):
    """A simulator that moves by itself, and a policy that brakes its swing: it loses speed."""
    robot = loop.Pendulum(seed=3)

    class Brakes:
        def reset(self):
            pass

        def act(self, observation):
            return np.clip(-2 * observation["state"][2:], -2, 2).astype(np.float32)

    try:
        outcome = loop.control(robot, Brakes(), robot.hz, loop.Limits(max_age=0.05), seconds=1.0)
    finally:
        robot.close()
    assert 8 <= outcome.ticks <= 21
    assert outcome.ended == "time"
