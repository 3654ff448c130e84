"""CQN and CQN-AS from images: the slow update with a slow perception, and what images promise."""

import dataclasses

import pytest
import torch

from batches import ACTIONS, BOTH, ONLY_PIXELS, STATE, in_double, make_batch, make_observation
from slow_cqn import SlowCQN
from slow_drqv2 import gradients
from slow_perception import SlowPerception
from zoomrl.agents.cqn.config import CQNASConfig, CQNConfig
from zoomrl.agents.cqn.learner import CQN
from zoomrl.nets.config import EncoderConfig

STRIDED = EncoderConfig(channels=3, feature_dim=6, shift=2)
DRQ = EncoderConfig(kind="drqv2", channels=4, feature_dim=6, shift=3)
TINY = {"hidden_dim": 12, "atoms": 11, "trunk_dim": 5, "lr": 3e-3}
TWO_VIEWS = BOTH._replace(state=0)

CASES = {
    "cqn, both": (CQNConfig(**TINY, encoder=STRIDED), BOTH),
    "cqn, pixels, two image layers": (CQNConfig(**TINY, encoder=dataclasses.replace(STRIDED, layers=2)), ONLY_PIXELS),
    "cqn as on DMC": (
        CQNConfig(**TINY, encoder=DRQ, optimizer="adam", critic_lambda=1.0, bc_lambda=0.0, act_with="online"),
        ONLY_PIXELS,
    ),
    "cqn_as, both, normalised, two image layers": (
        CQNASConfig(**TINY, chunk_length=3, normalize="demos", encoder=dataclasses.replace(STRIDED, layers=2)),
        BOTH,
    ),
    "cqn_as, pixels, shared views": (
        CQNASConfig(**TINY, chunk_length=3, encoder=dataclasses.replace(DRQ, share_views=True)),
        TWO_VIEWS,
    ),
    "cqn_as, no shift, shared streams": (
        CQNASConfig(**TINY, chunk_length=3, dueling="shared", encoder=dataclasses.replace(STRIDED, shift=0)),
        BOTH,
    ),
}


def make(config, shape, seed=3):
    """An agent whose heads are away from zero, so that no bins are tied and every path carries a gradient."""
    statistics = (torch.linspace(-1, 1, STATE), torch.linspace(0.005, 2, STATE))
    agent = CQN(config, shape, ACTIONS, seed, statistics)
    with torch.no_grad():
        for critic in (agent.critic, agent.target_critic):
            critic.advantage.weight.normal_(0, 0.3)
            critic.value.weight.normal_(0, 0.3)
    return agent


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.long
def test_updates_equal_the_slow_version(case, precision):
    config, shape = CASES[case]
    fast = make(config, shape)
    double = precision == "float64"
    if double:
        for module in (fast.critic, fast.target_critic, fast.perception):
            module.double()
    slow = SlowCQN(fast)
    slow.perception = SlowPerception(fast.perception, config.encoder)
    kind = type(slow.optimizer)
    learnt = [*slow.perception.parameters(), *slow.critic.parameters()]
    slow.optimizer = kind(learnt, **{k: slow.optimizer.defaults[k] for k in ("lr", "weight_decay")})
    tolerance = 1e-5 if double else 2e-3
    for step in range(3):
        batch = make_batch(shape, fast.chunk_length, seed=step)
        batch = in_double(batch) if double else batch
        expected = slow.update(batch)
        torch.testing.assert_close(fast.update(batch)["loss"], expected, rtol=tolerance, atol=0)
        for name in ("perception", "critic"):
            theirs = gradients(getattr(slow, name))
            ours = gradients(getattr(fast, name))
            assert ours.keys() == theirs.keys()
            assert sum((ours[n] - theirs[n]).square().sum() for n in ours) ** 0.5 <= tolerance * (
                sum(g.square().sum() for g in theirs.values()) ** 0.5
            )
            assert any(g.any() for g in theirs.values())


def test_the_shifts_of_the_two_observations_are_sampled_apart():
    agent = make(*CASES["cqn, both"])
    batch = make_batch(BOTH, 1)
    one, two = agent.sample_noise(8), agent.sample_noise(8)
    assert one["shifts"].shape == (2, 8, BOTH.views)
    assert not torch.equal(one["shifts"], one["next_shifts"])
    base = agent.loss(batch, one)[0]
    for name in ("shifts", "next_shifts"):
        assert agent.loss(batch, {**one, name: two[name]})[0] != base
    assert agent.loss(batch, one)[0] == base


def test_shifts_cover_their_range_evenly():
    agent = make(*CASES["cqn as on DMC"])
    shifts = agent.sample_noise(7000)["shifts"]
    counts = torch.bincount(shifts.flatten(), minlength=7).float()
    assert len(counts) == 7
    assert ((counts - 2000) ** 2 / 2000).sum() < 27  # chi-square, 6 degrees of freedom, p > 1e-4


def test_acting_does_not_shift():
    config, shape = CASES["cqn_as, both, normalised, two image layers"]
    agent = make(config, shape)
    observation = make_observation(shape, 6, torch.Generator().manual_seed(0))
    before = agent.generator.get_state()
    chunk, again = (agent.act(observation, torch.Generator().manual_seed(s)) for s in (0, 1))
    assert torch.equal(agent.generator.get_state(), before)
    assert torch.equal(chunk.actions, again.actions)  # ties, not images, are all that acting draws
    slow = SlowCQN(agent)
    features = SlowPerception(agent.perception, config.encoder)(observation)
    ties = torch.zeros(config.levels, 6 * 3, ACTIONS, dtype=torch.int64)
    torch.testing.assert_close(chunk.actions, slow.greedy(slow.target_critic, features, ties), rtol=0, atol=1e-5)


def test_the_target_pass_leaves_no_gradient_in_the_encoder():
    agent = make(*CASES["cqn_as, pixels, shared views"])
    batch = make_batch(TWO_VIEWS, 3)
    target, _ = agent.target(batch, agent.sample_noise(8))
    assert not target.requires_grad
    # With a target held fixed, the gradients are the same: nothing flows through the next observation.
    noise = agent.sample_noise(8)
    agent.loss(batch, noise)[0].backward()
    expected = gradients(agent.perception)
    assert any(g.any() for g in expected.values())
    fixed = agent.target(batch, noise)
    agent.target = lambda *_: fixed
    agent.perception.zero_grad()
    agent.loss(batch, noise)[0].backward()
    for name, gradient in gradients(agent.perception).items():
        assert torch.equal(gradient, expected[name])


def test_pixels_alone_need_no_state():
    config, shape = CASES["cqn, pixels, two image layers"]
    agent = make(config, shape)
    assert agent.perception.normalizer is None
    assert set(agent.perception.sizes) == {"image"}
    chunk = agent.act(make_observation(shape, 2, torch.Generator().manual_seed(0)), torch.Generator())
    assert chunk.actions.shape == (2, 1, ACTIONS)
    metrics = agent.update(make_batch(shape, 1))
    assert all(torch.isfinite(v) for v in metrics.values())


def test_state_dict_continues_bit_for_bit():
    config, shape = CASES["cqn_as, both, normalised, two image layers"]
    one = make(config, shape)
    one.update(make_batch(shape, 3))
    two = CQN(config, shape, ACTIONS, 9, (torch.zeros(STATE), torch.ones(STATE)))
    two.load_state_dict(one.state_dict())
    for step in range(1, 4):
        a, b = (agent.update(make_batch(shape, 3, seed=step)) for agent in (one, two))
        assert all(torch.equal(a[k], b[k]) for k in a)
