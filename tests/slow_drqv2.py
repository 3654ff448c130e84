"""A straightforward DrQ-v2 / DrQ-v2+ / DrQ-v2-AS+ update, written from the formulas with autograd alone.

The oracle of the fast update: one network after the other, inputs repeated and concatenated step by step, ``nn.GRU``,
scattered two-hot targets, loops over samples and steps for every mean, one optimiser for each of encoder, critic and
actor.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import nn

from slow_perception import SlowPerception
from zoomrl.agents.drqv2.config import DrQv2ASConfig
from zoomrl.agents.drqv2.learner import DrQv2

LIMIT = 1 - 1e-6


class IdentityClamp(torch.autograd.Function):
    """Clamp whose gradient is that of the identity."""

    @staticmethod
    def forward(ctx, x):
        return torch.clamp(x, -LIMIT, LIMIT)

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class SlowTrunk(nn.Module):
    """Image and state: Linear, LayerNorm, tanh each; after them, image first, [B, F]."""

    def __init__(self, trunk):
        super().__init__()
        self.parts = copy.deepcopy(trunk.parts)

    def forward(self, features):
        outputs = []
        for name in ("image", "state"):
            if name in self.parts:
                outputs.append(self.part(self.parts[name], features[name]))
        return torch.cat(outputs, -1)

    @staticmethod
    def part(part, x):
        linears = [m for m in part.modules() if isinstance(m, nn.Linear)]
        norms = [m for m in part.modules() if isinstance(m, nn.LayerNorm)]
        for layer, (linear, norm) in enumerate(zip(linears, norms, strict=True)):
            x = norm(x @ linear.weight.T + linear.bias)
            x = torch.tanh(x) if layer == len(linears) - 1 else F.silu(x)
        return x


class SlowBody(nn.Module):
    """Two hidden layers of ReLU for one step at a time, then ``nn.GRU`` over the steps."""

    def __init__(self, body):
        super().__init__()
        self.first, self.second = copy.deepcopy(body.first), copy.deepcopy(body.second)
        self.gru = None
        if body.gru is not None:
            hidden = body.second.out_features
            self.gru = nn.GRU(hidden, hidden, body.gru.layers, batch_first=True).to(body.second.weight.dtype)
            self.gru.load_state_dict(body.gru.state_dict())

    def forward(self, inputs):
        """Inputs of the T steps, each [B, F], to [B, T, H]."""
        outputs = []
        for step, x in enumerate(inputs):
            if self.gru is not None:
                one_hot = torch.zeros(len(x), len(inputs), dtype=x.dtype)
                one_hot[:, step] = 1
                x = torch.cat([x, one_hot], -1)
            outputs.append(torch.relu(self.second(torch.relu(self.first(x)))))
        x = torch.stack(outputs, 1)
        return x if self.gru is None else self.gru(x)[0]


class SlowActor(nn.Module):
    def __init__(self, actor, chunk_length):
        super().__init__()
        self.chunk_length = chunk_length
        self.trunk, self.body, self.head = SlowTrunk(actor.trunk), SlowBody(actor.body), copy.deepcopy(actor.head)

    def forward(self, features):
        return torch.tanh(self.head(self.body([self.trunk(features)] * self.chunk_length)))


class SlowTwinCritic(nn.Module):
    def __init__(self, critic):
        super().__init__()
        self.trunk = SlowTrunk(critic.trunk)
        self.bodies = nn.ModuleList([SlowBody(body) for body in critic.bodies])
        self.heads = copy.deepcopy(critic.heads)

    def forward(self, features, actions):
        """Outputs [B, T, Z] of either network."""
        h = self.trunk(features)
        inputs = [torch.cat([h, actions[:, t]], -1) for t in range(actions.shape[1])]
        return [self.heads[j](self.bodies[j](inputs)) for j in range(2)]


class SlowDrQv2:
    """Update of a :class:`DrQv2` with the same weights; ``like`` gives config, weights and random state."""

    def __init__(self, like: DrQv2):
        self.config = config = like.config
        self.chunk_length = config.chunk_length if isinstance(config, DrQv2ASConfig) else 1
        self.action_dim = like.action_dim
        self.perception = SlowPerception(like.perception, config.encoder)
        self.actor = SlowActor(like.actor, self.chunk_length)
        self.critic = SlowTwinCritic(like.critic)
        self.target_critic = SlowTwinCritic(like.target_critic).requires_grad_(False)
        atoms = [config.v_min + (config.v_max - config.v_min) * i / (config.atoms - 1) for i in range(config.atoms)]
        self.atoms = torch.tensor(atoms, dtype=like.actor.head.weight.dtype)
        self.generator = torch.Generator()
        self.generator.set_state(like.generator.get_state())
        self.optimizers = {}
        for name, module in (("encoder", self.perception), ("critic", self.critic), ("actor", self.actor)):
            parameters = [p for p in module.parameters() if p.requires_grad]
            if parameters and config.optimizer == "adam":
                self.optimizers[name] = torch.optim.Adam(parameters, lr=config.lr)
            elif parameters:
                self.optimizers[name] = torch.optim.AdamW(parameters, lr=config.lr, weight_decay=config.weight_decay)
        self.updates = 0

    def value(self, outputs):
        if self.config.value == "scalar":
            return outputs[..., 0]
        return (F.softmax(outputs, -1) * self.atoms).sum(-1)

    def smaller(self, outputs):
        """The smaller value of the two networks [B, T]."""
        one, two = (self.value(o) for o in outputs)
        return torch.where(one < two, one, two)

    def sample(self, mean, noise, std):
        clip = self.config.noise_clip
        return IdentityClamp.apply(mean + torch.clamp(noise * std, -clip, clip))

    def two_hot(self, value):
        """A number to [Z]: linear interpolation between its two neighbours."""
        count = len(self.atoms)
        width = (self.config.v_max - self.config.v_min) / (count - 1)
        position = (min(max(value, self.config.v_min), self.config.v_max) - self.config.v_min) / width
        lower = min(int(position), count - 2)
        out = torch.zeros(count, dtype=self.atoms.dtype)
        out[lower] = 1 - (position - lower)
        out[lower + 1] = position - lower
        return out

    def critic_loss(self, batch, next_noise, std, features, next_features):
        with torch.no_grad():
            next_actions = self.sample(self.actor(next_features), next_noise, std)
            bootstrap = self.smaller(self.target_critic(next_features, next_actions))
        outputs = self.critic(features, batch["actions"])
        total, count = 0.0, 0
        for b in range(len(batch)):
            for t in range(self.chunk_length):
                if not batch["valid"][b, t] and not ("absorbed" in batch and batch["absorbed"][b, t]):
                    continue
                count += 1
                target = batch["reward"][b] + batch["discount"][b] * bootstrap[b, t]
                for output in outputs:
                    if self.config.value == "scalar":
                        total = total + (output[b, t, 0] - target) ** 2
                    else:
                        total = total - (self.two_hot(target.item()) * F.log_softmax(output[b, t], -1)).sum()
        return total / count

    def actor_loss(self, batch, noise, std, features):
        features = {name: array.detach() for name, array in features.items()}
        mean = self.actor(features)
        values = self.smaller(self.critic(features, self.sample(mean, noise, std)))
        policy, count, cloning, demos = 0.0, 0, 0.0, 0
        for b in range(len(batch)):
            demos += int(batch["is_demo"][b])
            for t in range(self.chunk_length):
                if not batch["valid"][b, t]:
                    continue
                count += 1
                policy = policy - values[b, t]
                if batch["is_demo"][b]:
                    cloning = cloning + ((mean[b, t] - batch["actions"][b, t]) ** 2).sum()
        return policy / count, cloning / max(demos, 1)

    def update(self, batch, noise=0.0):
        """One step; the critic's, the actor's and the cloning loss."""
        size = (len(batch), self.chunk_length, self.action_dim)
        next_noise, actor_noise = (torch.randn(size, generator=self.generator) for _ in range(2))
        shifts, next_shifts = (self.perception.sample_noise(len(batch), self.generator) for _ in range(2))
        features = self.perception(batch["obs"], shifts)
        with torch.no_grad():
            next_features = self.perception(batch["next_obs"], next_shifts)

        critic_loss = self.critic_loss(batch, next_noise, noise, features, next_features)
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        critic_loss.backward()
        self.gradients = {
            "perception": gradients(self.perception),
            "critic": gradients(self.critic),
        }
        for name in ("encoder", "critic"):
            if name in self.optimizers:
                self.optimizers[name].step()

        policy, cloning = self.actor_loss(batch, actor_noise, noise, features)
        (policy + self.config.bc_lambda * cloning).backward()
        self.gradients["actor"] = gradients(self.actor)
        self.optimizers["actor"].step()

        self.updates += 1
        if self.updates % self.config.target_interval == 0:
            tau = self.config.target_tau
            with torch.no_grad():
                for online, target in zip(self.critic.parameters(), self.target_critic.parameters(), strict=True):
                    target.copy_(tau * online + (1 - tau) * target)
        return critic_loss.detach(), policy.detach(), torch.as_tensor(cloning).detach()


def gradients(module):
    """Copies of the gradients of ``module`` by name; zeros where there are none."""
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in module.named_parameters()
        if p.requires_grad
    }
