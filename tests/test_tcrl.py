"""TCRL as released: orthogonal weights, and noise that falls from the first random episode on."""

import dataclasses

import pytest
import torch
from torch import nn

from batches import ACTIONS, ONLY_STATE
from zoomrl.agents.build import assemble
from zoomrl.agents.tcrl.config import TCRLConfig
from zoomrl.agents.td3.config import IQRLConfig
from zoomrl.math.schedules import schedule
from zoomrl.recipes.compose import preset
from zoomrl.recipes.tasks import EPISODE


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("walker-walk", {1: 1.0, 11: 0.82, 20: 0.658, 50: 0.118, 51: 0.1, 400: 0.1}),
        ("cheetah-run", {11: 0.94, 76: 0.55, 151: 0.1}),
        ("humanoid-walk", {11: 0.984, 251: 0.6, 501: 0.2, 4000: 0.2}),
    ],
)
def test_noise_counts_the_random_episodes(name, expected):
    """1 - (1 - last) (n - 1) / N in the n-th episode, the random ones counted."""
    config = preset("tcrl-dmc", env=f"dmc:{name}")
    assert config.control.uniform_steps == 10 * EPISODE
    for episode, noise in expected.items():
        assert schedule(config.control.noise, (episode - 1) * EPISODE) == pytest.approx(noise)


def test_weights_are_orthogonal_and_biases_zero():
    agent = assemble(TCRLConfig(), ONLY_STATE, ACTIONS, seed=2)
    layers = [m for m in agent.modules() if isinstance(m, nn.Linear)]
    # Encoder, its target, dynamics and reward of 3 layers; actor of 3; critics of 1 + 2 * 2, twice.
    assert len(layers) == 4 * 3 + 3 + 2 * 5
    for layer in layers:
        weight = layer.weight.detach().double()
        product = weight @ weight.T if weight.shape[0] <= weight.shape[1] else weight.T @ weight
        torch.testing.assert_close(product, torch.eye(len(product), dtype=torch.float64), rtol=0, atol=1e-5)
        assert (layer.bias == 0).all()


def test_other_latents_start_as_ever():
    assert TCRLConfig().representation.init == "orthogonal"
    assert IQRLConfig().representation.init == "default"
    plain = dataclasses.replace(TCRLConfig().representation, init="default")
    agent = assemble(TCRLConfig(representation=plain), ONLY_STATE, ACTIONS, seed=2)
    assert agent.perception.model.encoder.body[0].bias.any()
    # Our port of TACO waits with the fall of its noise until it acts.
    taco = preset("taco-dmc-state")
    assert [schedule(taco.control.noise, step) for step in (10_000, 60_000)] == [1.0, pytest.approx(0.1)]
