"""One update of TD3 and of iQRL, written straight from the papers: one sample, one critic, one step at a time."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F


def slow_fsq(x, levels):
    columns = []
    for i in range(x.shape[-1]):
        level = levels[i % len(levels)]
        half = (level - 1) * (1 + 1e-3) / 2
        offset = 0.5 if level % 2 == 0 else 0.0
        shift = torch.atanh(torch.tensor(offset / half, dtype=x.dtype))
        bounded = half * torch.tanh(x[..., i] + shift) - offset
        columns.append((bounded + (bounded.round() - bounded).detach()) / (level // 2))
    return torch.stack(columns, -1)


class SlowTD3:
    """Holds copies of an agent's networks; :meth:`update` gives the losses and leaves the new weights."""

    def __init__(self, agent):
        self.config = agent.config
        self.latent = agent.config.representation if agent.sequence_length else None
        if self.latent:
            model = agent.perception.model
            self.encoder = copy.deepcopy(model.encoder.body)
            self.dynamics = copy.deepcopy(model.dynamics)
            self.reward = copy.deepcopy(model.reward)
            self.decoder = copy.deepcopy(model.decoder)
            self.projection = copy.deepcopy(model.projection)
            self.target_encoder = copy.deepcopy(agent.perception.target_encoder.body)
            self.target_projection = copy.deepcopy(agent.perception.target_projection)
            learnt = [p for m in self.model() for p in m.parameters()]
            kind = torch.optim.AdamW if self.latent.optimizer == "adamw" else torch.optim.Adam
            decay = {"weight_decay": self.latent.weight_decay} if self.latent.optimizer == "adamw" else {}
            self.latent_optimizer = kind(learnt, lr=self.latent.lr, **decay)
        self.actor, self.target_actor = copy.deepcopy(agent.actor), copy.deepcopy(agent.target_actor)
        self.critics = [copy.deepcopy(c) for c in agent.critic.networks]
        self.target_critics = [copy.deepcopy(c) for c in agent.target_critic.networks]
        lr = self.config.lr
        self.critic_optimizer = torch.optim.Adam([p for c in self.critics for p in c.parameters()], lr=lr)
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), lr=lr)

    def model(self):
        parts = (self.encoder, self.dynamics, self.reward, self.decoder, self.projection)
        return [part for part in parts if part is not None]

    def quantised(self, x):
        return slow_fsq(x, self.latent.fsq_levels) if self.latent.quantise else x

    def read(self, state):
        if not self.latent:
            return state
        with torch.no_grad():
            return self.quantised((self.encoder if self.latent.read == "online" else self.target_encoder)(state))

    def latent_loss(self, batch):
        """Minus the weighted cosines, step by step and sample by sample."""
        config, sequence = self.latent, batch["sequence"]
        count, total = len(batch), 0.0
        z = self.quantised(self.encoder(batch["obs"]["state"]))
        for h in range(config.horizon):
            action = sequence["actions"][:, h]
            if self.reward is not None:
                guess = self.reward(torch.cat([z, action], 1))[:, 0]
            change = self.dynamics(torch.cat([z, action], 1))
            z = self.quantised(z + change if config.residual else change)
            with torch.no_grad():
                target = self.quantised(self.target_encoder(sequence["obs"]["state"][:, h]))
                if self.target_projection is not None:
                    target = self.target_projection(target)
            predicted = self.projection(z) if self.projection is not None else z
            terms, inside = [], 0
            for i in range(count):
                if not sequence["valid"][i, h]:
                    continue
                inside += 1
                if config.consistency == "cosine":
                    term = -F.cosine_similarity(predicted[i], target[i], dim=0, eps=1e-6)
                else:
                    term = ((predicted[i] - target[i]) ** 2).mean()
                term = config.consistency_coef * term
                if self.reward is not None:
                    term = term + config.reward_coef * (guess[i] - sequence["reward"][i, h]) ** 2
                if self.decoder is not None:
                    missed = self.decoder(z[i]) - sequence["obs"]["state"][i, h]
                    term = term + config.reconstruction_coef * (missed**2).mean()
                terms.append(term)
            if inside:
                total = total + config.decay**h * sum(terms) / inside
        return total / config.horizon

    def update(self, batch, noise):
        losses = {}
        if self.latent:
            loss = losses["representation_loss"] = self.latent_loss(batch)
            self.latent_optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_([p for m in self.model() for p in m.parameters()], self.latent.clip)
            self.latent_optimizer.step()
            self.follow(self.target_encoder, self.encoder, self.latent.target_tau)
            if self.projection is not None:
                self.follow(self.target_projection, self.projection, self.latent.target_tau)
        config = self.config
        z, after = self.read(batch["obs"]["state"]), self.read(batch["next_obs"]["state"])
        with torch.no_grad():
            smoothing = (config.target_noise * noise["target_noise"]).clamp(-config.noise_clip, config.noise_clip)
            action = (torch.tanh(self.target_actor(after)) + smoothing).clamp(-1, 1)
            values = [self.target_critics[k](torch.cat([after, action], 1))[:, 0] for k in noise["target_subset"]]
            target = batch["reward"] + batch["discount"] * torch.stack(values).min(0).values
        taken = torch.cat([z, batch["actions"][:, 0]], 1)
        loss = losses["critic_loss"] = sum(((c(taken)[:, 0] - target) ** 2).mean() for c in self.critics)
        self.critic_optimizer.zero_grad()
        loss.backward()
        self.critic_optimizer.step()
        turn = "actor_subset" in noise
        if turn or not config.delayed_targets:
            for target_critic, critic in zip(self.target_critics, self.critics, strict=True):
                self.follow(target_critic, critic, config.target_tau)
        if turn:
            action = torch.tanh(self.actor(z))
            joined = torch.cat([z, action], 1)
            members = [0] if config.actor_value == "first" else noise["actor_subset"].tolist()
            values = torch.stack([self.critics[k](joined)[:, 0] for k in members])
            value = values.min(0).values if config.actor_value == "min" else values.mean(0)
            loss = losses["actor_loss"] = -value.mean()
            demos = [i for i in range(len(batch)) if batch["is_demo"][i]]
            if config.bc_lambda and demos:
                missed = sum(((action[i] - batch["actions"][i, 0]) ** 2).sum() for i in demos) / len(demos)
                losses["bc_loss"] = missed
                loss = loss + config.bc_lambda * missed
            self.actor_optimizer.zero_grad()
            loss.backward()
            self.actor_optimizer.step()
            self.follow(self.target_actor, self.actor, config.target_tau)
        return losses

    @staticmethod
    def follow(target, online, tau):
        with torch.no_grad():
            for slow, quick in zip(target.parameters(), online.parameters(), strict=True):
                slow.copy_((1 - tau) * slow + tau * quick)
