"""The numbers of an inspection, worked out by hand on a tiny set."""

import dataclasses
import io
import json

import numpy as np
import pytest
from rich.console import Console

from zoomrl.data.episode import Episode
from zoomrl.demos.inspect import Spread, render_table, summarise
from zoomrl.demos.store.reader import DemoSet
from zoomrl.errors import ConfigError, DemonstrationError
from zoomrl.spec import ArraySpec, EnvSpec, StateEntry

# Dimension 0 spans -1 .. 1, dimension 1 spans 0 .. 4.
SPEC = EnvSpec(
    "fake:tiny",
    {"state": ArraySpec((1,))},
    ArraySpec((2,), "float32", (-1.0, 0.0), (1.0, 4.0)),
    control_hz=20.0,
    time_limit=10,
)


def episode(actions, *, reward=1.0, success=True, is_demo=True):
    array = np.asarray(actions, np.float32)
    return Episode(
        {"state": np.zeros((len(array) + 1, 1), np.float32)},
        array,
        np.full(len(array), reward, np.float32),
        terminated=success,
        truncated=not success,
        success=success,
        is_demo=is_demo,
    )


def shown(summary):
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(render_table(summary))
    return console.export_text()


@pytest.fixture
def summary():
    pair = [[-1.0, 0.0], [0.5, 4.0]]
    failed = episode([[0.0, 0.0], [0.0, 3.0], [1.0, 1.0], [0.1, 1.0]], reward=0.0, success=False, is_demo=False)
    return summarise(DemoSet(SPEC, [episode(pair), episode(pair), failed], sha256="ab" * 32), levels=2, bins=2)


def test_a_dimension_that_cannot_move_has_no_error():
    spec = dataclasses.replace(SPEC, action=ArraySpec((2,), "float32", (-1.0, 0.5), (1.0, 0.5)))
    found = summarise(DemoSet(spec, [episode([[-1.0, 0.5], [1.0, 0.5]])]), levels=2, bins=2).dimensions
    assert (found[1].max_error, found[1].saturated, found[1].beyond_outermost) == (0.0, 0.0, 0.0)
    assert found[0].max_error > 0


def test_counts(summary):
    assert (summary.episodes, summary.demos, summary.successes) == (3, 2, 2)
    assert summary.lengths == Spread(2, 2, 4, 8)
    assert summary.returns == Spread(0, 2, 2, 4)
    assert summary.duplicates == 1
    assert summary.idle == 1 / 8


def test_first_dimension(summary):
    # -1, .5, -1, .5, 0, 0, 1, .1: cells of four are 0, 3, 0, 3, 2, 2, 3, 2 with centres -.75, .75, .25.
    dim = summary.dimensions[0]
    assert (dim.min, dim.max) == (-1.0, 1.0)
    assert dim.mean == pytest.approx(0.1 / 8)
    assert dim.std == pytest.approx(np.std([-1, 0.5, -1, 0.5, 0, 0, 1, 0.1]))
    assert dim.saturated == 3 / 8
    assert dim.coverage == (1.0, 0.75)
    assert dim.beyond_outermost == 3 / 8
    assert dim.max_error == pytest.approx(0.25)


def test_second_dimension_is_in_its_own_units(summary):
    # 0, 4, 0, 4, 0, 3, 1, 1: cells of four are 0, 3, 0, 3, 0, 3, 1, 1 with centres .5, 3.5, 1.5.
    dim = summary.dimensions[1]
    assert (dim.min, dim.max) == (0.0, 4.0)
    assert dim.saturated == 5 / 8
    assert dim.coverage == (1.0, 0.75)
    assert dim.beyond_outermost == 5 / 8
    assert dim.max_error == pytest.approx(0.5)


def test_error_is_at_most_half_a_cell():
    actions = np.random.default_rng(0).uniform([-1, 0], [1, 4], (500, 2))
    summary = summarise(DemoSet(SPEC, [episode(actions)]))
    assert summary.dimensions[0].max_error <= 1 / 125 + 1e-9
    assert summary.dimensions[1].max_error <= 2 / 125 + 1e-9
    assert summary.dimensions[0].coverage[:2] == (1.0, 1.0)


def test_json_and_table(summary):
    data = json.loads(json.dumps(summary.to_dict()))
    assert data["dimensions"][0]["coverage"] == [1.0, 0.75]
    text = shown(summary)
    for part in (
        "fake:tiny",
        "3 (2 demos, 2 successful)",
        "0 to 2, median 2, total 4",
        "12.5%",
        "100/75%",
    ):
        assert part in text


def test_what_was_assumed_and_what_is_unknown_of_a_recording_is_said():
    entries = (StateEntry("observation.state[x]", 1),)
    spec = dataclasses.replace(SPEC, state_entries=entries, cameras=("front",), observations={**SPEC.observations})
    spec = dataclasses.replace(spec, observations={**spec.observations, "rgb": ArraySpec((1, 8, 8, 3), "uint8")})
    known, assumed = episode([[0.0, 0.0]]), episode([[1.0, 0.0]])
    assumed.meta["success"] = "assumed"
    summary = summarise(DemoSet(spec, [known, assumed], {"format": "lerobot"}))
    assert (summary.successes, summary.assumed, summary.rendering) == (2, 1, None)
    text = shown(summary)
    assert "2 (2 demos, 2 successful, 1 of these assumed)" in text
    assert "rendered with" not in text
    assert "observation.state[x] 1" in text, "brackets are no markup"


def test_images_are_described():
    imaged = dataclasses.replace(
        SPEC,
        observations={"state": ArraySpec((1,)), "rgb": ArraySpec((2, 64, 48, 3), "uint8")},
        cameras=("corner", "gripper"),
    )
    summary = summarise(DemoSet(imaged, [episode([[0.0, 0.0]])]))
    assert summary.to_dict()["observations"] == {"state": "float32[1]", "rgb": "uint8[2, 64, 48, 3]"}
    text = shown(summary)
    for part in ("uint8[2, 64, 48, 3]", "corner, gripper", "no shadows, reflections or antialiasing"):
        assert part in text
    assert "cameras" not in shown(summarise(DemoSet(SPEC, [episode([[0.0, 0.0]])])))


def test_refusals():
    with pytest.raises(DemonstrationError, match="no episodes"):
        summarise(DemoSet(SPEC, []))
    with pytest.raises(ConfigError, match="levels=0, bins=5"):
        summarise(DemoSet(SPEC, [episode([[0.0, 0.0]])]), levels=0)
