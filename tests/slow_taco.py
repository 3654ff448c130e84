"""A straightforward TACO update, written from the formulas with autograd alone.

The oracle of the fast update: layers one after the other, sums of exponentials over pairs of samples in plain loops,
an optimiser for each network. Actor and critics are those of the slow DrQ-v2.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import nn

from slow_drqv2 import IdentityClamp, SlowActor, SlowTwinCritic, gradients
from slow_perception import SlowPerception
from zoomrl.agents.taco.learner import TACO


def linear(layer, x):
    return x @ layer.weight.T + layer.bias


class SlowTACO:
    """Update of a :class:`TACO` with the same weights; ``like`` gives config, weights and random state."""

    def __init__(self, like: TACO):
        self.config, self.action_dim = like.config, like.action_dim
        self.perception = SlowPerception(like.perception, self.config.encoder)
        self.actor, self.critic = SlowActor(like.actor, 1), SlowTwinCritic(like.critic)
        self.target_critic = SlowTwinCritic(like.target_critic)
        self.tokeniser, self.contrast = copy.deepcopy(like.tokeniser), copy.deepcopy(like.contrast)
        self.state_encoder = nn.Sequential() if like.state_encoder is None else copy.deepcopy(like.state_encoder)
        self.generator = torch.Generator()
        self.generator.set_state(like.generator.get_state())
        self.names = ("perception", "critic", "tokeniser", "contrast", "state_encoder")
        self.optimizers = {}
        for name in (*self.names, "actor"):
            if parameters := list(getattr(self, name).parameters()):
                self.optimizers[name] = torch.optim.Adam(parameters, lr=self.config.lr)

    def features(self, observation, shifts):
        found = self.perception(observation, shifts)
        if "image" in found:
            return found
        *hidden, last, norm, _ = self.state_encoder
        x = found["state"]
        for layer in hidden[::2]:
            x = torch.relu(linear(layer, x))
        return {"state": torch.tanh(norm(linear(last, x)))}

    def tokens(self, actions):
        first, _, second = self.tokeniser
        return linear(second, torch.tanh(linear(first, actions)))

    def embed(self, features, blind=False):
        layer, norm, _ = self.contrast.project
        parts = []
        for name in ("state", "image"):
            if name in features:
                parts.append(features[name] * (0 if blind and name == "state" else 1))
        return torch.tanh(norm(linear(layer, torch.cat(parts, -1))))

    def head(self, layers, embedding, tokens):
        layer, norm, _ = self.contrast.sequence
        stacked = torch.cat([tokens[:, k] for k in range(tokens.shape[1])], -1)
        x = torch.cat([embedding, torch.tanh(norm(linear(layer, stacked)))], -1)
        return linear(layers[2], torch.relu(linear(layers[0], x)))

    def info_nce(self, query, keys, rows):
        """Mean over ``rows`` of -log(exp(l_ii) / sum_j exp(l_ij)), and the share whose l_ii is the largest."""
        loss, right = torch.zeros((), dtype=query.dtype), 0
        for i in rows:
            row = [query[i] @ self.contrast.weight @ keys[j] for j in rows]
            own = query[i] @ self.contrast.weight @ keys[i]
            loss = loss - torch.log(torch.exp(own) / sum(torch.exp(logit) for logit in row))
            right += all(own.item() > logit.item() for logit, j in zip(row, rows, strict=True) if j != i)
        return loss / max(len(rows), 1), right / max(len(rows), 1)

    def smaller(self, critic, features, actions):
        one, two = (output[..., 0] for output in critic(features, self.tokens(actions)))
        return torch.where(one < two, one, two)[:, 0]

    def sample(self, mean, noise, std):
        clip = self.config.noise_clip
        return IdentityClamp.apply(mean + torch.clamp(noise * std, -clip, clip))

    def update(self, batch, noise):
        """One step; all losses by name."""
        count, steps, sequence = len(batch), self.config.sequence, batch["sequence"]
        next_noise, actor_noise = (torch.randn(count, 1, self.action_dim, generator=self.generator) for _ in range(2))
        shifts, next_shifts, key_shifts = (self.perception.sample_noise(count, self.generator) for _ in range(3))
        images = self.perception.shape.views and self.config.curl_coef > 0
        curl_shifts = self.perception.sample_noise(count, self.generator) if images else None

        with torch.no_grad():
            following = self.features(batch["next_obs"], next_shifts)
            actions = self.sample(self.actor(following), next_noise, noise)
            bootstrap = self.smaller(self.target_critic, following, actions)
            last = {name: array[:, steps - 1] for name, array in sequence["obs"].items()}
            keys = self.embed(self.features(last, key_shifts))
        features = self.features(batch["obs"], shifts)
        outputs = self.critic(features, self.tokens(batch["actions"]))
        critic_loss = 0.0
        for b in range(count):
            target = batch["reward"][b] + batch["discount"][b] * bootstrap[b]
            critic_loss = critic_loss + sum((output[b, 0, 0] - target) ** 2 for output in outputs) / count

        rows = [b for b in range(count) if sequence["valid"][b, :steps].all()]
        embedding, tokens = self.embed(features), self.tokens(sequence["actions"][:, :steps])
        predicted = self.head(self.contrast.predict, embedding, tokens)
        taco_loss, accuracy = self.info_nce(predicted, keys, rows)
        losses = {"critic_loss": critic_loss, "taco_loss": taco_loss}
        total = critic_loss + taco_loss
        if images:
            with torch.no_grad():
                other = self.embed(self.features(batch["obs"], curl_shifts), blind=True)
            losses["curl_loss"], _ = self.info_nce(self.embed(features, blind=True), other, range(count))
            total = total + self.config.curl_coef * losses["curl_loss"]
        if self.config.reward_coef > 0:
            rewards = self.head(self.contrast.reward, embedding, tokens)
            errors = [(rewards[b, 0] - batch["reward"][b]) ** 2 for b in rows]
            losses["reward_loss"] = torch.as_tensor(sum(errors) / max(len(rows), 1))
            total = total + self.config.reward_coef * losses["reward_loss"]
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        total.backward()
        self.gradients = {name: gradients(getattr(self, name)) for name in self.names}
        for name in self.names:
            if name in self.optimizers:
                self.optimizers[name].step()

        features = {name: array.detach() for name, array in features.items()}
        actions = self.sample(self.actor(features), actor_noise, noise)
        losses["actor_loss"] = -self.smaller(self.critic, features, actions).sum() / count
        losses["actor_loss"].backward()
        self.gradients["actor"] = gradients(self.actor)
        self.optimizers["actor"].step()
        tau = self.config.target_tau
        with torch.no_grad():
            for online, target in zip(self.critic.parameters(), self.target_critic.parameters(), strict=True):
                target.copy_(tau * online + (1 - tau) * target)
        return {**{name: loss.detach() for name, loss in losses.items()}, "taco_accuracy": torch.tensor(accuracy)}


def width(actions):
    """Numbers in a token."""
    return math.floor(1.25 * actions) + 1
