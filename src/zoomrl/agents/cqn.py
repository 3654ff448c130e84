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
from tensordict import TensorDict
from torch import Tensor, nn

from zoomrl.agents.base import Metrics
from zoomrl.agents.config import CQNASConfig, CQNConfig
from zoomrl.control.plan import Plan
from zoomrl.math import grid
from zoomrl.math.bin_losses import categorical_bin_losses
from zoomrl.math.categorical import project, support
from zoomrl.math.losses import margin_loss, masked_mean
from zoomrl.nets.critic import CoarseToFineCritic
from zoomrl.nets.normalize import Normalizer


class CQN:
    """One critic, its target and one optimiser; no actor.

    Args:
        config: hyper-parameters; a :class:`CQNASConfig` makes it CQN-AS.
        state_dim: length S of the (stacked) observation vector.
        action_dim: action dimensions A.
        seed: of the weights and of the ties broken while learning.
        statistics: mean and standard deviation [S] of the demonstrations, for ``normalize="demos"``.
    """

    def __init__(
        self,
        config: CQNConfig,
        state_dim: int,
        action_dim: int,
        seed: int = 0,
        statistics: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        self.config = config
        self.horizon = config.horizon if isinstance(config, CQNASConfig) else 1
        self.normalizer = Normalizer(state_dim, statistics if config.normalize == "demos" else None)
        self.atoms = support(config.v_min, config.v_max, config.atoms)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.critic = CoarseToFineCritic(
                state_dim=state_dim,
                action_dim=action_dim,
                horizon=self.horizon,
                levels=config.levels,
                bins=config.bins,
                outputs=config.atoms if config.value == "categorical" else 1,
                hidden_dim=config.hidden_dim,
                hidden_bias=config.hidden_bias,
                trunk_dim=config.trunk_dim,
                gru_layers=config.gru_layers if isinstance(config, CQNASConfig) else 0,
                dueling=config.dueling,
            )
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.optimizer = _optimizer(config, self.critic)
        self.generator = torch.Generator().manual_seed(seed)
        self.updates = 0

    @torch.no_grad()
    def act(self, observation: Mapping[str, Tensor], generator: torch.Generator) -> Plan:
        """Greedy chunk [N, T, A] at the centres of the finest intervals (CQN paper, algorithm 1)."""
        critic = self.target_critic if self.config.act_with == "target" else self.critic
        cell, _ = self._descend(critic, self.normalizer(observation["state"]), generator)
        actions = grid.cell_centre(cell, self.config.levels, self.config.bins)
        return Plan(actions, torch.ones(actions.shape[:2], dtype=torch.bool))

    def update(self, batch: TensorDict) -> Metrics:
        """One step on the temporal-difference loss and, for demonstrated samples, the imitation losses.

        Args:
            batch: ``obs`` and ``next_obs`` {state [B, S]}, ``actions`` [B, T, A] in [-1, 1], ``valid`` [B, T],
                ``reward`` [B] (n-step return), ``discount`` [B], ``is_demo`` [B].
        """
        config = self.config
        target = self._target(batch)
        cell = grid.to_cell(batch["actions"], config.levels, config.bins)
        features = self.critic.features(self.normalizer(batch["obs", "state"]))
        outputs = self.critic(features, self._levels(grid.centres, cell))

        # Padded steps of a chunk are no data: they reach neither mean.
        weight = batch["valid"][:, None].expand(-1, config.levels, -1).to(outputs.dtype)
        demo = weight * batch["is_demo"][:, None, None]
        chosen = _tokens(self._levels(grid.path, cell))
        loss, metrics = self._losses(outputs, chosen, target, weight.flatten(), demo.flatten())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.updates += 1
        self._step_target()
        with torch.no_grad():
            metrics |= {
                "loss": loss.detach(),
                "batch_return": batch["reward"].mean(),
                "demo_share": batch["is_demo"].to(torch.float32).mean(),
            }
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Weights, target, optimiser, normaliser, random state and update counter."""
        return {
            "critic": self.critic.state_dict(),
            "target_critic": self.target_critic.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "normalizer": self.normalizer.state_dict(),
            "generator": self.generator.get_state(),
            "updates": self.updates,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        self.critic.load_state_dict(state["critic"])
        self.target_critic.load_state_dict(state["target_critic"])
        # The optimiser would keep the very tensors it is given.
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        self.normalizer.load_state_dict(state["normalizer"])
        self.generator.set_state(state["generator"])
        self.updates = state["updates"]

    def _levels(self, function: Any, cell: Tensor) -> Tensor:
        """Apply a grid function over [B, T, A] as flat dimensions: [B, L, T, A]."""
        flat = function(cell.flatten(1), self.config.levels, self.config.bins)
        return flat.view(len(cell), self.config.levels, *cell.shape[1:])

    def _descend(
        self, critic: CoarseToFineCritic, state: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, list[Tensor]]:
        """Zoom greedily: finest cell [B, T, A], and each level's outputs of the chosen bins [A, Z, B * T]."""
        config = self.config
        features = critic.features(state)
        cell = torch.zeros(len(state), self.horizon, critic.shape[0], dtype=torch.int64)
        kept = []
        for level in range(config.levels):
            centre = grid.cell_centre(cell, level, config.bins)
            outputs = critic(features, centre[:, None], level)
            index = self._best_bin(self._expected(outputs), generator)
            if not config.double_q:
                kept.append(_pick(outputs, index))
            cell = grid.zoom(cell, index.t().view(cell.shape), config.bins)
        return cell, kept

    def _best_bin(self, values: Tensor, generator: torch.Generator) -> Tensor:
        """Argmax over bins [A, K, N], drawn uniformly where all bins are within the tie threshold: [A, N]."""
        best = values.max(1).indices  # several times faster than argmax on the CPU
        if self.config.tie_threshold <= 0:
            return best
        tied = values.amax(1) - values.amin(1) < self.config.tie_threshold
        draw = torch.randint(self.config.bins, best.shape[::-1], generator=generator).t()
        return torch.where(tied, draw, best)

    def _expected(self, outputs: Tensor) -> Tensor:
        """Expected value of each bin: [A, K, Z, N] -> [A, K, N]."""
        if self.config.value == "scalar":
            return outputs[:, :, 0]
        probs = torch.softmax(outputs, 2).flatten(0, 1)
        return torch.bmm(self.atoms.expand(len(probs), 1, -1), probs).view(*outputs.shape[:2], -1)

    @torch.no_grad()
    def _target(self, batch: TensorDict) -> Tensor:
        """Bootstrap target of every dimension and (sample, level, step): [A, Z, B * L * T] (CQN paper, equation 2)."""
        state = self.normalizer(batch["next_obs", "state"])
        if self.config.double_q:
            cell, _ = self._descend(self.critic, state, self.generator)
            outputs = self.target_critic(self.target_critic.features(state), self._levels(grid.centres, cell))
            outputs = _pick(outputs, _tokens(self._levels(grid.path, cell)))
        else:
            _, kept = self._descend(self.target_critic, state, self.generator)
            levels = torch.stack(kept, 2).unflatten(-1, (len(state), self.horizon))
            outputs = levels.movedim(3, 2).flatten(2)
        reward, discount = batch["reward"], batch["discount"]
        if self.config.value == "scalar":
            per_token = outputs.shape[-1] // len(reward)
            return reward.repeat_interleave(per_token) + discount.repeat_interleave(per_token) * outputs
        # All rows of a sample share its projection.
        probs = torch.softmax(outputs, 1).unflatten(-1, (len(state), -1)).permute(2, 0, 3, 1)
        projected = project(probs.flatten(1, 2), reward, discount, self.atoms)
        return projected.view(probs.shape).permute(1, 3, 0, 2).flatten(2)

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
            )
            coefficients = parts.new_tensor([config.critic_lambda, config.bc_lambda, config.bc_lambda])
            td, dominance, margin = (parts / coefficients.clamp(min=1e-12)).unbind()
            metrics = {"critic_loss": td, "dominance_loss": dominance, "margin_loss": margin}
            target = self.atoms @ target
        metrics["q_target"] = masked_mean(target, weight)
        metrics["q_target_max"] = torch.where(weight > 0, target, target.amin()).amax()
        return loss, metrics

    def _step_target(self) -> None:
        if self.updates % self.config.target_interval == 0:
            online: list[Tensor] = list(self.critic.parameters())
            target: list[Tensor] = list(self.target_critic.parameters())
            with torch.no_grad():
                torch._foreach_lerp_(target, online, self.config.target_tau)


def _optimizer(config: CQNConfig, module: nn.Module) -> torch.optim.Optimizer:
    if config.optimizer == "adam":
        return torch.optim.Adam(module.parameters(), lr=config.lr, fused=True)
    return torch.optim.AdamW(module.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True)


def _tokens(index: Tensor) -> Tensor:
    """[B, L, T, A] to the critic's order [A, N]."""
    return index.flatten(0, 2).t().contiguous()


def _pick(outputs: Tensor, index: Tensor) -> Tensor:
    """Outputs [A, K, Z, N] of the bins ``index`` [A, N]: [A, Z, N]."""
    where = index[:, None, None].expand(-1, 1, outputs.shape[2], -1)
    return outputs.gather(1, where)[:, 0]
