"""CQN and CQN-AS against a straightforward update written with autograd alone, and their promises one by one."""

import dataclasses

import pytest
import torch
from tensordict import TensorDict

from slow_cqn import SlowCQN
from zoomrl.agents.act.transformer import EncoderStack
from zoomrl.agents.cqn.config import CQNASConfig, CQNConfig
from zoomrl.agents.cqn.imitation import imitation_weight
from zoomrl.agents.cqn.learner import CQN
from zoomrl.agents.drqv2.config import DrQv2Config
from zoomrl.agents.learner import MEASURED, MEASURED_EVERY
from zoomrl.agents.metrics import input_metrics
from zoomrl.errors import CheckpointError, ConfigError
from zoomrl.math import grid
from zoomrl.nets.perception import ObservationShape
from zoomrl.recipes.compose import preset
from zoomrl.spec import ArraySpec, EnvSpec

STATE, ACTIONS = 7, 3
SHAPE = ObservationShape(STATE)
TINY = {"hidden_dim": 12, "atoms": 11, "trunk_dim": 5, "lr": 1e-2}
SCALAR = CQNConfig(
    **{**TINY, "trunk_dim": 0},
    value="scalar",
    dueling="none",
    hidden_bias=True,
    critic_lambda=1.0,
    bc_lambda=0.0,
)


def make_batch(chunk_length, size=16, *, demo=0.5, valid=0.7, seed=0, state=STATE, actions=ACTIONS):
    g = torch.Generator().manual_seed(seed)
    mask = torch.rand(size, chunk_length, generator=g) < valid
    mask[:, 0] = True
    return TensorDict(
        {
            "obs": {"state": torch.randn(size, state, generator=g)},
            "next_obs": {"state": torch.randn(size, state, generator=g)},
            "actions": torch.rand(size, chunk_length, actions, generator=g) * 2 - 1,
            "valid": mask,
            "reward": (torch.rand(size, generator=g) < 0.3).float(),
            "discount": torch.where(torch.rand(size, generator=g) < 0.2, 0.0, 0.97),
            "is_demo": torch.rand(size, generator=g) < demo,
        },
        [size],
    )


def statistics():
    return torch.linspace(-1, 1, STATE), torch.linspace(0.5, 2, STATE)


CASES = {
    "cqn as published": (CQNConfig(**TINY), 0.5),
    "cqn_as as published": (CQNASConfig(**TINY), 0.5),
    "cqn_as, two GRU layers": (CQNASConfig(**TINY, gru_layers=2, chunk_length=3), 0.5),
    "cqn_as, shared streams, normalised": (CQNASConfig(**TINY, dueling="shared", normalize="demos"), 0.5),
    "cqn_as, all demonstrations": (CQNASConfig(**TINY, v_min=0.0, v_max=1.0), 1.1),
    "cqn_as, no demonstrations": (CQNASConfig(**TINY), 0.0),
    "cqn_as, single head": (CQNASConfig(**TINY, dueling="none"), 0.5),
    "cqn_as, target chooses": (CQNASConfig(**TINY, double_q=False), 0.5),
    "cqn, scalar": (SCALAR, 0.0),
    "cqn, scalar, target chooses": (dataclasses.replace(SCALAR, double_q=False, optimizer="adam"), 0.0),
    "cqn_as, scalar, dueling, margin": (CQNASConfig(**TINY, value="scalar", bc_lambda=1.0), 0.5),
    "cqn_as, hard target copies": (CQNASConfig(**TINY, target_tau=1.0, target_interval=3), 0.5),
    "cqn_as, geometric atoms": (
        CQNASConfig(**TINY, v_min=0.0, v_max=1.0, atom_spacing="geometric", v_least=0.1),
        0.5,
    ),
    "cqn, other grid, plain argmax": (CQNConfig(**TINY, levels=2, bins=7, tie_threshold=0.0), 0.5),
}


def in_double(agent):
    """The same agent in float64, where rounding hides nothing."""
    for module in (agent.critic, agent.target_critic, agent.perception):
        module.double()
    return agent


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_losses_and_gradients_equal_the_slow_version(case, precision):
    config, demo = CASES[case]
    fast = CQN(config, SHAPE, ACTIONS, seed=3, statistics=statistics())
    # Heads away from zero, so that no bins are tied and every path carries a gradient.
    with torch.no_grad():
        for critic in (fast.critic, fast.target_critic):
            for head in (critic.advantage, critic.value):
                if head is not None:
                    head.weight.normal_(0, 0.3)
    batch = make_batch(fast.chunk_length, demo=demo)
    if precision == "float64":
        in_double(fast)
        batch = batch.apply(lambda x: x.double() if x.is_floating_point() else x)
    slow = SlowCQN(fast)
    # Centres and atoms are float32 numbers in either case.
    tolerance = 1e-3 if precision == "float32" else 1e-6
    expected = slow.update(batch)
    metrics = fast.update(batch)
    torch.testing.assert_close(metrics["loss"], expected, rtol=tolerance, atol=tolerance / 100)
    ours = torch.cat([p.grad.flatten() for p in fast.critic.parameters()])
    theirs = dict(slow.critic.named_parameters())
    theirs = torch.cat([theirs[n].grad.flatten() for n, _ in fast.critic.named_parameters()])
    assert (ours - theirs).norm() < tolerance * theirs.norm()


def test_quickstart_losses_and_gradients_equal_the_slow_version():
    """In float64: where two distributions are equal, float32 rounding decides which side of the hinge is taken."""
    config = preset("quickstart")
    fast = in_double(CQN(config.agent, ObservationShape(39), 4, statistics=(torch.zeros(39), torch.ones(39))))
    slow = SlowCQN(fast)
    for step in range(3):
        batch = make_batch(4, size=64, demo=0.9, seed=step, state=39, actions=4)
        batch = batch.apply(lambda x: x.double() if x.is_floating_point() else x)
        torch.testing.assert_close(fast.update(batch)["loss"], slow.update(batch), rtol=1e-5, atol=0)
        ours = torch.cat([p.grad.flatten() for p in fast.critic.parameters()])
        theirs = dict(slow.critic.named_parameters())
        theirs = torch.cat([theirs[n].grad.flatten() for n, _ in fast.critic.named_parameters()])
        assert (ours - theirs).norm() < 1e-4 * theirs.norm()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.long
def test_several_updates_stay_with_the_slow_version(case):
    config, demo = CASES[case]
    fast = CQN(config, SHAPE, ACTIONS, seed=3, statistics=statistics())
    slow = SlowCQN(fast)
    for step in range(6):
        batch = make_batch(fast.chunk_length, demo=demo, seed=step)
        if step % 2:
            batch["absorbed"] = ~batch["valid"] & (torch.arange(16) % 2 == 0)[:, None]
            assert batch["absorbed"].any() or fast.chunk_length == 1
        expected = slow.update(batch)
        torch.testing.assert_close(fast.update(batch)["loss"], expected, rtol=2e-3, atol=1e-5)
    theirs = dict(slow.target_critic.named_parameters())
    for name, parameter in fast.target_critic.named_parameters():
        torch.testing.assert_close(parameter, theirs[name], rtol=1e-2, atol=5e-3)


@pytest.mark.parametrize("config", [CQNASConfig(**TINY), dataclasses.replace(SCALAR, bins=2)])
@pytest.mark.parametrize("demo", [0.5, 0.0])
def test_bins_are_compared_as_the_slow_version_does_at_some_updates(config, demo):
    fast = CQN(config, SHAPE, ACTIONS, seed=3)
    torch.nn.init.normal_(fast.critic.advantage.weight, 0, 0.3)
    batch = make_batch(fast.chunk_length, size=2 * MEASURED + 1, demo=demo)
    metrics = fast.update(batch)
    expected = SlowCQN(fast).compare_bins(batch, every=2)
    for name, value in expected.items():
        assert float(metrics[name]) == pytest.approx(value, rel=1e-4, abs=1e-6), name
    assert expected["sibling_spread"] > 0.01
    assert [update for update in range(1, 70) if "sibling_spread" in fast.update(batch)] == [MEASURED_EVERY]


@pytest.mark.parametrize(
    ("changes", "weights"),
    [
        ({"bc_schedule": "1", "bc_floor": 0.003}, [2.0, 2.0, 2.0]),
        ({}, [2.0, 1.0, 0.25]),
        ({"bc_schedule": "0.5"}, [1.0, 1.0, 1.0]),
    ],
)
def test_the_weight_of_imitation_follows_its_schedule_down_to_its_floor(changes, weights):
    config = CQNASConfig(**{**TINY, "bc_lambda": 2.0, "bc_schedule": "linear(1,0,4)", "bc_floor": 0.25, **changes})
    assert [imitation_weight(config, updates) for updates in (0, 2, 9)] == weights


@pytest.mark.parametrize("value", ["categorical", "scalar"])
def test_a_scheduled_weight_is_learnt_with_as_a_fixed_one(value):
    batch = make_batch(4)
    fixed = CQN(CQNASConfig(**TINY, value=value, bc_lambda=0.5), SHAPE, ACTIONS, seed=1)
    config = CQNASConfig(**TINY, value=value, bc_lambda=1.0, bc_schedule="linear(1,0,2)")
    falling = CQN(config, SHAPE, ACTIONS, seed=1)
    falling.updates = fixed.updates = 1
    expected, metrics = fixed.update(batch), falling.update(batch)
    assert float(metrics.pop("imitation_weight")) == 0.5
    torch.testing.assert_close(metrics, expected, rtol=0, atol=0)
    for ours, theirs in zip(falling.critic.parameters(), fixed.critic.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    with pytest.raises(ConfigError, match=r"agent\.bc_schedule: expected a number"):
        CQNASConfig(bc_schedule="falling")


@pytest.mark.parametrize("changes", [{"v_min": -1.0}, {"v_least": 0.0}, {"v_least": 1.0}, {"atoms": 2}])
def test_geometric_atoms_that_cannot_be_are_refused(changes):
    options = {**TINY, "v_min": 0.0, "v_max": 1.0, "atom_spacing": "geometric", "v_least": 0.1, **changes}
    with pytest.raises(ConfigError, match=r"geometric atoms lie at 0 and from agent\.v_least to agent\.v_max"):
        CQNASConfig(**options)


def test_the_least_value_that_is_told_from_nothing():
    assert CQNConfig(v_min=0.0, v_max=1.0, atoms=31).least_value == pytest.approx(0.1)
    assert CQNConfig(v_min=0.0, v_max=1.0, atom_spacing="geometric", v_least=0.02).least_value == 0.02
    assert CQNConfig(value="scalar").least_value is None
    assert preset("sac-dmc").agent.least_value is None


def test_what_reaches_the_agent_is_measured_on_the_samples_that_it_is_about():
    batch = make_batch(3, size=8, demo=0.0, valid=2.0)
    batch["is_demo"] = torch.arange(8) < 4
    batch["obs"]["state"][:, 0] = 1.0
    batch["actions"][:4], batch["actions"][4:] = 1.0, 0.5
    features = {"state": torch.where(torch.arange(8)[:, None] < 4, 0.0, 9.0).repeat(1, 5)}
    features["state"][4:, 1:] = 1.0
    features["state"][6:, 1] = -9.0  # far in some samples alone
    found = {name: float(value) for name, value in input_metrics(batch, features).items()}
    assert found == {
        "valid_fraction": 1.0,
        "demo_at_bound": 1.0,
        "demo_action_size": 1.0,
        "state_still": pytest.approx(1 / STATE),
        "state_far": pytest.approx(1 / 5),
    }
    images = torch.zeros(8, 1, 2, 16, 16, 3, dtype=torch.uint8)
    images[::2, :, 0] = 255
    batch["obs"]["rgb"] = images
    assert float(input_metrics(batch, {})["image_change"]) == 0, "the second camera shows the same always"
    images[::2, :, 1] = 51
    assert float(input_metrics(batch, {})["image_change"]) == pytest.approx(0.1)
    batch = torch.cat([batch, batch])
    batch["is_demo"] = torch.arange(16) < 8
    assert float(input_metrics(batch, {})["image_change"]) == pytest.approx(0.1)
    batch["obs"]["rgb"][8:, :, 0] = 7  # dark in practice, and not in demonstrations
    assert float(input_metrics(batch, {})["image_change"]) == 0
    batch["is_demo"] = torch.arange(16) < 9  # the others are too few
    assert float(input_metrics(batch, {})["image_change"]) > 0.09


def test_measuring_changes_no_weight(monkeypatch):
    agents = [CQN(CQNASConfig(**TINY), SHAPE, ACTIONS, seed=1) for _ in range(2)]
    agents[0].update(make_batch(4))
    monkeypatch.setattr(CQN, "measures", False)
    agents[1].update(make_batch(4))
    for ours, theirs in zip(agents[0].critic.parameters(), agents[1].critic.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_padded_steps_reach_no_loss():
    """Whatever stands in masked steps, losses and gradients are the same (the GRU is causal)."""
    gradients = []
    for filling in (0.9, -0.9):
        agent = CQN(CQNASConfig(**TINY), SHAPE, ACTIONS, seed=1)
        torch.nn.init.constant_(agent.critic.advantage.weight[::2], 0.2)
        batch = make_batch(4)
        # Masked steps lie at a chunk's end, as the replay builds them.
        batch["valid"] = torch.arange(4) < torch.randint(1, 5, (16, 1), generator=torch.Generator().manual_seed(0))
        batch["actions"] = torch.where(batch["valid"][..., None], batch["actions"], torch.tensor(filling))
        agent.update(batch)
        gradients.append(torch.cat([p.grad.flatten() for p in agent.critic.parameters()]))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-7)


def test_steps_beyond_a_terminal_state_are_valued_and_not_imitated():
    found = {}
    for name in ("masked", "absorbing", "data"):
        agent = CQN(CQNASConfig(**TINY), SHAPE, ACTIONS, seed=1)
        torch.nn.init.normal_(agent.critic.advantage.weight, 0, 0.3, generator=torch.Generator().manual_seed(0))
        batch = make_batch(4, demo=1.1)
        beyond = torch.arange(4).expand(16, -1) >= 2
        batch["valid"] = ~beyond | (name == "data")
        if name == "absorbing":
            batch["absorbed"] = beyond
        found[name] = agent.update(batch)
    for loss, same, other in (
        ("dominance_loss", "masked", "data"),
        ("margin_loss", "masked", "data"),
        ("critic_loss", "data", "masked"),
    ):
        torch.testing.assert_close(found["absorbing"][loss], found[same][loss])
        assert not torch.isclose(found["absorbing"][loss], found[other][loss])


def test_a_batch_without_demonstrations_has_finite_losses():
    agent = CQN(CQNASConfig(**TINY), SHAPE, ACTIONS)
    metrics = agent.update(make_batch(4, demo=0.0))
    assert all(torch.isfinite(v) for v in metrics.values())
    assert metrics["dominance_loss"] == 0
    assert metrics["margin_loss"] == 0


def test_what_has_no_weight_is_not_reported_as_learnt():
    for changes, missing in (
        ({"bc_lambda": 0.0}, {"margin_loss", "dominance_loss"}),
        ({"critic_lambda": 0.0}, {"critic_loss"}),
    ):
        metrics = CQN(CQNASConfig(**TINY, **changes), SHAPE, ACTIONS).update(make_batch(4))
        losses = {"margin_loss", "dominance_loss", "critic_loss"}
        assert losses - set(metrics) == missing


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bc_margin": -1.0}, r"agent\.bc_margin must be at least 0"),
        ({"bc_lambda": 0.0, "bc_margin": 0.3}, r"bc_margin=0\.3 has no effect without an agent\.bc_lambda above 0"),
        ({"optimizer": "adam", "weight_decay": 0.3}, r"weight_decay=0\.3 has no effect without agent\.optimizer=adamw"),
    ],
)
def test_options_that_would_do_nothing_or_harm_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        CQNConfig(**changes)
    CQNConfig(optimizer="adam", weight_decay=0.0)
    with pytest.raises(ConfigError, match=r"weight_decay=0\.3 has no effect"):
        DrQv2Config(weight_decay=0.3)


def test_a_dropout_too_small_for_16_bits_keeps_everything():
    stack = EncoderStack(8, 2, 8, 1, 1e-6)
    kept = stack.sample_noise(4, 3, torch.Generator().manual_seed(0))
    assert kept is not None
    assert kept.float().mean() > 0.999


def test_zero_heads_start_with_equal_values_and_uniform_actions():
    agent = CQN(CQNConfig(hidden_dim=16, v_min=-2, v_max=2), SHAPE, ACTIONS)
    chunk = agent.act({"state": torch.randn(2000, STATE)}, torch.Generator().manual_seed(0))
    cells = grid.to_cell(chunk.actions, 3, 5).flatten()
    counts = torch.bincount(cells, minlength=125).float()
    expected = len(cells) / 125
    assert ((counts - expected) ** 2 / expected).sum() < 190  # chi-square, 124 degrees of freedom, p > 1e-4
    metrics = agent.update(make_batch(1, demo=1.1))
    assert metrics["dominance_loss"].item() == pytest.approx(0, abs=1e-6)
    assert metrics["margin_loss"].item() == pytest.approx(0.1, abs=1e-6)
    assert metrics["critic_loss"].item() == pytest.approx(torch.log(torch.tensor(51.0)).item(), abs=1e-4)


def test_without_tie_break_the_first_bin_is_taken():
    agent = CQN(dataclasses.replace(SCALAR, tie_threshold=0.0), SHAPE, ACTIONS)
    chunk = agent.act({"state": torch.randn(3, STATE)}, torch.Generator())
    torch.testing.assert_close(chunk.actions, torch.full((3, 1, ACTIONS), -0.992))


@pytest.mark.parametrize("network", ["online", "target"])
def test_the_named_network_acts(network):
    agent = CQN(CQNASConfig(**TINY, act_with=network), SHAPE, ACTIONS)
    critic = agent.critic if network == "online" else agent.target_critic
    with torch.no_grad():
        # Prefer the highest bin everywhere, in this network alone.
        bias = critic.advantage.bias.view(ACTIONS, 5, 11)
        bias[:, 4, -1] = 50.0
    chunk = agent.act({"state": torch.randn(3, STATE)}, torch.Generator())
    torch.testing.assert_close(chunk.actions, torch.full((3, 4, ACTIONS), 0.992))
    assert chunk.valid.all()


def test_hard_and_soft_targets():
    def gap(agent):
        pairs = zip(agent.critic.parameters(), agent.target_critic.parameters(), strict=True)
        return max((a - b).abs().max().item() for a, b in pairs)

    hard = CQN(CQNConfig(**TINY, target_tau=1.0, target_interval=2), SHAPE, ACTIONS)
    hard.update(make_batch(1))
    assert gap(hard) > 0
    hard.update(make_batch(1))
    assert gap(hard) == 0


@pytest.mark.parametrize("config", [CQNASConfig(**TINY, normalize="demos"), SCALAR])
def test_state_dict_continues_bit_for_bit(config):
    one = CQN(config, SHAPE, ACTIONS, seed=0, statistics=statistics())
    for step in range(3):
        one.update(make_batch(one.chunk_length, seed=step))
    two = CQN(config, SHAPE, ACTIONS, seed=9, statistics=(torch.zeros(STATE), torch.ones(STATE)))
    two.load_state_dict(one.state_dict())
    for step in range(3, 6):
        batch = make_batch(one.chunk_length, seed=step)
        a, b = one.update(batch), two.update(batch)
        assert all(torch.equal(a[k], b[k]) for k in a)
    states = {"state": torch.randn(5, STATE)}
    plans = [agent.act(states, torch.Generator().manual_seed(1)).actions for agent in (one, two)]
    assert torch.equal(*plans)


def test_the_seed_decides_the_weights_and_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    agents = [CQN(CQNConfig(**TINY), SHAPE, ACTIONS, seed=s) for s in (1, 1, 2)]
    assert torch.equal(torch.rand(1), expected)
    weights = [a.critic.streams[0].first.weight for a in agents]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_published_size_of_the_humanoid_network():
    """Specification: h1hand (151 observations, 61 actions): CQN 0.53 M, CQN-AS 7.89 M trainable parameters."""
    scalar = {"value": "scalar", "dueling": "none", "trunk_dim": 0, "bc_lambda": 0.0}
    plain = CQN(CQNConfig(**scalar), ObservationShape(151), 61)
    chunked = CQN(CQNASConfig(**scalar, hidden_dim=1024), ObservationShape(151), 61)
    sizes = [sum(p.numel() for p in a.critic.parameters()) / 1e6 for a in (plain, chunked)]
    assert sizes == [pytest.approx(0.53, abs=0.005), pytest.approx(7.89, abs=0.005)]


@pytest.mark.long
def test_it_learns_a_one_step_problem():
    """The best action is wherever the state says, and nowhere near the start of the argmax."""
    torch.manual_seed(0)
    agent = CQN(
        dataclasses.replace(SCALAR, hidden_dim=32, lr=3e-3, target_tau=1.0, target_interval=1),
        SHAPE,
        1,
        seed=0,
    )
    for _ in range(400):
        state = torch.randn(64, STATE)
        action = torch.rand(64, 1, 1) * 2 - 1
        reward = -(action[:, 0, 0] - torch.tanh(state[:, 0])).abs()
        zeros = torch.zeros(64)
        agent.update(
            TensorDict(
                {
                    "obs": {"state": state},
                    "next_obs": {"state": state},
                    "actions": action,
                    "valid": torch.ones(64, 1, dtype=torch.bool),
                    "reward": reward,
                    "discount": zeros,
                    "is_demo": zeros > 0,
                },
                [64],
            )
        )
    state = torch.randn(200, STATE)
    chosen = agent.act({"state": state}, torch.Generator()).actions[:, 0, 0]
    assert (chosen - torch.tanh(state[:, 0])).abs().mean() < 0.25


def test_a_state_of_another_version_is_refused_by_name():
    agent = CQN(CQNConfig(**TINY), SHAPE, ACTIONS)
    state = agent.state_dict()
    del state["perception"]
    with pytest.raises(CheckpointError, match="lacks perception"):
        agent.load_state_dict(state)


def test_images_that_are_not_square_are_refused():
    spec = EnvSpec("gym:wide", {"rgb": ArraySpec((1, 16, 24, 3), "uint8")}, ArraySpec((1,), low=(-1,), high=(1,)), 0, 9)
    with pytest.raises(ConfigError, match="16 x 24"):
        ObservationShape.of(spec, 1)
