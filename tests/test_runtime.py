"""The runtime of bundles: NumPy against the executors and stacks that training acts with, and what it refuses."""

from __future__ import annotations

import ast
import json
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoomrl import runtime
from zoomrl.control.chunk import ActionChunk
from zoomrl.control.config import ControlConfig
from zoomrl.control.executor import make_executor
from zoomrl.control.stack import FrameStack

T, A = 4, 3


def facts(**changes):
    found = {
        "format": "zoomrl-policy",
        "version": 1,
        "agent": "cqn_as",
        "chunk_length": T,
        "grid": {"levels": 2, "bins": 3},
        "environment": {"id": "gym:x"},
        "observations": {
            "state": {"shape": [3], "dtype": "float32", "entries": [{"name": "a", "size": 2}, {"name": "b", "size": 1}]}
        },
        "frame_stack": 1,
        "action": {"size": A, "low": [-1.0, -1.0, 0.0], "high": [1.0, 1.0, 1.0], "meaning": []},
        "executor": {"name": "receding_horizon", "replan_every": 2},
        "inputs": [{"name": "state"}, {"name": "ties", "shape": [2, T, A]}],
        "outputs": [{"name": "actions"}, {"name": "value"}],
    }
    return {**found, **changes}


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    """Makes a policy whose graph answers with chunks of our own, and notes what it was fed."""
    fed = []

    class Graph:
        def run(self, outputs, feed):
            fed.append(feed)
            rng = np.random.default_rng(len(fed))
            found = {"actions": rng.normal(size=(1, T, A)).astype(np.float32), "value": np.array([0.5], np.float32)}
            return [found[name] for name in outputs]

    monkeypatch.setattr(runtime, "_session", lambda path, threads: Graph())

    def make(**changes):
        (tmp_path / "policy.json").write_text(json.dumps(facts(**changes)))
        return SimpleNamespace(policy=runtime.load_policy(tmp_path), fed=fed)

    return make


def test_it_stands_alone():
    """The file is policy.py of every bundle: of what it imports when it is loaded, NumPy alone is no part of Python."""
    tree = ast.parse(Path(runtime.__file__).read_text())
    imported = {node.module.split(".")[0] for node in tree.body if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name.split(".")[0] for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    assert imported - set(sys.stdlib_module_names) == {"numpy"}
    everywhere = {
        alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    assert everywhere - set(sys.stdlib_module_names) == {"numpy", "onnxruntime"}
    assert "zoomrl" not in {getattr(node, "module", None) for node in ast.walk(tree)}


@given(
    st.sampled_from(["temporal_ensemble", "receding_horizon", "open_loop"]),
    st.integers(1, 5),
    st.floats(0, 3),
    st.sampled_from(["oldest", "newest"]),
    st.data(),
)
@settings(max_examples=60, deadline=None)
def test_executors_act_as_those_of_training(name, length, gain, favours, data):
    every = data.draw(st.integers(1, length))
    read = {
        "temporal_ensemble": {"ensemble_gain": gain, "ensemble_favours": favours},
        "receding_horizon": {"replan_every": every},
    }
    config = ControlConfig(executor=name, **read.get(name, {}))
    ours = make_executor(config, 1, length, A)
    about = {"name": name, "gain": gain, "favours": favours, "replan_every": length if name == "open_loop" else every}
    theirs = runtime.make_executor(about, length, A)
    rng = np.random.default_rng(0)
    for _ in range(3 * length + 2):
        if data.draw(st.integers(0, 5)) == 0:
            ours.reset(torch.ones(1, dtype=torch.bool))
            theirs.reset()
        assert bool(ours.needs_chunk()[0]) == theirs.needs_chunk()
        chunk = rng.normal(size=(length, A)).astype(np.float32)
        wanted = ActionChunk(torch.from_numpy(chunk)[None], torch.ones(1, length, dtype=torch.bool))
        needed = theirs.needs_chunk()
        np.testing.assert_allclose(
            theirs.step(chunk if needed else None), ours.step(wanted if needed else None)[0].numpy(), atol=2e-6
        )


@pytest.mark.parametrize("size", [1, 3])
def test_stacks_are_those_of_training(size):
    ours, theirs = FrameStack(1, size), runtime.FrameStack(size)
    rng = np.random.default_rng(0)
    for step in range(7):
        if step == 4:
            ours.reset(np.ones(1, bool))
            theirs.reset()
        shown = {"state": rng.normal(size=5).astype(np.float32), "rgb": rng.integers(0, 255, (2, 4, 4, 3), np.uint8)}
        wanted = ours.push({name: array[None] for name, array in shown.items()})
        found = theirs.push(shown)
        for name, array in found.items():
            np.testing.assert_array_equal(array, wanted[name][0].numpy())
        shown["state"][:] = 0  # whoever calls may write into the same memory


def test_actions_are_clipped_and_each_chunk_is_used_as_long_as_it_should(bundle):
    made = bundle()
    actions = [made.policy.act({"state": np.zeros(3)}) for _ in range(5)]
    assert len(made.fed) == 3
    chunks = [np.random.default_rng(count).normal(size=(1, T, A)).astype(np.float32)[0] for count in (1, 2, 3)]
    wanted = [chunks[0][0], chunks[0][1], chunks[1][0], chunks[1][1], chunks[2][0]]
    np.testing.assert_array_equal(actions, np.clip(wanted, [-1, -1, 0], [1, 1, 1]))
    assert made.policy.value == 0.5
    made.policy.reset()
    assert made.policy.value is None
    made.policy.act({"state": np.zeros(3)})
    assert len(made.fed) == 4, "a new episode begins with a new chunk"


def test_a_second_policy_shares_the_graph_and_nothing_else(bundle):
    one = bundle().policy
    two = one.another(seed=1)
    assert two._graph is one._graph
    one.act({"state": np.zeros(3)})
    assert two._executor.needs_chunk()
    assert not one._executor.needs_chunk()


def test_ties_are_sampled_by_the_seed(bundle):
    made = bundle()
    for _ in range(60):
        made.policy.infer({"state": np.zeros(3, np.float32)})
    ties = np.stack([feed["ties"] for feed in made.fed])
    assert ties.shape == (60, 2, T, A)
    assert ties.dtype == np.int64
    assert set(np.unique(ties)) == {0, 1, 2}
    given = {"ties": np.full((2, T, A), 2)}
    made.policy.infer({"state": np.zeros(3, np.float32)}, given)
    np.testing.assert_array_equal(made.fed[-1]["ties"], given["ties"])


def test_noise_is_sampled_as_the_bundle_says(bundle):
    starts = {"name": "starts", "shape": [4, 1, T, A], "noise": "normal", "below": 0}
    picks = {"name": "picks", "shape": [1], "noise": "integers", "below": 4}
    inputs = [{"name": "state", "shape": [1, 3], "noise": "", "below": 0}, starts, picks]
    made = bundle(inputs=inputs)
    for _ in range(60):
        made.policy.infer({"state": np.zeros(3, np.float32)})
    assert set(made.fed[0]) == {"state", "starts", "picks"}
    sampled = np.stack([feed["starts"] for feed in made.fed])
    assert sampled.shape == (60, 4, 1, T, A)
    assert sampled.dtype == np.float32
    assert abs(sampled.mean()) < 0.1
    assert abs(sampled.std() - 1) < 0.1
    assert {int(feed["picks"][0]) for feed in made.fed} == {0, 1, 2, 3}
    first = made.policy.another(seed=3).sample_noise()["starts"]
    np.testing.assert_array_equal(first, made.policy.another(seed=3).sample_noise()["starts"])
    assert not np.array_equal(first, made.policy.another(seed=4).sample_noise()["starts"])


def test_a_state_may_come_as_its_entries(bundle):
    made = bundle()
    made.policy.act({"b": [3.0], "a": np.array([1, 2])})
    np.testing.assert_array_equal(made.fed[0]["state"], [[1, 2, 3]])
    assert made.fed[0]["state"].dtype == np.float32
    made.policy.reset()
    made.policy.act(np.array([4.0, 5.0, 6.0]))
    np.testing.assert_array_equal(made.fed[1]["state"], [[4, 5, 6]])


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        (
            {},
            r"'state' is missing: the policy expects state float32\[3\], or in place of 'state' its parts a, b, got no",
        ),
        ({"a": [1, 2]}, r"'b' is missing: the policy expects state.*got a$"),
        ({"state": np.zeros(4)}, r"'state' must have the shape \[3\], got \[4\]"),
        ({"state": np.array([0, np.nan, 0])}, "'state' must be finite; number 1 of it is nan"),
        ({"state": np.array([0, 1e300, 0])}, "'state' must be finite; number 1 of it is inf"),
        ({"state": np.array(["x"] * 3)}, "'state' must be numbers, got <U1"),
        ({"a": np.zeros(3), "b": [0]}, "'a' must hold 2 numbers, got 3"),
        ({"state": [[1], [1, 2]]}, "'state' must be an array: .*inhomogeneous"),
        ({"a": [0, [1, 2]], "b": [0]}, "'a' must be an array"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(bundle, observation, message):
    with pytest.raises(runtime.ObservationError, match=message):
        bundle().policy.act(observation)


def pixels(**changes):
    rgb = {"shape": [2, 4, 4, 3], "dtype": "uint8", "cameras": ["front", "wrist"], "fit": "stretch", "crop": []}
    rgb |= {"camera_sizes": [], **changes}
    return {"observations": {"rgb": rgb}, "inputs": [{"name": "rgb"}]}


def test_images_come_as_arrays_or_by_camera(bundle):
    rng = np.random.default_rng(0)
    whole = rng.integers(0, 255, (2, 8, 8, 3), np.uint8)
    made = bundle(**pixels())
    made.policy.act({"front": whole[0], "wrist": np.moveaxis(whole[1], -1, 0)})
    wanted = np.stack([runtime.resized(view, (4, 4)) for view in whole])
    np.testing.assert_array_equal(made.fed[0]["rgb"][0, 0], wanted)
    for shown in ({"rgb": whole}, whole, {"rgb": wanted}):
        made.policy.reset()
        made.policy.act(shown)
        np.testing.assert_array_equal(made.fed[-1]["rgb"][0, 0], wanted)


@pytest.mark.parametrize(
    ("about", "observation", "message"),
    [
        ({}, {"front": np.zeros((4, 4, 3), np.uint8)}, "'wrist' is missing.*its parts front, wrist, got front"),
        ({"fit": "none"}, {"rgb": np.zeros((2, 8, 8, 3), np.uint8)}, "camera 'front': an image of 8 x 8 pixels came"),
        ({}, {"rgb": np.zeros((2, 4, 4, 3), np.float32)}, "'rgb' must be uint8, 0 to 255, got float32"),
        (
            {},
            {"rgb": np.zeros((3, 4, 4, 3), np.uint8)},
            r"'rgb' must have the shape \[2, 4, 4, 3\], got \[3, 4, 4, 3\]",
        ),
        (
            {"crop": [[0, 0, 2, 2], [0, 0, 2, 2]], "camera_sizes": [[8, 8], [8, 8]]},
            {"rgb": np.zeros((2, 6, 6, 3), np.uint8)},
            "camera 'front': its images must be 8 x 8, as they were before, got 6 x 6",
        ),
    ],
)
def test_images_that_do_not_fit_are_refused_by_camera(bundle, about, observation, message):
    with pytest.raises(runtime.ObservationError, match=message):
        bundle(**pixels(**about)).policy.act(observation)


def test_a_view_of_another_shape_is_told_once(bundle):
    """Letterboxed or cut to its middle it fits, and yet the policy has never seen such images."""
    sizes = {"fit": "letterbox", "camera_sizes": [[12, 16], [8, 8]]}
    policy = bundle(**pixels(**sizes)).policy
    with pytest.warns(UserWarning, match="camera 'front' shows 8 x 8, and showed 12 x 16 in training: another view"):
        policy.act({"rgb": np.zeros((2, 8, 8, 3), np.uint8)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        policy.act({"rgb": np.zeros((2, 8, 8, 3), np.uint8)})
        bundle(**pixels(**sizes)).policy.act(
            {"front": np.zeros((24, 32, 3), np.uint8), "wrist": np.zeros((8, 8, 3), np.uint8)}
        )


def test_a_folder_without_a_bundle_is_named(tmp_path):
    with pytest.raises(runtime.BundleError, match=r"holds no bundle: .*policy.json cannot be read"):
        runtime.load_policy(tmp_path)
    (tmp_path / "policy.json").write_text('{"spec": {}}')
    with pytest.raises(runtime.BundleError, match="is not one of `zoomrl export`"):
        runtime.load_policy(tmp_path)
    (tmp_path / "policy.json").write_text(json.dumps(facts(version=2)))
    with pytest.raises(runtime.BundleError, match="a bundle of version 2; this reads version 1"):
        runtime.load_policy(tmp_path)
    (tmp_path / "policy.json").write_text(json.dumps(facts()))
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(runtime.BundleError, match=r"model.onnx cannot be loaded|onnxruntime cannot be imported"):
        runtime.load_policy(tmp_path)
