"""TACO against a straightforward update written with autograd alone, and its promises."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensordict import TensorDict

from batches import ACTIONS, BOTH, ONLY_PIXELS, ONLY_STATE, STATE, in_double, make_batch, make_observation
from slow_drqv2 import gradients
from slow_taco import SlowTACO, width
from toy import rows, run, tiny
from zoomrl.agents.taco.config import TACOConfig
from zoomrl.agents.taco.learner import TACO
from zoomrl.agents.taco.networks import token_dim
from zoomrl.errors import ConfigError
from zoomrl.math.contrastive import info_nce
from zoomrl.nets.config import EncoderConfig, RepresentationConfig

DRQ = EncoderConfig(kind="drqv2", norm="none", activation="relu", channels=4, feature_dim=6, shift=2)
TINY = {"hidden_dim": 12, "trunk_dim": 5, "lr": 3e-3, "token_hidden": 8, "state_hidden": (10, 9), "encoder": DRQ}
LATENT = RepresentationConfig(kind="self_predictive", dim=8, encoder_hidden=(6,), model_hidden=(6,), horizon=2)
PARTS = ("perception", "actor", "critic", "tokeniser", "contrast", "state_encoder")
NOISE = 0.4

CASES = {
    "state": (TACOConfig(**TINY), ONLY_STATE),
    "state, one action, no reward": (TACOConfig(**TINY, sequence=1, reward_coef=0.0, normalize="demos"), ONLY_STATE),
    "pixels": (TACOConfig(**TINY, sequence=2, curl_coef=0.5, reward_coef=0.3), ONLY_PIXELS),
    "both": (TACOConfig(**TINY), BOTH),
    "pixels, no curl": (TACOConfig(**TINY, curl_coef=0.0), ONLY_PIXELS),
}


def make(config, shape, seed=3):
    statistics = torch.linspace(-1, 1, STATE), torch.linspace(0.005, 2, STATE)
    return TACO(config, shape, ACTIONS, seed, statistics if shape.state else None)


def make_sequences(shape, steps, size=8, seed=0):
    """A batch with sequences of ``steps``, some of which leave their episode."""
    batch = make_batch(shape, 1, size, demo=0.0, seed=seed)
    g = torch.Generator().manual_seed(seed + 100)
    observations = [make_observation(shape, size, g) for _ in range(steps)]
    lengths = torch.randint(1, 2 * steps + 1, (size, 1), generator=g)
    lengths[0], lengths[1] = steps, steps - 1
    batch["sequence"] = TensorDict(
        {
            "obs": TensorDict(
                {name: torch.stack([o[name] for o in observations], 1) for name in observations[0]}, [size]
            ),
            "actions": torch.rand(size, steps, ACTIONS, generator=g) * 2 - 1,
            "reward": torch.rand(size, steps, generator=g),
            "valid": torch.arange(steps) < lengths,
        },
        [size],
    )
    return batch


def draws_of(agent, batch, noise=NOISE):
    return {**agent.sample_noise(len(batch)), "exploration_std": torch.tensor(noise)}


def part(agent, name):
    return torch.nn.Sequential() if getattr(agent, name) is None else getattr(agent, name)


@pytest.mark.parametrize("case", CASES)
def test_updates_equal_the_slow_version(case):
    """Losses, gradients, and all weights after each of several updates."""
    config, shape = CASES[case]
    fast = make(config, shape)
    for module in (*(part(fast, name) for name in PARTS), fast.target_critic):
        module.double()
    slow = SlowTACO(fast)
    for step in range(4):
        batch = in_double(make_sequences(shape, config.sequence, seed=step))
        assert not batch["sequence", "valid"].all()
        expected = slow.update(batch, NOISE)
        metrics = fast.update(batch, NOISE)
        for name, value in expected.items():
            torch.testing.assert_close(
                metrics[name].double(), value.double(), rtol=1e-6, atol=1e-8, msg=lambda m, n=name: f"{n}: {m}"
            )
        for name, theirs in slow.gradients.items():
            ours = gradients(part(fast, name))
            assert ours.keys() == theirs.keys()
            if theirs:
                distance = sum((ours[n] - theirs[n]).square().sum() for n in theirs).sqrt()
                assert distance <= 1e-6 * sum(g.square().sum() for g in theirs.values()).sqrt()
                assert any(g.norm() > 0 for g in theirs.values())
    for name in (*PARTS, "target_critic"):
        theirs = dict(part(slow, name).named_parameters())
        for parameter_name, parameter in part(fast, name).named_parameters():
            torch.testing.assert_close(parameter, theirs[parameter_name], rtol=0, atol=1e-6)


def test_info_nce_golden_numbers():
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 3.0, 2.0]])
    rows = [
        -2 + math.log(math.exp(2) + 1 + math.e),
        math.log(3),
        -2 + math.log(math.e + math.exp(3) + math.exp(2)),
    ]
    loss, accuracy = info_nce(logits, torch.tensor([True, True, True]))
    assert loss.item() == pytest.approx(sum(rows) / 3, rel=1e-6)
    assert accuracy.item() == pytest.approx(1 / 3)  # equal logits tell nothing apart
    # Without the second row: neither query nor key.
    loss, accuracy = info_nce(logits, torch.tensor([True, False, True]))
    expected = (-2 + math.log(math.exp(2) + math.e) - 2 + math.log(math.e + math.exp(2))) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert accuracy == 1


@given(st.integers(1, 9), st.integers(0, 2**9 - 1))
def test_info_nce_is_that_of_the_real_rows(size, mask):
    g = torch.Generator().manual_seed(mask)
    logits = (torch.randn(size, size, generator=g) * 50).requires_grad_()
    real = torch.tensor([bool(mask >> row & 1) for row in range(size)])
    loss, accuracy = info_nce(logits, real)
    loss.backward()
    assert torch.isfinite(logits.grad).all()
    assert not logits.grad[~real].any()
    assert not logits.grad[:, ~real].any()
    if not real.any():
        assert loss == accuracy == 0
        return
    kept = logits.detach()[real][:, real]
    whole = torch.nn.functional.cross_entropy(kept, torch.arange(len(kept)))
    torch.testing.assert_close(loss.detach(), whole, rtol=1e-5, atol=1e-5)
    assert loss >= 0
    assert accuracy == (kept.argmax(1) == torch.arange(len(kept))).float().mean()


def test_tokens_are_a_quarter_wider_than_actions():
    assert [token_dim(n) for n in (1, 2, 4, 6, 21, 38)] == [2, 3, 6, 8, 27, 48]
    assert all(token_dim(n) == width(n) for n in range(1, 100))
    agent = make(*CASES["state"])
    assert agent.tokeniser(torch.zeros(4, 1, ACTIONS)).shape == (4, 1, 4)
    assert agent.critic.bodies[0].first.in_features == 5 + 4


@pytest.mark.parametrize("case", ["state", "both"])
def test_sequences_that_leave_their_episode_reach_no_loss_over_time(case):
    """Whatever they hold, losses and gradients are the same."""
    config, shape = CASES[case]
    found = []
    for filling in (0, 200):
        agent = make(config, shape)
        batch = make_sequences(shape, config.sequence)
        sequence = batch["sequence"]
        outside = ~sequence["valid"][:, -1]
        assert outside.any()
        sequence["actions"][outside] = filling / 250
        sequence["reward"][outside] = filling
        for array in sequence["obs"].values():
            array[outside] = filling
        loss, _, metrics = agent.critic_loss(batch, draws_of(agent, batch))
        loss.backward()
        found.append((metrics, [gradients(part(agent, n)) for n in PARTS]))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


def test_without_any_whole_sequence_only_the_other_losses_remain():
    agent = make(*CASES["both"])
    batch = make_sequences(BOTH, 3)
    batch["sequence", "valid"][:, 2] = False
    metrics = agent.update(batch, NOISE)
    assert metrics["taco_loss"] == metrics["reward_loss"] == metrics["taco_accuracy"] == 0
    assert metrics["curl_loss"] > 0
    assert all(torch.isfinite(v) for v in metrics.values())
    assert all(torch.isfinite(p).all() for m in agent.modules() for p in m.parameters())


def test_what_learns_from_which_loss():
    agent, both = make(*CASES["both"]), make(*CASES["both"])
    batch = make_sequences(BOTH, 3)
    noise = draws_of(agent, batch)
    # The temporal difference alone trains encoder and tokeniser.
    features = agent._features(batch["obs"], noise["shifts"])
    loss, _ = agent._difference_loss(features, torch.zeros(len(batch), 1), batch)
    loss.backward()
    for name in ("perception", "critic", "tokeniser"):
        assert sum(g.norm() for g in gradients(part(agent, name)).values()) > 0
    assert all(p.grad is None for p in agent.contrast.parameters())
    # So do the contrastive losses, without critics.
    for module in agent.modules():
        module.zero_grad()
    agent._contrastive_loss(agent._features(batch["obs"], noise["shifts"]), batch, noise)[0].backward()
    for name in ("perception", "tokeniser", "contrast"):
        assert sum(g.norm() for g in gradients(part(agent, name)).values()) > 0
    assert all(p.grad is None for p in (*agent.critic.parameters(), *agent.actor.parameters()))
    # The actor's step adds nothing to either.
    for module in agent.modules():
        module.zero_grad()
    loss, features, _ = agent.critic_loss(batch, noise)
    loss.backward()
    assert not any(f.requires_grad for f in features.values())
    both.learn(batch, noise)
    for name in ("perception", "critic", "tokeniser", "contrast"):
        theirs = gradients(part(agent, name))
        assert all(torch.equal(g, theirs[n]) for n, g in gradients(part(both, name)).items())
    assert all(g.norm() > 0 for g in gradients(both.actor).values())
    assert all(p.grad is None for p in both.target_critic.parameters())
    assert all(p.requires_grad for p in both.tokeniser.parameters())


def test_everything_that_learns_is_in_one_optimiser_and_in_the_saved_state():
    agent = make(*CASES["state"])
    held = {id(p) for group in agent.critic_optimizer.param_groups for p in group["params"]}
    wanted = {id(p) for n in PARTS if n != "actor" for p in part(agent, n).parameters()}
    assert held == wanted
    assert set(PARTS) <= agent.state_dict().keys()


def test_curl_needs_two_different_views_of_a_image():
    for case, there in (("both", True), ("state", False), ("pixels, no curl", False)):
        agent = make(*CASES[case])
        assert ("curl_shifts" in agent.sample_noise(4)) == there
    agent = make(TACOConfig(**{**TINY, "encoder": EncoderConfig(**{**vars(DRQ), "shift": 0})}), ONLY_PIXELS)
    metrics = agent.update(make_sequences(ONLY_PIXELS, 3), NOISE)
    assert "curl_loss" not in metrics


def test_curl_looks_at_images_alone():
    agent = make(*CASES["both"])
    batch = make_sequences(BOTH, 3)
    noise = draws_of(agent, batch)
    before = agent.critic_loss(batch, noise)[2]
    batch["obs", "state"] = batch["obs", "state"] + 1
    after = agent.critic_loss(batch, noise)[2]
    assert before["taco_loss"] != after["taco_loss"]
    assert before["curl_loss"] == after["curl_loss"]


def test_metrics():
    drq = {"loss", "critic_loss", "actor_loss", "q", "q_target", "q_target_max", "batch_return", "demo_fraction"}
    for case, more in (
        ("both", {"taco_loss", "taco_accuracy", "curl_loss", "reward_loss"}),
        ("state", {"taco_loss", "taco_accuracy", "reward_loss"}),
        ("state, one action, no reward", {"taco_loss", "taco_accuracy"}),
    ):
        config, shape = CASES[case]
        agent = make(config, shape)
        metrics = agent.update(make_sequences(shape, config.sequence), NOISE)
        assert metrics.keys() == drq | more
        assert all(m.shape == () and torch.isfinite(m) and not m.requires_grad for m in metrics.values())
        parts = [metrics[n] for n in ("critic_loss", "actor_loss", "taco_loss", "curl_loss", "reward_loss")
                 if n in metrics]  # fmt: skip
        torch.testing.assert_close(metrics["loss"], sum(parts))


def test_it_reads_a_representation_that_is_jointly_trained():
    for steps, chunk_length in ((3, 2), (1, 2)):
        agent = make(TACOConfig(**TINY, representation=LATENT, sequence=steps), ONLY_STATE)
        assert agent.sequence_length == max(steps, chunk_length)
        batch = make_sequences(ONLY_STATE, agent.sequence_length)
        metrics = agent.update(batch, NOISE)
        assert {"representation_loss", "cosine_2", "taco_loss"} <= metrics.keys()
        assert "cosine_3" not in metrics
        # Steps beyond its own horizon do not touch the representation.
        noise = draws_of(agent, batch)
        before = agent.representation_loss(batch, noise)[0]
        for name in ("actions", "reward"):
            batch["sequence", name][:, chunk_length:] = 0
        assert torch.equal(agent.representation_loss(batch, noise)[0], before)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.long
def test_state_dict_continues_bit_for_bit(case):
    config, shape = CASES[case]
    one, two = make(config, shape, seed=0), make(config, shape, seed=9)
    for step in range(3):
        one.update(make_sequences(shape, config.sequence, seed=step), NOISE)
    two.load_state_dict(one.state_dict())
    for step in range(3, 6):
        batch = make_sequences(shape, config.sequence, seed=step)
        a, b = one.update(batch, NOISE), two.update(batch, NOISE)
        assert all(torch.equal(a[k], b[k]) for k in a)
    observation = make_observation(shape, 5, torch.Generator().manual_seed(0))
    plans = [agent.act(observation, torch.Generator().manual_seed(1)).actions for agent in (one, two)]
    assert torch.equal(*plans)


def test_acting_is_the_actors_mean_and_its_smaller_value():
    agent = make(*CASES["state"])
    observation = make_observation(ONLY_STATE, 5, torch.Generator().manual_seed(0))
    assert agent.sample_acting_noise(5, torch.Generator(), True) == {}
    chunk = agent.act(observation, torch.Generator())
    slow = SlowTACO(agent)
    features = slow.features(observation, None)
    torch.testing.assert_close(chunk.actions, slow.actor(features))
    torch.testing.assert_close(chunk.value, slow.smaller(slow.critic, features, slow.actor(features)))
    assert chunk.actions.shape == (5, 1, ACTIONS)


@pytest.mark.long
@pytest.mark.slow
def test_it_learns_which_state_follows():
    """States are moved by the actions: after some updates nearly every end of a sequence is told from the others."""
    wide = {"hidden_dim": 32, "state_hidden": (32,), "encoder": EncoderConfig(feature_dim=16)}
    agent = make(TACOConfig(**{**TINY, **wide}), ONLY_STATE)
    g = torch.Generator().manual_seed(0)
    seen = []
    for step in range(300):
        batch = make_sequences(ONLY_STATE, 3, size=32, seed=step % 50)
        state, sequence = batch["obs", "state"].clone(), batch["sequence"]
        for k in range(3):
            state[:, :ACTIONS] += sequence["actions"][:, k]
            sequence["obs", "state"][:, k] = state
        sequence["valid"] = torch.rand(32, 1, generator=g).expand(-1, 3) < 0.9
        seen.append(agent.update(batch, NOISE))
    assert sum(m["taco_accuracy"].item() for m in seen[-20:]) / 20 > 0.8
    assert sum(m["taco_accuracy"].item() for m in seen[:5]) / 5 < 0.5
    assert seen[-1]["taco_loss"] < 0.4 * math.log(32)


def test_configs_that_cannot_work_are_refused():
    for bad in ({"sequence": 0}, {"token_hidden": 0}, {"curl_coef": -1.0}, {"state_hidden": (0,)}):
        with pytest.raises(ConfigError):
            TACOConfig(**bad)


@pytest.mark.parametrize(
    "case",
    ["state", pytest.param("images", marks=pytest.mark.slow), pytest.param("representation", marks=pytest.mark.slow)],
)
@pytest.mark.long
def test_it_learns_from_the_replay(case, tmp_path):
    """From its own batches, sequences that leave their episode included."""
    changes = {"agent": TACOConfig(**TINY, representation=LATENT) if case == "representation" else TACOConfig(**TINY)}
    if case == "images":
        changes |= {"env__id": "gym:toy-images", "env__cameras": ("front",), "steps": 30}
    run(tiny(tmp_path, **changes))
    trained = [row for row in rows(tmp_path) if row["kind"] == "train" and "taco_loss" in row]
    assert trained
    assert all(math.isfinite(value) for row in trained for value in row.values() if isinstance(value, float))
    assert ("curl_loss" in trained[-1]) == (case == "images")
