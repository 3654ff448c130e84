"""From a run to a bundle: the graph of every agent, what is written, and what acts by it."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from batches import ACTIONS, BOTH, ONLY_STATE, STATE
from envs_toy import ToyEnv
from test_dead_options import variant
from toy import demo_set, run, tiny
from zoomrl import evaluate, export, load_policy, runtime
from zoomrl.agents.build import assemble
from zoomrl.agents.cqn.learner import CQN
from zoomrl.agents.registry import AGENT_CONFIGS
from zoomrl.cli.main import main
from zoomrl.control.config import ControlConfig
from zoomrl.control.scaling import ActionScaler
from zoomrl.deploy.export import CARD, CODE, STEP, WEIGHTS
from zoomrl.deploy.graph import ActingGraph, StepGraph, feed
from zoomrl.deploy.load import BundlePolicy, _Controller
from zoomrl.deploy.onnx import write_onnx
from zoomrl.deploy.parity import Parity, _compare_bins, compare, mcnemar
from zoomrl.errors import CheckpointError, ConfigError, MissingDependencyError, ZoomrlError
from zoomrl.files import read_json, write_json
from zoomrl.nets.perception import ObservationShape
from zoomrl.spec import ArraySpec, EnvSpec
from zoomrl.training.policy import load_agent

RANGE = np.array([-1.0, -2.0, 0.5], np.float32), np.array([1.0, 3.0, 0.5], np.float32)
"""Of the actions: one that is its unit, one that is shifted, one that cannot be moved."""


def spec_of(shape: ObservationShape) -> EnvSpec:
    observations = {"state": ArraySpec((shape.state,))} if shape.state else {}
    if shape.views:
        observations["rgb"] = ArraySpec((shape.views, shape.size, shape.size, 3), "uint8")
    action = ArraySpec((ACTIONS,), low=(-1.0, -1.5, 0.0), high=(1.0, 3.0, 1.0))
    return EnvSpec("gym:x", observations, action, 10.0, 50, cameras=("a", "b")[: shape.views])


def graph_of(name: str, shape: ObservationShape, span: Any = RANGE, **changes: Any) -> ActingGraph:
    """An agent whose weights are not those of its start, where many are zero; actions range over ``span``."""
    config = variant(AGENT_CONFIGS[name](), {field.replace("__", "."): value for field, value in changes.items()})
    assert config is not None
    sees_images = any(field.name == "encoder" for field in dataclasses.fields(config))
    if shape.views and not sees_images:
        pytest.skip(f"{name} sees no images")
    statistics = torch.full((shape.state,), 0.3), torch.full((shape.state,), 2.0)
    movable = torch.from_numpy(span[1] > span[0])
    agent = assemble(config, shape, ACTIONS, 0, statistics, movable=movable)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in agent.weights("all").values():
            if tensor.is_floating_point():
                tensor.add_(0.2 * torch.randn(tensor.shape, generator=generator))
    # State stacks are flat: as many frames as the images have.
    spec = spec_of(shape._replace(state=shape.state // shape.frames * shape.frames))
    spec = dataclasses.replace(spec, observations={**spec.observations, "state": ArraySpec((shape.state,))})
    return ActingGraph(agent, spec, ActionScaler(*span, spec.action), 1)


def observations(graph: ActingGraph, count: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(3)
    found = []
    for _ in range(count):
        arrays = {}
        for port in graph.inputs:
            if port.name == "state":
                arrays[port.name] = rng.normal(size=port.shape[1:]).astype(np.float32)
            elif port.name == "rgb":
                arrays[port.name] = rng.integers(0, 256, port.shape[1:], np.uint8)
        found.append(arrays)
    return found


ONE_FRAME = BOTH._replace(frames=1)


@pytest.mark.parametrize("name", AGENT_CONFIGS)
@pytest.mark.parametrize("shape", [ONLY_STATE, ONE_FRAME], ids=["state", "images"])
def test_the_graph_of_every_agent_is_what_it_acts_by(name, shape):
    graph = graph_of(name, shape)
    noise = graph.agent.sample_acting_noise(1, torch.Generator().manual_seed(5), False)
    for observation in observations(graph, 3):
        seen = {name: array[None] for name, array in observation.items()}
        arrays = seen | {name: tensor.numpy() for name, tensor in noise.items()}
        with torch.inference_mode():
            found = graph(*feed(graph.inputs, arrays))
            wanted = graph.agent.propose({name: torch.from_numpy(array) for name, array in seen.items()}, noise)
        scaled = (RANGE[0] + RANGE[1]) / 2 + (RANGE[1] - RANGE[0]) / 2 * wanted["actions"].numpy()
        np.testing.assert_allclose(found[0].numpy(), scaled, atol=1e-6)
        assert (found[0][..., 2] == 0.5).all(), "what cannot be moved keeps its only value"
        assert len(found) == len(graph.outputs) == 1 + ("value" in wanted)
        for port, tensor in zip(graph.outputs, found, strict=True):
            assert (tuple(tensor.shape), str(tensor.numpy().dtype)) == (port.shape, port.dtype)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        pytest.param(name, shape, marks=() if (name, shape) == ("td3", ONE_FRAME) else pytest.mark.slow)
        for name in AGENT_CONFIGS
        for shape in (ONLY_STATE, ONE_FRAME)
    ],
)
def test_onnx_agrees_with_pytorch(name, shape, tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")
    graph = graph_of(name, shape)
    write_onnx(graph, tmp_path / runtime.GRAPH)
    seen = observations(graph, 200)
    found = compare(graph, policy_on(graph, tmp_path, monkeypatch), seen)
    assert found.observations == 200
    assert found.holds, found.row()
    assert found.largest_difference <= 1e-5
    assert len(found.milliseconds) == 200
    if isinstance(graph.agent, CQN):
        levels = graph.agent.config.levels
        assert found.bins == 200 * levels * graph.agent.chunk_length * 2, "two dimensions can be moved"
        assert found.flips <= 0.001 * found.bins


PROPOSALS = {"proposals__count": 3, "proposals__greedy": False}
ALL_MOVE = RANGE[0] - 1, RANGE[1]


@pytest.mark.long
@pytest.mark.parametrize(
    ("changes", "span", "inputs"),
    [
        ({}, RANGE, ["state", "ties", "starts"]),
        ({}, ALL_MOVE, ["state", "starts"]),
        ({"proposals__choose": "random"}, ALL_MOVE, ["state", "starts", "picks"]),
    ],
)
def test_a_choice_among_proposals_is_exported(changes, span, inputs, tmp_path, monkeypatch):
    """What they begin from is sampled anew at each call, as in an evaluation: inputs of the graph."""
    pytest.importorskip("onnxscript")
    graph = graph_of("cqn_as", ONLY_STATE, span, **PROPOSALS, **changes)
    assert [port.name for port in graph.inputs] == inputs
    write_onnx(graph, tmp_path / runtime.GRAPH)
    policy = policy_on(graph, tmp_path, monkeypatch)
    found = compare(graph, policy, observations(graph, 100))
    assert found.holds, found.row()
    assert found.largest_difference <= 1e-5
    assert found.flips <= 0.001 * found.bins
    seen = observations(graph, 1)[0]
    chunks = [policy.infer(seen) for _ in range(8)]
    assert len({chunk.tobytes() for chunk in chunks}) > 1


def test_chunks_that_rounding_tells_apart_are_told_from_others():
    """A proposal on the border of two cells may come out as either; any other chunk than ours has a gap."""
    graph = graph_of("cqn_as", ONLY_STATE, ALL_MOVE, **PROPOSALS)
    agent = graph.agent
    assert isinstance(agent, CQN)
    proposer = agent.proposer
    assert proposer is not None
    noise = {name: tensor.numpy() for name, tensor in agent.sample_acting_noise(1, torch.Generator(), False).items()}
    arrays = {"state": observations(graph, 1)[0]["state"][None], **noise}
    cells = agent.config.bins**agent.config.levels
    with torch.inference_mode():
        ours = graph(*feed(graph.inputs, arrays))[0][0].numpy()
        chunk = torch.from_numpy((ours - graph.middle.numpy()) / graph.reach.numpy())
    theirs = ours.copy()
    side = 1 if chunk[0, 0] < 0 else -1  # to a neighbour that is there
    theirs[0, 0] += side * 2 * graph.reach.numpy()[0] / cells
    # All proposals are ours, but for the first component: on the border of the two cells, or well inside of ours.
    for inside, (tied, gaps) in ((1e-6, (1, 0)), (1e-3, (0, 1))):
        shown = chunk.clone()
        shown[0, 0] += side * (1 / cells - inside)
        proposer.propose = lambda *_, shown=shown: shown.expand(3, 1, -1, -1)
        found = Parity()
        _compare_bins(found, graph, agent, arrays, (ours, theirs))
        assert (len(found.tied_gaps), len(found.gaps)) == (tied, gaps)
        pair = graph.agent.acting_critic.cell(torch.from_numpy(np.stack([chunk, chunk])))
        pair[1, 0, 0] += side
        with torch.inference_mode():
            values = agent.acting_critic.score({"state": torch.from_numpy(arrays["state"])}, pair[:, None])[:, 0]
        span = agent.config.v_max - agent.config.v_min
        assert (found.tied_gaps + found.gaps)[0] == pytest.approx(abs(float(values[0] - values[1])) / span, rel=1e-4)


def test_where_the_greedy_chunk_is_taken_flips_are_those_of_an_agent_without_proposals():
    """At the tie threshold one side may take another bin of a coarse level, whose chunk is worth something else."""
    graph = graph_of("cqn_as", ONLY_STATE, ALL_MOVE, proposals__count=1)
    agent = graph.agent
    assert isinstance(agent, CQN)
    noise = {name: tensor.numpy() for name, tensor in agent.sample_acting_noise(1, torch.Generator(), False).items()}
    counted = set()
    for observation in observations(graph, 20):
        arrays = {"state": observation["state"][None], **noise}
        with torch.inference_mode():
            ours = graph(*feed(graph.inputs, arrays))[0][0].numpy()
            sample = {"state": torch.from_numpy(arrays["state"])}
            greedy = agent.acting_critic.greedy(sample, torch.from_numpy(arrays["ties"])).cell[0]
            cell = agent.acting_critic.cell(torch.from_numpy((ours - graph.middle.numpy()) / graph.reach.numpy()))
        width = 2 * graph.reach.numpy() / agent.config.bins**agent.config.levels
        theirs = ours.copy()
        theirs[0] += np.where(ours[0] < graph.middle.numpy(), width, -width)
        found = Parity()
        _compare_bins(found, graph, agent, arrays, (ours, theirs))
        count = len(found.gaps + found.tied_gaps)
        assert count == (ACTIONS if torch.equal(greedy, cell) else 1)
        counted.add(count)
    assert ACTIONS in counted


@pytest.mark.long
def test_a_bundle_predicts_values_of_new_chunks_alone(tmp_path, monkeypatch):
    """As training does: between two chunks nothing is predicted."""
    pytest.importorskip("onnxscript")
    graph = graph_of("cqn_as", ONLY_STATE)
    write_onnx(graph, tmp_path / runtime.GRAPH)
    one = policy_on(graph, tmp_path, monkeypatch)
    one.facts["executor"]["replan_every"] = 2
    controller = _Controller([one.another(0), one.another(1)])
    state = {"state": np.zeros((2, STATE), np.float32)}
    told = []
    for step in range(4):
        controller.reset(np.array([step == 0, step in (0, 1)]))
        controller.act(state)
        assert controller.predicted is not None
        told.append(np.isfinite(controller.predicted).tolist())
    assert told == [[True, True], [False, True], [True, False], [False, True]]


def policy_on(graph: ActingGraph, folder: Path, monkeypatch) -> runtime.Policy:
    """The runtime of a folder that holds a graph alone."""
    grid = graph.agent.config.grid
    facts = {
        "observations": {
            port.name: {"shape": port.shape[1:], "dtype": port.dtype}
            for port in graph.inputs
            if port.name in graph.observed
        },
        "frame_stack": 1,
        "chunk_length": graph.agent.chunk_length,
        "executor": {"name": "receding_horizon", "replan_every": 1},
        "action": {"size": ACTIONS, "low": [-9.0] * 3, "high": [9.0] * 3},
        "inputs": [dataclasses.asdict(port) for port in graph.inputs],
        "outputs": [dataclasses.asdict(port) for port in graph.outputs],
        "grid": {"bins": grid[1]} if grid else None,
    }
    monkeypatch.setattr(runtime, "_facts", lambda _: facts)
    return runtime.load_policy(folder)


def test_an_agent_with_noise_of_its_own_is_refused(monkeypatch):
    noise = {"policy_noise": torch.zeros(1, ACTIONS)}
    monkeypatch.setattr("zoomrl.agents.sac.learner.SAC.sample_acting_noise", lambda *_, **__: noise)
    with pytest.raises(ZoomrlError, match=r"sac acts with noise of its own \(policy_noise\)"):
        graph_of("sac", ONLY_STATE)


def test_flips_are_counted_and_their_gap_is_measured():
    """Against a policy that takes another bin on purpose."""
    graph = graph_of("cqn", ONLY_STATE)
    agent = graph.agent
    assert isinstance(agent, CQN)
    levels, bins = agent.config.levels, agent.config.bins
    cell_width = (RANGE[1] - RANGE[0])[0] / bins**levels

    class Other:
        def sample_noise(self):
            return {"ties": np.random.default_rng(0).integers(0, bins, (levels, 1, ACTIONS))}

        def infer(self, observation, noise):
            arrays = {"state": observation["state"][None], **noise}
            with torch.inference_mode():
                chunk = graph(*feed(graph.inputs, arrays))[0][0].numpy().copy()
            # One cell aside in the first dimension: another bin of the finest level, or of all where it crosses over.
            chunk[0, 0] += cell_width if chunk[0, 0] < 0 else -cell_width
            return chunk

    found = compare(graph, Other(), observations(graph, 20))  # type: ignore[arg-type]
    assert 20 <= found.flips <= 20 * levels
    assert found.bins == 20 * levels * 2
    assert found.row()["equal_bins"] == 1 - found.flips / found.bins
    assert len(found.gaps) == 20
    assert min(found.gaps) > 1e-4
    assert not found.holds
    assert found.largest_difference == 0, "flips are told apart from differences of rounding"


def test_flips_among_tied_bins_are_told_apart():
    """Values that lie within the tie threshold of each other: any bin is as good, whatever their gap is."""
    graph = graph_of("cqn", ONLY_STATE)
    assert isinstance(graph.agent, CQN)
    span = graph.agent.config.v_max - graph.agent.config.v_min
    agent, critic = graph.agent, graph.agent.target_critic
    with torch.no_grad():
        for tensor in (critic.advantage.weight, critic.advantage.bias):
            tensor.zero_()
    arrays = {"state": np.zeros((1, STATE), np.float32), "ties": np.zeros((2, 1, ACTIONS), np.int64)}
    with torch.inference_mode():
        ours = graph(*feed(graph.inputs, arrays))[0][0].numpy()
    theirs = ours + (RANGE[1] - RANGE[0]) / agent.config.bins
    found = Parity()
    _compare_bins(found, graph, agent, arrays, (ours, theirs))
    assert (found.flips, len(found.tied_gaps), found.gaps) == (2, 2, [])
    assert found.row()["tied"] == 2
    assert found.holds
    with torch.no_grad():
        critic.advantage.bias[0] = 5 * span
    _compare_bins(found, graph, agent, arrays, (ours, theirs))
    assert len(found.gaps) == 1, "of the first dimension, whose bins are no longer tied"
    assert not found.holds


def test_what_holds():
    assert Parity(bins=10, flips=1, gaps=[9e-5]).holds
    assert not Parity(bins=10, flips=1, gaps=[2e-4]).holds
    assert Parity(largest_difference=9e-6).holds
    assert not Parity(largest_difference=2e-5).holds
    assert Parity(bins=10, largest_difference=1.0).holds


@pytest.mark.parametrize(
    ("ours", "theirs", "p"),
    [
        ([True] * 5, [True] * 5, 1.0),
        ([True] * 4 + [False], [False] * 4 + [False], 2 * 0.5**4),
        ([True, False, True], [False, True, True], 1.0),
        ([True] * 3 + [False], [False] * 3 + [True], 2 * (0.5**4 + 4 * 0.5**4)),
    ],
)
def test_mcnemar_counts_episodes_that_one_alone_solves(ours, theirs, p):
    assert mcnemar(ours, theirs) == pytest.approx(p)


def test_the_ensemble_of_the_step_graph_is_that_of_the_runtime():
    graph = graph_of("cqn_as", ONLY_STATE)
    length = graph.agent.chunk_length
    for favours in ("oldest", "newest"):
        control = ControlConfig(ensemble_gain=0.7, ensemble_favours=favours)
        spec = spec_of(ONLY_STATE)
        step = StepGraph(graph, control, spec)
        executor = runtime.TemporalEnsemble(length, ACTIONS, 0.7, favours)
        ring, filled = torch.zeros(length, length, ACTIONS), torch.zeros(length)
        for observation in observations(graph, 2 * length + 1):
            arrays = {"state": observation["state"][None], "ties": np.zeros((2, length, ACTIONS), np.int64)}
            inputs = feed(graph.inputs, arrays)
            with torch.inference_mode():
                chunk = graph(*inputs)[0][0].numpy()
                action, ring, filled = step(*inputs, ring, filled)
            wanted = np.clip(executor.step(chunk), spec.action.low, spec.action.high)
            np.testing.assert_allclose(action.numpy(), wanted, atol=1e-6)


# ---- a whole bundle ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("deploy")
    run(tiny(place / "run", demo_set(place / "demos"), agent__normalize="demos"))
    return place / "run"


@pytest.fixture(scope="module")
def bundle(trained) -> Path:
    pytest.importorskip("onnxscript")
    out = trained.parent / "bundle"
    done = export(trained, out, episodes=3, make_env=ToyEnv)
    assert done.folder == out
    assert done.parity is not None
    assert done.parity.holds
    assert done.parity.observations > 60
    assert done.success is not None
    return out


def test_a_bundle_holds_what_it_should(bundle, trained):
    names = {path.name for path in bundle.iterdir()}
    assert names == {runtime.GRAPH, runtime.POLICY, STEP, WEIGHTS, CARD, CODE}
    assert (bundle / CODE).read_bytes() == Path(runtime.__file__).read_bytes()
    facts = json.loads((bundle / runtime.POLICY).read_text())
    assert facts["agent"] == "cqn_as"
    assert facts["frame_stack"] == 2
    assert facts["grid"] == {"levels": 2, "bins": 3}
    assert facts["executor"] == {"name": "temporal_ensemble", "gain": 0.01, "favours": "oldest"}
    assert facts["observations"]["state"]["shape"] == [3]
    assert facts["training"]["env_steps"] == 60
    assert facts["training"]["demos_sha256"]
    assert len(facts["normalizer"]["mean"]) == 6, "of both frames"
    assert facts["success"]["episodes"] == 3
    assert facts["success"]["mcnemar_p"] == 1.0
    assert facts["step"]["outputs"][0]["name"] == "action"
    assert str(trained.parent) not in (bundle / runtime.POLICY).read_text(), "nothing of this machine"
    assert str(trained.parent) not in (bundle / CARD).read_text()
    assert len({(bundle / name).stat().st_mode & 0o044 for name in (WEIGHTS, CODE)}) == 1, "read by the same people"


def test_a_bundle_that_was_changed_or_mixed_is_refused(bundle, tmp_path):
    def flipped(content):
        return content[:-40] + bytes([content[-40] ^ 1]) + content[-39:]

    def tuned(content):
        return content.replace(b'"gain": 0.01', b'"gain": 0.05')

    for name, change, text in (
        (runtime.POLICY, tuned, "was changed since it was exported"),
        (runtime.GRAPH, flipped, "is damaged, or of another bundle"),
    ):
        folder = tmp_path / name
        shutil.copytree(bundle, folder)
        content = (folder / name).read_bytes()
        assert change(content) != content
        (folder / name).write_bytes(change(content))
        with pytest.raises(runtime.BundleError, match=text):
            runtime.load_policy(folder)
        with pytest.raises(CheckpointError, match=text):
            load_policy(folder)


def test_facts_that_lack_what_is_needed_are_named(bundle, tmp_path):
    shutil.copytree(bundle, tmp_path / "b")
    facts = json.loads((bundle / runtime.POLICY).read_text())
    del facts["executor"], facts["digest"]
    (tmp_path / "b" / runtime.POLICY).write_text(json.dumps(facts))
    with pytest.raises(runtime.BundleError, match=r"policy\.json is not what `zoomrl export` writes \(KeyError"):
        runtime.load_policy(tmp_path / "b")


class _Nothing:
    """A graph that answers with NaN."""

    def __init__(self, facts):
        self.answers = {"actions": np.full((1, facts["chunk_length"], facts["action"]["size"]), np.nan, np.float32)}

    def run(self, names, feed):
        return [self.answers.get(name, np.zeros(1, np.float32)) for name in names]


def test_no_action_that_is_not_finite_reaches_a_robot(bundle):
    policy = runtime.load_policy(bundle)
    policy._graph = _Nothing(policy.facts)
    shape = policy.facts["observations"]["state"]["shape"]
    for act in (policy.act, policy.chunk):
        with pytest.raises(runtime.ActionError, match="the graph answered with"):
            act({"state": np.zeros(shape, np.float32)})


def test_nan_is_no_parity():
    graph = graph_of("td3", ONLY_STATE)

    class Broken:
        def sample_noise(self):
            return {}

        def infer(self, stacked, noise):
            return np.full((1, ACTIONS), np.nan, np.float32)

    found = compare(graph, Broken(), observations(graph, 2))  # type: ignore[arg-type]
    assert found.largest_difference == np.inf
    assert not found.holds


def test_frames_between_chunks_are_stacked_and_a_replan_keeps_them(bundle):
    chunked, stepped = (runtime.load_policy(bundle) for _ in range(2))
    rng = np.random.default_rng(0)
    states = [rng.normal(size=chunked.facts["observations"]["state"]["shape"]).astype(np.float32) for _ in range(3)]
    for policy in (chunked, stepped):
        policy.chunk({"state": states[0]})
    stepped.chunk({"state": states[1]})
    chunked.observe({"state": states[1]})
    np.testing.assert_array_equal(chunked.chunk({"state": states[2]}), stepped.chunk({"state": states[2]}))
    fresh, led = (runtime.load_policy(bundle) for _ in range(2))
    for state in states[:2]:
        led.act({"state": state})
        fresh.observe({"state": state})
    led.replan()
    np.testing.assert_array_equal(led.act({"state": states[2]}), fresh.act({"state": states[2]}))


def test_observations_of_several_environments_are_read_before_any_acts(bundle):
    policies = load_policy(bundle, num_envs=2)
    shape = policies.facts["observations"]["state"]["shape"]
    right = np.zeros((2, *shape), np.float32)
    for count in (1, 3):
        with pytest.raises(
            runtime.ObservationError, match=rf"'state' must have 2 rows, one of each environment, got {count}"
        ):
            policies.act({"state": np.zeros((count, *shape), np.float32)})
    broken = right.copy()
    broken[1] = np.nan
    with pytest.raises(runtime.ObservationError, match="must be finite"):
        policies.act({"state": broken})
    again = load_policy(bundle, num_envs=2)
    np.testing.assert_array_equal(policies.act({"state": right, "step": 3}), again.act(right))


def test_the_result_of_other_weights_is_not_told(trained, tmp_path):
    pytest.importorskip("onnxscript")
    shutil.copytree(trained, tmp_path / "run")
    told = json.loads((export(tmp_path / "run", tmp_path / "a", observations=0).folder / runtime.POLICY).read_text())
    assert told["training"]["result"]["episodes"] > 0
    result = read_json(tmp_path / "run" / "result.json")
    write_json(tmp_path / "run" / "result.json", {**result, "updates": result["updates"] + 1})
    told = json.loads((export(tmp_path / "run", tmp_path / "b", observations=0).folder / runtime.POLICY).read_text())
    assert told["training"]["result"] is None


def test_the_weights_are_those_of_the_run(bundle, trained):
    from safetensors.torch import load_file

    ours, theirs = load_agent(trained).agent.weights("all"), load_file(bundle / WEIGHTS)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def test_a_bundle_acts_as_its_run(bundle, trained):
    ours, theirs = load_policy(trained), load_policy(bundle)
    assert isinstance(theirs, BundlePolicy)
    assert theirs.spec == ours.spec
    assert (theirs.env_steps, theirs.discount, theirs.env) == (ours.env_steps, ours.discount, ours.env)
    rng = np.random.default_rng(0)
    for step in range(30):
        if step % 11 == 0:
            ours.reset()
            theirs.reset()
        state = rng.normal(size=3).astype(np.float32)
        np.testing.assert_allclose(theirs.act(state), ours.act(state), atol=1e-5)


def test_several_environments_have_executors_of_their_own(bundle):
    alone, both = load_policy(bundle), load_policy(bundle, num_envs=2)
    rng = np.random.default_rng(0)
    for step in range(8):
        state = rng.normal(size=(2, 3)).astype(np.float32)
        if step == 5:
            both.reset(np.array([False, True]))
        found = both.act({"state": state})
        np.testing.assert_array_equal(found[0], alone.act({"state": state[0]}))
    assert both.controller.predicted.shape == (2,)


@pytest.mark.parametrize("which", ["run", "bundle"])
def test_numbers_of_environments_that_cannot_be_are_refused(bundle, trained, which):
    source = trained if which == "run" else bundle
    with pytest.raises(ConfigError, match="num_envs must be at least 1 and seed at least 0, got 0 and 0"):
        load_policy(source, num_envs=0)
    with pytest.raises(ValueError, match=r"a reset takes one flag for each of 1 environments, got \[2\]"):
        load_policy(source).reset(np.array([True, False]))
    with pytest.raises(ConfigError, match="seed must be at least 0, got -1"):
        evaluate(source, seed=-1)


def test_a_bundle_is_evaluated_as_a_run_is(bundle, trained):
    ours, theirs = (evaluate(one, make_env=ToyEnv, episodes=4, num_envs=2) for one in (trained, bundle))
    assert ours.successes == theirs.successes
    np.testing.assert_allclose(ours.returns, theirs.returns, atol=1e-4)
    for our, their in zip(ours.valued, theirs.valued, strict=True):
        np.testing.assert_allclose(our.predicted, their.predicted, atol=1e-4)


def test_a_recurrence_is_one_operation_of_the_graph(bundle):
    """Written out, its steps made the quickstart's graph three times slower."""
    onnx = pytest.importorskip("onnx")
    kinds = [node.op_type for node in onnx.load(bundle / runtime.GRAPH).graph.node]
    assert kinds.count("GRU") == 2, "one for each level of its one stream"
    assert len(kinds) < 150


def test_the_step_graph_needs_no_executor(bundle):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(bundle / STEP), providers=["CPUExecutionProvider"])
    facts = json.loads((bundle / runtime.POLICY).read_text())
    policy = load_policy(bundle).controller.policies[0]
    inputs = {port["name"]: np.zeros(port["shape"], port["dtype"]) for port in facts["step"]["inputs"]}
    stack = runtime.FrameStack(2)
    rng = np.random.default_rng(0)
    for _ in range(7):
        state = rng.normal(size=3).astype(np.float32)
        inputs["state"] = stack.push({"state": state})["state"][None]
        found = dict(zip([o.name for o in session.get_outputs()], session.run(None, inputs), strict=True))
        policy._random = type("Zeros", (), {"integers": lambda self, low, high, shape: np.zeros(shape, np.int64)})()
        np.testing.assert_allclose(found["action"], policy.act(state), atol=1e-6)
        inputs |= {"ring": found["next_ring"], "filled": found["next_filled"]}


ALONE = """
import json, sys
from importlib import metadata
import numpy as np
sys.path.insert(0, sys.argv[1])
import policy
robot = policy.load_policy(sys.argv[1])
rng = np.random.default_rng(0)
actions = [robot.act(rng.normal(size=3).astype(np.float32)).tolist() for _ in range(9)]
heavy = [name for name in ("torch", "zoomrl", "gymnasium", "PIL") if name in sys.modules]
print(json.dumps([actions, heavy, [found.name.lower() for found in metadata.distributions()]]))
"""


@pytest.mark.slow
def test_it_acts_where_only_numpy_and_onnxruntime_are(bundle, tmp_path):
    venv.create(tmp_path / "alone", with_pip=True)
    python = tmp_path / "alone" / "bin" / "python"
    install = [python, "-m", "pip", "install", "-q", "numpy", "onnxruntime"]
    if (made := subprocess.run(install, capture_output=True, text=True)).returncode:
        pytest.skip(f"onnxruntime cannot be installed here: {made.stderr.strip().splitlines()[-1]}")
    done = subprocess.run([python, "-c", ALONE, bundle], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    actions, heavy, installed = json.loads(done.stdout)
    assert heavy == []
    assert "torch" not in installed
    ours, rng = load_policy(bundle), np.random.default_rng(0)
    for action in actions:
        np.testing.assert_allclose(action, ours.act(rng.normal(size=3).astype(np.float32)), atol=1e-5)


def test_the_card_says_what_was_measured(bundle):
    import yaml

    card = (bundle / CARD).read_text()
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["pipeline_tag"] == "reinforcement-learning"
    (index,) = front["model-index"]
    metrics = {metric["type"]: metric["value"] for metric in index["results"][0]["metrics"]}
    result = json.loads((bundle / runtime.POLICY).read_text())["training"]["result"]
    assert metrics["success_rate"] == result["success_rate"]
    assert re.search(r"95 % interval [\d.]+ to [\d.]+", index["results"][0]["task"]["name"])
    assert "import policy" in card
    assert "paired episodes" in card


@pytest.mark.long
def test_a_bundle_that_acts_otherwise_does_not_boast_of_what_the_run_achieved(trained, bundle, tmp_path):
    """Success was measured with the run's own execution; options stay those of training."""
    export(trained, tmp_path / "out", execution="1", observations=3)
    own, other = (read_json(folder / runtime.POLICY) for folder in (bundle, tmp_path / "out"))
    assert own["training"]["result"]["episodes"] > 0
    assert other["training"]["result"] is None
    assert other["training"]["options"] == own["training"]["options"]
    assert other["executor"] == {"name": "receding_horizon", "replan_every": 1}
    card = (tmp_path / "out" / "README.md").read_text()
    assert "executed in another way; what that achieved is not told here" in card
    assert "model-index" not in card


def test_what_lies_there_is_not_overwritten(bundle, trained, tmp_path):
    with pytest.raises(ConfigError, match="already holds a bundle; pass --overwrite"):
        export(trained, bundle)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is no bundle of `zoomrl export`; it is left alone"):
        export(trained, tmp_path, overwrite=True)
    with pytest.raises(CheckpointError, match="is no run directory"):
        export(tmp_path, tmp_path / "out")
    with pytest.raises(ConfigError, match="is a bundle already"):
        export(bundle, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("module", ["onnx", "onnxscript", "onnxruntime", "safetensors", "yaml"])
def test_what_is_missing_is_named_before_the_work(trained, tmp_path, monkeypatch, module):
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Hidden(module), *sys.meta_path])
    monkeypatch.setattr("zoomrl.deploy.export.load_agent", lambda _: pytest.fail("work was begun"))
    with pytest.raises(MissingDependencyError, match=rf"'{module}' is not installed. The extra zoomrl\[export\]"):
        export(trained, tmp_path / "out")


class Hidden:
    """Hides a package from imports."""

    def __init__(self, name):
        self.name = name

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == self.name:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return


@pytest.fixture
def written_before(bundle, monkeypatch):
    """Graphs are copied from a bundle of the same run: writing one takes seconds."""
    monkeypatch.setattr("zoomrl.deploy.export.write_onnx", lambda _, path: shutil.copy(bundle / path.name, path))


@pytest.mark.usefixtures("written_before")
def test_a_graph_that_strays_is_not_written(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("zoomrl.deploy.export.compare", lambda *_: Parity(observations=5, bins=9, flips=1, gaps=[0.1]))
    with pytest.raises(ZoomrlError, match="strays from PyTorch by more than rounding"):
        export(trained, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("written_before")
def test_the_command_line_exports(trained, tmp_path, capsys):
    out = tmp_path / "bundle"
    assert main(["export", str(trained), "--out", str(out), "--observations", "40"]) == 0
    said = capsys.readouterr().out
    assert "compared            40 observations with PyTorch" in said
    assert "equal bins          100.0000% (0 of 480 differ)" in said
    assert f"zoomrl serve {out}" in said
    assert main(["export", str(trained), "--out", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["export", str(trained), "--out", str(tmp_path / "x"), "--episodes", "-1"]) == 2


def test_damaged_bundles_are_named(bundle, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    facts = json.loads((copy / runtime.POLICY).read_text())
    del facts["environment"]["spec"]
    (copy / runtime.POLICY).write_text(json.dumps(facts))
    with pytest.raises(CheckpointError, match=r"policy.json is not what `zoomrl export` writes \(KeyError\('spec'\)\)"):
        load_policy(copy)
    (copy / runtime.POLICY).write_text("{")
    with pytest.raises(CheckpointError, match="holds no bundle"):
        load_policy(copy)
