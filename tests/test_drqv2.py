"""DrQ-v2, DrQ-v2+ and DrQ-v2-AS+ against a straightforward update written with autograd alone, and their promises."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from batches import ACTIONS, BOTH, ONLY_PIXELS, ONLY_STATE, STATE, in_double, make_batch, make_observation
from slow_drqv2 import SlowDrQv2, gradients
from zoomrl.agents.cqn.learner import CQN
from zoomrl.agents.drqv2.config import DrQv2ASConfig, DrQv2Config, DrQv2PlusConfig
from zoomrl.agents.drqv2.learner import DrQv2
from zoomrl.math.categorical import support, two_hot
from zoomrl.nets.config import EncoderConfig
from zoomrl.nets.perception import ObservationShape
from zoomrl.recipes import published

TINY = {"hidden_dim": 12, "trunk_dim": 5, "lr": 3e-3}
DRQ = EncoderConfig(kind="drqv2", norm="none", activation="relu", channels=4, feature_dim=6, shift=2)
STRIDED = dataclasses.replace(DRQ, kind="strided", channels=3)
CATEGORICAL = {**TINY, "encoder": STRIDED, "atoms": 21}
NOISE = 0.4  # beyond the clip for half of the draws

CASES = {
    "drqv2, pixels": (DrQv2Config(**TINY, encoder=DRQ), ONLY_PIXELS, 0.0),
    "drqv2, state": (DrQv2Config(**TINY), ONLY_STATE, 0.0),
    "drqv2, both, normalised, shared views": (
        DrQv2Config(**TINY, encoder=dataclasses.replace(DRQ, share_views=True), normalize="demos"),
        BOTH,
        0.0,
    ),
    "drqv2, state as it is, cloning, narrow noise": (
        DrQv2Config(**{**TINY, "trunk_dim": 0}, encoder=DRQ, bc_lambda=0.3, noise_clip=0.1),
        BOTH,
        0.5,
    ),
    "drqv2_plus, state": (DrQv2PlusConfig(**CATEGORICAL, target_interval=2), ONLY_STATE, 0.5),
    "drqv2_plus, both, hard copies": (DrQv2PlusConfig(**CATEGORICAL, target_interval=3), BOTH, 0.5),
    "drqv2_plus, norms and layers": (
        DrQv2PlusConfig(
            **CATEGORICAL | {"encoder": dataclasses.replace(STRIDED, norm="layer", activation="silu", layers=1)}
        ),
        BOTH,
        0.5,
    ),
    "drqv2_plus, narrow support": (DrQv2PlusConfig(**CATEGORICAL | {"v_min": 0.0, "v_max": 0.5}), BOTH, 1.1),
    "drqv2_as, state": (DrQv2ASConfig(**CATEGORICAL, chunk_length=3, target_interval=2), ONLY_STATE, 0.5),
    "drqv2_as, both, two layers": (DrQv2ASConfig(**CATEGORICAL, chunk_length=3, gru_layers=2), BOTH, 0.5),
    "drqv2_as, scalar, soft target": (
        DrQv2ASConfig(**CATEGORICAL, chunk_length=3, value="scalar", target_tau=0.1, target_interval=1),
        ONLY_PIXELS,
        0.5,
    ),
}


def statistics():
    return torch.linspace(-1, 1, STATE), torch.linspace(0.005, 2, STATE)


def make(config, shape, seed=3):
    return DrQv2(config, shape, ACTIONS, seed, statistics() if shape.state else None)


def losses(agent, metrics):
    return torch.stack([metrics[n] for n in ("critic_loss", "actor_loss", "bc_loss") if n in metrics])


def compare(ours, theirs, tolerance):
    assert ours.keys() == theirs.keys()
    assert theirs
    distance = sum((ours[n] - theirs[n]).square().sum() for n in theirs).sqrt()
    size = sum(g.square().sum() for g in theirs.values()).sqrt()
    assert size > 0
    assert distance <= tolerance * size


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.long
def test_updates_equal_the_slow_version(case, precision):
    """Losses, the gradients of encoder, critic and actor, and all weights after each of several updates."""
    config, shape, demo = CASES[case]
    fast = make(config, shape)
    double = precision == "float64"
    if double:
        for module in (fast.perception, fast.actor, fast.critic, fast.target_critic):
            module.double()
        fast.atoms = support(config.v_min, config.v_max, config.atoms).double()
    slow = SlowDrQv2(fast)
    if double:
        slow.atoms = fast.atoms
    tolerance = 1e-6 if double else 2e-3
    for step in range(4):
        batch = make_batch(shape, fast.chunk_length, demo=demo, seed=step)
        if double:
            batch = in_double(batch)
        if step % 2:
            batch["absorbed"] = ~batch["valid"] & (batch["discount"] == 0)[:, None]
        expected = slow.update(batch, NOISE)
        ours = losses(fast, fast.update(batch, NOISE))
        torch.testing.assert_close(ours, torch.stack(expected)[: len(ours)], rtol=tolerance, atol=tolerance / 100)
        for name, theirs in slow.gradients.items():
            if theirs:
                compare(gradients(getattr(fast, name)), theirs, tolerance)
    for name in ("perception", "actor", "critic", "target_critic"):
        theirs = dict(getattr(slow, name).named_parameters())
        for parameter_name, parameter in getattr(fast, name).named_parameters():
            # Adam turns the rounding of a vanishing gradient into steps of lr; float64 has none.
            atol = 1e-7 if double else 4 * config.lr
            torch.testing.assert_close(parameter, theirs[parameter_name], rtol=0, atol=atol)


def test_padded_steps_reach_no_loss():
    """Whatever stands in masked steps, losses and gradients are the same (the GRU is causal)."""
    config, shape, _ = CASES["drqv2_as, both, two layers"]
    found = []
    for filling in (0.9, -0.9):
        agent = make(config, shape)
        batch = make_batch(shape, 3)
        assert not batch["valid"].all()
        batch["actions"] = torch.where(batch["valid"][..., None], batch["actions"], torch.tensor(filling))
        metrics = agent.update(batch, NOISE)
        found.append((losses(agent, metrics), {n: gradients(getattr(agent, n)) for n in ("actor", "critic")}))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-6)


def draws_of(agent, batch, noise=NOISE):
    return {**agent.sample_noise(len(batch)), "exploration_std": torch.tensor(noise)}


def test_the_encoder_learns_from_the_critic_loss_alone():
    agent = make(CASES["drqv2_as, both, two layers"][0], BOTH)
    batch = make_batch(BOTH, 3)
    noise = draws_of(agent, batch)
    loss, features, _ = agent.critic_loss(batch, noise)
    loss.backward()
    assert all(g.norm() > 0 for g in gradients(agent.critic).values())
    assert sum(g.norm() for g in gradients(agent.perception).values()) > 0
    assert all(p.grad is None for p in agent.actor.parameters())
    assert not any(f.requires_grad for f in features.values())
    # The same gradients are left after the actor's step: it adds nothing to critic or encoder.
    both = make(CASES["drqv2_as, both, two layers"][0], BOTH)
    both.learn(batch, noise)
    for name in ("perception", "critic"):
        theirs = gradients(getattr(agent, name))
        assert all(torch.equal(g, theirs[n]) for n, g in gradients(getattr(both, name)).items())
    assert sum(g.norm() for g in gradients(both.actor).values()) > 0
    assert all(p.grad is None for p in both.target_critic.parameters())


def test_images_are_shifted_while_learning_and_apart_for_the_next_observation():
    config, shape, _ = CASES["drqv2, pixels"]
    agent = make(config, shape)
    batch = make_batch(shape, 1)
    one, two = draws_of(agent, batch), draws_of(agent, batch)
    assert not torch.equal(one["shifts"], one["next_shifts"])
    for name in ("shifts", "next_shifts"):
        other = {**one, name: two[name]}
        assert agent.critic_loss(batch, one)[0] != agent.critic_loss(batch, other)[0]
    # The actor reads the features that the critic's loss left it.
    seen = []
    agent.actor_loss = lambda features, *rest: seen.append(features) or (agent.actor.head.bias.sum(), {})
    agent.learn(batch, one)
    shifted = make(config, shape).perception(batch["obs"], one["shifts"])
    torch.testing.assert_close(seen[0]["image"], shifted["image"].detach())


def test_acting_shows_the_images_as_they_are():
    config, shape, _ = CASES["drqv2, pixels"]
    agent = make(config, shape)
    observation = make_observation(shape, 5, torch.Generator().manual_seed(0))
    chunk, again = (agent.act(observation, torch.Generator().manual_seed(s)) for s in (0, 1))
    assert torch.equal(chunk.actions, again.actions)
    slow = SlowDrQv2(agent)
    torch.testing.assert_close(chunk.actions, slow.actor(slow.perception(observation)))
    features = slow.perception(observation)
    value = slow.smaller(slow.critic(features, slow.actor(features))).mean(1)
    torch.testing.assert_close(chunk.value, value)
    assert chunk.valid.all()


def test_without_noise_an_update_samples_nothing_that_matters():
    config, shape, _ = CASES["drqv2_as, state"]
    agents = [make(config, shape) for _ in range(2)]
    agents[1].generator.manual_seed(99)
    for step in range(3):
        batch = make_batch(shape, 3, seed=step)
        one, two = (agent.update(batch, 0.0) for agent in agents)
        assert all(torch.equal(one[n], two[n]) for n in one)
    noisy = [agent.update(batch, NOISE)["critic_loss"] for agent in agents]
    assert noisy[0] != noisy[1]


@pytest.mark.parametrize("clip", [0.0, 0.1, 0.3])
def test_noise_is_clipped_and_actions_stay_inside(clip):
    agent = make(DrQv2Config(**TINY, noise_clip=clip), ONLY_STATE)
    mean = torch.linspace(-1, 1, 501).repeat(8, 1).requires_grad_()
    noise = torch.randn(8, 501)
    actions = agent._noisy(mean, noise, torch.tensor(2.0))
    edge = 1 - 1e-6
    assert actions.abs().max() <= edge
    inside = actions.abs() < edge - 1e-3
    assert (actions - mean)[inside].abs().max() <= clip + 1e-6
    if clip:
        assert ((actions - mean)[inside].abs() > clip - 1e-5).any()
    actions.sum().backward()
    assert torch.equal(mean.grad, torch.ones_like(mean))


def test_actions_stay_off_the_edge():
    agent = make(DrQv2ASConfig(**CATEGORICAL), ONLY_STATE)
    with torch.no_grad():
        agent.actor.head.bias.copy_(torch.tensor([50.0, -50.0, 0.0]))
    actions = agent.act({"state": torch.randn(5, STATE)}, torch.Generator()).actions
    assert actions.shape == (5, 4, ACTIONS)
    assert (actions[..., 0] < 1).all()
    torch.testing.assert_close(actions[..., :2], torch.tensor([1 - 1e-6, 1e-6 - 1]).expand(5, 4, 2), rtol=0, atol=1e-7)


def test_cloning_is_summed_over_steps_and_dimensions_and_averaged_over_demonstrations():
    agent = make(DrQv2ASConfig(**CATEGORICAL, chunk_length=3, bc_lambda=2.0), ONLY_STATE)
    with torch.no_grad():
        agent.actor.head.weight.zero_()  # the mean action is 0 everywhere
    batch = make_batch(ONLY_STATE, 3, size=4)
    batch["actions"] = torch.full((4, 3, ACTIONS), 0.5)
    batch["valid"] = torch.arange(3) < torch.tensor([[3], [1], [3], [2]])
    batch["is_demo"] = torch.tensor([True, True, False, False])
    noise = draws_of(agent, batch)
    _, features, _ = agent.critic_loss(batch, noise)
    loss, metrics = agent.actor_loss(features, batch, noise)
    # (3 + 1) demonstrated steps of 3 dimensions, 0.25 each, over 2 samples.
    assert metrics["bc_loss"].item() == pytest.approx(4 * 3 * 0.25 / 2, rel=1e-6)
    assert loss.item() == pytest.approx(metrics["actor_loss"].item() + 2 * 1.5, rel=1e-5)


def test_a_batch_without_demonstrations_or_valid_steps_is_finite():
    agent = make(DrQv2ASConfig(**CATEGORICAL, chunk_length=3), ONLY_STATE)
    batch = make_batch(ONLY_STATE, 3, demo=0.0)
    metrics = agent.update(batch, NOISE)
    assert all(torch.isfinite(v) for v in metrics.values())
    assert metrics["bc_loss"] == 0
    batch["valid"] = torch.zeros_like(batch["valid"])
    metrics = agent.update(batch, NOISE)
    assert all(torch.isfinite(v) for v in metrics.values())
    assert all(torch.isfinite(p).all() for p in agent.actor.parameters())


def test_hard_and_soft_targets():
    def gap(agent):
        pairs = zip(agent.critic.parameters(), agent.target_critic.parameters(), strict=True)
        return max((a - b).abs().max().item() for a, b in pairs)

    hard = make(DrQv2PlusConfig(**CATEGORICAL, target_interval=2), ONLY_STATE)
    hard.update(make_batch(ONLY_STATE, 1))
    assert gap(hard) > 0
    hard.update(make_batch(ONLY_STATE, 1))
    assert gap(hard) == 0


@pytest.mark.parametrize("case", ["drqv2, both, normalised, shared views", "drqv2_as, both, two layers"])
def test_state_dict_continues_bit_for_bit(case):
    config, shape, demo = CASES[case]
    one = make(config, shape, seed=0)
    for step in range(3):
        one.update(make_batch(shape, one.chunk_length, demo=demo, seed=step), NOISE)
    two = DrQv2(config, shape, ACTIONS, 9, (torch.zeros(STATE), torch.ones(STATE)))
    two.load_state_dict(one.state_dict())
    for step in range(3, 6):
        batch = make_batch(shape, one.chunk_length, demo=demo, seed=step)
        a, b = one.update(batch, NOISE), two.update(batch, NOISE)
        assert all(torch.equal(a[k], b[k]) for k in a)
    observation = make_observation(shape, 5, torch.Generator().manual_seed(0))
    plans = [agent.act(observation, torch.Generator().manual_seed(1)).actions for agent in (one, two)]
    assert torch.equal(*plans)
    assert one.updates == two.updates == 6


def test_the_seed_decides_the_weights_and_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    config, shape, _ = CASES["drqv2_as, both, two layers"]
    agents = [make(config, shape, seed=s) for s in (1, 1, 2)]
    agents[0].sample_noise(4)
    assert torch.equal(torch.rand(1), expected)
    for name in ("actor", "critic", "perception"):
        rows = [torch.cat([p.flatten() for p in getattr(a, name).parameters()]) for a in agents]
        assert torch.equal(rows[0], rows[1])
        assert not torch.equal(rows[0], rows[2])


def test_initial_weights_are_orthogonal_and_heads_are_not_zero():
    agent = make(CASES["drqv2_plus, both, hard copies"][0], BOTH)
    linears = [m for part in (agent.actor, agent.critic) for m in part.modules() if isinstance(m, torch.nn.Linear)]
    for linear in linears:
        weight = linear.weight if linear.weight.shape[0] <= linear.weight.shape[1] else linear.weight.T
        torch.testing.assert_close(weight @ weight.T, torch.eye(len(weight)), atol=1e-5, rtol=0)
        assert not linear.bias.any()


def trainable(module):
    """Number of trainable parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


# Specification: BiGym has 66 numbers in 4 frames and 16 actions, RLBench 64 in all of its 8 frames and 8 actions.
BIGYM = ObservationShape(66 * 4, views=3, frames=4, size=84), 16
RLBENCH = ObservationShape(64, views=4, frames=8, size=84), 8
DMC = ObservationShape(0, views=1, frames=3, size=84), 6
SIZES = {
    "drqv2_plus, BiGym": (published.drqv2_plus_bigym, BIGYM, {"perception": 2.09, "actor": 2.44, "critic": 3.85}),
    "cqn, BiGym": (published.cqn_bigym, BIGYM, {"perception": 2.09, "critic": 23.5}),
    "cqn_as, BiGym": (published.cqn_as_bigym, BIGYM, {"perception": 2.09, "critic": 26.6}),
    "cqn, RLBench": (published.cqn_rlbench, RLBENCH, {"perception": 2.81, "critic": 5.21}),
    "cqn_as, RLBench": (published.cqn_as_rlbench, RLBENCH, {"perception": 2.81, "critic": 8.37}),
}


@pytest.mark.parametrize("case", SIZES)
def test_published_sizes(case, monkeypatch):
    """Trainable parameters of the released columns, to the digits that the specification gives."""
    monkeypatch.setattr(torch.nn.init, "orthogonal_", lambda weight, gain: weight)  # minutes for nothing here
    preset, (shape, actions), wanted = SIZES[case]
    config = preset().agent
    agent = (DrQv2 if isinstance(config, DrQv2Config) else CQN)(config, shape, actions)
    for name, millions in wanted.items():
        digits = 1 if millions > 20 else 2
        # The encoder without norms has 0.003 M fewer than the published figure, which is CQN's.
        slack = 0.003 if (name, case) == ("perception", "drqv2_plus, BiGym") else 0
        assert trainable(getattr(agent, name)) / 1e6 == pytest.approx(millions, abs=0.5 * 10**-digits + slack)


@pytest.mark.long
def test_the_original_networks():
    """DrQ-v2 on the DeepMind Control Suite: 39,200 features, trunks of 50, hidden layers of 1024; no state."""
    agent = DrQv2(published.drqv2_dmc().agent, DMC[0], DMC[1])
    assert agent.perception.sizes == {"image": 39_200}
    trunk = 39_200 * 50 + 50 + 2 * 50
    hidden = 1024 * 1024 + 1024
    assert trainable(agent.actor) == trunk + 51 * 1024 + hidden + 1025 * 6
    assert trainable(agent.critic) == trunk + 2 * (57 * 1024 + hidden + 1025)
    assert trainable(agent.perception) == (9 * 9 + 1) * 32 + 3 * (9 * 32 + 1) * 32
    gains = [conv.weight.flatten(1) @ conv.weight.flatten(1).T for conv in agent.perception.encoder.nets[0].convs]
    for gain in gains:
        torch.testing.assert_close(gain, 2 * torch.eye(32), atol=1e-5, rtol=0)


# Two-hot targets.


def test_two_hot_golden_vectors():
    atoms = support(-2, 2, 101)  # 0.04 apart, 0 is atom 50
    for value, wanted in {
        0.0: {50: 1.0},
        1.0: {75: 1.0},
        0.99: {74: 0.25, 75: 0.75},
        -0.01: {49: 0.25, 50: 0.75},
        -2.0: {0: 1.0},
        2.0: {100: 1.0},
        7.0: {100: 1.0},
        -7.0: {0: 1.0},
    }.items():
        row = torch.zeros(101)
        for index, fraction in wanted.items():
            row[index] = fraction
        torch.testing.assert_close(two_hot(torch.tensor(value), atoms), row, atol=2e-5, rtol=0)


@given(
    st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=6),
    st.integers(2, 101),
    st.floats(-3, 0),
    st.floats(0.5, 200),
)
def test_two_hot_has_the_mean_and_two_neighbours(values, count, low, width):
    atoms = support(low, low + width, count)
    rows = two_hot(torch.tensor(values)[None], atoms)
    assert rows.shape == (1, len(values), count)
    torch.testing.assert_close(rows.sum(-1), torch.ones(1, len(values)), atol=1e-4, rtol=0)
    clipped = torch.tensor(values)[None].clamp(atoms[0], atoms[-1])
    torch.testing.assert_close((rows * atoms).sum(-1), clipped, atol=1e-4 * max(1, width), rtol=0)
    assert (rows >= 0).all()
    for row in rows[0]:
        used = row.nonzero().flatten()
        assert 1 <= len(used) <= 2
        assert used[-1] - used[0] <= 1
