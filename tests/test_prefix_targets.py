"""Targets of which each step of a chunk has its own: step t bootstraps after t steps."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensordict import TensorDict

from batches import ACTIONS, BOTH, ONLY_STATE, make_batch
from test_sequences import replay_of
from zoomrl.agents.build import assemble
from zoomrl.agents.cqn.config import CQNASConfig, ProposalConfig
from zoomrl.errors import ConfigError
from zoomrl.math.returns import n_step, prefix_returns
from zoomrl.nets.config import EncoderConfig, RepresentationConfig
from zoomrl.recipes.compose import preset

TINY = {"hidden_dim": 12, "atoms": 11, "trunk_dim": 5, "lr": 1e-2, "chunk_length": 3, "v_min": 0.0, "v_max": 1.0}


def agent_of(shape=ONLY_STATE, **options):
    config = CQNASConfig(**{**TINY, "prefix_targets": True, **options})
    agent = assemble(config, shape, ACTIONS, 3)
    for critic in (agent.critic, agent.target_critic):
        torch.nn.init.normal_(critic.advantage.weight, 0, 0.3)
    return agent


def test_returns_of_prefixes_golden_vector():
    reward = torch.tensor([[1.0, 2.0, 4.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
    discount = torch.tensor([[0.5, 0.5, 1.0, 1.0], [0.5, 0.0, 1.0, 1.0]])
    returns, discounts = prefix_returns(reward, discount)
    assert returns.tolist() == [[1.0, 2.0, 3.0, 3.0], [0.0, 0.5, 0.5, 0.5]]
    assert discounts.tolist() == [[0.5, 0.25, 0.25, 0.25], [0.5, 0.0, 0.0, 0.0]]


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=6), st.integers(1, 6), st.booleans())
def test_each_prefix_has_the_return_of_as_many_steps(rewards, length, terminal):
    length = min(length, len(rewards))
    reward = torch.tensor([rewards])
    step = torch.arange(len(rewards))
    inside = (step < length)[None]
    ends = (step + 1 == length)[None] & terminal
    discount = torch.where(inside, torch.where(ends, 0.0, 0.9), 1.0)
    returns, discounts = prefix_returns(reward * inside, discount)
    for t in range(len(rewards)):
        m = min(t + 1, length)
        value, factor = n_step(reward[:, : t + 1], torch.tensor([m]), torch.tensor([terminal and m == length]), 0.9)
        torch.testing.assert_close(returns[:, t], value, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(discounts[:, t], factor)


def test_the_replay_tells_which_steps_discount_and_which_end():
    replay, episodes = replay_of([6, 5, 4], sequence_length=3, tail="shorten", discount=0.9)
    batch = replay.sample()
    for row in range(len(batch)):
        number, first = (int(v) for v in batch["obs"]["state"][row, -3:-1])
        episode = episodes[number]
        wanted = []
        for step in range(first, first + 3):
            over = step >= len(episode)
            wanted.append(1.0 if over else 0.0 if episode.terminated and step + 1 == len(episode) else 0.9)
        assert batch["sequence"]["discount"][row].tolist() == pytest.approx(wanted)


@pytest.mark.parametrize("double_q", [True, False])
@pytest.mark.parametrize("proposals", [ProposalConfig(), ProposalConfig(count=2, target_count=3, hidden=(6,))])
def test_a_step_learns_what_a_chunk_that_ends_there_would(double_q, proposals):
    """The target of step t is that of the same agent without prefixes, of a window of t steps."""
    agent = agent_of(double_q=double_q, proposals=proposals)
    plain = agent_of(double_q=double_q, proposals=proposals, prefix_targets=False)
    plain.load_state_dict(agent.state_dict())
    batch = make_batch(ONLY_STATE, 3, size=5, sequence_length=3)
    noise = agent.sample_noise(5)
    found = agent.target(batch, noise)
    levels, atoms = agent.config.levels, agent.config.atoms
    outputs = found.outputs.unflatten(-1, (5, levels, 3))
    means = found.mean.unflatten(-1, (5, levels, 3))
    ahead = batch["sequence"]
    for t in range(3):
        inside = ahead["valid"][:, : t + 1].sum(1)
        ends = ahead["discount"][:, : t + 1].prod(1) == 0
        reward, discount = n_step(ahead["reward"][:, : t + 1], inside, ends, 0.97)
        window = TensorDict({"reward": reward, "discount": discount, "next_obs": ahead["obs"][:, t]}, [5])
        # Noise of the t-th state of each sample.
        own = {name: value for name, value in noise.items() if name in ("ties", "next_starts")}
        own["ties"] = noise["ties"].unflatten(1, (5, 3, 3))[:, :, t].flatten(1, 2)
        if "next_starts" in noise:
            own["next_starts"] = noise["next_starts"].unflatten(1, (5, 3))[:, :, t]
        wanted = plain.target(window, own)
        assert wanted.outputs.shape == (ACTIONS, atoms, 5 * levels * 3)
        torch.testing.assert_close(outputs[..., t], wanted.outputs.unflatten(-1, (5, levels, 3))[..., t])
        torch.testing.assert_close(means[..., t], wanted.mean.unflatten(-1, (5, levels, 3))[..., t])


def test_scalar_values_and_images_learn_by_prefixes_too():
    encoder = EncoderConfig(kind="drqv2", norm="none", activation="relu", channels=3, feature_dim=5, shift=2)
    for options in ({"value": "scalar"}, {"encoder": encoder}):
        shape = BOTH if "encoder" in options else ONLY_STATE
        agent = agent_of(shape, **options)
        metrics = agent.update(make_batch(shape, 3, sequence_length=agent.sequence_length))
        assert metrics["critic_loss"] > 0


def test_what_does_not_go_together_is_refused():
    with pytest.raises(ConfigError, match=r"replay\.n_step=3 has no effect: use replay\.n_step 1"):
        preset("cqn_as-metaworld", **{"agent.prefix_targets": True})
    with pytest.raises(ConfigError, match="a latent has sequences of its own"):
        CQNASConfig(prefix_targets=True, representation=RepresentationConfig(kind="self_predictive"))
    assert preset("cqn_as-metaworld", **{"agent.prefix_targets": True, "replay.n_step": 1}).agent.prefix_targets
