"""CQN and CQN-AS: coarse-to-fine Q-networks over single actions and over action chunks.

Papers: Seo, Uruc, James, "Continuous Control with Coarse-to-fine Reinforcement Learning" (CoRL 2024) and
Seo, Abbeel, "Reinforcement Learning with Action Sequence for Data-Efficient Robot Learning" (2024).
Axes: B batch, L level, T step of the chunk, A action dimension. CQN is the case T = 1 without recurrence.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from zoomrl.agents.contract import Metrics
from zoomrl.agents.cqn.config import CQNASConfig, CQNConfig
from zoomrl.agents.cqn.critic import BinValues, CoarseToFineCritic, Path, Target
from zoomrl.agents.cqn.imitation import imitation_weight
from zoomrl.agents.cqn.proposals import Proposer
from zoomrl.agents.learner import Learner, Noise, Piece, Tensors, network_pieces, sample_shifts
from zoomrl.agents.metrics import batch_metrics, input_metrics, value_bounds, weight_distance, weight_norm
from zoomrl.agents.optimization import make_optimizer, optimizer_step, polyak_update
from zoomrl.agents.steps import demonstrated, valued
from zoomrl.math.returns import prefix_returns


class CQN(Learner):
    """One critic, its target and one optimizer; no actor, but a policy that proposes chunks where it is asked for."""

    losses = ("loss",)
    measures = True

    config: CQNConfig

    def _build(self) -> None:
        config = self.config
        critic = CoarseToFineCritic(config, self.perception.sizes, self.action_dim, self.movable)
        self.critic = critic.to(self.device)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        learned = [*self.perception.learnt(), *self.critic.parameters()]
        self.optimizer = make_optimizer(config.optimizer, learned, config.lr, config.weight_decay)
        self.proposer: Proposer | None = None
        if config.proposals.count:
            sizes, steps = self.perception.sizes, self.chunk_length
            self.proposer = Proposer(config.proposals, config.encoder, sizes, steps, self.action_dim).to(self.device)
            flow = list(self.proposer.parameters())
            self.proposer_optimizer = make_optimizer("adamw", flow, config.proposals.lr, 0.0)

    @property
    def prefixes(self) -> bool:
        """Whether each step of a chunk has a target of its own."""
        return isinstance(self.config, CQNASConfig) and self.config.prefix_targets

    @property
    def sequence_length(self) -> int:
        """Steps of the sequences that batches must hold in addition: those of a chunk, for targets of its prefixes."""
        return self.chunk_length if self.prefixes else super().sequence_length

    # ---- acting ----------------------------------------------------------------------------------------------

    def sample_acting_noise(self, count: int, generator: torch.Generator, explore: bool) -> Noise:
        """Which of tied bins to take; noise that proposals begin from, and which of them to take if any."""
        noise = dict(self._sample_ties(count, generator))
        if self.proposer is not None:
            number = self.config.proposals.count
            noise["starts"] = self.proposer.sample_starts(number, count, generator)
            if (picks := self.proposer.sample_picks(number, count, generator)) is not None:
                noise["picks"] = picks
        return noise

    def propose(self, observation: Mapping[str, Tensor], noise: Noise) -> Tensors:
        """Greedy chunk at the centres of the finest intervals (CQN paper, algorithm 1), and its value.

        With proposals the best of them and of the greedy one.
        """
        critic, features = self.acting_critic, self.perception(observation)
        if self.proposer is None:
            best = critic.greedy(features, noise["ties"])
            return {"actions": critic.centre(best.cell), "value": critic.value_of(best)}
        choice = self.proposer.choose(critic, features, noise.get("ties"), noise["starts"], noise.get("picks"))
        return {"actions": critic.centre(choice.cell), "value": choice.value}

    @property
    def acting_critic(self) -> CoarseToFineCritic:
        """The critic that chooses actions, which ``act_with`` names."""
        return self.target_critic if self.config.act_with == "target" else self.critic

    @torch.inference_mode()
    def values_along(self, observation: Mapping[str, Tensor], actions: Tensor) -> BinValues:
        """Values of all bins on the way to ``actions`` [B, T, A] in [-1, 1], by the critic that acts.

        Args:
            observation: stacked, as for :meth:`act`.
            actions: those that :meth:`act` proposed, whose bins are then the greedy ones, or any other chunk.

        Returns:
            On the CPU.
        """
        features = self.perception({name: array.to(self.device) for name, array in observation.items()})
        critic = self.acting_critic
        found = critic.values_along(features, critic.cell(actions.to(self.device)))
        return BinValues(*(part.cpu() for part in found))

    # ---- learning --------------------------------------------------------------------------------------------

    def sample_noise(self, batch: int) -> Noise:
        """Which of tied bins the bootstrap action takes, shifts of the images, and the weight of imitation now."""
        generator, following = self.generator, batch * self.chunk_length if self.prefixes else batch
        weight = torch.full((), imitation_weight(self.config, self.updates), device=self.device)
        noise = {
            **self._sample_ties(following, generator),
            "imitation_weight": weight,
            **sample_shifts(self.perception, batch, generator, following),
        }
        if self.proposer is not None:
            number = self.config.proposals.target_count
            noise["next_starts"] = self.proposer.sample_starts(number, following, generator)
            if (picks := self.proposer.sample_picks(number, following, generator)) is not None:
                noise["next_picks"] = picks
            noise |= self.proposer.sample_learning_noise(batch, generator)
        return noise

    def learn(self, batch: Mapping[str, Any], noise: Noise) -> Metrics:
        """One step on the temporal-difference loss and, for demonstrated samples, the imitation losses.

        Args:
            batch: ``obs`` and ``next_obs`` (``state`` [B, S], ``rgb`` uint8 [B, F, V, H, W, 3]), ``actions``
                [B, T, A] in [-1, 1], ``valid`` [B, T], ``reward`` [B] (n-step return), ``discount`` [B],
                ``is_demo`` [B].
            noise: of :meth:`sample_noise`.
        """
        loss, metrics = self.loss(batch, noise)
        if self.proposer is None:
            optimizer_step(self.optimizer, loss)
        else:
            self.proposer_optimizer.zero_grad(set_to_none=True)
            optimizer_step(self.optimizer, loss)
            self.proposer_optimizer.step()
        return {"loss": loss.detach(), **metrics}

    def loss(self, batch: Mapping[str, Any], noise: Noise) -> tuple[Tensor, Metrics]:
        """Total loss, with gradient, and what to report."""
        target = self.target(batch, noise)
        observation = self.perception(batch["obs"], noise.get("shifts"))
        path = self.critic.along(observation, self.critic.cell(batch["actions"]))
        weight, demo = self._by_level(valued(batch), path), self._by_level(demonstrated(batch), path)
        loss, metrics = self.critic.losses(path, target, weight, demo, noise["imitation_weight"])
        if self.proposer is not None:
            flow = self.proposer.loss(observation, batch["actions"], demo[:, 0], noise)
            loss, metrics = loss + flow, metrics | {"proposal_loss": flow.detach()}
        if self.config.value == "categorical":
            metrics |= value_bounds(batch)
        if self.config.bc_schedule != "1":
            metrics["imitation_weight"] = noise["imitation_weight"].clone()
        return loss, metrics | batch_metrics(batch)

    @torch.no_grad()
    def target(self, batch: Mapping[str, Any], noise: Noise) -> Target:
        """Bootstrap target of every level, step and dimension (CQN paper, equation 2).

        ``R + discount * Q_target(s', a*)``, with a* chosen greedily by the online critic (double Q-learning) or by the
        target critic itself. With ``prefix_targets`` step t of a chunk has an R, a discount and an s' of its own.
        """
        if not self.prefixes:
            chosen = self._bootstrap(batch["next_obs"], noise)
            return self.target_critic.backup(chosen, batch["reward"], batch["discount"])
        ahead = batch["sequence"]
        chosen = self._bootstrap({name: array.flatten(0, 1) for name, array in ahead["obs"].items()}, noise)
        returns, discounts = prefix_returns(ahead["reward"] * ahead["valid"], ahead["discount"])
        return self.target_critic.backup_prefixes(chosen, returns, discounts)

    def _bootstrap(self, following: Mapping[str, Tensor], noise: Noise) -> Tensor:
        """Outputs [A, Z, N] of the target critic on the way to the best chunk at each of the ``following`` states."""
        observation = self.perception(following, noise.get("next_shifts"))
        double = self.config.double_q
        critic = self.critic if double else self.target_critic
        if self.proposer is not None:
            starts, picks = noise["next_starts"], noise.get("next_picks")
            cell = self.proposer.choose(critic, observation, noise.get("ties"), starts, picks).cell
        else:
            best = critic.greedy(observation, noise["ties"], all_levels=not double)
            if not double:
                return self.target_critic.chosen_by(best)
            cell = best.cell
        return self.target_critic.chosen_on(self.target_critic.along(observation, cell))

    def sample_measuring_noise(self, batch: int) -> Noise:
        """Noise that proposals begin from."""
        if self.proposer is None:
            return {}
        return {"starts": self.proposer.sample_starts(self.config.proposals.count, batch, self.generator)}

    def measure(self, batch: Mapping[str, Any], noise: Noise) -> Metrics:
        """Whether the critic still tells bins apart and agrees with demonstrations, and what reaches it."""
        features = self.perception(batch["obs"])
        path = self.critic.along(features, self.critic.cell(batch["actions"]))
        found = {} if self.proposer is None else self.proposer.compare(self.critic, features, noise["starts"])
        data, demo = self._by_level(batch["valid"], path), self._by_level(demonstrated(batch), path)
        return {
            **found,
            **self.critic.compare_bins(path, data, demo),
            **input_metrics(batch, features),
            "target_distance": weight_distance(self.critic, self.target_critic),
            "target_norm": weight_norm(self.target_critic),
        }

    def _by_level(self, steps: Tensor, path: Path) -> Tensor:
        """Weights [B, L, T] of the tokens of ``steps`` [B, T]."""
        return steps[:, None].expand(-1, self.config.levels, -1).to(path.outputs.dtype)

    def update_target(self) -> None:
        """``target_critic += target_tau * (critic - target_critic)``."""
        polyak_update(self.target_critic, self.critic, self.config.target_tau)

    # ---- how it is saved and run -----------------------------------------------------------------------------

    @property
    def components(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """What is saved."""
        own: dict[str, nn.Module | torch.optim.Optimizer] = {
            "critic": self.critic,
            "target_critic": self.target_critic,
            "optimizer": self.optimizer,
        }
        if self.proposer is not None:
            own |= {"proposer": self.proposer, "proposer_optimizer": self.proposer_optimizer}
        return own

    def autocast_modules(self) -> list[nn.Module]:
        """Encoder and streams, without the heads."""
        critics = [*self.critic.autocast_modules(), *self.target_critic.autocast_modules()]
        flow = [] if self.proposer is None else [self.proposer.trunk, self.proposer.net]
        return [*self.perception.networks(), *critics, *flow]

    def pieces(self) -> list[Piece]:
        """What repeats: encoders by view, streams by level and network, imitation terms by action dimension.

        Without images and recurrence these are few, and the loss as a whole is compiled in less time.
        """
        if not self.perception.encoders() and all(stream.gru is None for stream in self.critic.streams):
            return super().pieces()
        streams = [stream for critic in (self.critic, self.target_critic) for stream in critic.streams]
        encoders: list[Piece] = [(net, "forward") for net in self.perception.encoders()]
        flow: list[Piece] = [] if self.proposer is None else [(self.proposer.net, "forward")]
        own = [*encoders, *network_pieces(streams, self.chunk_length), (self.critic, "imitation"), *flow]
        return [*own, *self.representation_pieces()]

    def _sample_ties(self, batch: int, generator: torch.Generator) -> Noise:
        """A bin [L, B * T, A] for each choice of a greedy chunk that may be tied; nothing where none is chosen."""
        if self.proposer is not None and not self.proposer.needs_greedy(self.critic):
            return {}
        size = (self.config.levels, batch * self.chunk_length, self.action_dim)
        return {"ties": torch.randint(self.config.bins, size, generator=generator, device=generator.device)}
