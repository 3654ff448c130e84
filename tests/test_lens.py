"""The value lens: its numbers are the critic's, its marks those of the grid, and its page holds them."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import re
import subprocess
import sys
from importlib.util import find_spec
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import toy
from batches import make_batch
from envs_toy import ImageToy, ToyEnv
from slow_cqn import SlowCQN
from test_demos_view import HOSTILE, Parsed
from zoomrl.agents.build import make_agent
from zoomrl.agents.cqn.config import CQNASConfig, CQNConfig, ProposalConfig
from zoomrl.agents.cqn.learner import CQN
from zoomrl.agents.drqv2.config import DrQv2Config
from zoomrl.cli.main import main
from zoomrl.control.config import ControlConfig
from zoomrl.control.controller import Controller
from zoomrl.control.scaling import ActionScaler
from zoomrl.control.stack import FrameStack
from zoomrl.demos.config import DemoConfig
from zoomrl.demos.store.reader import content_hash, read_demos
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.suites.gym.env import wrap_gym_env
from zoomrl.envs.vector.serial import SerialVectorEnv
from zoomrl.errors import ConfigError, DemonstrationError, NonFiniteLossError, SimulatorError
from zoomrl.lens.images import MAX_SIDE, Renderer, recorded_views, shrunk
from zoomrl.lens.page import make_page, make_part, quantised
from zoomrl.lens.record import ABOVE, BELOW, NOTHING, Lens, Thinned, marks, windows
from zoomrl.lens.source import first_demonstrations
from zoomrl.lens.write import records, write_lens
from zoomrl.math import grid
from zoomrl.nets.perception import ObservationShape
from zoomrl.training.evaluate import evaluate
from zoomrl.training.policy import TrainedAgent, load_agent
from zoomrl.training.run_files import read_policy_file

SMALL = {"hidden_dim": 12, "trunk_dim": 6, "atoms": 7, "bins": 3, "levels": 2, "v_min": -9.0, "v_max": 1.0}


class Visible(ToyEnv):
    """The toy, which can be rendered: the clock is the colour."""

    render_mode = "rgb_array"
    metadata: ClassVar = {"render_modes": ["rgb_array"]}

    def render(self):
        return np.full((20, 30, 3), 8 * self.clock, np.uint8)


class Breaking(Visible):
    """Rendering fails after three images."""

    images = 0

    def render(self):
        self.images += 1
        if self.images > 3:
            raise RuntimeError("the context was lost")
        return super().render()


def envs_of(kind=Visible):
    return SerialVectorEnv([lambda: wrap_gym_env(kind(), EnvConfig(id="gym:toy", time_limit=12))])


def shaken(agent):
    """Heads begin at 0, where all values are equal; the target is another critic than the one that learns."""
    with torch.no_grad():
        for seed, critic in enumerate((agent.critic, agent.target_critic)):
            generator = torch.Generator().manual_seed(seed)
            for weight in critic.parameters():
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.5)
    return agent


def held_of(config=None, *, spec=None, movable=(True, True), **changes):
    """An agent of the toy, as a run holds it, with a scaler that is not the environment's bounds."""
    config = toy.tiny(toy.Path("nowhere"), agent=config or CQNASConfig(chunk_length=3, **SMALL), **changes)
    spec = spec or envs_of().env_spec
    high = np.where(movable, (0.8, 1.5), 0.25)
    scaler = ActionScaler(np.where(movable, (-1.0, -1.2), 0.25), high, spec.action)
    agent = make_agent(config.agent, spec, frame_stack=config.replay.frame_stack, movable=scaler.movable)
    return TrainedAgent(config, spec, scaler, shaken(agent) if isinstance(agent, CQN) else agent, 60, 30)


def demo_of(steps=7, seed=3, spec=None):
    """An episode of the toy with random actions in the environment's units."""
    envs, random = envs_of(), np.random.default_rng(seed)
    builder = None
    for trial in range(100):
        shown, _ = envs.reset(0, trial)
        builder = toy.EpisodeBuilder(shown, trial)
        for _ in range(steps):
            action = random.uniform((-1, -2), (1, 2)).astype(np.float32)
            result = envs.step(action[None])
            shown = {name: rows[0] for name, rows in result.obs.items()}
            builder.add(action, float(result.reward[0]), shown, bool(result.success[0]))
            if result.terminated[0]:
                break
        if len(builder) == steps:
            return builder.build(terminated=True, truncated=False, is_demo=True)
    raise AssertionError("no episode was so long")


# ---- values ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["categorical", "scalar"])
@pytest.mark.parametrize("chunk", [1, 3])
@pytest.mark.parametrize("act_with", ["target", "online"])
def test_values_of_bins_are_those_of_a_slow_critic(chunk, value, act_with):
    options = {**SMALL, "value": value, "act_with": act_with}
    config = CQNASConfig(chunk_length=chunk, **options) if chunk > 1 else CQNConfig(**options)
    batch = make_batch(ObservationShape(7), chunk, 4)
    agent = shaken(CQN(config, ObservationShape(7), 3))
    slow = SlowCQN(agent)
    critic = slow.target_critic if act_with == "target" else slow.critic
    found = agent.values_along(batch["obs"], batch["actions"])
    outputs, bins = slow.outputs_of(critic, slow.perception(batch["obs"]), batch["actions"])
    shape = (4, 2, chunk, 3)
    assert found.values.shape == (*shape, 3)
    torch.testing.assert_close(found.values, slow.expected(outputs).view(*shape, 3), atol=1e-5, rtol=1e-5)
    assert torch.equal(found.bins, bins.view(shape))
    # Along its own proposal, every bin chosen is the best, and the finest ones give the value.
    chunks = agent.act(batch["obs"], torch.Generator().manual_seed(0))
    along = agent.values_along(batch["obs"], chunks.actions)
    assert torch.equal(along.values.argmax(-1), along.bins)
    torch.testing.assert_close(along.values[:, -1].amax(-1).mean((1, 2)), chunks.value, atol=1e-5, rtol=1e-5)


# ---- marks and windows ---------------------------------------------------------------------------------------


@given(st.integers(1, 4), st.integers(2, 6), st.integers(0, 10_000), st.integers(0, 10_000))
def test_marks_are_where_the_action_lies_in_each_interval(levels, bins, taken, chosen):
    count = bins**levels
    taken, chosen = taken % count, chosen % count
    found = marks(np.array([[[taken]]]), np.array([[[chosen]]]), levels, bins)[0, :, 0, 0]
    low, high = 0, count
    for level in range(levels):
        width = (high - low) // bins
        expected = BELOW if taken < low else ABOVE if taken >= high else (taken - low) // width
        assert found[level] == expected
        low += (chosen - low) // width * width
        high = low + width


def test_an_action_on_the_way_is_marked_by_the_bins_of_the_grid():
    action = torch.rand(5, 3, 2) * 2 - 1
    cells = grid.to_cell(action, 3, 5).numpy()
    expected = grid.encode(action, 3, 5).movedim(2, 1).numpy()
    assert np.array_equal(marks(cells, cells, 3, 5), expected)
    assert (marks(np.full_like(cells, -1), cells, 3, 5) == NOTHING).all()


def test_windows_end_with_the_episode():
    cells = np.arange(8).reshape(4, 2)
    found = windows(cells, np.array([0, 3]), 3)
    assert found.tolist() == [[[0, 1], [2, 3], [4, 5]], [[6, 7], [-1, -1], [-1, -1]]]


@given(st.integers(1, 9), st.integers(1, 200))
def test_what_is_kept_is_bounded_and_evenly_apart(most, steps):
    kept = Thinned(most)
    for step in range(steps):
        if kept.wants(step):
            kept.add(step, -step)
    assert kept.steps.tolist() == list(range(0, steps, kept.stride))
    assert kept.items == [-step for step in kept.steps]
    assert len(kept.items) <= most
    assert kept.stride == 1 or len(range(0, steps, kept.stride // 2)) > most


# ---- episodes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "control",
    [{}, {"executor": "receding_horizon", "replan_every": 2}, {"executor": "open_loop"}],
    ids=["ensemble", "receding", "open"],
)
def test_a_policys_episode_is_that_of_an_evaluation(control):
    held = held_of(control=ControlConfig(**control))
    seeds = [5, 11]
    actor = Controller(held.agent, held.config.control, held.scaler, 1, 2, seed=0)
    expected = evaluate(actor, envs_of(), seeds, discount=held.config.replay.discount)
    lens, envs = Lens(held), envs_of()
    renderer = Renderer(envs, 5)
    for number, seed in enumerate(seeds):
        record = lens.policy_episode(envs, seed, renderer)
        assert record.steps == expected.lengths[number]
        assert float(record.rewards.astype(np.float64).sum()) == pytest.approx(expected.returns[number])
        assert record.success == expected.successes[number]
        assert record.ended in ("terminated", "truncated")
        assert record.value[record.fresh].tolist() == pytest.approx(expected.valued[number].predicted)
        # The finest bins chosen are the value: the critic was asked with the observations that the policy had.
        np.testing.assert_allclose(record.values[:, -1].max(-1).mean((1, 2)), record.value, rtol=1e-4)
        assert record.returns[record.fresh].tolist() == pytest.approx(expected.valued[number].realised)
        every = {"receding_horizon": 2, "open_loop": 3}.get(control.get("executor"), 1)
        assert record.fresh.tolist() == [step % every == 0 for step in range(record.steps)]
        ((name, images),) = record.cameras
        assert name == "video"
        assert images[:, 0, 0, 0].tolist() == [8 * step for step in range(record.steps)]
        assert record.said == ()
        if every > 1:
            # What is executed is on the grid, and of the chunk that the first step has taken.
            assert np.array_equal(record.taken[0, :, :every], record.chosen[0, :, :every])


def test_a_demonstration_is_seen_as_it_was_recorded():
    held, episode = held_of(), demo_of()
    lens = Lens(held)
    record = lens.demonstration(episode, 4)
    unit = torch.from_numpy(held.scaler.to_unit(episode.actions))
    bins = grid.encode(unit, 2, 3).numpy()  # [steps, L, A]
    stack, agree = FrameStack(1, 2), []
    stack.reset(np.ones(1, bool))
    for step in range(len(episode)):
        stacked = stack.push({"state": episode.observations["state"][step][None]})
        chunk = held.agent.act(stacked, torch.Generator())
        along = held.agent.values_along(stacked, chunk.actions)
        np.testing.assert_allclose(record.values[step], along.values[0], rtol=1e-6)
        assert np.array_equal(record.chosen[step], along.bins[0])
        assert record.value[step] == pytest.approx(float(chunk.value[0]))
        window = bins[step : step + 3].swapaxes(0, 1)
        # The first level is asked about the whole range; below it, only where the greedy bin holds the action.
        assert np.array_equal(record.taken[step, 0, : window.shape[1]], window[0])
        inside = record.chosen[step, 0, : window.shape[1]] == window[0]
        assert np.array_equal(record.taken[step, 1, : window.shape[1]][inside], window[1][inside])
        assert set(record.taken[step, 1, : window.shape[1]][~inside]) <= {ABOVE, BELOW}
        assert (record.taken[step, :, window.shape[1] :] == NOTHING).all()
        # The metric that training logs, of the same sample.
        valid = torch.arange(3) < window.shape[1]
        padded = torch.zeros(1, 3, 2)
        padded[0, : window.shape[1]] = unit[step : step + 3]
        critic = held.agent.target_critic
        weight = valid.float().expand(1, 2, 3)
        path = critic.along(held.agent.perception(stacked), critic.cell(padded))
        measured = critic.compare_bins(path, weight, weight)
        assert record.agreement[step].mean() == pytest.approx(float(measured["demo_agreement"]))
        agree.append(record.agreement[step])
        if valid.all():
            path = critic.along(held.agent.perception(stacked), critic.cell(chunk.actions))
            spread = critic.compare_bins(path, weight, weight)["sibling_spread"]
            assert record.spread(lens.movable)[step].mean() == pytest.approx(float(spread), rel=1e-5)
    assert 0 < np.mean(agree) < 1
    assert record.returns[-1] == pytest.approx(episode.rewards[-1])
    assert record.returns[0] == pytest.approx(sum(0.99**t * r for t, r in enumerate(episode.rewards)), rel=1e-5)


def test_of_a_long_episode_every_second_step_is_shown_and_that_is_said():
    held, episode = held_of(), demo_of(7)
    whole, thinned = Lens(held).demonstration(episode, 0), Lens(held, most_steps=4).demonstration(episode, 0)
    assert thinned.at.tolist() == [0, 2, 4, 6]
    assert any("every 2nd of 7 steps" in line for line in thinned.said)
    np.testing.assert_array_equal(thinned.values, whole.values[::2])
    np.testing.assert_array_equal(thinned.taken, whole.taken[::2])
    np.testing.assert_array_equal(thinned.rewards, whole.rewards)


def test_a_dimension_without_range_reaches_no_number():
    held, episode = held_of(movable=(True, False)), demo_of()
    lens = Lens(held)
    record = lens.demonstration(episode, 0)
    other = dataclasses.replace(record, values=record.values.copy())
    other.values[..., 1, :] = 1e3
    np.testing.assert_array_equal(other.spread(lens.movable), record.spread(lens.movable))
    assert quantised(other.values, lens.movable)["span"] == quantised(record.values, lens.movable)["span"]
    part = make_part(lens, record, 0)
    assert "has no range" in part.html
    assert part.html.count("<canvas tabindex") == 1


# ---- images --------------------------------------------------------------------------------------------------


def test_a_demonstration_without_images_is_replayed_with_its_seed():
    held, episode, envs = held_of(), demo_of(), envs_of()
    lens, renderer = Lens(held), Renderer(envs, 0)
    ((name, images),) = lens.demonstration(episode, 0, renderer).cameras
    assert name == "replayed with its seed"
    assert images[:, 0, 0, 0].tolist() == [8 * step for step in range(7)]
    moved = {"state": episode.observations["state"].copy()}
    moved["state"][3, 0] += 0.01
    record = lens.demonstration(dataclasses.replace(episode, observations=moved), 0, renderer)
    assert record.cameras == ()
    assert record.said == ("no video: replayed with its seed, the simulator shows another state at step 3",)
    unknown = lens.demonstration(dataclasses.replace(episode, seed=-1), 0, renderer)
    assert "no seed" in unknown.said[0]
    assert "holds no images" in lens.demonstration(episode, 0).said[0]


@pytest.mark.parametrize(("kind", "said"), [(ToyEnv, "no video"), (Breaking, "the context was lost")])
def test_an_environment_that_cannot_render_leaves_a_page_without_a_video(tmp_path, kind, said):
    lens, envs = Lens(held_of()), envs_of(kind)
    size, left_out = write_lens(lens, records(lens, envs, [5, 11], []), tmp_path / "l.html", title="run")
    page = Parsed((tmp_path / "l.html").read_text("utf-8"))
    assert size == (tmp_path / "l.html").stat().st_size
    assert len(page.of("section")) == 4  # two episodes, the legend, and the run
    assert not page.of("img")
    assert len(left_out) == 1, "it is said once"
    assert said in left_out[0]
    assert said in page.text


def test_where_nothing_renders_the_images_that_a_policy_observed_are_shown():
    config = EnvConfig(id="gym:toy-images", time_limit=12, cameras=("front",), image_size=16)
    envs = SerialVectorEnv([lambda: wrap_gym_env(ImageToy(), config)])
    lens = Lens(held_of(spec=envs.env_spec))
    record = lens.policy_episode(envs, 5, Renderer(envs, 5))
    ((name, images),) = record.cameras
    assert name == "front"
    shown, _ = envs.reset(0, 5)
    np.testing.assert_array_equal(images[0], shown["rgb"][0])
    assert len(images) == record.steps
    assert re.match("no video: .*; shown is what the policy observed", record.said[0])


def test_recorded_images_are_shown_shrunk():
    episode = demo_of()
    image = np.random.default_rng(0).integers(0, 256, (8, 5, 300, 600, 3), np.uint8)
    shown = dataclasses.replace(episode, observations={**episode.observations, "rgb": image})
    cameras, said = recorded_views(shown, envs_of().env_spec, np.array([0, 5]))
    assert [images.shape for _, images in cameras] == [(2, 64, 128, 3)] * 4
    assert said == "the first 4 of 5 views are shown"
    assert shrunk(image[0, 0]).shape == (MAX_SIDE // 2, MAX_SIDE, 3)
    small = image[0, 0, :10, :10]
    assert shrunk(small) is small


# ---- the page ------------------------------------------------------------------------------------------------


def unpacked(episode, kind, *shape):
    return np.frombuffer(base64.b64decode(episode), kind).reshape(shape)


def test_a_page_holds_the_record(tmp_path):
    held = held_of()
    lens, envs = Lens(held), envs_of()
    seen = list(records(lens, envs, [5], [(4, demo_of())]))
    write_lens(lens, iter(seen), tmp_path / "l.html", title="my run", said=("the set has changed",))
    page = Parsed((tmp_path / "l.html").read_text("utf-8"))
    data = page.data
    assert (data["levels"], data["bins"], data["chunk"]) == (2, 3, 3)
    assert [d["high"] for d in data["dimensions"]] == pytest.approx([0.8, 1.5])
    for record, episode in zip(seen, data["episodes"], strict=True):
        count = len(record.at)
        raw = unpacked(episode["values"], "<u2", *record.values.shape).astype(np.float64)
        low, span = (np.array(episode[key])[:, :, None, None, None] for key in ("low", "span"))
        assert np.abs(low + raw / 65535 * span - record.values).max() <= span.max() / 131070 + 1e-6
        assert (raw.reshape(count, 2, -1).max(-1) == 65535).all()
        assert np.array_equal(unpacked(episode["chosen"], np.int8, *record.chosen.shape), record.chosen)
        assert np.array_equal(unpacked(episode["marks"], np.int8, *record.taken.shape), record.taken)
        value, realised = episode["plots"][0]
        np.testing.assert_allclose(value, record.value, rtol=1e-6)
        np.testing.assert_allclose(realised, record.returns[record.at], rtol=1e-6)
        np.testing.assert_allclose(episode["plots"][1][0], record.rewards, rtol=1e-6)
        np.testing.assert_allclose(episode["plots"][2], record.spread(lens.movable).T, rtol=1e-6)
        assert episode["taken"] == ("demonstrated" if record.demonstration else "executed")
    np.testing.assert_allclose(data["episodes"][1]["plots"][3], seen[1].agreement.T, rtol=1e-6)
    for words in ("my run", "demonstration 4", "the policy, seed 5", "the set has changed", "the target critic"):
        assert words in page.text, words
    sheets = [attributes["src"] for attributes in page.of("img")]
    assert len(sheets) == 2
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(sheets[0].partition(",")[2]))))
    camera = data["episodes"][0]["cameras"][0]
    middle = [sheet[10, camera["pitch"][0] * step + 15, 0] for step in range(3)]
    np.testing.assert_allclose(middle, [0, 8, 16], atol=3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "chooses among 4 proposals, with the greedy chunk"),
        ({"greedy": False}, "chooses among 4 proposals, without the greedy chunk"),
        ({"greedy": False, "choose": "random"}, "takes any of 4 proposals, without the greedy chunk"),
    ],
)
def test_where_chunks_are_proposed_the_bins_are_those_of_the_chunk_that_acts(tmp_path, options, said):
    config = CQNASConfig(chunk_length=3, proposals=ProposalConfig(count=4, **options), **SMALL)
    for held, proposed in ((held_of(config), True), (held_of(), False)):
        lens, envs = Lens(held), envs_of()
        (record,) = seen = list(records(lens, envs, [5], []))
        write_lens(lens, iter(seen), tmp_path / "l.html", title="run")
        page = Parsed((tmp_path / "l.html").read_text("utf-8"))
        best = (record.values.argmax(-1) == record.chosen).all()
        assert best or proposed
        assert not best or options.get("greedy", True) or not proposed, "a proposal need not be greedy"
        assert ("greedy bin" in page.text) != proposed
        assert ("chosen: the bin of the chunk that acts" in page.text) == proposed
        assert (said in page.text) == proposed
        assert page.data["hold"].startswith("Bins of the chunk that acts" if proposed else "Greedy bins")


def test_a_page_without_motion_has_rewards_summed_between_the_steps_shown():
    lens = Lens(held_of(), most_steps=4)
    record = lens.demonstration(demo_of(7), 0)
    rewards = record.rewards.astype(np.float64)
    expected = [rewards[0:2].sum(), rewards[2:4].sum(), rewards[4:6].sum(), rewards[6]]
    np.testing.assert_allclose(make_part(lens, record, 0).data["plots"][1][0], expected, rtol=1e-6)


def test_names_of_strangers_stay_text_and_the_page_runs_its_own_script_alone():
    spec = dataclasses.replace(envs_of().env_spec, id=HOSTILE, action_meaning=(HOSTILE, HOSTILE))
    lens = Lens(held_of(spec=spec))
    cameras = ((HOSTILE, np.zeros((7, 16, 16, 3), np.uint8)),)
    record = dataclasses.replace(lens.demonstration(demo_of(), 0), name=HOSTILE, cameras=cameras, said=(HOSTILE,))
    text = make_page(lens, HOSTILE, [make_part(lens, record, 0)], [("note", HOSTILE)])
    text.encode()
    page = Parsed(text)
    assert len(page.scripts) == 2, "the data and the script of the page"
    assert "alert" not in page.scripts[1]
    rules = page.of("meta")[1]["content"]
    assert rules.startswith("default-src 'none'; img-src data:;")
    allowed = set(re.findall(r"'sha256-([^']+)'", rules))
    assert base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode() in allowed
    for name, attributes in page.elements:
        assert not [key for key in attributes if key.startswith("on") or key == "style"], name
        assert not re.match("(?i)https?:|javascript:|//", attributes.get("src") or attributes.get("href") or "")
    assert page.text.count("<script>alert(1)</script>") > 4, "it is shown as it is written"
    assert "\u202e" not in text


# ---- what is refused -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_that_no_generator_takes_is_refused(seed):
    held = held_of()
    with pytest.raises(ConfigError, match=r"a seed must lie in 0 .. 2\^64 - 1, got"):
        Lens(held, seed=seed)
    with pytest.raises(ConfigError, match="a seed must lie in"):
        Controller(held.agent, held.config.control, held.scaler, 1, 2, seed)
    Lens(held, seed=2**64 - 1)


def test_what_has_cut_an_episode_off_is_told_of_each():
    lens, envs = Lens(held_of()), envs_of()
    cut = dataclasses.replace(demo_of(), terminated=False, truncated=True)
    page = make_page(lens, "p", [make_part(lens, lens.demonstration(cut, 0), 0)], [])
    assert "the recording stops: what would have followed" in page
    record = dataclasses.replace(lens.policy_episode(envs, 5, Renderer(envs, 5)), ended="truncated")
    assert "the time limit ended it: what would have followed" in make_page(lens, "p", [make_part(lens, record, 0)], [])


def test_an_agent_without_bins_is_refused():
    with pytest.raises(ConfigError, match=r"coarse-to-fine agents have \(cqn, cqn_as\).*agent is drqv2"):
        Lens(held_of(DrQv2Config()))
    with pytest.raises(ConfigError, match="at most 100 bins"):
        Lens(held_of(CQNConfig(**{**SMALL, "bins": 101, "levels": 1})))


def test_a_simulator_or_critic_that_diverges_is_named():
    class Spoilt(Visible):
        def step(self, action):
            shown, *rest = super().step(action)
            return (np.full_like(shown, np.nan), *rest)

    lens, envs = Lens(held_of()), envs_of(Spoilt)
    with pytest.raises(SimulatorError, match="NaN or infinite values at step 1 of the episode with seed 5"):
        lens.policy_episode(envs, 5, Renderer(envs, 5))
    with torch.no_grad():
        lens.agent.target_critic.value.bias.fill_(torch.nan)
    with pytest.raises(NonFiniteLossError, match="diverged"):
        lens.demonstration(demo_of(), 0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--episodes", "-1"], "--episodes must be at least 0, got -1"),
        (["--demos", "-1"], "--demos must be at least 0, got -1"),
        (["--seed", "-1"], "--seed must be at least 0, got -1"),
        (["--most-steps", "0"], "--most-steps must be at least 1, got 0"),
        (["--episodes", "0"], "a page holds 1 to 20 episodes"),
        (["--episodes", "12", "--demos", "9"], "a page holds 1 to 20 episodes"),
    ],
)
def test_numbers_that_cannot_work_are_refused_first(words, said, capsys):
    assert main(["lens", "nowhere", *words]) == 2
    assert said in capsys.readouterr().err


def test_what_is_not_there_or_is_there_already_is_refused_before_pytorch_is_imported(tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "config.json").touch()
    (tmp_path / "run" / "lens.html").touch()
    (tmp_path / "run" / "checkpoints" / "step_10.pt").touch()
    (tmp_path / "x.rrd").touch()
    tries = [
        (["nowhere"], "nowhere is no run directory: there is nothing"),
        (["."], "is no run directory: it has no config.json"),
        (
            ["run/checkpoints/step_20.pt"],
            "there is no checkpoint run/checkpoints/step_20.pt; run/checkpoints holds step_1",
        ),
        (["run"], "lens.html exists already; pass --overwrite, or another --out"),
        (["run/checkpoints/step_10.pt"], "run/lens.html exists already"),
        (["run", "--out", "o.html", "--rrd", "x.rrd"], "x.rrd exists already; pass --overwrite, or another --rrd"),
        (["run", "--out", "o.html", "--rrd", "o.html"], "--out and --rrd are both o.html; name two files"),
        (["run", "--out", "run", "--overwrite"], "--out run is a folder; name a file"),
        (["run", "--out", ""], "--out . is a folder"),
        (["run", "--out", "x.rrd/deep/o.html"], "x.rrd/deep/o.html cannot be written: Not a directory: x.rrd"),
        (["x.rrd"], "x.rrd is no checkpoint of a run, which lies in RUN/checkpoints; name the run"),
    ]
    code = "import sys; from zoomrl.cli.main import main\n"
    code += "".join(f"assert main(['lens', *{words!r}]) in (1, 2)\n" for words, _ in tries)
    code += "assert 'torch' not in sys.modules"
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    for (_, said), line in zip(tries, ended.stderr.splitlines(), strict=True):
        assert said in line


# ---- runs ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of the toy that learnt from a set, and the set."""
    place = tmp_path_factory.mktemp("lens")
    demos = toy.demo_set(place / "set")
    toy.run(toy.tiny(place / "run", demos, steps=20, eval__every=0, eval__episodes=0, eval__final_episodes=0))
    return place / "run", demos


@pytest.fixture
def toys(monkeypatch):
    """Environments of the command are the toy, which only Python can build; how many were built."""
    built = []

    def build(policy, count, make_env=None, python=None):
        built.append(python)
        assert count == 1
        return envs_of()

    monkeypatch.setattr("zoomrl.deploy.evaluate.environments", build)
    return built


@pytest.mark.long
def test_the_command_writes_a_page_of_a_run(run, toys, tmp_path, capsys):
    directory, _ = run
    assert main(["lens", str(directory), "--demos", "2", "--most-steps", "3"]) == 0
    out, err = capsys.readouterr()
    assert re.search(r"wrote 4 episodes, \d\.\d MB: .*run/lens\.html", out)
    assert "is shown" in err
    assert err.splitlines()[:4] == [f"episode {number} of 4 ..." for number in (1, 2, 3, 4)]
    page = Parsed((directory / "lens.html").read_text("utf-8"))
    names = [episode["name"] for episode in page.data["episodes"]]
    assert names[2:] == ["demonstration 0", "demonstration 2"], "number 1 failed, and is no demonstration"
    assert all(len(episode["at"]) <= 3 for episode in page.data["episodes"])
    assert all(episode["cameras"] for episode in page.data["episodes"])
    held = load_agent(directory)
    again = list(records(Lens(held, most_steps=3), envs_of(), [], [(0, read_demos(run[1]).episodes[0])]))
    np.testing.assert_allclose(page.data["episodes"][2]["plots"][0][0], again[0].value, rtol=1e-6)
    # A second time nothing is replaced, unless that is asked for.
    assert main(["lens", str(directory)]) == 2
    assert "lens.html exists already; pass --overwrite, or another --out" in capsys.readouterr().err
    built = len(toys)
    checkpoint = next((directory / "checkpoints").glob("step_*.pt"))
    other = ["--episodes", "1", "--seed", "3", "--env-python", ""]
    assert main(["lens", str(checkpoint), "--overwrite", *other]) == 0
    assert toys[built:] == [""]
    assert main(["lens", str(checkpoint), "--out", str(tmp_path / "own" / "x.html"), *other]) == 0
    assert (tmp_path / "own" / "x.html").read_bytes() == (directory / "lens.html").read_bytes(), "a seed repeats"


@pytest.mark.skipif(find_spec("rerun") is None, reason="rerun-sdk is not installed (extra zoomrl[rerun])")
@pytest.mark.long
def test_a_recording_is_written_as_well(run, toys, tmp_path, capsys, monkeypatch):
    file = tmp_path / "lens.rrd"
    words = ["lens", str(run[0]), "--episodes", "1", "--demos", "1", "--out", str(tmp_path / "l.html")]
    assert main([*words, "--rrd", str(file)]) == 0
    data = file.read_bytes()
    assert data[:3] == b"RRF"
    for name in (b"episode_0/values/level_2", b"episode_0/camera/video", b"episode_1/agreement", b"chosen/1/level_1"):
        assert name in data, name
    assert main([*words, "--overwrite", "--out", str(tmp_path / "m.html"), "--rrd", str(file)]) == 0
    (tmp_path / "l.html").unlink()
    assert main([*words, "--rrd", str(file)]) == 2
    assert "lens.rrd exists already; pass --overwrite, or another --rrd" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "rerun", None)
    assert main([*words, "--rrd", str(tmp_path / "other.rrd")]) == 1
    assert "zoomrl[rerun]" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lens.rrd", "m.html"]


@pytest.mark.long
def test_code_that_a_run_names_is_not_run_without_trust(run, toys, tmp_path, capsys, monkeypatch):
    held = load_agent(run[0])
    config = dataclasses.replace(held.config, env=EnvConfig(id="gym:evil:Env-v0"))
    monkeypatch.setattr("zoomrl.training.policy.load_agent", lambda path: dataclasses.replace(held, config=config))
    words = ["lens", str(run[0]), "--out", str(tmp_path / "l.html")]
    assert main(words) == 2
    assert "add --trust" in capsys.readouterr().err
    # Demonstrations alone need no simulator: they are shown without a video.
    assert main([*words, "--episodes", "0", "--demos", "1"]) == 0
    assert "the demonstrations are not rendered: " in capsys.readouterr().err
    assert not toys
    assert main([*words, "--overwrite", "--episodes", "1", "--trust"]) == 0
    assert toys == [None]


@pytest.mark.long
def test_of_an_environment_that_cannot_be_built_the_demonstrations_are_seen(run, tmp_path, capsys):
    words = ["lens", str(run[0]), "--out", str(tmp_path / "l.html")]
    assert main(words) == 2
    assert "pass --episodes 0 --demos 3" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert main([*words, "--episodes", "0", "--demos", "1"]) == 0
    assert "the demonstrations are not rendered: " in capsys.readouterr().err


@pytest.mark.long
def test_demonstrations_are_those_of_the_run(run, tmp_path):
    directory, path = run
    held, learnt_from = load_agent(directory), read_policy_file(directory).demos_sha256
    assert learnt_from == content_hash(path)
    found, said = first_demonstrations(held.config, held.spec, learnt_from, 3)
    assert [index for index, _ in found] == [0, 2, 3]
    assert said == ""
    stored = read_demos(path).episodes
    for index, episode in found:
        np.testing.assert_array_equal(episode.actions, stored[index].actions)
    assert "no longer the one that the run learnt from" in first_demonstrations(held.config, held.spec, "f0", 1)[1]
    with pytest.raises(ConfigError, match="holds 3; ask for fewer"):
        first_demonstrations(held.config, held.spec, learnt_from, 4)
    fewer = dataclasses.replace(held.config, demos=dataclasses.replace(held.config.demos, episodes=2))
    assert len(first_demonstrations(fewer, held.spec, learnt_from, 2)[0]) == 2
    with pytest.raises(ConfigError, match="asks for 3 demonstrations, and the run learnt from 2"):
        first_demonstrations(fewer, held.spec, learnt_from, 3)
    for source, error, words in (
        ("none", ConfigError, "without demonstrations"),
        (str(tmp_path / "gone"), DemonstrationError, "are not at"),
    ):
        config = dataclasses.replace(held.config, demos=DemoConfig(source=source), offline_updates=0)
        with pytest.raises(error, match=words):
            first_demonstrations(config, held.spec, "", 1)


def test_a_bundle_is_refused(tmp_path, capsys):
    from zoomrl import runtime

    for name in (runtime.GRAPH, runtime.POLICY):
        (tmp_path / name).write_text("{}")
    assert main(["lens", str(tmp_path)]) == 2
    assert "is a bundle" in capsys.readouterr().err
