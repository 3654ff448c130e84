"""Tests marked ``timing`` are made again, from their fixtures on; the fast tier names what is too long for it."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = "pytester"
TIMING = """
import pytest
done = []
@pytest.fixture(scope="module")
def module():
    done.append("module")
@pytest.fixture
def own():
    done.append("set up")
    yield
    done.append("torn down")
@pytest.mark.timing
def test_of_the_clock(own, module):
    done.append("test")
    assert done.count("test") == {tries}
def test_next(module):
    assert done == ["module", *["set up", "test", "torn down"] * 3]
"""
LONG = """
import time
def test_sleepy(): time.sleep(0.05)
def test_awake(): pass
"""


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeconftest((Path(__file__).parent / "conftest.py").read_text().replace("LONG_S = 2.0", "LONG_S = 0.02"))
    pytester.makeini("[pytest]\nmarkers = timing\n long\n")
    return pytester


@pytest.mark.long
def test_a_timing_test_may_fail_twice(suite):
    suite.makepyfile(TIMING.replace("{tries}", "3"))
    suite.runpytest().assert_outcomes(passed=2)


def test_a_timing_test_may_not_fail_three_times(suite):
    suite.makepyfile(TIMING.replace("{tries}", "4"))
    suite.runpytest().assert_outcomes(passed=1, failed=1)


def test_the_fast_tier_names_what_is_too_long_for_it(suite):
    suite.makepyfile(LONG)
    said = suite.runpytest("-m", "not long").stdout.str()
    assert "s  test_the_fast_tier_names_what_is_too_long_for_it.py::test_sleepy" in said
    assert "test_awake" not in said
    assert "to be marked" not in suite.runpytest().stdout.str()
