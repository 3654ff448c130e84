"""The critic of CQN and CQN-AS: zooming, greedy descent, bootstrap targets and losses.

All that depends on how values lie in memory is here. A *token* is one (sample, level, step of the chunk); the outputs
of all bins are [A, K, Z, N] with the N = B * L * T tokens innermost, so that everything done to the K bins or Z atoms
runs along long contiguous vectors. Callers see cells [B, T, A] and masks [B, L, T] alone.
Axes: B batch, L level, T step, A action dimension, K bin, Z atom (1 for scalar values), N token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from zoomrl.agents.cqn.config import CQNASConfig, CQNConfig
from zoomrl.agents.cqn.networks import CoarseToFineNetwork
from zoomrl.agents.metrics import clipped_fractions
from zoomrl.math import grid
from zoomrl.math.bin_losses import categorical_bin_losses, imitation_terms
from zoomrl.math.categorical import geometric_support, project, support
from zoomrl.math.losses import margin_loss, masked_mean


class Greedy(NamedTuple):
    """Where greedy zooming leads, and what is predicted there.

    Attributes:
        cell: [B, T, A] int64, finest cell.
        chosen: outputs [A, Z, B * T] of the chosen bins, of one level or of all, coarsest first.
    """

    cell: Tensor
    chosen: list[Tensor]


class Target(NamedTuple):
    """What the bins on the way to an action are to predict.

    Attributes:
        outputs: [A, Z, N] distribution over the atoms, or the value itself.
        mean: [A, N] its mean before a projection, which may lie beyond the atoms.
    """

    outputs: Tensor
    mean: Tensor


class Path(NamedTuple):
    """Predictions on the way to an action.

    Attributes:
        outputs: [A, K, Z, N] of all bins.
        bins: [A, N] int64, those that lead to the action.
    """

    outputs: Tensor
    bins: Tensor


class BinValues(NamedTuple):
    """What every bin on the way to an action is worth.

    Attributes:
        values: [B, L, T, A, K] expected values, coarsest level first; those of a level are of the bins within the
            interval that the levels above lead to.
        bins: [B, L, T, A] int64, those that lead to the action.
    """

    values: Tensor
    bins: Tensor


class CoarseToFineCritic(CoarseToFineNetwork):
    """Q-values of every bin of every action dimension, one zoom level after the other.

    Args:
        config: of the agent.
        sizes: lengths of the observation's features by name, ``state`` and ``image``.
        action_dim: action dimensions A.
        movable: [A] bool, dimensions that can be moved; None for all. Bins of the others are never trained: there the
            bins that lead to the action 0 are chosen, and losses and means leave the dimension out.
    """

    atoms: Tensor
    home: Tensor
    movable: Tensor | None
    rows: Tensor | None

    def __init__(
        self, config: CQNConfig, sizes: Mapping[str, int], action_dim: int, movable: Tensor | None = None
    ) -> None:
        chunk_length, gru_layers = (
            (config.chunk_length, config.gru_layers) if isinstance(config, CQNASConfig) else (1, 0)
        )
        super().__init__(
            sizes=sizes,
            action_dim=action_dim,
            chunk_length=chunk_length,
            levels=config.levels,
            bins=config.bins,
            outputs=config.atoms if config.value == "categorical" else 1,
            hidden_dim=config.hidden_dim,
            hidden_bias=config.hidden_bias,
            trunk_dim=config.trunk_dim,
            image_dim=config.encoder.feature_dim,
            image_layers=config.encoder.layers,
            gru_layers=gru_layers,
            dueling=config.dueling,
        )
        self.config = config
        self.imitation: Callable[..., Tensor] = imitation_terms
        even = config.atom_spacing == "even"
        span = (config.v_min if even else config.v_least, config.v_max, config.atoms)
        self.register_buffer("atoms", support(*span) if even else geometric_support(*span), persistent=False)
        home = grid.encode(torch.zeros(1), config.levels, config.bins)[:, 0]
        self.register_buffer("home", home, persistent=False)
        self.register_buffer("movable", movable, persistent=False)
        self.register_buffer("rows", None if movable is None else movable.nonzero()[:, 0], persistent=False)

    # ---- zooming ---------------------------------------------------------------------------------------------

    def cell(self, actions: Tensor) -> Tensor:
        """Finest cell of actions in [-1, 1]: [B, T, A]."""
        return grid.to_cell(actions, self.config.levels, self.config.bins)

    def centre(self, cell: Tensor) -> Tensor:
        """Action at the centre of a finest cell: [B, T, A]."""
        return grid.cell_centre(cell, self.config.levels, self.config.bins)

    def greedy(self, observation: Mapping[str, Tensor], ties: Tensor, *, all_levels: bool = False) -> Greedy:
        """Zoom into the best bin of every dimension, level by level (CQN paper, algorithm 1).

        Args:
            observation: features by name [B, ...].
            ties: [L, B * T, A], the bin to take where all values are within ``tie_threshold``.
            all_levels: keep the chosen bins' outputs of every level, not those of the finest alone.
        """
        config = self.config
        features = self.features(observation)
        count = len(features.inputs[0])
        cell = torch.zeros(count, self.chunk_length, self.shape[0], dtype=torch.int64, device=ties.device)
        chosen = []
        for level in range(config.levels):
            centre = grid.cell_centre(cell, level, config.bins)
            outputs = self(features, centre[:, None], level)
            index = self._best_bin(self.expected(outputs), ties[level])
            if self.movable is not None:
                index = torch.where(self.movable[:, None], index, self.home[level])
            if all_levels or level == config.levels - 1:
                chosen.append(_pick(outputs, index))
            cell = grid.zoom(cell, index.t().view(cell.shape), config.bins)
        return Greedy(cell, chosen)

    def along(self, observation: Mapping[str, Tensor], cell: Tensor) -> Path:
        """Predictions at all levels on the way to ``cell`` [B, T, A]."""
        outputs = self(self.features(observation), self._levels(grid.centres, cell))
        return Path(outputs, _tokens(self._levels(grid.path, cell)))

    # ---- values ----------------------------------------------------------------------------------------------

    def expected(self, outputs: Tensor) -> Tensor:
        """Expected value of each bin: [A, K, Z, N] -> [A, K, N]."""
        if self.config.value == "scalar":
            return outputs[:, :, 0]
        probs = torch.softmax(outputs, 2).flatten(0, 1)
        return torch.bmm(self.atoms.expand(len(probs), 1, -1), probs).view(*outputs.shape[:2], -1)

    def values_along(self, observation: Mapping[str, Tensor], cell: Tensor) -> BinValues:
        """Values of all bins at all levels on the way to ``cell`` [B, T, A].

        Along the cell of :meth:`greedy` these are the values that the greedy choice compared.
        """
        path = self.along(observation, cell)
        lead = (len(cell), self.config.levels, self.chunk_length)
        values = self.expected(path.outputs).unflatten(-1, lead)
        return BinValues(values.movedim((0, 1), (3, 4)), path.bins.unflatten(-1, lead).movedim(0, 3))

    def value_of(self, best: Greedy) -> Tensor:
        """Value of the greedy chunk: [B].

        All steps and dimensions estimate the value of the same state; the finest level decides the action.
        """
        last = self._moving(best.chosen[-1])
        return self.expected(last[:, None])[:, 0].view(-1, *best.cell.shape[:2]).mean((0, 2))

    def score(self, observation: Mapping[str, Tensor], cells: Tensor) -> Tensor:
        """Values [M, B] of M chunks of each sample, as :meth:`value_of` has that of the greedy one.

        Args:
            observation: features by name [B, ...].
            cells: finest cells [M, B, T, A].
        """
        features = self.features(observation)
        inputs = [rows.repeat(len(cells), 1) for rows in features.inputs]
        flat, last = cells.flatten(0, 1), self.config.levels - 1
        centre = grid.cell_centre(flat // self.config.bins, last, self.config.bins)
        outputs = self(features._replace(inputs=inputs), centre[:, None], last)
        path = Path(outputs, _tokens((flat % self.config.bins)[:, None]))
        values = self.expected(self._moving(self.chosen_on(path))[:, None])[:, 0]
        return values.view(-1, *cells.shape[:3]).mean((0, 3))

    def backup_prefixes(self, chosen: Tensor, returns: Tensor, discounts: Tensor) -> Target:
        """Targets by which step t of a chunk bootstraps after t steps, from the same step there.

        Args:
            chosen: [A, Z, B * T * L * T] outputs at the T states that each chunk leads through.
            returns, discounts: [B, T], of its prefixes.
        """
        steps, levels = self.chunk_length, self.config.levels
        after = chosen.unflatten(-1, (-1, steps, levels, steps)).diagonal(dim1=3, dim2=5)
        found = self.backup(after.transpose(3, 4).flatten(2), returns.flatten(), discounts.flatten())

        def by_token(rows: Tensor) -> Tensor:
            return rows.unflatten(-1, (-1, steps, levels)).transpose(-1, -2).flatten(-3)

        return Target(by_token(found.outputs), by_token(found.mean))

    def backup(self, chosen: Tensor, reward: Tensor, discount: Tensor) -> Target:
        """``reward + discount * value`` of chosen bins.

        Categorical values are projected back onto the atoms (C51, equation 7).

        Args:
            chosen: [A, Z, N] outputs.
            reward, discount: [B].
        """
        if self.config.value == "scalar":
            per_token = chosen.shape[-1] // len(reward)
            target = reward.repeat_interleave(per_token) + discount.repeat_interleave(per_token) * chosen
            return Target(target, target[:, 0])
        even = self.config.atom_spacing == "even"
        # All rows of a sample share its projection.
        by_row = torch.softmax(chosen, 1)
        probs = by_row.unflatten(-1, (len(reward), -1)).permute(2, 0, 3, 1)
        projected = project(probs.flatten(1, 2), reward, discount, self.atoms, even=even)
        means = (self.atoms @ by_row).unflatten(-1, (len(reward), -1))
        values = (reward[:, None] + discount[:, None] * means).flatten(1)
        return Target(projected.view(probs.shape).permute(1, 3, 0, 2).flatten(2), values)

    def chosen_on(self, path: Path) -> Tensor:
        """Outputs [A, Z, N] of the bins that a path leads through."""
        return _pick(path.outputs, path.bins)

    def chosen_by(self, best: Greedy) -> Tensor:
        """Outputs [A, Z, N] of the bins that a greedy search over ``all_levels`` has chosen."""
        levels = torch.stack(best.chosen, 2).unflatten(-1, best.cell.shape[:2])
        return levels.movedim(3, 2).flatten(2)

    # ---- losses ----------------------------------------------------------------------------------------------

    def losses(
        self, path: Path, target: Target, weight: Tensor, demo: Tensor, imitation_weight: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """``critic_lambda * TD + imitation_weight * (dominance + margin)``, and its parts without gradient.

        Args:
            path: predictions on the way to the actions taken.
            target: of the same tokens.
            weight: [B, L, T], 1 for tokens that count in the temporal-difference loss.
            demo: [B, L, T], 1 for tokens that are to be imitated.
            imitation_weight: a number; ``bc_lambda``, times its schedule.
        """
        config, weight, demo = self.config, weight.flatten(), demo.flatten()
        outputs, bins, wanted, mean = (self._moving(rows) for rows in (*path, *target))
        if config.value == "scalar":
            predicted = _pick(outputs, bins)
            td = masked_mean(F.mse_loss(predicted, wanted, reduction="none")[:, 0], weight)
            loss, parts = config.critic_lambda * td, {"critic_loss": td.detach()}
            if config.bc_lambda > 0:
                # Only the mean of a scalar value is known: there is no dominance.
                margin = masked_mean(margin_loss(outputs[:, :, 0].movedim(1, -1), bins, config.bc_margin), demo)
                loss = loss + imitation_weight * margin
                parts["margin_loss"] = margin.detach()
            return loss, parts | _report(wanted, weight)
        rows = len(outputs)  # every token counts once for each action dimension
        loss, sums = categorical_bin_losses(
            outputs,
            bins,
            wanted,
            weight * (config.critic_lambda / (rows * weight.sum().clamp(min=1))),
            demo * (imitation_weight / (rows * demo.sum().clamp(min=1))),
            self.atoms,
            config.bc_margin,
            self.imitation,
        )
        # Divided one by one: a tensor made of numbers would be copied to the device, which a capture forbids.
        td, dominance, margin = sums.unbind()
        td = td / max(config.critic_lambda, 1e-12)
        dominance, margin = (part / imitation_weight.clamp(min=1e-12) for part in (dominance, margin))
        # Sums of a weight that is 0 say nothing: 0 would read as a loss that has been learnt away.
        parts = {"critic_loss": td} if config.critic_lambda > 0 else {}
        if config.bc_lambda > 0:
            parts |= {"dominance_loss": dominance, "margin_loss": margin}
        reported = _report(self.atoms @ wanted, weight) | clipped_fractions(mean, weight, self.atoms)
        return loss, parts | reported

    def compare_bins(self, path: Path, weight: Tensor, demo: Tensor) -> dict[str, Tensor]:
        """How far the values of sibling bins lie apart, and whether demonstrated bins are the best.

        Where they no longer differ the choice of actions is lost, though every loss may fall. Means over samples,
        levels, steps, and the dimensions that can be moved.

        Args:
            path: predictions on the way to the actions taken.
            weight: [B, L, T], 1 for tokens that are data.
            demo: [B, L, T], 1 for tokens that are to be imitated.
        """
        outputs, bins = (self._moving(rows) for rows in path)
        counted, imitated = weight.flatten(), demo.flatten()
        values = self.expected(outputs)
        best, second = values.topk(2, dim=1).values.unbind(1)
        tied = (best - values.amin(1) < self.config.tie_threshold).to(values.dtype)
        agree = (values.max(1).indices == bins).to(values.dtype)
        return {
            "sibling_spread": masked_mean(best - values.amin(1), counted),
            "bin_gap": masked_mean(best - second, counted),
            "logit_spread": masked_mean(outputs.std(1, correction=0).mean(1), counted),
            "demo_agreement": masked_mean(agree, imitated),
            "tied": masked_mean(tied, counted),
        }

    # ---- layout ----------------------------------------------------------------------------------------------

    def _levels(self, function: Callable[[Tensor, int, int], Tensor], cell: Tensor) -> Tensor:
        """Apply a grid function over [B, T, A] as flat dimensions: [B, L, T, A]."""
        flat = function(cell.flatten(1), self.config.levels, self.config.bins)
        return flat.view(len(cell), self.config.levels, *cell.shape[1:])

    def _moving(self, rows: Tensor) -> Tensor:
        """``rows`` [A, ...] of the dimensions that can be moved."""
        return rows if self.rows is None else rows.index_select(0, self.rows)

    def _best_bin(self, values: Tensor, tie: Tensor) -> Tensor:
        """Argmax over bins [A, K, N], or the bin ``tie`` [N, A] where all are within the tie threshold: [A, N]."""
        best = values.max(1).indices  # several times faster than argmax on the CPU
        if self.config.tie_threshold <= 0:
            return best
        tied = values.amax(1) - values.amin(1) < self.config.tie_threshold
        return torch.where(tied, tie.t(), best)


def _report(values: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """Mean and largest target of the tokens that count."""
    return {
        "q_target": masked_mean(values, weight),
        "q_target_max": torch.where(weight > 0, values, values.amin()).amax(),
    }


def _tokens(index: Tensor) -> Tensor:
    """[B, L, T, A] to the critic's order [A, N]."""
    return index.flatten(0, 2).t().contiguous()


def _pick(outputs: Tensor, index: Tensor) -> Tensor:
    """Outputs [A, K, Z, N] of the bins ``index`` [A, N]: [A, Z, N]."""
    where = index[:, None, None].expand(-1, 1, outputs.shape[2], -1)
    return outputs.gather(1, where)[:, 0]
