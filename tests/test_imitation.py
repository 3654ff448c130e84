"""Behaviour cloning and ACT: against slow versions, against torch's own layers, and their promises."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

from batches import ACTIONS, BOTH, ONLY_PIXELS, ONLY_STATE, SIZE, STATE, make_batch, make_observation
from slow_act import SlowACT
from zoomrl.agents.act.config import ACTConfig
from zoomrl.agents.act.learner import ACT
from zoomrl.agents.act.transformer import DecoderLayer, EncoderLayer, EncoderStack, sine_positions, sine_positions_2d
from zoomrl.agents.bc.config import BCConfig
from zoomrl.agents.bc.learner import BC, imitation_error
from zoomrl.agents.engine import accelerate
from zoomrl.errors import ConfigError
from zoomrl.math.divergence import kl_to_standard_normal
from zoomrl.nets.config import EncoderConfig
from zoomrl.nets.encoders import make_encoder
from zoomrl.nets.perception import ObservationShape

T = 5
STRIDED = EncoderConfig(kind="strided", channels=3, feature_dim=6, shift=2)
DRQ = EncoderConfig(kind="drqv2", norm="none", activation="relu", channels=4, feature_dim=6, shift=2)
TINY_BC = BCConfig(chunk_length=T, hidden=(12, 10), lr=3e-3, encoder=STRIDED)
TINY_ACT = ACTConfig(
    chunk_length=T,
    dim=8,
    heads=2,
    feedforward=12,
    encoder_layers=2,
    decoder_layers=2,
    style_dim=3,
    lr=3e-3,
    encoder=dataclasses.replace(STRIDED, feature_dim=64),  # it has no image trunk
)
CASES = {
    "bc, state": (TINY_BC, ONLY_STATE),
    "bc, pixels": (dataclasses.replace(TINY_BC, encoder=DRQ, norm=False, activation="relu"), ONLY_PIXELS),
    "bc, both": (
        dataclasses.replace(TINY_BC, loss="mse", encoder=dataclasses.replace(STRIDED, layers=1, share_views=True)),
        BOTH,
    ),
    "act, state": (TINY_ACT, ONLY_STATE),
    "act, pixels": (
        dataclasses.replace(TINY_ACT, encoder=dataclasses.replace(DRQ, feature_dim=64), normalize="none"),
        ONLY_PIXELS,
    ),
    "act, both": (TINY_ACT, BOTH),
}
cases = pytest.mark.parametrize("case", CASES)
acts = pytest.mark.parametrize("case", [case for case in CASES if case.startswith("act")])


def make(config, shape, seed=3):
    statistics = (torch.linspace(-1, 1, STATE), torch.linspace(0.005, 2, STATE)) if shape.state else None
    kind = ACT if isinstance(config, ACTConfig) else BC
    return kind(config, shape, ACTIONS, seed, statistics)


def gradients(agent):
    named = {f"{n}.{k}": p for n, m in agent.parts.items() if isinstance(m, nn.Module) for k, p in m.named_parameters()}
    return {name: p.grad.clone() for name, p in named.items() if p.grad is not None}


def weights(agent):
    return torch.cat([p.detach().flatten() for module in agent.modules() for p in module.parameters(recurse=False)])


# The formulas.


def test_divergence_equals_torchs():
    mean, log_variance = torch.randn(6, 4), torch.randn(6, 4)
    normal = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    standard = torch.distributions.Normal(torch.zeros(4), torch.ones(4))
    expected = torch.distributions.kl_divergence(normal, standard).sum(-1)
    torch.testing.assert_close(kl_to_standard_normal(mean, log_variance), expected)


def test_divergence_in_numbers():
    assert kl_to_standard_normal(torch.zeros(2, 3), torch.zeros(2, 3)).tolist() == [0, 0]
    one = kl_to_standard_normal(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 1.0]))
    assert one.item() == pytest.approx(0.5 + 0.5 * (4 + 2.718282 - 1 - 1), rel=1e-6)


def test_positions_in_numbers():
    found = sine_positions(3, 4)
    # sin and cos of p, then of p / 100.
    torch.testing.assert_close(found[0], torch.tensor([0.0, 1.0, 0.0, 1.0]))
    torch.testing.assert_close(found[2], torch.tensor([0.909297, -0.416147, 0.019999, 0.999800]), rtol=0, atol=1e-6)
    flat = sine_positions_2d(2, 3, 8)
    assert flat.shape == (6, 8)
    torch.testing.assert_close(flat[3 * 1 + 2, :4], sine_positions(2, 4)[1])
    torch.testing.assert_close(flat[3 * 1 + 2, 4:], sine_positions(3, 4)[2])
    assert len(torch.unique(flat, dim=0)) == 6


# Layers.


def copy_attention(ours, theirs):
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key_value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key_value.bias]))
        theirs.out_proj.load_state_dict(ours.out.state_dict())


def twin(ours, kind):
    """torch's layer of the same weights; norms and biases are made to matter."""
    with torch.no_grad():
        for parameter in ours.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    theirs = kind(8, 2, 12, dropout=0.0, batch_first=True)
    copy_attention(ours.attention, theirs.self_attn)
    pairs = [("norm1", "norm"), ("linear1", "rise"), ("linear2", "fall"), ("norm2", "last_norm")]
    if isinstance(ours, DecoderLayer):
        copy_attention(ours.cross_attention, theirs.multihead_attn)
        pairs = [("norm1", "norm"), ("linear1", "rise"), ("linear2", "fall"), ("norm2", "cross_norm")]
        pairs.append(("norm3", "last_norm"))
    for one, other in pairs:
        getattr(theirs, one).load_state_dict(getattr(ours, other).state_dict())
    return theirs


def test_encoder_layer_equals_torchs():
    ours = EncoderLayer(8, 2, 12, 0.0)
    theirs = twin(ours, nn.TransformerEncoderLayer)
    x = torch.randn(4, 6, 8)
    attend = torch.arange(6) < torch.tensor([[6], [2], [1], [5]])
    torch.testing.assert_close(ours(x, None, None), theirs(x))
    torch.testing.assert_close(ours(x, attend, None), theirs(x, src_key_padding_mask=~attend))


def test_decoder_layer_equals_torchs():
    ours = DecoderLayer(8, 2, 12, 0.0)
    theirs = twin(ours, nn.TransformerDecoderLayer)
    x, memory = torch.randn(4, 3, 8), torch.randn(4, 6, 8)
    torch.testing.assert_close(ours(x, memory, None), theirs(x, memory))


def test_dropout_keeps_the_fraction_and_the_mean():
    stack = EncoderStack(8, 2, 400, 3, 0.2)
    keep = stack.sample_noise(50, 4, torch.Generator().manual_seed(0))
    assert keep.shape == (3, 50, 4, 2 * 8 + 400)
    assert keep.dtype == torch.bool
    fraction = keep.float()
    assert fraction.mean().item() == pytest.approx(0.8, abs=2e-3)
    # Neighbours are independent: both are kept as often as one squared.
    for dim in range(4):
        size = keep.shape[dim] - 1
        both = fraction.narrow(dim, 0, size) * fraction.narrow(dim, 1, size)
        assert both.mean().item() == pytest.approx(0.64, abs=4e-3)
    layer = stack.layers[0]
    hidden = layer._drop(torch.ones(50, 4, 400), keep[0, ..., 8:408])
    assert hidden.mean().item() == pytest.approx(1.0, abs=0.01)
    assert set(hidden.unique().tolist()) == {0.0, 1.25}
    assert EncoderStack(8, 2, 12, 1, 0.0).sample_noise(50, 4, torch.Generator()) is None


# Whole maps.


@pytest.mark.parametrize("fraction", [True, False])
@pytest.mark.long
def test_resnet_maps_average_to_its_features(fraction):
    config = EncoderConfig(kind="resnet18", share_views=fraction)
    encoder = make_encoder(config, views=2, frames=2, size=40)
    frames = make_observation(ObservationShape(0, 2, 2, 40), 1, torch.Generator().manual_seed(0))["rgb"]
    with torch.no_grad():
        pooled = encoder(frames)
        assert encoder.keep_maps() == (2, 2, 2, 2 * 512)
        maps = encoder(frames)
    assert maps.shape == (1, encoder.out_dim)
    assert maps.view(2, 4, 1024).std(1).mean() > 1e-3
    torch.testing.assert_close(maps.view(2, 4, 1024).mean(1).flatten()[None], pooled)


@pytest.mark.parametrize("config", [STRIDED, DRQ])
def test_other_maps_are_the_features(config):
    encoder = make_encoder(config, views=2, frames=2, size=SIZE)
    frames = make_observation(BOTH, 3, torch.Generator().manual_seed(0))["rgb"]
    before, size = encoder(frames), encoder.out_dim
    shape = encoder.keep_maps()
    assert torch.equal(encoder(frames), before)
    assert shape[0] == 2
    assert torch.Size(shape).numel() == encoder.out_dim == size


# The losses.


@pytest.mark.parametrize("kind", ["l1", "mse"])
def test_errors_by_loops(kind):
    batch = make_batch(ONLY_STATE, T)
    actions = torch.rand(8, T, ACTIONS)
    found = []
    for i in range(8):
        for t in range(T):
            if batch["is_demo"][i] and batch["valid"][i, t]:
                for a in range(ACTIONS):
                    distance = abs(float(actions[i, t, a]) - float(batch["actions"][i, t, a]))
                    found.append(distance if kind == "l1" else distance**2)
    assert imitation_error(actions, batch, kind).item() == pytest.approx(sum(found) / len(found), rel=1e-5)


def test_bc_proposes_what_it_is_trained_on():
    agent = make(*CASES["bc, both"])
    batch = make_batch(BOTH, T, demo=1.0)
    chunk = agent.act(dict(batch["obs"].items()), torch.Generator())
    assert agent.validate(batch)["validation_loss"] == imitation_error(chunk.actions, batch, "mse")
    loss, _ = agent.loss(batch, {})
    torch.testing.assert_close(loss, imitation_error(chunk.actions, batch, "mse"))
    assert chunk.actions.abs().max() < 1
    assert chunk.value is None


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@acts
def test_act_equals_the_slow_version(case, dropout):
    """Losses and all gradients, one sample at a time, padding cut off."""
    config, shape = CASES[case]
    encoder = dataclasses.replace(config.encoder, shift=0)
    agent = make(dataclasses.replace(config, dropout=dropout, encoder=encoder), shape)
    slow = SlowACT(agent)
    for part in (agent.perception, agent.posterior, agent.policy):
        part.double()
    batch = make_batch(shape, T)
    assert 0 < batch["is_demo"].sum() < len(batch)
    assert not batch["valid"][batch["is_demo"]].all()
    batch = batch.apply(lambda x: x.double() if x.is_floating_point() else x)
    noise = agent.sample_noise(len(batch))
    assert ("encoder_keep" in noise) == bool(dropout)
    loss, metrics = agent.loss(batch, noise)
    error, divergence = slow.losses(batch, noise)
    torch.testing.assert_close(metrics["imitation_loss"], error.detach(), rtol=1e-5, atol=0)
    torch.testing.assert_close(metrics["kl"], divergence.detach(), rtol=1e-5, atol=0)
    torch.testing.assert_close(loss, error + config.kl_coef * divergence, rtol=1e-5, atol=0)
    loss.backward()
    (error + config.kl_coef * divergence).backward()
    theirs = {name: p.grad for name, p in slow.parameters().items() if p.grad is not None}
    ours = gradients(agent)
    assert ours.keys() == theirs.keys()
    largest = max(g.abs().max() for g in theirs.values())
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-4, atol=1e-6 * float(largest))


def test_act_weighs_the_divergence():
    config, shape = CASES["act, state"]
    batch = make_batch(shape, T)
    for coefficient in (0.0, 2.5):
        agent = make(dataclasses.replace(config, kl_coef=coefficient), shape)
        loss, metrics = agent.loss(batch, agent.sample_noise(len(batch)))
        assert metrics["kl"] > 0
        torch.testing.assert_close(loss.detach(), metrics["imitation_loss"] + coefficient * metrics["kl"])


@cases
@pytest.mark.parametrize("filling", [0.9, float("nan")])
def test_padded_steps_have_no_influence(case, filling):
    found = []
    for value in (-0.9, filling):
        agent = make(*CASES[case])
        batch = make_batch(CASES[case][1], T, demo=1.0)
        assert not batch["valid"].all()
        batch["actions"] = torch.where(batch["valid"][..., None], batch["actions"], torch.tensor(value))
        found.append((agent.update(batch), gradients(agent), agent.validate(batch)))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


@cases
def test_only_demonstrations_are_imitated(case):
    found = []
    for value in (-0.9, 0.9):
        agent = make(*CASES[case])
        batch = make_batch(CASES[case][1], T)
        batch["actions"] = torch.where(batch["is_demo"][:, None, None], batch["actions"], torch.tensor(value))
        found.append((agent.update(batch), gradients(agent), agent.validate(batch)))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)
    batch["actions"] = torch.where(batch["is_demo"][:, None, None], batch["actions"] + 0.1, batch["actions"])
    other = make(*CASES[case]).update(batch)
    assert other["imitation_loss"] != found[0][0]["imitation_loss"]


@cases
def test_nothing_to_imitate_gives_zero(case):
    agent = make(*CASES[case])
    batch = make_batch(CASES[case][1], T, demo=0.0)
    metrics = agent.update(batch)
    assert metrics["loss"] == metrics["imitation_loss"] == 0
    assert metrics["demo_fraction"] == 0
    assert all(v == 0 for v in agent.validate(batch).values())
    assert all(torch.isfinite(g).all() and not g.any() for g in gradients(agent).values())


@cases
def test_every_weight_learns(case):
    agent = make(*CASES[case])
    agent.update(make_batch(CASES[case][1], T, demo=1.0))
    found = gradients(agent)
    named = [p for module in agent.modules() for p in module.parameters(recurse=False)]
    assert len(found) == len(named)
    # Keys cannot change a softmax by their common offset, and one layer's ReLU may be off: most, not each number.
    assert all(g.any() for g in found.values())


# What is random.


@cases
def test_images_are_shifted_while_learning_alone(case):
    config, shape = CASES[case]
    agent = make(config, shape)
    batch = make_batch(shape, T, demo=1.0)
    noise = agent.sample_noise(len(batch))
    assert ("shifts" in noise) == bool(shape.views)
    if shape.views:
        other = {**noise, "shifts": (noise["shifts"] + 1) % 5}
        assert agent.loss(batch, noise)[0] != agent.loss(batch, other)[0]
    assert torch.equal(torch.stack([*agent.validate(batch).values()]), torch.stack([*agent.validate(batch).values()]))


def test_each_draw_of_act_matters():
    agent = make(*CASES["act, both"])
    batch = make_batch(BOTH, T, demo=1.0)
    one, two = agent.sample_noise(len(batch)), agent.sample_noise(len(batch))
    assert one.keys() == {"shifts", "style", "posterior_keep", "encoder_keep", "decoder_keep"}
    for name in one:
        assert agent.loss(batch, one)[0] != agent.loss(batch, {**one, name: two[name]})[0]


@cases
def test_a_step_is_a_function_of_its_inputs(case):
    """torch's own random state is neither used nor moved."""
    config, shape = CASES[case]
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        agent = make(config, shape)
        before = torch.get_rng_state()
        agent.update(make_batch(shape, T))
        assert torch.equal(torch.get_rng_state(), before)
        found.append(weights(agent))
    assert torch.equal(*found)


@cases
def test_acting_is_deterministic(case):
    config, shape = CASES[case]
    agent = make(config, shape)
    agent.update(make_batch(shape, T))
    observation = make_observation(shape, 4, torch.Generator().manual_seed(0))
    chunk, again = (
        agent.act(observation, torch.Generator().manual_seed(s), explore=e) for s, e in ((0, False), (1, True))
    )
    assert torch.equal(chunk.actions, again.actions)
    assert chunk.actions.shape == (4, T, ACTIONS)
    assert chunk.actions.abs().max() <= 1
    assert chunk.valid.all()
    assert chunk.value is None
    alone = agent.act({name: array[:1] for name, array in observation.items()}, torch.Generator())
    torch.testing.assert_close(alone.actions, chunk.actions[:1])


def test_act_acts_with_style_zero():
    agent = make(*CASES["act, both"])
    with torch.no_grad():
        agent.policy.head.weight.mul_(0.1)
    batch = make_batch(BOTH, T, demo=1.0)
    observation = dict(batch["obs"].items())
    actions = agent.act(observation, torch.Generator()).actions
    slow = SlowACT(agent)
    state = ((observation["state"] - agent.perception.normalizer.mean) / agent.perception.normalizer.std).clamp(-10, 10)
    with torch.no_grad():
        for i in range(2):
            expected = slow.chunk(torch.zeros(3).double(), state[i].double(), slow.maps(observation["rgb"][i]))
            torch.testing.assert_close(actions[i], expected.float(), rtol=0, atol=1e-4)
    # What acting sees is what is validated, where nothing is cut off.
    assert actions.abs().max() < 1
    metrics = agent.validate(batch)
    torch.testing.assert_close(metrics["validation_loss"], imitation_error(actions, batch, "l1"))
    assert metrics["validation_loss"] != metrics["validation_reconstruction"]


def test_act_chunks_stay_inside():
    agent = make(*CASES["act, state"])
    with torch.no_grad():
        agent.policy.head.bias.copy_(torch.tensor([5.0, -5.0, 0.0]))
    actions = agent.act({"state": torch.randn(3, STATE)}, torch.Generator()).actions
    assert torch.equal(actions[..., 0], torch.ones(3, T))
    assert torch.equal(actions[..., 1], -torch.ones(3, T))


def test_validation_changes_nothing():
    for case in CASES:
        agent = make(*CASES[case])
        agent.update(make_batch(CASES[case][1], T))
        before = copy.deepcopy(agent.state_dict())
        metrics = agent.validate(make_batch(CASES[case][1], T, seed=1))
        assert all(name.startswith("validation_") and value.ndim == 0 for name, value in metrics.items())
        torch.testing.assert_close(agent.state_dict(), before, rtol=0, atol=0)


# Learning, saving, speed.


@pytest.mark.slow
def test_they_learn_four_samples_by_heart():
    """Errors of actions that are uniform in -1 .. 1 begin at 0.5; ACT's style is priced out, so it must look."""
    settings = {"lr": 3e-3, "weight_decay": 0.0}
    small = {"chunk_length": 4, "dim": 32, "heads": 4, "feedforward": 64, "encoder_layers": 2, "decoder_layers": 2}
    agents = [
        (BC(BCConfig(chunk_length=4, hidden=(64,), **settings), ONLY_STATE, ACTIONS), 150),
        (ACT(ACTConfig(**small, dropout=0.0, **settings), ONLY_STATE, ACTIONS), 200),
    ]
    for agent, updates in agents:
        batch = make_batch(ONLY_STATE, 4, size=4, demo=1.0)
        first = agent.validate(batch)["validation_loss"]
        for _ in range(updates):
            agent.update(batch)
        last = agent.validate(batch)["validation_loss"]
        assert first > 0.35
        assert last < 0.08, (agent, float(last))


@pytest.mark.parametrize("kl_coef", [0.0, 10.0])
@pytest.mark.long
def test_the_style_tells_two_ways_apart(kl_coef):
    """One observation, two chunks: a free style tells them apart; a priced one stays at its prior."""
    config = ACTConfig(
        chunk_length=2, dim=16, heads=2, feedforward=32, encoder_layers=1, dropout=0.0, kl_coef=kl_coef, lr=3e-3
    )
    agent = ACT(config, ONLY_STATE, ACTIONS)
    batch = make_batch(ONLY_STATE, 2, size=4, demo=1.0)
    batch["obs", "state"] = torch.ones(4, STATE)
    batch["valid"] = torch.ones(4, 2, dtype=torch.bool)
    batch["actions"] = torch.tensor([0.7, -0.7, 0.7, -0.7])[:, None, None].expand(4, 2, ACTIONS).clone()
    for _ in range(150):
        agent.update(batch)
    metrics = agent.validate(batch)
    if kl_coef:
        assert metrics["validation_kl"] < 0.05
        assert metrics["validation_reconstruction"] > 0.5
    else:
        assert metrics["validation_reconstruction"] < 0.15
        assert metrics["validation_loss"] > 0.5


@cases
def test_saved_state_continues_bit_for_bit(case):
    config, shape = CASES[case]
    one, other = make(config, shape), make(config, shape, seed=8)
    for step in range(3):
        one.update(make_batch(shape, T, seed=step))
    other.load_state_dict(one.state_dict())
    for step in range(3, 5):
        batch = make_batch(shape, T, seed=step)
        ours, theirs = one.update(batch), other.update(batch)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)


@cases
def test_low_precision_is_close(case):
    config, shape = CASES[case]
    low, plain = make(config, shape), make(config, shape)
    accelerate(low, "eager", "bf16")
    batch = make_batch(shape, T)
    ours, theirs = low.update(batch)["loss"], plain.update(batch)["loss"]
    assert ours.dtype == torch.float32
    assert ours != theirs
    assert ours.item() == pytest.approx(theirs.item(), rel=3e-2)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (BCConfig, {"chunk_length": 0}),
        (BCConfig, {"hidden": ()}),
        (BCConfig, {"hidden": (8, 0)}),
        (BCConfig, {"lr": 0.0}),
        (BCConfig, {"weight_decay": -1.0}),
        (ACTConfig, {"chunk_length": 0}),
        (ACTConfig, {"dropout": 1.0}),
        (ACTConfig, {"dim": 24, "heads": 5}),
        (ACTConfig, {"dim": 6, "heads": 2}),
        (ACTConfig, {"kl_coef": -1.0}),
        (ACTConfig, {"lr": float("nan")}),
        (ACTConfig, {"style_dim": 0}),
    ],
)
def test_wrong_options_are_refused(kind, wrong):
    with pytest.raises(ConfigError, match=f"agent.{next(iter(wrong))}"):
        kind(**wrong)
