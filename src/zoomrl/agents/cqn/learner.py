"""CQN and CQN-AS: coarse-to-fine Q-networks over single actions and over action sequences.

Papers: Seo, Uruc, James, "Continuous Control with Coarse-to-fine Reinforcement Learning" (CoRL 2024) and
Seo, Abbeel, "Reinforcement Learning with Action Sequence for Data-Efficient Robot Learning" (2024).
Axes: B batch, L level, T sequence step, A action dimension, K bin, Z atom, N token (sample, level and step).
CQN is the case T = 1 without recurrence.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoomrl.agents.configs import CQNASConfig, CQNConfig
from zoomrl.agents.contract import Metrics
from zoomrl.agents.cqn.critic import CoarseToFineCritic
from zoomrl.agents.learner import Learner, Noise, Piece, Tensors, network_pieces, sample_shifts
from zoomrl.agents.metrics import batch_metrics, support_metrics
from zoomrl.agents.optimization import make_optimizer, optimizer_step, polyak_update
from zoomrl.math import grid
from zoomrl.math.bin_losses import categorical_bin_losses, imitation_terms
from zoomrl.math.categorical import project, support
from zoomrl.math.losses import margin_loss, masked_mean


class CQN(Learner):
    """One critic, its target and one optimiser; no actor."""

    losses = ("loss",)

    config: CQNConfig

    def _build(self) -> None:
        config = self.config
        self.atoms = support(config.v_min, config.v_max, config.atoms).to(self.device)
        self.critic = CoarseToFineCritic(
            sizes=self.perception.sizes,
            action_dim=self.action_dim,
            chunk_length=self.chunk_length,
            levels=config.levels,
            bins=config.bins,
            outputs=config.atoms if config.value == "categorical" else 1,
            hidden_dim=config.hidden_dim,
            hidden_bias=config.hidden_bias,
            trunk_dim=config.trunk_dim,
            image_dim=config.encoder.feature_dim,
            image_layers=config.encoder.layers,
            gru_layers=config.gru_layers if isinstance(config, CQNASConfig) else 0,
            dueling=config.dueling,
        ).to(self.device)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        learnt = [*self.perception.learnt(), *self.critic.parameters()]
        self.optimizer = make_optimizer(config.optimizer, learnt, config.lr, config.weight_decay)
        self.rows = None if self.movable is None else self.movable.nonzero()[:, 0]
        # What is stored for a dimension that cannot be moved is 0: the bins that lead there.
        self.home = grid.encode(torch.zeros(1), config.levels, config.bins)[:, 0].to(self.device)
        self.imitation = imitation_terms

    def pieces(self) -> list[Piece]:
        """What repeats: encoders by view, streams by level and network, imitation terms by action dimension.

        Without images and recurrence these are few, and the loss as a whole is compiled in less time.
        """
        if not self.perception.encoders() and all(stream.gru is None for stream in self.critic.streams):
            return super().pieces()
        streams = [stream for critic in (self.critic, self.target_critic) for stream in critic.streams]
        encoders: list[Piece] = [(net, "forward") for net in self.perception.encoders()]
        own = [*encoders, *network_pieces(streams, self.chunk_length), (self, "imitation")]
        return [*own, *self.representation_pieces()]

    @property
    def components(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """What is saved."""
        return {
            "critic": self.critic,
            "target_critic": self.target_critic,
            "optimizer": self.optimizer,
        }

    def autocast_modules(self) -> list[nn.Module]:
        """Encoder and streams, without the heads."""
        return [*self.perception.networks(), *self.critic.autocast_modules(), *self.target_critic.autocast_modules()]

    def sample_acting_noise(self, count: int, generator: torch.Generator, explore: bool) -> Noise:
        """Tied bins."""
        return {"ties": self._sample_ties(count, generator)}

    def propose(self, observation: Mapping[str, Tensor], noise: Noise) -> Tensors:
        """Greedy chunk at the centres of the finest intervals (CQN paper, algorithm 1), and its value."""
        critic = self.target_critic if self.config.act_with == "target" else self.critic
        features = self.perception(observation)
        count = len(next(iter(features.values())))
        cell, kept = self._descend(critic, features, count, noise["ties"])
        actions = grid.cell_centre(cell, self.config.levels, self.config.bins)
        # All steps and dimensions estimate the value of the same state; the finest level decides the action.
        last = self._moving(kept[-1])
        value = self._expected(last[:, None])[:, 0].view(-1, count, self.chunk_length).mean((0, 2))
        return {"actions": actions, "value": value}

    def sample_noise(self, batch: int) -> Noise:
        """Tied bins of the bootstrap action, and shifts of the images."""
        ties = self._sample_ties(batch, self.generator)
        return {"ties": ties, **sample_shifts(self.perception, batch, self.generator)}

    def learn(self, batch: Mapping[str, Any], noise: Noise) -> Metrics:
        """One step on the temporal-difference loss and, for demonstrated samples, the imitation losses.

        Args:
            batch: ``obs`` and ``next_obs`` (``state`` [B, S], ``rgb`` uint8 [B, F, V, H, W, 3]), ``actions``
                [B, T, A] in [-1, 1], ``valid`` [B, T], ``reward`` [B] (n-step return), ``discount`` [B],
                ``is_demo`` [B].
            draws: of :meth:`sample_noise`.
        """
        loss, metrics = self.loss(batch, noise)
        optimizer_step(self.optimizer, loss)
        return {"loss": loss.detach(), **metrics}

    def loss(self, batch: Mapping[str, Any], noise: Noise) -> tuple[Tensor, Metrics]:
        """Total loss, with gradient, and what to report."""
        config = self.config
        target, values = self._target(batch, noise)
        cell = grid.to_cell(batch["actions"], config.levels, config.bins)
        features = self.critic.features(self.perception(batch["obs"], noise.get("shifts")))
        outputs = self.critic(features, self._levels(grid.centres, cell))

        # Padded steps of a chunk are no data: they reach neither mean.
        weight = batch["valid"][:, None].expand(-1, config.levels, -1).to(outputs.dtype)
        demo = weight * batch["is_demo"][:, None, None]
        chosen = _tokens(self._levels(grid.path, cell))
        outputs, chosen, target, values = (self._moving(rows) for rows in (outputs, chosen, target, values))
        weight = weight.flatten()
        loss, metrics = self._losses(outputs, chosen, target, weight, demo.flatten())
        if config.value == "categorical":
            metrics |= support_metrics(values, weight, self.atoms, batch)
        return loss, metrics | batch_metrics(batch)

    def update_target(self) -> None:
        """Move the target critic."""
        polyak_update(self.target_critic, self.critic, self.config.target_tau)

    def _moving(self, rows: Tensor) -> Tensor:
        """``rows`` [A, ...] of the dimensions that can be moved."""
        return rows if self.rows is None else rows.index_select(0, self.rows)

    def _sample_ties(self, batch: int, generator: torch.Generator) -> Tensor:
        """A bin [L, B * T, A] for each choice that may be tied."""
        size = (self.config.levels, batch * self.chunk_length, self.critic.shape[0])
        return torch.randint(self.config.bins, size, generator=generator, device=generator.device)

    def _levels(self, function: Any, cell: Tensor) -> Tensor:
        """Apply a grid function over [B, T, A] as flat dimensions: [B, L, T, A]."""
        flat = function(cell.flatten(1), self.config.levels, self.config.bins)
        return flat.view(len(cell), self.config.levels, *cell.shape[1:])

    def _descend(
        self, critic: CoarseToFineCritic, observation: Mapping[str, Tensor], count: int, ties: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Zoom greedily: finest cell [B, T, A], and the chosen bins' outputs [A, Z, B * T].

        Those of each level where the network that chooses also values, else of the last one.
        """
        config = self.config
        features = critic.features(observation)
        cell = torch.zeros(count, self.chunk_length, critic.shape[0], dtype=torch.int64, device=self.device)
        kept = []
        for level in range(config.levels):
            centre = grid.cell_centre(cell, level, config.bins)
            outputs = critic(features, centre[:, None], level)
            index = self._best_bin(self._expected(outputs), ties[level])
            if self.movable is not None:
                # The other bins of such a dimension are never trained: their values mean nothing.
                index = torch.where(self.movable[:, None], index, self.home[level])
            if level == config.levels - 1 or not config.double_q:
                kept.append(_pick(outputs, index))
            cell = grid.zoom(cell, index.t().view(cell.shape), config.bins)
        return cell, kept

    def _best_bin(self, values: Tensor, tie: Tensor) -> Tensor:
        """Argmax over bins [A, K, N], or the bin ``tie`` [N, A] where all are within the tie threshold: [A, N]."""
        best = values.max(1).indices  # several times faster than argmax on the CPU
        if self.config.tie_threshold <= 0:
            return best
        tied = values.amax(1) - values.amin(1) < self.config.tie_threshold
        return torch.where(tied, tie.t(), best)

    def _expected(self, outputs: Tensor) -> Tensor:
        """Expected value of each bin: [A, K, Z, N] -> [A, K, N]."""
        if self.config.value == "scalar":
            return outputs[:, :, 0]
        probs = torch.softmax(outputs, 2).flatten(0, 1)
        return torch.bmm(self.atoms.expand(len(probs), 1, -1), probs).view(*outputs.shape[:2], -1)

    @torch.no_grad()
    def _target(self, batch: Mapping[str, Any], noise: Noise) -> tuple[Tensor, Tensor]:
        """Bootstrap target of every dimension and (sample, level, step) (CQN paper, equation 2).

        Returns:
            [A, Z, B * L * T] target, and [A, B * L * T] its mean, which for a categorical value may lie beyond the
            atoms.
        """
        reward, discount = batch["reward"], batch["discount"]
        observation = self.perception(batch["next_obs"], noise.get("next_shifts"))
        chooser = self.critic if self.config.double_q else self.target_critic
        cell, kept = self._descend(chooser, observation, len(reward), noise["ties"])
        if self.config.double_q:
            features = self.target_critic.features(observation)
            outputs = self.target_critic(features, self._levels(grid.centres, cell))
            outputs = _pick(outputs, _tokens(self._levels(grid.path, cell)))
        else:
            levels = torch.stack(kept, 2).unflatten(-1, (len(reward), self.chunk_length))
            outputs = levels.movedim(3, 2).flatten(2)
        if self.config.value == "scalar":
            per_token = outputs.shape[-1] // len(reward)
            target = reward.repeat_interleave(per_token) + discount.repeat_interleave(per_token) * outputs
            return target, target[:, 0]
        # All rows of a sample share its projection.
        by_row = torch.softmax(outputs, 1)
        probs = by_row.unflatten(-1, (len(reward), -1)).permute(2, 0, 3, 1)
        projected = project(probs.flatten(1, 2), reward, discount, self.atoms)
        means = (self.atoms @ by_row).unflatten(-1, (len(reward), -1))
        values = (reward[:, None] + discount[:, None] * means).flatten(1)
        return projected.view(probs.shape).permute(1, 3, 0, 2).flatten(2), values

    def _losses(
        self, outputs: Tensor, chosen: Tensor, target: Tensor, weight: Tensor, demo: Tensor
    ) -> tuple[Tensor, Metrics]:
        """Total loss and its parts; ``weight`` and ``demo`` [N] select the tokens of each mean."""
        config = self.config
        if config.value == "scalar":
            values = outputs[:, :, 0]
            td = masked_mean(F.mse_loss(_pick(outputs, chosen), target, reduction="none")[:, 0], weight)
            loss = config.critic_lambda * td
            metrics = {"critic_loss": td.detach()}
            if config.bc_lambda > 0:
                margin = masked_mean(margin_loss(values.movedim(1, -1), chosen, config.bc_margin), demo)
                loss = loss + config.bc_lambda * margin
                metrics["margin_loss"] = margin.detach()
        else:
            rows = len(outputs)  # every token counts once for each action dimension
            loss, parts = categorical_bin_losses(
                outputs,
                chosen,
                target,
                weight * (config.critic_lambda / (rows * weight.sum().clamp(min=1))),
                demo * (config.bc_lambda / (rows * demo.sum().clamp(min=1))),
                self.atoms,
                config.bc_margin,
                self.imitation,
            )
            # Divided one by one: a tensor made of numbers would be copied to the device, which a capture forbids.
            td, dominance, margin = parts.unbind()
            td = td / max(config.critic_lambda, 1e-12)
            dominance, margin = (part / max(config.bc_lambda, 1e-12) for part in (dominance, margin))
            metrics = {"critic_loss": td, "dominance_loss": dominance, "margin_loss": margin}
            target = self.atoms @ target
        metrics["q_target"] = masked_mean(target, weight)
        metrics["q_target_max"] = torch.where(weight > 0, target, target.amin()).amax()
        return loss, metrics


def _tokens(index: Tensor) -> Tensor:
    """[B, L, T, A] to the critic's order [A, N]."""
    return index.flatten(0, 2).t().contiguous()


def _pick(outputs: Tensor, index: Tensor) -> Tensor:
    """Outputs [A, K, Z, N] of the bins ``index`` [A, N]: [A, Z, N]."""
    where = index[:, None, None].expand(-1, 1, outputs.shape[2], -1)
    return outputs.gather(1, where)[:, 0]
