"""A straightforward TD7 update, written from the formulas: weights in lists, one sample after the other.

The oracle of the fast update. Networks are lists of (weight, bias); every norm, clamp, loss and priority is worked out
for one sample at a time, and targets are copied weight by weight.
"""

from __future__ import annotations

import torch
from torch import nn

from zoomrl.agents.td7.learner import TD7


def weights(module):
    """(weight, bias) of the linear layers, in the order in which they are applied, ready to learn."""
    linears = [m for m in module.modules() if isinstance(m, nn.Linear)]
    return [(m.weight.detach().clone().requires_grad_(), m.bias.detach().clone().requires_grad_()) for m in linears]


def elu(x):
    return torch.stack([v if v > 0 else torch.exp(v) - 1 for v in x])


def relu(x):
    return torch.stack([v if v > 0 else 0 * v for v in x])


def layer(x, parameters):
    weight, bias = parameters
    return torch.stack([sum(w * v for w, v in zip(row, x, strict=True)) + b for row, b in zip(weight, bias)])  # noqa: B905


def average_norm(x):
    size = sum(abs(v) for v in x) / len(x)
    return x / (size if size > 1e-8 else 1e-8)


class SlowTD7:
    """Update of a :class:`TD7` with the same weights; ``like`` gives config, weights and random state."""

    def __init__(self, like: TD7):
        self.config = like.config
        self.action_dim = like.action_dim
        self.normalizer = like.perception.normalizer
        self.online = weights(like.encoder)
        self.fixed, self.fixed_target = self.copied(self.online), self.copied(self.online)
        self.actor = weights(like.actor)
        self.actor_target = self.copied(self.actor)
        self.critics = [weights(network) for network in like.critic.networks]
        self.critics_target = [self.copied(critic) for critic in self.critics]
        self.low = self.high = 0.0
        self.seen = []
        self.generator = torch.Generator()
        self.generator.set_state(like.generator.get_state())
        critics = [tensor for critic in self.critics for pair in critic for tensor in pair]
        self.optimizers = {
            "encoder": torch.optim.Adam([t for pair in self.online for t in pair], lr=self.config.lr),
            "critic": torch.optim.Adam(critics, lr=self.config.lr),
            "actor": torch.optim.Adam([t for pair in self.actor for t in pair], lr=self.config.lr),
        }
        self.updates = 0

    @staticmethod
    def copied(pairs):
        return [tuple(t.detach().clone() for t in pair) for pair in pairs]

    def zs(self, encoder, s):
        return average_norm(layer(elu(layer(elu(layer(s, encoder[0])), encoder[1])), encoder[2]))

    def zsa(self, encoder, zs, a):
        return layer(elu(layer(elu(layer(torch.cat([zs, a]), encoder[3])), encoder[4])), encoder[5])

    def q(self, critic, s, a, zsa, zs):
        h = average_norm(layer(torch.cat([s, a]), critic[0]))
        x = torch.cat([h, zsa, zs])
        return layer(elu(layer(elu(layer(x, critic[1])), critic[2])), critic[3])[0]

    def pi(self, actor, s, zs):
        h = average_norm(layer(s, actor[0]))
        return torch.tanh(layer(relu(layer(relu(layer(torch.cat([h, zs]), actor[1])), actor[2])), actor[3]))

    def state(self, observation, b):
        s = observation["state"][b]
        if not self.normalizer.active:
            return s
        return ((s - self.normalizer.mean) / self.normalizer.std).clamp(-10, 10)

    def step(self, name, loss):
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        loss.backward()
        self.optimizers[name].step()

    def update(self, batch):
        """One update: its losses, and the priorities."""
        config, size = self.config, len(batch)
        noise = torch.randn((size, self.action_dim), generator=self.generator)
        states = [self.state(batch["obs"], b) for b in range(size)]
        following = [self.state(batch["next_obs"], b) for b in range(size)]
        taken = [batch["actions"][b, 0] for b in range(size)]

        total, count = 0.0, 0
        for s, a, after in zip(states, taken, following, strict=True):
            predicted = self.zsa(self.online, self.zs(self.online, s), a)
            for x, y in zip(predicted, self.zs(self.online, after).detach(), strict=True):
                total, count = total + (x - y) ** 2, count + 1
        encoder_loss = total / count
        self.step("encoder", encoder_loss)

        total, priorities, targets = 0.0, [], []
        for b, (s, a, after) in enumerate(zip(states, taken, following, strict=True)):
            with torch.no_grad():
                zs = self.zs(self.fixed_target, after)
                action = self.pi(self.actor_target, after, zs)
                for i in range(self.action_dim):
                    shift = max(-config.noise_clip, min(config.noise_clip, float(noise[b, i]) * config.target_noise))
                    action[i] = max(-1.0, min(1.0, float(action[i]) + shift))
                zsa = self.zsa(self.fixed_target, zs, action)
                value = min(float(self.q(critic, after, action, zsa, zs)) for critic in self.critics_target)
                value = max(self.low, min(self.high, value))
                y = float(batch["reward"][b]) + float(batch["discount"][b]) * value
                zs = self.zs(self.fixed, s)
                zsa = self.zsa(self.fixed, zs, a)
            targets.append(y)
            worst = 1.0
            for critic in self.critics:
                u = abs(self.q(critic, s, a, zsa, zs) - y)
                total = total + (u * u / 2 if u < 1 else u)
                worst = max(worst, float(u.detach()))
            priorities.append(worst**config.priority_power)
        critic_loss = total / size
        self.step("critic", critic_loss)
        self.seen += targets

        self.updates += 1
        actor_loss = None
        if self.updates % config.policy_delay == 0:
            values, cloning, demos = [], 0.0, 0
            for b, (s, a) in enumerate(zip(states, taken, strict=True)):
                with torch.no_grad():
                    zs = self.zs(self.fixed, s)
                action = self.pi(self.actor, s, zs)
                zsa = self.zsa(self.fixed, zs, action)
                values += [self.q(critic, s, action, zsa, zs) for critic in self.critics]
                if batch["is_demo"][b]:
                    demos += 1
                    cloning = cloning + sum((x - y) ** 2 for x, y in zip(action, a, strict=True)) / len(a)
            actor_loss = -sum(values) / len(values)
            size_of_values = sum(abs(float(v.detach())) for v in values) / len(values)
            self.step("actor", actor_loss + config.bc_lambda * size_of_values * cloning / max(demos, 1))

        if self.updates % config.target_interval == 0:
            self.actor_target = self.copied(self.actor)
            self.critics_target = [self.copied(critic) for critic in self.critics]
            self.fixed_target = self.fixed
            self.fixed = self.copied(self.online)
            self.low, self.high = min(self.seen), max(self.seen)
        return encoder_loss, critic_loss, actor_loss, priorities
