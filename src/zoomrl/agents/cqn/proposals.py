"""Chunks that a behaviour-cloning policy proposes: a flow from noise to demonstrated chunks.

As in Q-chunking (Li, Zhou, Levine, "Reinforcement Learning with Action Chunking", 2025, arXiv:2507.07969), whose critic
chooses the best of several such chunks. Axes: N proposal, B batch, T step of the chunk, A action dimension.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from zoomrl.agents.contract import Metrics
from zoomrl.agents.cqn.config import ProposalConfig
from zoomrl.agents.cqn.critic import CoarseToFineCritic
from zoomrl.math.flow import flow_pair, follow_flow
from zoomrl.math.losses import masked_mean
from zoomrl.nets.config import EncoderConfig
from zoomrl.nets.mlp import mlp
from zoomrl.nets.trunk import image_trunk


class Choice(NamedTuple):
    """The chunk that was chosen.

    Attributes:
        cell: [B, T, A] int64, its finest cell.
        value: [B].
        values: [M, B] of all candidates, the greedy one first where it is among them.
        chosen: [B], which was chosen.
    """

    cell: Tensor
    value: Tensor
    values: Tensor
    chosen: Tensor


class Proposer(nn.Module):
    """A flow from noise to chunks, by observation.

    Args:
        config: of the proposals.
        encoder: of the images, whose trunk it has of its own.
        sizes: lengths of the observation's features by name.
        chunk_length: T.
        action_dim: A.
    """

    def __init__(
        self,
        config: ProposalConfig,
        encoder: EncoderConfig,
        sizes: Mapping[str, int],
        chunk_length: int,
        action_dim: int,
    ) -> None:
        super().__init__()
        self.config = config
        self.shape = (chunk_length, action_dim)
        size = chunk_length * action_dim
        self.trunk = image_trunk(sizes, encoder)
        self.net = mlp(self.trunk.out_dim + size + 1, config.hidden, size, norm=True, activation="silu")

    def forward(self, features: Tensor, point: Tensor, time: Tensor) -> Tensor:
        """Velocity [..., T, A] at ``point`` [..., T, A] and ``time`` [..., 1], of features [..., F] of the trunk."""
        return self.net(torch.cat([features, point.flatten(-2), time], -1)).view(point.shape)

    def propose(self, observation: Mapping[str, Tensor], starts: Tensor) -> Tensor:
        """Chunks [N, B, T, A], which may lie a little beyond [-1, 1].

        Args:
            observation: features by name [B, ...].
            starts: standard normal noise [N, B, T, A].
        """
        features = self.trunk(observation).expand(len(starts), -1, -1)

        def velocity(point: Tensor, time: float) -> Tensor:
            return self(features, point, point.new_full((*point.shape[:2], 1), time))

        return follow_flow(velocity, starts, self.config.steps)

    def needs_greedy(self, critic: CoarseToFineCritic) -> bool:
        """Whether the greedy chunk is a candidate, or fills in the dimensions that cannot be moved."""
        return self.config.greedy or critic.movable is not None

    def choose(
        self,
        critic: CoarseToFineCritic,
        observation: Mapping[str, Tensor],
        ties: Tensor | None,
        starts: Tensor,
        picks: Tensor | None = None,
    ) -> Choice:
        """The best of the proposals and the greedy chunk.

        Args:
            critic: whose values decide.
            observation: features by name [B, ...].
            ties: [L, B * T, A] of the greedy chunk, where :meth:`needs_greedy`.
            starts: noise [N, B, T, A] that proposals begin from.
            picks: [B], the candidates to take whatever their values.
        """
        cells = critic.cell(self.propose(observation, starts))
        if ties is not None:
            greedy = critic.greedy(observation, ties).cell
            if critic.movable is not None:
                cells = torch.where(critic.movable, cells, greedy)
            if self.config.greedy:
                cells = torch.cat([greedy[None], cells])
        values = critic.score(observation, cells)
        chosen = values.max(0).indices if picks is None else picks
        sample = torch.arange(len(chosen), device=chosen.device)
        return Choice(cells[chosen, sample], values[chosen, sample], values, chosen)

    def compare(self, critic: CoarseToFineCritic, observation: Mapping[str, Tensor], starts: Tensor) -> Metrics:
        """How far the values of candidates lie apart, and how often a proposal is better than the greedy chunk.

        Args:
            critic: whose values they are.
            observation: features by name [B, ...].
            starts: noise [N, B, T, A] that proposals begin from.
        """
        ties = None
        if self.needs_greedy(critic):
            tokens = critic.config.levels, starts.shape[1] * self.shape[0], self.shape[1]
            ties = torch.zeros(tokens, dtype=torch.int64, device=starts.device)
        choice = self.choose(critic, observation, ties, starts)
        found = {"proposal_spread": (choice.values.amax(0) - choice.values.amin(0)).mean()}
        if self.config.greedy:
            found["proposal_chosen"] = (choice.chosen > 0).to(torch.float32).mean()
        return found

    def loss(
        self, observation: Mapping[str, Tensor], actions: Tensor, weight: Tensor, noise: Mapping[str, Tensor]
    ) -> Tensor:
        """Mean squared error of the velocity between noise and demonstrated chunks: 0-d.

        Args:
            observation: features by name [B, ...]; they learn nothing from it.
            actions: [B, T, A].
            weight: [B, T], 1 for demonstrated steps that are no padding.
            noise: of :meth:`sample_learning_noise`.
        """
        time = noise["flow_time"]
        features = self.trunk({name: array.detach() for name, array in observation.items()})
        point, velocity = flow_pair(noise["flow_start"], actions, time[..., None])
        return masked_mean(((self(features, point, time) - velocity) ** 2).mean(-1), weight)

    # ---- noise -----------------------------------------------------------------------------------------------

    def sample_starts(self, number: int, batch: int, generator: torch.Generator) -> Tensor:
        """Standard normal noise [N, B, T, A] that proposals begin from."""
        return torch.randn(number, batch, *self.shape, generator=generator, device=generator.device)

    def sample_picks(self, number: int, batch: int, generator: torch.Generator) -> Tensor | None:
        """Any of the candidates [B]; None where the critic chooses."""
        if self.config.choose == "critic":
            return None
        among = number + self.config.greedy
        return torch.randint(among, (batch,), generator=generator, device=generator.device)

    def sample_learning_noise(self, batch: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Noise ``flow_start`` [B, T, A] and time ``flow_time`` [B, 1], uniform in 0 to 1, of points to learn at."""
        time = torch.rand(batch, 1, generator=generator, device=generator.device)
        return {"flow_start": self.sample_starts(1, batch, generator)[0], "flow_time": time}
