"""How the number of CPU threads is measured."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from zoomrl.training.measure import threads


@pytest.mark.parametrize(
    ("seconds", "best", "tried"),
    [
        ({1: 1.0, 2: 0.8, 4: 0.6, 8: 0.4}, 8, [1, 2, 4, 8]),
        ({1: 1.0, 2: 0.95, 4: 0.91, 8: 0.95}, 1, [1, 2, 4, 8]),  # not a tenth better
        ({1: 1.0, 2: 0.5, 4: 1.6, 8: 0.1}, 2, [1, 2, 4]),  # four are three times slower than two: no more are tried
        ({1: 1.0, 2: 3.5, 4: 0.1, 8: 0.1}, 1, [1, 2]),
    ],
)
def test_threads_are_tried_until_they_only_hinder(monkeypatch, seconds, best, tried):
    state = SimpleNamespace(now=0.0, threads=3, updates={})

    def update():
        state.updates[state.threads] = state.updates.get(state.threads, 0) + 1
        state.now += seconds[state.threads]

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    monkeypatch.setattr(threads.time, "perf_counter", lambda: state.now)
    monkeypatch.setattr(threads.torch, "get_num_threads", lambda: state.threads)
    monkeypatch.setattr(threads.torch, "set_num_threads", lambda count: setattr(state, "threads", count))
    found, medians = threads.fastest_threads(update)
    assert (found, list(medians)) == (best, tried)
    assert state.threads == 3, "as it was before"
    last = tried[-1]
    assert state.updates[last] == (2 if medians[last] > 3 * medians[best] else 6), "one warm-up, and up to five timed"
