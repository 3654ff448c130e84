"""A straightforward CQN / CQN-AS update, written from the formulas with autograd alone.

The oracle of the fast update: levels one after the other, inputs concatenated and repeated, ``nn.GRU``,
probabilities of all bins,
a projection that scatters to the two neighbouring atoms, imitation losses on all samples and then masked.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import nn

from zoomrl.agents.cqn.config import CQNASConfig
from zoomrl.agents.cqn.learner import CQN


class SlowStream(nn.Module):
    def __init__(self, stream, chunk_length):
        super().__init__()
        self.trunk = copy.deepcopy(stream.trunk)
        self.first = copy.deepcopy(stream.first)
        self.first_norm = copy.deepcopy(stream.first_norm)
        self.second = copy.deepcopy(stream.second)
        self.second_norm = copy.deepcopy(stream.second_norm)
        self.levels, self.chunk_length = len(stream.level_ids), chunk_length
        self.gru = None
        if stream.gru is not None:
            hidden = stream.second.out_features
            self.gru = nn.GRU(hidden, hidden, stream.gru.layers, batch_first=True)
            self.gru.to(stream.second.weight.dtype).load_state_dict(stream.gru.state_dict())

    def forward(self, state, centre, level):
        """Features by name [B, ...], [B, T, A], int -> [B, T, H]."""
        batch, chunk_length, _ = centre.shape
        features = self.trunk(state)[:, None].repeat(1, chunk_length, 1)
        level_id = F.one_hot(torch.tensor(level), self.levels).float().repeat(batch, chunk_length, 1)
        parts = [features, centre, level_id]
        if self.gru is not None:
            parts.insert(2, torch.eye(chunk_length).repeat(batch, 1, 1))
        x = F.silu(self.first_norm(self.first(torch.cat(parts, -1))))
        x = F.silu(self.second_norm(self.second(x)))
        return x if self.gru is None else self.gru(x)[0]


class SlowCritic(nn.Module):
    def __init__(self, critic):
        super().__init__()
        self.streams = nn.ModuleList([SlowStream(s, critic.chunk_length) for s in critic.streams])
        self.advantage = copy.deepcopy(critic.advantage)
        self.value = copy.deepcopy(critic.value)
        self.shape = critic.shape

    def forward(self, state, centre, level):
        """Outputs [B, T * A, K, Z] of one level."""
        batch, chunk_length, action_dim = centre.shape
        _, bins, outputs = self.shape
        hidden = [stream(state, centre, level) for stream in self.streams]
        advantage = self.advantage(hidden[-1]).view(batch, chunk_length * action_dim, bins, outputs)
        if self.value is None:
            return advantage
        value = self.value(hidden[0]).view(batch, chunk_length * action_dim, 1, outputs)
        return value + advantage - advantage.mean(2, keepdim=True)


class SlowCQN:
    """Update of a :class:`CQN` with the same weights; ``like`` gives config, weights and random state."""

    def __init__(self, like: CQN):
        self.config = like.config
        self.chunk_length = like.chunk_length if isinstance(like.config, CQNASConfig) else 1
        self.perception, self.atoms = copy.deepcopy(like.perception), like.critic.atoms
        self.critic = SlowCritic(like.critic)
        self.target_critic = SlowCritic(like.target_critic).requires_grad_(False)
        self.generator = torch.Generator()
        self.generator.set_state(like.generator.get_state())
        kind = torch.optim.Adam if like.config.optimizer == "adam" else torch.optim.AdamW
        decay = {} if like.config.optimizer == "adam" else {"weight_decay": like.config.weight_decay}
        learnt = [p for p in (*self.perception.parameters(), *self.critic.parameters()) if p.requires_grad]
        self.optimizer = kind(learnt, lr=like.config.lr, **decay)
        self.updates = 0

    def expected(self, outputs):
        if self.config.value == "scalar":
            return outputs[..., 0]
        return (F.softmax(outputs, -1) * self.atoms).sum(-1)

    def greedy(self, critic, state, ties):
        """Zoom by carrying interval bounds: continuous action [B, T, A]."""
        config = self.config
        shape = (len(next(iter(state.values()))), self.chunk_length, critic.shape[0])
        low, high = -torch.ones(shape), torch.ones(shape)
        for level in range(config.levels):
            tie = ties[level].view(shape)
            q = self.expected(critic(state, (low + high) / 2, level)).view(*shape, config.bins)
            index = q.argmax(-1)
            tied = q.max(-1).values - q.min(-1).values < config.tie_threshold
            if config.tie_threshold > 0:
                index = torch.where(tied, tie, index)
            width = (high - low) / config.bins
            low = low + width * index
            high = low + width
        return (low + high) / 2

    def outputs_of(self, critic, state, action):
        """All levels' outputs along a continuous action, and the bins that it falls into."""
        config = self.config
        low, high = -torch.ones_like(action), torch.ones_like(action)
        outputs, chosen = [], []
        for level in range(config.levels):
            width = (high - low) / config.bins
            index = ((action - low) / width).floor().clamp(0, config.bins - 1).long()
            outputs.append(critic(state, (low + high) / 2, level))
            chosen.append(index.flatten(1))
            low = low + width * index
            high = low + width
        return torch.stack(outputs, 1), torch.stack(chosen, 1)

    def project(self, probs, reward, discount):
        """Scatter to the two neighbours: probs [B, L, D, Z]."""
        count = len(self.atoms)
        value = (reward[:, None] + discount[:, None] * self.atoms).clamp(self.atoms[0], self.atoms[-1])
        lower = (torch.searchsorted(self.atoms, value, right=True) - 1).clamp(0, count - 2)
        fraction = (value - self.atoms[lower]) / (self.atoms[lower + 1] - self.atoms[lower])
        lower, fraction = (x[:, None, None].expand_as(probs) for x in (lower, fraction))
        out = torch.zeros_like(probs)
        out.scatter_add_(-1, lower.long(), probs * (1 - fraction))
        out.scatter_add_(-1, lower.long() + 1, probs * fraction)
        return out

    def loss(self, batch):
        config = self.config
        size = (config.levels, len(batch) * self.chunk_length, self.critic.shape[0])
        ties = torch.randint(config.bins, size, generator=self.generator)
        shifts = self.perception.sample_noise(len(batch), self.generator)
        next_shifts = self.perception.sample_noise(len(batch), self.generator)
        state = self.perception(batch["obs"], shifts)
        next_state = self.perception(batch["next_obs"], next_shifts)
        categorical = config.value == "categorical"
        with torch.no_grad():
            chooser = self.critic if config.double_q else self.target_critic
            action = self.greedy(chooser, next_state, ties)
            outputs, index = self.outputs_of(self.target_critic, next_state, action)
            where = index[..., None, None].expand(*index.shape, 1, outputs.shape[-1])
            best = outputs.gather(3, where)[:, :, :, 0]
            if categorical:
                target = self.project(F.softmax(best, -1), batch["reward"], batch["discount"])
            else:
                target = batch["reward"][:, None, None] + batch["discount"][:, None, None] * best[..., 0]
        outputs, chosen = self.outputs_of(self.critic, state, batch["actions"])

        def by_token(steps):
            return steps.float()[:, None, :, None].expand(-1, config.levels, -1, self.critic.shape[0]).flatten(2)

        weight = by_token(batch["valid"] + batch.get("absorbed", torch.zeros_like(batch["valid"])))
        demo = by_token(batch["valid"] * batch["is_demo"][:, None])

        def mean(values, mask):
            return (values * mask).sum() / mask.sum() if mask.sum() > 0 else values.sum() * 0

        if categorical:
            log_probs = F.log_softmax(outputs, -1)
            where = chosen[..., None, None].expand(*chosen.shape, 1, outputs.shape[-1])
            td = mean(-(target * log_probs.gather(3, where)[:, :, :, 0]).sum(-1), weight)
        else:
            q = outputs[..., 0].gather(3, chosen[..., None])[..., 0]
            td = mean((q - target) ** 2, weight)
        loss = config.critic_lambda * td
        if config.bc_lambda > 0:
            if categorical:
                probs = F.softmax(outputs, -1)
                cdf = probs.cumsum(-1)
                dominance = (cdf.gather(3, where) - cdf).clamp(min=0).sum(-1).mean(-1)
                loss = loss + config.bc_lambda * mean(dominance, demo)
                values = (probs * self.atoms).sum(-1)
            else:
                values = outputs[..., 0]
            lead = values.gather(3, chosen[..., None]) - values
            loss = loss + config.bc_lambda * mean((config.bc_margin - lead).clamp(min=0).mean(-1), demo)
        return loss

    @torch.no_grad()
    def compare_bins(self, batch, every):
        """The same measures, token by token."""
        rows = {"sibling_spread": [], "bin_gap": [], "logit_spread": [], "demo_agreement": []}
        outputs, chosen = self.outputs_of(self.critic, self.perception(batch["obs"]), batch["actions"])
        values = self.expected(outputs)
        dims = self.critic.shape[0]
        for sample in range(0, len(batch), every):
            for level in range(self.config.levels):
                for token in range(self.chunk_length * dims):
                    if not batch["valid"][sample, token // dims]:
                        continue
                    q = sorted(values[sample, level, token].tolist())
                    rows["sibling_spread"].append(q[-1] - q[0])
                    rows["bin_gap"].append(q[-1] - q[-2])
                    logits = outputs[sample, level, token]
                    away = logits - logits.mean(0)
                    rows["logit_spread"].append(float((away**2).mean(0).sqrt().mean()))
                    if batch["is_demo"][sample]:
                        best = values[sample, level, token].tolist().index(q[-1])
                        rows["demo_agreement"].append(float(best == chosen[sample, level, token]))
        return {name: sum(row) / len(row) if row else 0.0 for name, row in rows.items()}

    def update(self, batch):
        loss = self.loss(batch)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.updates += 1
        if self.updates % self.config.target_interval == 0:
            tau = self.config.target_tau
            with torch.no_grad():
                pairs = zip(self.critic.parameters(), self.target_critic.parameters(), strict=True)
                for online, target in pairs:
                    target.copy_(tau * online + (1 - tau) * target)
        return loss.detach()
