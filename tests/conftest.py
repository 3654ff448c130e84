"""Settings shared by every test: one thread, no hypothesis deadlines (shared machines are slow at times), two tiers."""

from __future__ import annotations

import gc

import hypothesis
import pytest
import torch
from _pytest.runner import runtestprotocol

from fake_cuda import fake_cuda

LONG_S = 2.0
"""Tests above this are to be marked ``long``, so that the fast tier stays fast."""
TIMING_TRIES = 3
"""Times that a test marked ``timing`` is made before it counts as failed."""

hypothesis.settings.register_profile("zoomrl", deadline=None, max_examples=60)
hypothesis.settings.load_profile("zoomrl")
torch.set_num_threads(1)


def pytest_collection_finish() -> None:
    """Hide what was imported from the garbage collector: each run collects, and would walk through all of it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(0)


@pytest.fixture
def gpu(monkeypatch):
    """The GPU of this machine, or a fake one, whose counters the test is given."""
    if torch.cuda.is_available():
        yield None
    else:
        with fake_cuda(monkeypatch) as found:
            yield found


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Make a test that measures the clock or memory again when it fails: the machine may have been busy."""
    if item.get_closest_marker("timing") is None:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for left in reversed(range(TIMING_TRIES)):
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        if not left or not any(report.failed for report in reports):
            break
        item._initrequest()  # type: ignore[attr-defined]  # or fixtures of the last try would be taken
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name tests of the fast tier that are too long for it."""
    if "not long" not in config.getoption("markexpr"):
        return
    reports = terminalreporter.getreports("passed")
    slow = sorted((r.duration, r.nodeid) for r in reports if r.when == "call" and r.duration > LONG_S)
    if slow:
        terminalreporter.section(f"above {LONG_S:g} s: to be marked @pytest.mark.long, unless the machine was busy")
        for duration, name in reversed(slow):
            terminalreporter.line(f"{duration:6.1f} s  {name}")
