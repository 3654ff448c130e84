"""Chunks that a flow-matching policy proposes, of which the critic chooses."""

import pytest
import torch

from batches import ACTIONS, BOTH, ONLY_STATE, make_batch, make_observation
from slow_cqn import SlowCQN
from zoomrl.agents.build import assemble
from zoomrl.agents.cqn.config import CQNASConfig, CQNConfig, ProposalConfig
from zoomrl.errors import ConfigError
from zoomrl.math.flow import flow_pair, follow_flow
from zoomrl.nets.config import EncoderConfig

TINY = {"hidden_dim": 12, "atoms": 11, "trunk_dim": 5, "lr": 1e-2, "v_min": 0.0, "v_max": 1.0}
SOME = ProposalConfig(count=3, target_count=2, steps=3, hidden=(8,))
ENCODER = EncoderConfig(kind="drqv2", norm="none", activation="relu", channels=3, feature_dim=5, shift=2)


def agent_of(kind=CQNASConfig, shape=ONLY_STATE, movable=None, proposals=SOME, **options):
    config = kind(**{**TINY, "proposals": proposals, **options})
    agent = assemble(config, shape, ACTIONS, 3, movable=movable)
    g = torch.Generator().manual_seed(0)
    for critic in (agent.critic, agent.target_critic):
        torch.nn.init.normal_(critic.advantage.weight, 0, 0.3, generator=g)
    return agent


def test_a_flow_is_a_straight_line():
    start, end = torch.tensor([1.0, -2.0]), torch.tensor([3.0, 2.0])
    point, velocity = flow_pair(start, end, torch.tensor(0.25))
    assert point.tolist() == [1.5, -1.0]
    assert velocity.tolist() == [2.0, 4.0]
    torch.testing.assert_close(follow_flow(lambda x, t: velocity, start, 3), end)
    # dx/dt = x + t by Euler's method, by hand: 1 -> 1.5 -> 2.5.
    assert follow_flow(lambda x, t: x + t, torch.tensor(1.0), 2) == pytest.approx(2.5)


def slow_values(agent, critic, observation, cells):
    """Means over steps and dimensions of the finest level's values, by the slow version."""
    slow = SlowCQN(agent)
    slow_critic = slow.critic if critic is agent.critic else slow.target_critic
    found = []
    for chunk in agent.critic.centre(cells):
        outputs, bins = slow.outputs_of(slow_critic, observation, chunk)
        values = slow.expected(outputs[:, -1])
        found.append(values.gather(2, bins[:, -1, :, None])[..., 0].mean(1))
    return torch.stack(found)


@pytest.mark.parametrize(("kind", "greedy"), [(CQNConfig, True), (CQNConfig, False), (CQNASConfig, False)])
def test_the_candidate_of_the_highest_value_is_chosen(kind, greedy):
    """The greedy chunk has the highest value at each place given what is coarser: of many places it always wins."""
    proposals = ProposalConfig(count=3, steps=2, hidden=(8,), greedy=greedy)
    agent = agent_of(kind, proposals=proposals)
    observation = {"state": torch.randn(40, 7)}
    noise = agent.sample_acting_noise(40, torch.Generator().manual_seed(1), True)
    found = agent.propose(observation, noise)
    features = agent.perception(observation)
    cells = agent.target_critic.cell(agent.proposer.propose(features, noise["starts"]))
    if greedy:
        cells = torch.cat([agent.target_critic.greedy(features, noise["ties"]).cell[None], cells])
    values = slow_values(agent, agent.target_critic, features, cells)
    chosen = values.argmax(0)
    wanted = agent.critic.centre(cells[chosen, torch.arange(40)])
    torch.testing.assert_close(found["actions"], wanted)
    torch.testing.assert_close(found["value"], values.amax(0), rtol=1e-4, atol=1e-5)
    assert len(chosen.unique()) > 1, "the test must be able to fail"


@pytest.mark.parametrize("double_q", [True, False])
def test_the_target_is_of_the_best_candidate(double_q):
    agent = agent_of(CQNConfig, double_q=double_q)
    batch = make_batch(ONLY_STATE, 1, size=100)
    noise = agent.sample_noise(100)
    features = agent.perception(batch["next_obs"])
    chooser = agent.critic if double_q else agent.target_critic
    cells = chooser.cell(agent.proposer.propose(features, noise["next_starts"]))
    cells = torch.cat([chooser.greedy(features, noise["ties"]).cell[None], cells])
    chosen = slow_values(agent, chooser, features, cells).argmax(0)
    cell = cells[chosen, torch.arange(100)]
    slow = SlowCQN(agent)
    outputs, bins = slow.outputs_of(slow.target_critic, features, agent.critic.centre(cell))
    picked = outputs.gather(3, bins[..., None, None].expand(-1, -1, -1, 1, 11))[:, :, :, 0]
    wanted = slow.project(picked.softmax(-1), batch["reward"], batch["discount"])  # [B, L, T * A, Z]
    found = agent.target(batch, noise).outputs.unflatten(-1, (100, 3, 1)).permute(2, 3, 4, 0, 1).flatten(2, 3)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert len(chosen.unique()) > 1, "the test must be able to fail"


def test_any_candidate_is_taken_where_that_is_asked_for():
    agent = agent_of(proposals=ProposalConfig(count=2, hidden=(8,), choose="random"))
    generator = torch.Generator().manual_seed(0)
    noise = agent.sample_acting_noise(3000, generator, False)
    counts = torch.bincount(noise["picks"], minlength=3)
    assert counts.min() > 900
    observation = {"state": torch.randn(3000, 7)}
    found = agent.propose(observation, noise)["actions"]
    critic = agent.target_critic
    cells = critic.cell(agent.proposer.propose(observation, noise["starts"]))
    candidates = torch.cat([critic.greedy(observation, noise["ties"]).cell[None], cells])
    torch.testing.assert_close(found, critic.centre(candidates[noise["picks"], torch.arange(3000)]))
    assert "next_picks" in agent.sample_noise(4)


@pytest.mark.parametrize("explore", [False, True])
def test_proposals_begin_anew_each_time_and_by_the_generator(explore):
    """In evaluations too: with one set of noise for all decisions, what none of it leads to would never be done."""
    agent = agent_of(tie_threshold=0.0, proposals=ProposalConfig(count=3, hidden=(8,), greedy=False))
    observation = {"state": torch.randn(30, 7)}
    generator = torch.Generator().manual_seed(0)
    acts = [agent.act(observation, generator, explore=explore).actions for _ in range(2)]
    again = agent.act(observation, torch.Generator().manual_seed(0), explore=explore).actions
    assert not torch.equal(acts[0], acts[1])
    assert torch.equal(acts[0], again)


def test_the_greedy_chunk_is_made_where_it_is_needed_alone():
    """As a candidate, or for the dimensions that cannot be moved."""
    alone = ProposalConfig(count=3, hidden=(8,), greedy=False)
    for proposals, movable, needed in (
        (SOME, None, True),
        (alone, None, False),
        (alone, torch.tensor([True, False, True]), True),
    ):
        agent = agent_of(proposals=proposals, movable=movable)
        assert ("ties" in agent.sample_acting_noise(2, torch.Generator(), True)) == needed
        assert ("ties" in agent.sample_noise(2)) == needed
        assert ("loss" in agent.update(make_batch(ONLY_STATE, 4))) is True


def test_without_proposals_nothing_changes():
    """Neither the networks nor what is random of an agent that has none depend on the option."""
    plain, with_some = agent_of(proposals=ProposalConfig()), agent_of()
    for (name, one), other in zip(plain.critic.named_parameters(), with_some.critic.parameters(), strict=True):
        assert torch.equal(one, other), name
    assert set(plain.sample_noise(3)) == {"ties", "imitation_weight"}
    assert set(plain.parts) == {"perception", "critic", "target_critic", "optimizer"}


def test_dimensions_that_cannot_be_moved_stay_where_they_are():
    agent = agent_of(movable=torch.tensor([True, False, True]))
    observation = {"state": torch.randn(9, 7)}
    actions = agent.act(observation, torch.Generator().manual_seed(0), explore=True).actions
    assert (actions[..., 1] == 0).all()
    assert (actions[..., 0] != 0).any()


def test_a_state_is_saved_and_restored_with_its_flow():
    one, other = agent_of(), agent_of(proposals=SOME)
    one.update(make_batch(ONLY_STATE, 4))
    other.load_state_dict(one.state_dict())
    batch = make_batch(ONLY_STATE, 4, seed=1)
    found = [agent.update(batch) for agent in (one, other)]
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    for a, b in zip(one.proposer.parameters(), other.proposer.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_encoder_learns_nothing_from_the_flow():
    agent = agent_of(shape=BOTH, encoder=ENCODER)
    batch, noise = make_batch(BOTH, 4), agent.sample_noise(8)
    features = agent.perception(batch["obs"], noise["shifts"])
    weight = torch.ones(8, 4)
    agent.proposer.loss(features, batch["actions"], weight, noise).backward()
    assert all(p.grad is None for p in agent.perception.parameters())
    assert all(p.grad is not None for p in agent.proposer.parameters())


def test_padded_and_undemonstrated_steps_teach_the_flow_nothing():
    agent = agent_of()
    batch, noise = make_batch(ONLY_STATE, 4), agent.sample_noise(8)
    first = agent.loss(batch, noise)[1]["proposal_loss"]
    other = batch.clone()
    hidden = ~(batch["valid"] & batch["is_demo"][:, None])
    # What stands in padding may be seen by the flow, but is not learnt; whole samples are not seen at all.
    other["actions"][~batch["is_demo"]] = 0.5
    assert hidden.any()
    assert agent.loss(other, noise)[1]["proposal_loss"] == first
    none = batch.clone()
    none["is_demo"][:] = False
    assert agent.loss(none, noise)[1]["proposal_loss"] == 0


@pytest.mark.long
def test_the_flow_proposes_both_ways_of_demonstrations_that_go_two_ways():
    """Where demonstrations go left or right, their mean is neither; proposals are both."""
    proposals = ProposalConfig(count=64, target_count=1, steps=5, hidden=(32, 32), lr=3e-3)
    agent = agent_of(proposals=proposals, chunk_length=1)
    g = torch.Generator().manual_seed(0)
    for _ in range(400):
        batch = make_batch(ONLY_STATE, 1, size=64, demo=2.0, seed=1)
        way = torch.randint(2, (64, 1, 1), generator=g) * 2.0 - 1
        batch["actions"] = 0.6 * way.expand(64, 1, ACTIONS).clone()
        batch["valid"][:] = True
        agent.update(batch)
    with torch.no_grad():
        features = agent.perception({"state": torch.zeros(1, 7)})
        starts = agent.proposer.sample_starts(64, 1, torch.Generator().manual_seed(2))
        found = agent.proposer.propose(features, starts)[:, 0, 0]
    assert ((found.abs() - 0.6).abs() < 0.25).float().mean() > 0.8
    right = (found[:, 0] > 0).float().mean()
    assert 0.2 < right < 0.8
    assert (found.sign() == found[:, :1].sign()).float().mean() > 0.9, "all dimensions go the same way"


def test_measures_tell_how_often_a_proposal_is_better():
    agent = agent_of()
    metrics = agent.update(make_batch(ONLY_STATE, 4))
    assert metrics["proposal_spread"] > 0
    assert 0 <= metrics["proposal_chosen"] <= 1
    alone = agent_of(proposals=ProposalConfig(count=3, hidden=(8,), greedy=False))
    assert "proposal_chosen" not in alone.update(make_batch(ONLY_STATE, 4))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"greedy": False}, "proposals.greedy=False has no effect without proposals, of which agent.proposals.count"),
        ({"choose": "random"}, "proposals.choose=random has no effect"),
        ({"target_count": 8}, "proposals.target_count=8 has no effect"),
        ({"steps": 9}, "proposals.steps=9 has no effect"),
        ({"hidden": (8,)}, "proposals.hidden"),
        ({"lr": 1.0}, "proposals.lr=1.0 has no effect"),
        ({"count": -1}, "agent.proposals.count"),
        ({"count": 1, "steps": 0}, "agent.proposals.steps"),
        ({"count": 1, "target_count": 0}, "agent.proposals.target_count"),
        ({"count": 1, "hidden": (0,)}, "layers need at least one unit"),
    ],
)
def test_proposals_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        ProposalConfig(**changes)


def test_observations_of_one_kind_are_asked_for_by_name():
    agent = agent_of(shape=BOTH, encoder=ENCODER)
    observation = make_observation(BOTH, 2, torch.Generator())
    assert agent.act(observation, torch.Generator().manual_seed(0)).actions.shape == (2, 4, ACTIONS)
