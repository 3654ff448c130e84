"""What environments log reaches the rows of their episodes, whatever happens in between."""

from __future__ import annotations

import dataclasses
import os
import signal
from typing import Any

import numpy as np
import pytest

from envs_toy import ToyEnv
from test_resume import CrashError, at_step, crash
from toy import assert_same_run, last_state, rows, tiny
from zoomrl.envs.vector.base import logged_numbers
from zoomrl.training.run import train
from zoomrl.training.trainer import Trainer


class Logging(ToyEnv):
    """Logs what it counts, the parity at even steps alone, and what is no number."""

    def step(self, action: np.ndarray) -> Any:
        shown, reward, terminated, truncated, info = super().step(action)
        info |= {"log/clock": np.int64(self.clock), "log/note": "words", "clock": -1, "log/point": self.point}
        if self.clock % 2 == 0:
            info["log/even"] = float(self.clock)
        return shown, reward, terminated, truncated, info


def test_numbers_alone_are_taken_and_by_their_prefix_alone():
    info = {"log/a": 1, "log/b": np.float32(0.5), "log/c": True, "log/d": "x", "log/e": [1.0], "f": 2.0, 3: 4.0}
    assert logged_numbers(info) == {"log/a": 1.0, "log/b": 0.5, "log/c": 1.0}


@pytest.mark.parametrize("workers", ["serial", pytest.param("process", marks=pytest.mark.slow)])
@pytest.mark.long
def test_the_last_value_of_each_number_is_in_the_row_also_of_a_resumed_run(tmp_path, workers):
    config = tiny(tmp_path / "straight", env__workers=workers, env__num_envs=2)
    train(config, make_env=Logging)
    episodes = [row for row in rows(tmp_path / "straight") if row["kind"] == "episode"]
    assert len(episodes) > 2
    for row in episodes:
        assert row["log/clock"] == row["length"]
        assert row.get("log/even") == (row["length"] // 2 * 2 or None)
        assert not {"clock", "log/note", "log/point"} & set(row)
    stopped = dataclasses.replace(config, run_dir=str(tmp_path / "stopped"))
    with at_step(41, crash), pytest.raises(CrashError):
        train(stopped, make_env=Logging)
    train(stopped, make_env=Logging)
    assert_same_run(tmp_path / "straight", tmp_path / "stopped")


@pytest.mark.slow
def test_a_row_that_is_due_within_a_burst_of_updates_is_written_once_whenever_the_run_is_stopped(tmp_path, monkeypatch):
    """Its means hold the updates of the whole burst, also those after the stop."""
    options: dict[str, Any] = {"update_at": "episode", "log__every": 1, "control__executor": "open_loop"}
    train(tiny(tmp_path / "straight", **options), make_env=ToyEnv)
    update, stopped = Trainer._update, []

    def interrupted(self: Trainer) -> Any:
        if not self._step_over and not stopped:
            stopped.append(self.env_steps)
            os.kill(os.getpid(), signal.SIGTERM)
        return update(self)

    monkeypatch.setattr(Trainer, "_update", interrupted)
    config = tiny(tmp_path / "stopped", **options)
    assert not train(config, make_env=ToyEnv).finished
    assert not last_state(tmp_path / "stopped")["step_over"]
    assert train(config, make_env=ToyEnv).finished
    assert_same_run(tmp_path / "straight", tmp_path / "stopped")
