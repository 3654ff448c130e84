"""TD3 and iQRL against an update written straight from the papers, and their promises."""

import dataclasses
import math

import pytest
import torch

from batches import ACTIONS, BOTH, ONLY_PIXELS, ONLY_STATE, STATE, in_double, make_batch, make_observation
from slow_iqrl import SlowTD3
from zoomrl.agents.cqn.config import CQNASConfig, CQNConfig
from zoomrl.agents.cqn.learner import CQN
from zoomrl.agents.drqv2.config import DrQv2Config
from zoomrl.agents.drqv2.learner import DrQv2
from zoomrl.agents.sac.config import SACConfig
from zoomrl.agents.sac.learner import SAC
from zoomrl.agents.tcrl.config import TCRLConfig
from zoomrl.agents.tcrl.learner import TCRL
from zoomrl.agents.td3.config import IQRLConfig, TD3Config
from zoomrl.agents.td3.learner import TD3
from zoomrl.errors import ConfigError
from zoomrl.nets.config import EncoderConfig, RepresentationConfig
from zoomrl.nets.mlp import Ensemble, mlp
from zoomrl.recipes.compose import preset

LATENT = RepresentationConfig(
    kind="self_predictive", dim=12, encoder_hidden=(10,), model_hidden=(11, 11), horizon=3, lr=3e-3
)
IMAGES = EncoderConfig(kind="drqv2", norm="none", activation="relu", channels=4, feature_dim=6, shift=2)
TINY = {"hidden": (12, 12), "lr": 3e-3}
IQRL = {**TINY, "representation": LATENT}
CASES = {
    "td3": TD3Config(**TINY),
    "td3, relu without norm, noise beyond the clip": TD3Config(**TINY, target_noise=1.0, bc_lambda=0.3),
    "td3, matched to iqrl": TD3Config(
        **TINY, norm=True, activation="mish", critics=4, actor_value="mean", delayed_targets=False, policy_delay=1
    ),
    "iqrl, released": IQRLConfig(**IQRL),
    "iqrl, paper": IQRLConfig(**IQRL, critics=2, actor_value="min"),
    "iqrl, uneven levels": IQRLConfig(**TINY, representation=dataclasses.replace(LATENT, fsq_levels=(8, 6, 5))),
    "iqrl, no quantisation": IQRLConfig(**TINY, representation=dataclasses.replace(LATENT, quantise=False)),
    "iqrl, squared distance": IQRLConfig(**TINY, representation=dataclasses.replace(LATENT, consistency="mse")),
    "iqrl, reward head": IQRLConfig(**TINY, representation=dataclasses.replace(LATENT, reward_coef=0.7)),
    "iqrl, projection": IQRLConfig(**TINY, representation=dataclasses.replace(LATENT, projection_dim=5)),
    "iqrl, reconstruction": IQRLConfig(**TINY, representation=dataclasses.replace(LATENT, reconstruction_coef=0.4)),
    "iqrl, reading the moving average": IQRLConfig(**TINY, representation=dataclasses.replace(LATENT, read="target")),
    "iqrl, tight clip": IQRLConfig(**TINY, representation=dataclasses.replace(LATENT, clip=0.01)),
    "iqrl, tcrl's latent": IQRLConfig(
        **TINY,
        representation=dataclasses.replace(TCRLConfig().representation, dim=9, encoder_hidden=(8,), horizon=3),
    ),
}


def weights(modules):
    return torch.cat([torch.zeros(0), *(p.detach().flatten() for m in modules for p in m.parameters())])


@pytest.mark.parametrize("name", CASES)
@pytest.mark.long
def test_updates_are_the_papers(name):
    config = CASES[name]
    agent = TD3(config, ONLY_STATE, ACTIONS, seed=3)
    for module in agent.modules():
        module.double()
    slow = SlowTD3(agent)
    for turn in range(4):
        batch = in_double(make_batch(ONLY_STATE, 1, size=9, seed=turn, sequence_length=agent.sequence_length))
        noise = {k: v.double() if v.is_floating_point() else v for k, v in agent.sample_noise(len(batch)).items()}
        assert ("actor_subset" in noise) == ((turn + 1) % config.policy_delay == 0)
        expected = slow.update(batch, noise)
        metrics = agent.step(batch, {**noise, "exploration_std": torch.zeros(())})
        agent.updates += 1
        for loss, value in expected.items():
            torch.testing.assert_close(metrics[loss], value.detach(), rtol=1e-6, atol=1e-9, msg=f"{loss} at {turn}")
    pairs = [
        (agent.actor, slow.actor),
        (agent.target_actor, slow.target_actor),
        *zip(agent.critic.networks, slow.critics, strict=True),
        *zip(agent.target_critic.networks, slow.target_critics, strict=True),
    ]
    if agent.sequence_length:
        pairs += [
            (agent.perception.model.encoder.body, slow.encoder),
            (agent.perception.model.dynamics, slow.dynamics),
            (agent.perception.target_encoder.body, slow.target_encoder),
        ]
    for ours, theirs in pairs:
        torch.testing.assert_close(weights([ours]), weights([theirs]), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("capturable", [False, True])
def test_some_networks_of_an_ensemble(capturable):
    ensemble = Ensemble([mlp(4, (5,), 2, norm=True, activation="mish") for _ in range(4)])
    ensemble.capturable = capturable
    x = torch.randn(6, 4, requires_grad=True)
    subset = ensemble.subset(x, torch.tensor([2, 0]))
    torch.testing.assert_close(subset, ensemble(x)[[2, 0]])
    weight = torch.randn(2, 6, 2)
    (gradient,) = torch.autograd.grad((subset * weight).sum(), x)
    (expected,) = torch.autograd.grad((ensemble(x)[[2, 0]] * weight).sum(), x)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.long
def test_the_cosine_goes_up_not_down():
    """Minimising plus the cosine is hardly seen in the loss: prediction and target mirror each other."""
    torch.manual_seed(1)
    system = torch.linalg.qr(torch.randn(10, 10))[0]
    drive = torch.randn(3, 10)
    size, sequence_length = 64, 5
    latent = RepresentationConfig(
        kind="self_predictive",
        dim=64,
        encoder_hidden=(32,),
        model_hidden=(32, 32),
        horizon=sequence_length,
        lr=3e-3,
    )
    shape = ONLY_STATE._replace(state=10)
    agent = TD3(IQRLConfig(hidden=(16,), representation=latent), shape, 3, seed=0)
    batch = make_batch(shape, 1, size, sequence_length=sequence_length)
    actions = torch.rand(size, sequence_length, 3) * 2 - 1
    states = [torch.randn(size, 10)]
    for step in range(sequence_length):
        states.append(torch.tanh(states[-1] @ system + 0.5 * actions[:, step] @ drive))
    batch["obs"]["state"] = states[0]
    batch["sequence"]["obs"]["state"] = torch.stack(states[1:], 1)
    batch["sequence"]["actions"] = actions
    batch["sequence"]["valid"] = torch.ones(size, sequence_length, dtype=torch.bool)
    for _ in range(200):
        metrics = agent._learn_representation(batch, {})
    cosines = [float(metrics[f"cosine_{step}"]) for step in range(1, sequence_length + 1)]
    assert min(cosines) > 0.5, cosines
    # The loss is minus their weighted mean.
    expected = -sum(0.9**h * c for h, c in enumerate(cosines)) / sequence_length
    assert float(metrics["representation_loss"]) == pytest.approx(expected, abs=0.02)


def test_agents_losses_never_reach_the_representation():
    agent = TD3(IQRLConfig(**IQRL), ONLY_STATE, ACTIONS)
    batch = make_batch(ONLY_STATE, 1, sequence_length=3)
    noise = {**agent.sample_noise(len(batch)), "actor_subset": torch.tensor([0, 1])}
    before = weights([agent.perception])
    agent.learn(batch, noise)
    assert torch.equal(weights([agent.perception]), before)
    assert all(p.grad is None for p in agent.perception.parameters())
    _, features, _ = agent.critic_loss(batch, noise)
    assert not features.requires_grad


def test_the_gradient_reaches_encoder_and_dynamics_through_all_steps():
    agent = TD3(IQRLConfig(**IQRL), ONLY_STATE, ACTIONS)
    batch = make_batch(ONLY_STATE, 1, sequence_length=3)
    # Only the last step counts: its gradient passes the dynamics three times and reaches the encoder.
    batch["sequence"]["valid"] = torch.tensor([False, False, True]).expand(len(batch), -1)
    loss, _ = agent.representation_loss(batch, {})
    loss.backward()
    for part in (agent.perception.model.encoder, agent.perception.model.dynamics):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())
    assert all(p.grad is None for p in agent.perception.target_encoder.parameters())


def test_steps_outside_the_episode_count_for_nothing():
    agent = TD3(IQRLConfig(**TINY, representation=dataclasses.replace(LATENT, reward_coef=1.0)), ONLY_STATE, ACTIONS)
    batch = make_batch(ONLY_STATE, 1, sequence_length=3, size=16)
    assert not batch["sequence"]["valid"].all()
    other = batch.clone()
    outside = ~batch["sequence"]["valid"]
    other["sequence"]["obs"]["state"][outside] = 99.0
    other["sequence"]["actions"][outside] = -1.0
    other["sequence"]["reward"][outside] = 7.0
    one, two = agent.representation_loss(batch, {})[0], agent.representation_loss(other, {})[0]
    torch.testing.assert_close(one, two)


def test_a_terminal_state_is_not_bootstrapped_but_its_reward_counts():
    agent = TD3(TD3Config(**TINY), ONLY_STATE, ACTIONS)
    batch = make_batch(ONLY_STATE, 1)
    batch["discount"] = torch.zeros(len(batch))
    batch["reward"] = torch.linspace(1, 2, len(batch))
    _, _, metrics = agent.critic_loss(batch, agent.sample_noise(len(batch)))
    torch.testing.assert_close(metrics["q_target"], batch["reward"].mean())


def test_q_bound_is_the_largest_reward_for_ever():
    agent = TD3(TD3Config(**TINY), ONLY_STATE, ACTIONS)
    batch = make_batch(ONLY_STATE, 1)
    gamma, steps, most = 0.99, 3, 2.0
    batch["reward"] = torch.full((len(batch),), sum(gamma**k * most for k in range(steps)))
    batch["discount"] = torch.full((len(batch),), gamma**steps)
    _, _, metrics = agent.critic_loss(batch, agent.sample_noise(len(batch)))
    assert float(metrics["q_bound"]) == pytest.approx(most / (1 - gamma), rel=1e-4)


def test_the_noise_is_on_the_action_and_clipped():
    agent = TD3(TD3Config(**TINY, noise_clip=0.1), ONLY_STATE, ACTIONS)
    seen = []
    agent.target_critic.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    batch = make_batch(ONLY_STATE, 1)
    noise = agent.sample_noise(len(batch))
    noise["target_noise"] = torch.full((len(batch), ACTIONS), 50.0)
    agent.critic_loss(batch, noise)
    mean = torch.tanh(agent.target_actor(batch["next_obs"]["state"]))
    torch.testing.assert_close(seen[0][:, STATE:], (mean + 0.1).clamp(-1, 1))


HOSTS = {
    "td3": (TD3, TD3Config(**TINY)),
    "cqn": (CQN, CQNConfig(hidden_dim=12, trunk_dim=0, atoms=11)),
    "cqn, trunk": (CQN, CQNConfig(hidden_dim=12, trunk_dim=5, value="scalar")),
    "cqn_as": (CQN, CQNASConfig(hidden_dim=12, trunk_dim=0, atoms=11, chunk_length=2)),
    "drqv2": (DrQv2, DrQv2Config(hidden_dim=12)),
    "tcrl": (TCRL, TCRLConfig(hidden_dim=12)),
}


@pytest.mark.parametrize("shape", [ONLY_STATE, ONLY_PIXELS, BOTH], ids=["state", "pixels", "both"])
@pytest.mark.parametrize("name", HOSTS)
@pytest.mark.long
def test_a_representation_is_a_part_of_any_agent(name, shape):
    kind, config = HOSTS[name]
    latent = dataclasses.replace(LATENT, quantise=name != "tcrl")
    config = dataclasses.replace(config, representation=latent, encoder=IMAGES, normalize="demos")
    statistics = (torch.linspace(-1, 1, STATE), torch.full((STATE,), 2.0)) if shape.state else None
    agent = kind(config, shape, ACTIONS, seed=1, statistics=statistics)
    assert agent.sequence_length == 3
    assert agent.perception.sizes == {"state": 12}
    before = {name: weights([part]) for name, part in agent.parts.items() if isinstance(part, torch.nn.Module)}
    encoder = weights([agent.perception.model.encoder])
    for turn in range(2):
        metrics = agent.update(make_batch(shape, agent.chunk_length, seed=turn, sequence_length=3), 0.1)
    assert torch.isfinite(metrics["loss"])
    assert "cosine_3" in metrics
    after = {name: weights([part]) for name, part in agent.parts.items() if isinstance(part, torch.nn.Module)}
    assert not torch.equal(weights([agent.perception.model.encoder]), encoder)
    changed = {name for name in before if before[name].numel() and not torch.equal(before[name], after[name])}
    assert {"perception", "critic"} <= changed
    # Everything is saved, and goes on as if nothing had happened.
    twin = kind(config, shape, ACTIONS, seed=9, statistics=statistics)
    twin.load_state_dict(agent.state_dict())
    batch = make_batch(shape, agent.chunk_length, seed=7, sequence_length=3)
    for one, two in zip(agent.update(batch, 0.1).values(), twin.update(batch, 0.1).values(), strict=True):
        assert torch.equal(one, two)
    observation = make_observation(shape, 4, torch.Generator().manual_seed(0))
    plans = [a.act(observation, torch.Generator().manual_seed(1)) for a in (agent, twin)]
    assert torch.equal(plans[0].actions, plans[1].actions)
    assert plans[0].actions.abs().max() <= 1
    found = agent.diagnose(make_batch(shape, agent.chunk_length, size=16, sequence_length=3))
    assert 0 < found["latent_rank_1e-3"] <= 100
    assert ("codes_used" in found) == latent.quantise


def test_latents_of_the_agent_are_the_online_encoders_codes():
    agent = TD3(IQRLConfig(**IQRL), ONLY_STATE, ACTIONS)
    z = agent.perception({"state": torch.randn(50, STATE)})["state"]
    assert set(z.unique().tolist()) <= {-1, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75}


def test_what_is_read_is_what_is_diagnosed():
    config = IQRLConfig(**TINY, representation=dataclasses.replace(LATENT, read="target"))
    perception = TD3(config, ONLY_STATE, ACTIONS).perception
    for parameter in perception.model.encoder.parameters():
        parameter.data.zero_()
    state = {"state": torch.randn(50, STATE)}
    assert torch.equal(perception(state)["state"], perception.target_encoder(state))
    assert perception.diagnose(state)["latent_rank_1e-3"] > 50


@pytest.mark.parametrize("quantise", [True, False])
def test_low_precision_covers_every_product_but_those_that_are_rounded_to_levels(quantise):
    latent = dataclasses.replace(
        LATENT, quantise=quantise, reward_coef=1.0, reconstruction_coef=1.0, projection_dim=4, dim=8
    )
    perception = TD3(IQRLConfig(**TINY, representation=latent), BOTH, ACTIONS).perception
    layers = {m for m in perception.modules() if isinstance(m, torch.nn.Linear | torch.nn.Conv2d)}
    covered = {m for part in perception.networks() for m in part.modules()} & layers
    encoders = (perception.model.encoder, perception.target_encoder)
    rounded = {m for e in encoders for part in (e.trunk, e.body) for m in part.modules()} & layers
    assert layers - covered == (rounded if quantise else set())


@pytest.mark.parametrize("make", [TD3Config, IQRLConfig, SACConfig])
@pytest.mark.parametrize(("agent_init", "latent_init"), [("orthogonal", "default"), ("default", "orthogonal")])
def test_first_weights_are_orthogonal_where_that_is_asked_for(make, agent_init, latent_init):
    latent = dataclasses.replace(LATENT, init=latent_init, reward_coef=1.0, projection_dim=5)
    config = make(**TINY, norm=True, representation=latent, init=agent_init)
    agent = (SAC if make is SACConfig else TD3)(config, ONLY_STATE, ACTIONS, seed=1)
    model = agent.perception.model
    parts = {
        agent_init: [agent.actor, agent.critic, agent.target_critic],
        latent_init: [model.encoder, model.dynamics, model.reward, model.projection, agent.perception.target_encoder],
    }
    for init, modules in parts.items():
        assert [orthogonal(module) for module in modules] == [init == "orthogonal"] * len(modules)


def orthogonal(module):
    """All matrices have rows or columns of length one at right angles, and all biases are zero."""
    linears = [part for part in module.modules() if isinstance(part, torch.nn.Linear)]
    assert linears
    for linear in linears:
        tall = linear.weight if linear.out_features >= linear.in_features else linear.weight.t()
        if linear.bias.any() or not torch.allclose(tall.t() @ tall, torch.eye(tall.shape[1]), atol=1e-5):
            return False
    return True


def test_codes_are_counted_at_each_position_over_the_batch():
    agent = TD3(IQRLConfig(**TINY, representation=dataclasses.replace(LATENT, fsq_levels=(3,))), ONLY_STATE, ACTIONS)
    # One sample uses one of the three codes at each position; many use more.
    one = {"state": torch.randn(1, STATE)}
    assert agent.perception.diagnose(one)["codes_used"] == pytest.approx(100 / 3)
    many = {"state": 30 * torch.randn(400, STATE)}
    assert agent.perception.diagnose(many)["codes_used"] > 60


def test_refusals():
    with pytest.raises(ConfigError, match="subset is 3, but there are 2 critics"):
        TD3Config(subset=3)
    with pytest.raises(ConfigError, match="multiple of the number of channels"):
        TD3Config(representation=RepresentationConfig(kind="self_predictive", dim=7))
    with pytest.raises(ConfigError, match="2 or more"):
        TD3Config(representation=RepresentationConfig("self_predictive", fsq_levels=(1, 8)))
    with pytest.raises(ConfigError, match=r"representation\.decay must be above 0"):
        CQNConfig(representation=RepresentationConfig(decay=0))
    with pytest.raises(ConfigError, match=r"representation\.horizon=9 has no effect without .*kind=self_predictive"):
        TD3Config(representation=RepresentationConfig(horizon=9))
    with pytest.raises(ConfigError, match=r"fsq_levels=\(4, 4\) has no effect without agent\.representation\.quantise"):
        RepresentationConfig("self_predictive", quantise=False, fsq_levels=(4, 4))
    with pytest.raises(ConfigError, match=r"representation\.weight_decay=0\.5 has no effect without .*adamw"):
        RepresentationConfig("self_predictive", optimizer="adam", weight_decay=0.5)
    RepresentationConfig("self_predictive", optimizer="adam", weight_decay=0.0)
    with pytest.raises(ConfigError, match="kind must be self_predictive"):
        TCRLConfig(representation=RepresentationConfig())


def test_sizes_are_the_published_ones():
    """6.35 million trainable numbers on walker (24 observed, 6 actions); 10.97 million on dog (223, 38)."""
    for name, state, actions, millions in (("walker-walk", 24, 6, 6.35), ("dog-walk", 223, 38, 10.97)):
        agent = TD3(preset("iqrl-dmc", env=f"dmc:{name}").agent, ONLY_STATE._replace(state=state), actions)
        learnt = sum(p.numel() for m in (agent.perception.model, agent.actor, agent.critic) for p in m.parameters())
        assert learnt / 1e6 == pytest.approx(millions, abs=0.006), math.floor(learnt)
