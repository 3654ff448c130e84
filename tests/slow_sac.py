"""A straightforward SAC update, written from the formulas with autograd alone.

The oracle of the fast update: one layer after the other, densities by ``torch.distributions`` and the plain change of
variables, loops over samples for every mean, an optimiser for each network.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Normal

from slow_drqv2 import SlowTrunk, gradients
from slow_perception import SlowPerception
from zoomrl.agents.sac.learner import SAC

ACTIVATIONS = {"relu": F.relu, "mish": F.mish, "elu": F.elu, "silu": F.silu}


def run(module, x, activation):
    """Linear layers, each but the last followed by LayerNorm (where there is one) and ``activation``."""
    linears = [m for m in module.modules() if isinstance(m, nn.Linear)]
    norms = [m for m in module.modules() if isinstance(m, nn.LayerNorm)]
    for layer, linear in enumerate(linears):
        x = x @ linear.weight.T + linear.bias
        if layer < len(linears) - 1:
            x = ACTIVATIONS[activation](norms[layer](x) if norms else x)
    return x


class SlowSAC:
    """Update of a :class:`SAC` with the same weights; ``like`` gives config, weights and random state."""

    def __init__(self, like: SAC):
        self.config = config = like.config
        self.action_dim = like.action_dim
        self.perception = SlowPerception(like.perception, config.encoder)
        self.trunk = SlowTrunk(like.trunk)
        self.actor, self.critic = copy.deepcopy(like.actor), copy.deepcopy(like.critic)
        self.target_critic = copy.deepcopy(like.target_critic)
        dtype = like.actor.head.weight.dtype
        self.log_temperature = torch.log(torch.tensor(config.temperature, dtype=dtype)).requires_grad_()
        self.wanted = -like.action_dim if config.target_entropy is None else config.target_entropy
        self.generator = torch.Generator()
        self.generator.set_state(like.generator.get_state())
        self.optimizers = {}
        for name in ("perception", "trunk", "actor", "critic"):
            if parameters := list(getattr(self, name).parameters()):
                self.optimizers[name] = torch.optim.Adam(parameters, lr=config.lr)
        self.optimizers["temperature"] = torch.optim.Adam([self.log_temperature], lr=config.lr)

    def policy(self, x):
        """Normal distribution before the tanh."""
        outputs = run(self.actor, x, self.config.activation)
        mean, raw = outputs[:, : self.action_dim], outputs[:, self.action_dim :]
        low, high = self.config.log_std_min, self.config.log_std_max
        return Normal(mean, torch.exp((low + high) / 2 + torch.tanh(raw) * (high - low) / 2), validate_args=False)

    def sample(self, x, noise):
        normal = self.policy(x)
        before = normal.loc + normal.scale * noise
        actions = torch.tanh(before)
        density = []
        for b in range(len(x)):
            density.append(sum(normal.log_prob(before)[b, i] - torch.log(1 - actions[b, i] ** 2) for i in range(3)))
        return actions, torch.stack(density)

    def smaller(self, critic, x, actions):
        inputs = torch.cat([x, actions], -1)
        one, two = (run(network, inputs, self.config.activation)[:, 0] for network in critic.networks)
        return torch.where(one < two, one, two)

    def update(self, batch):
        """One step; the critic's, the actor's and the temperature's loss, and the entropy."""
        size = (len(batch), self.action_dim)
        next_noise, actor_noise = (torch.randn(size, generator=self.generator) for _ in range(2))
        shifts, next_shifts = (self.perception.sample_noise(len(batch), self.generator) for _ in range(2))
        alpha = self.log_temperature.exp().item()
        with torch.no_grad():
            following = self.trunk(self.perception(batch["next_obs"], next_shifts))
            next_actions, next_density = self.sample(following, next_noise)
            soft = self.smaller(self.target_critic, following, next_actions) - alpha * next_density
        features = self.trunk(self.perception(batch["obs"], shifts))
        inputs = torch.cat([features, batch["actions"][:, 0]], -1)
        critic_loss = 0.0
        for network in self.critic.networks:
            values = run(network, inputs, self.config.activation)[:, 0]
            for b in range(len(batch)):
                target = batch["reward"][b] + batch["discount"][b] * soft[b]
                critic_loss = critic_loss + (values[b] - target) ** 2 / len(batch)
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        critic_loss.backward()
        self.gradients = {name: gradients(getattr(self, name)) for name in ("perception", "trunk", "critic")}
        for name in ("perception", "trunk", "critic"):
            if name in self.optimizers:
                self.optimizers[name].step()

        features = features.detach()
        actions, density = self.sample(features, actor_noise)
        values = self.smaller(self.critic, features, actions)
        actor_loss = sum(alpha * density[b] - values[b] for b in range(len(batch))) / len(batch)
        actor_loss.backward()
        self.gradients["actor"] = gradients(self.actor)
        self.optimizers["actor"].step()

        entropy = -density.detach().mean()
        temperature_loss = self.log_temperature.exp() * (entropy - self.wanted)
        if self.config.learn_temperature:
            temperature_loss.backward()
            self.optimizers["temperature"].step()
        with torch.no_grad():
            tau = self.config.target_tau
            for online, target in zip(self.critic.parameters(), self.target_critic.parameters(), strict=True):
                target.copy_(tau * online + (1 - tau) * target)
        return {
            "critic_loss": critic_loss.detach(),
            "actor_loss": actor_loss.detach(),
            "entropy": entropy,
            "temperature": torch.tensor(alpha, dtype=entropy.dtype),
            "temperature_loss": temperature_loss.detach(),
        }
