"""SAC against a straightforward update written with autograd alone, and its promises."""

import dataclasses
import math

import pytest
import torch

from batches import ACTIONS, BOTH, ONLY_PIXELS, ONLY_STATE, STATE, in_double, make_batch, make_observation
from slow_drqv2 import gradients
from slow_sac import SlowSAC
from toy import assert_same_run, run, tiny
from zoomrl.agents.engine import accelerate
from zoomrl.agents.metrics import q_metrics
from zoomrl.agents.sac.config import SACConfig
from zoomrl.agents.sac.learner import SAC
from zoomrl.errors import ConfigError
from zoomrl.math.gaussian import squashed_log_density
from zoomrl.nets.config import EncoderConfig, RepresentationConfig

TINY = {"hidden": (12, 9), "lr": 3e-3}
DRQ = EncoderConfig(kind="drqv2", norm="none", activation="relu", channels=4, feature_dim=6, shift=2)
LATENT = RepresentationConfig(kind="self_predictive", dim=8, encoder_hidden=(6,), model_hidden=(6,), horizon=2)
PARTS = ("perception", "trunk", "actor", "critic")

CASES = {
    "state": (SACConfig(**TINY), ONLY_STATE),
    "pixels": (SACConfig(**TINY, encoder=DRQ, temperature=1.0, target_tau=0.3), ONLY_PIXELS),
    "both, normalised, norms, own target": (
        SACConfig(**TINY, encoder=DRQ, normalize="demos", norm=True, activation="mish", target_entropy=0.5),
        BOTH,
    ),
    "state, constant temperature, narrow": (
        SACConfig(**TINY, learn_temperature=False, temperature=0.7, log_std_min=-2.0, log_std_max=-1.0),
        ONLY_STATE,
    ),
}


def make(config, shape, seed=3):
    statistics = torch.linspace(-1, 1, STATE), torch.linspace(0.005, 2, STATE)
    return SAC(config, shape, ACTIONS, seed, statistics if shape.state else None)


def with_sequence(batch, shape, steps):
    g = torch.Generator().manual_seed(7)
    size = len(batch)
    observations = [make_observation(shape, size, g) for _ in range(steps)]
    batch["sequence"] = {
        "obs": {name: torch.stack([o[name] for o in observations], 1) for name in observations[0]},
        "actions": torch.rand(size, steps, ACTIONS, generator=g) * 2 - 1,
        "reward": torch.rand(size, steps, generator=g),
        "valid": torch.ones(size, steps, dtype=torch.bool),
    }
    return batch


def compare(ours, theirs):
    assert ours.keys() == theirs.keys()
    if theirs:
        distance = sum((ours[n] - theirs[n]).square().sum() for n in theirs).sqrt()
        size = sum(g.square().sum() for g in theirs.values()).sqrt()
        assert size > 0
        assert distance <= 1e-6 * size


@pytest.mark.parametrize("case", CASES)
def test_updates_equal_the_slow_version(case):
    """Losses, gradients, and all weights after each of several updates."""
    config, shape = CASES[case]
    fast = make(config, shape)
    for module in (*(getattr(fast, name) for name in PARTS), fast.target_critic, fast.temperature):
        module.double()
    if fast.temperature.log is not None:
        with torch.no_grad():
            fast.temperature.log.fill_(math.log(config.temperature))
    else:
        fast.temperature.constant.fill_(config.temperature)
    slow = SlowSAC(fast)
    for step in range(4):
        batch = in_double(make_batch(shape, 1, seed=step))
        expected = slow.update(batch)
        metrics = fast.update(batch)
        for name in expected:
            if name != "temperature_loss" or config.learn_temperature:
                torch.testing.assert_close(metrics[name], expected[name], rtol=1e-6, atol=1e-8, msg=name)
        assert ("temperature_loss" in metrics) == config.learn_temperature
        for name in PARTS:
            compare(gradients(getattr(fast, name)), slow.gradients[name])
    for name in (*PARTS, "target_critic"):
        theirs = dict(getattr(slow, name).named_parameters())
        for parameter_name, parameter in getattr(fast, name).named_parameters():
            torch.testing.assert_close(parameter, theirs[parameter_name], rtol=0, atol=1e-7)
    if config.learn_temperature:
        torch.testing.assert_close(fast.temperature.log, slow.log_temperature, rtol=1e-6, atol=0)


def test_log_density_golden_numbers():
    # u = 0 and standard normal: log N(0; 0, 1) = -0.918939, and no shrinkage.
    zero = torch.zeros(1)
    assert squashed_log_density(zero, zero, zero).item() == pytest.approx(-0.9189385, abs=1e-6)
    # u = 1: tanh(1) = 0.761594, 1 - tanh^2 = 0.419974, -log of it 0.867562; std 1, noise 1: -1.418939.
    one = torch.ones(1)
    assert squashed_log_density(one, zero, one).item() == pytest.approx(-1.4189385 + 0.8675617, abs=1e-5)
    # Far out log(1 - tanh^2(u)) = 2 (log 2 - |u|); the plain formula would be log(0).
    far = torch.tensor([40.0, -40.0])
    expected = 2 * -0.9189385 + 2 * 2 * (40 - math.log(2))
    assert squashed_log_density(torch.zeros(2), torch.zeros(2), far).item() == pytest.approx(expected, abs=1e-4)
    assert squashed_log_density(torch.zeros(5, 2), torch.zeros(5, 2), far.expand(5, 2)).shape == (5,)


def test_log_density_integrates_to_one_and_has_finite_gradients():
    action = torch.linspace(-1, 1, 200_001, dtype=torch.float64)[1:-1, None]
    before = torch.atanh(action)
    mean, log_std = 0.4, torch.tensor(-0.5, dtype=torch.float64)
    density = squashed_log_density((before - mean) / log_std.exp(), log_std.expand_as(before), before).exp()
    assert (density.sum() * 1e-5).item() == pytest.approx(1, abs=1e-4)
    before = torch.tensor([[-60.0, 0.0, 60.0]], requires_grad=True)
    squashed_log_density(torch.zeros(1, 3), torch.zeros(1, 3), before).sum().backward()
    torch.testing.assert_close(before.grad, torch.tensor([[-2.0, 0.0, 2.0]]))


def test_the_encoder_learns_from_the_critic_loss_alone():
    config, shape = CASES["both, normalised, norms, own target"]
    agent, both = make(config, shape), make(config, shape)
    batch = make_batch(shape, 1)
    noise = agent.sample_noise(len(batch))
    loss, features, _ = agent.critic_loss(batch, noise)
    loss.backward()
    assert not features.requires_grad
    for name in ("perception", "trunk", "critic"):
        assert sum(g.norm() for g in gradients(getattr(agent, name)).values()) > 0
    assert all(p.grad is None for part in (agent.actor, agent.temperature) for p in part.parameters())
    both.learn(batch, noise)
    for name in ("perception", "trunk", "critic"):
        theirs = gradients(getattr(agent, name))
        assert all(torch.equal(g, theirs[n]) for n, g in gradients(getattr(both, name)).items())
    assert all(g.norm() > 0 for g in gradients(both.actor).values())
    assert both.temperature.log.grad != 0
    assert all(p.grad is None for p in both.target_critic.parameters())


def test_a_terminal_state_is_worth_its_reward():
    agent = make(*CASES["state"])
    batch = make_batch(ONLY_STATE, 1)
    batch["discount"] = torch.zeros(len(batch))
    _, _, metrics = agent.critic_loss(batch, agent.sample_noise(len(batch)))
    torch.testing.assert_close(metrics["q_target"], batch["reward"].mean())


@pytest.mark.parametrize(("entropy", "moves"), [(5.0, -1), (-5.0, 1)])
def test_temperature_falls_where_the_entropy_is_too_high(entropy, moves):
    agent = make(*CASES["state"])
    agent.target_entropy = -1.0
    agent.actor_loss = lambda features, noise: (
        agent.actor.head.bias.sum(),
        {"actor_loss": torch.tensor(0.0), "entropy": torch.tensor(entropy)},
    )
    before = agent.temperature().item()
    batch = make_batch(ONLY_STATE, 1)
    metrics = agent.learn(batch, agent.sample_noise(len(batch)))
    assert metrics["temperature_loss"].item() == pytest.approx(before * (entropy + 1))
    assert math.copysign(1, agent.temperature().item() - before) == moves


def test_the_target_entropy_is_minus_the_action_dimensions_unless_told():
    assert make(*CASES["state"]).target_entropy == -3
    assert make(SACConfig(**TINY, target_entropy=1.5), ONLY_STATE).target_entropy == 1.5
    with pytest.raises(ConfigError, match=r"stays below 2\.079"):
        make(SACConfig(**TINY, target_entropy=2.1), ONLY_STATE)
    with pytest.raises(ConfigError, match=r"target_entropy=2\.1 has no effect without agent\.learn_temperature"):
        SACConfig(**TINY, target_entropy=2.1, learn_temperature=False)


def test_temperature_zero_ignores_the_entropy_and_can_be_saved():
    config = SACConfig(**TINY, learn_temperature=False, temperature=0.0)
    agent = make(config, ONLY_STATE)
    metrics = agent.update(make_batch(ONLY_STATE, 1))
    assert metrics["temperature"] == 0
    assert "temperature_loss" not in metrics
    assert "temperature_optimizer" not in agent.state_dict()
    assert all(torch.isfinite(p).all() for part in agent.modules() for p in part.parameters())


def test_training_samples_the_policy_and_evaluation_takes_its_mode():
    agent = make(*CASES["pixels"])
    observation = make_observation(ONLY_PIXELS, 5, torch.Generator().manual_seed(0))
    assert agent.sample_acting_noise(5, torch.Generator(), False) == {}
    drawn = agent.sample_acting_noise(5, torch.Generator().manual_seed(1), True)["policy_noise"]
    assert torch.equal(drawn, torch.randn(5, ACTIONS, generator=torch.Generator().manual_seed(1)))
    one, two = (agent.act(observation, torch.Generator().manual_seed(s)) for s in (1, 2))
    assert torch.equal(one.actions, two.actions)
    slow = SlowSAC(agent)
    features = slow.trunk(slow.perception(observation))
    normal = slow.policy(features)
    torch.testing.assert_close(one.actions[:, 0], torch.tanh(normal.loc))
    torch.testing.assert_close(one.value, slow.smaller(slow.critic, features, torch.tanh(normal.loc)))
    explored = agent.act(observation, torch.Generator().manual_seed(1), explore=True)
    actions = torch.tanh(normal.loc + normal.scale * drawn)
    torch.testing.assert_close(explored.actions[:, 0], actions)
    torch.testing.assert_close(explored.value, slow.smaller(slow.critic, features, actions))
    assert explored.actions.shape == (5, 1, ACTIONS)


def test_standard_deviations_stay_in_their_range():
    agent = make(SACConfig(**TINY, log_std_min=-3.0, log_std_max=0.5), ONLY_STATE)
    with torch.no_grad():
        agent.actor.head.bias[ACTIONS:] = torch.tensor([100.0, -100.0, 0.0])
        agent.actor.head.weight.zero_()
    _, log_std = agent.actor(torch.randn(4, STATE))
    torch.testing.assert_close(log_std, torch.tensor([0.5, -3.0, -1.25]).expand(4, 3))


@pytest.mark.parametrize("case", CASES)
def test_state_dict_continues_bit_for_bit(case):
    config, shape = CASES[case]
    one, two = make(config, shape, seed=0), make(config, shape, seed=9)
    for step in range(3):
        one.update(make_batch(shape, 1, seed=step))
    two.load_state_dict(one.state_dict())
    for step in range(3, 6):
        batch = make_batch(shape, 1, seed=step)
        a, b = one.update(batch), two.update(batch)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[k], b[k]) for k in a)
    assert torch.equal(one.temperature(), two.temperature())
    assert one.updates == two.updates == 6


def test_it_reads_a_representation_that_is_jointly_trained():
    config = SACConfig(**TINY, representation=LATENT)
    agent = make(config, ONLY_STATE)
    assert agent.sequence_length == 2
    before = {n: p.clone() for n, p in agent.perception.named_parameters()}
    batch = with_sequence(make_batch(ONLY_STATE, 1), ONLY_STATE, 2)
    metrics = agent.update(batch)
    assert {"representation_loss", "cosine_2", "critic_loss", "temperature_loss"} <= metrics.keys()
    assert any(not torch.equal(p, before[n]) for n, p in agent.perception.named_parameters())
    parts = [metrics[n] for n in ("critic_loss", "actor_loss", "temperature_loss", "representation_loss")]
    torch.testing.assert_close(metrics["loss"], sum(parts))


def test_metrics():
    config, shape = CASES["state"]
    agent = make(config, shape)
    batch = make_batch(shape, 1)
    metrics = agent.update(batch)
    names = {"loss", "critic_loss", "actor_loss", "temperature", "temperature_loss", "entropy", "q_target"}
    assert metrics.keys() == names | q_metrics(torch.zeros(1), batch).keys() | {"batch_return", "demo_fraction"}
    assert all(m.shape == () and torch.isfinite(m) and not m.requires_grad for m in metrics.values())
    assert metrics["temperature"].item() == pytest.approx(0.1)


def test_the_seed_decides_the_weights_and_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    agents = [make(*CASES["state"], seed=s) for s in (1, 1, 2)]
    agents[0].sample_noise(4)
    assert torch.equal(torch.rand(1), expected)
    rows = [torch.cat([p.flatten() for p in a.actor.parameters()]) for a in agents]
    assert torch.equal(rows[0], rows[1])
    assert not torch.equal(rows[0], rows[2])


@pytest.mark.slow
def test_compiled_in_one_graph_equals_plain(monkeypatch):
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **o: real(f, backend="eager", **o))
    torch._dynamo.reset()
    config, shape = CASES["state"]
    fast, plain = make(config, shape), make(config, shape)
    accelerate(fast, "compile")
    for step in range(3):
        batch = make_batch(shape, 1, seed=step)
        ours, theirs = fast.update(batch), plain.update(batch)
        for name in theirs:
            torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=1e-4)
    torch._dynamo.reset()


@pytest.mark.slow
def test_it_finds_the_rewarded_action():
    """A bandit: the reward is highest at the action 0.5, the entropy at its target after learning."""
    config = SACConfig(hidden=(32, 32), lr=3e-3, target_entropy=-2.0)
    agent = SAC(config, ONLY_STATE, 1, 0)
    g = torch.Generator().manual_seed(0)
    for _ in range(800):
        batch = make_batch(ONLY_STATE, 1, size=64, actions=1, demo=0.0)
        batch["actions"] = torch.rand(64, 1, 1, generator=g) * 2 - 1
        batch["reward"] = -4 * (batch["actions"][:, 0, 0] - 0.5) ** 2
        batch["discount"] = torch.zeros(64)
        metrics = agent.update(batch)
    found = agent.act({"state": batch["obs", "state"]}, torch.Generator()).actions
    assert (found - 0.5).abs().mean() < 0.15
    assert abs(metrics["entropy"].item() + 2) < 1.2


def test_configs_that_cannot_work_are_refused():
    for bad in ({"temperature": 0.0}, {"temperature": -1.0}, {"log_std_min": 3.0}, {"lr": 0.0}):
        with pytest.raises(ConfigError):
            dataclasses.replace(SACConfig(), **bad)


@pytest.mark.slow
def test_a_resumed_run_explores_as_one_never_stopped(tmp_path):
    agent = SACConfig(**TINY)
    run(tiny(tmp_path / "whole", agent=agent, control__noise="0.0"))
    run(tiny(tmp_path / "halves", agent=agent, control__noise="0.0", steps=30))
    run(tiny(tmp_path / "halves", agent=agent, control__noise="0.0"))
    assert_same_run(tmp_path / "whole", tmp_path / "halves")
