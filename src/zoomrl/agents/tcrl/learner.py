"""TCRL: DrQ-v2's learning rule on a latent that predicts itself and its rewards.

Paper: Zhao et al., "Simplified Temporal Consistency Reinforcement Learning" (2023).
"""

from __future__ import annotations

from zoomrl.agents.drqv2.learner import DrQv2
from zoomrl.nets.latent_actor_critic import LatentActor, LatentTwinCritic


class TCRL(DrQv2):
    """:class:`DrQv2` with the networks of TCRL; the latent is that of ``config.representation``."""

    def _networks(self, outputs: int) -> tuple[LatentActor, LatentTwinCritic]:
        size, hidden = self.perception.sizes["state"], self.config.hidden_dim
        actor = LatentActor(size, self.action_dim, hidden)
        return actor, LatentTwinCritic(size, self.action_dim, hidden, outputs)
