"""A gated recurrent unit written out in matrix products, so that it can be compiled and captured.

``nn.GRU`` breaks a compiled graph and hides its first step's product with a zero state. This module has ``nn.GRU``'s
parameter names, initialisation and results.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoomrl.nets.linear import linear


class GRU(nn.Module):
    """``layers`` stacked GRUs, batch first, zero initial state: [N, T, I] -> [N, T, H]."""

    def __init__(self, input_dim: int, hidden_dim: int, layers: int = 1) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"a GRU needs at least one layer, got {layers}")
        self.layers = layers
        bound = hidden_dim**-0.5
        for layer in range(layers):
            width = input_dim if layer == 0 else hidden_dim
            for name, shape in (
                ("weight_ih", (3 * hidden_dim, width)),
                ("weight_hh", (3 * hidden_dim, hidden_dim)),
                ("bias_ih", (3 * hidden_dim,)),
                ("bias_hh", (3 * hidden_dim,)),
            ):
                parameter = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
                self.register_parameter(f"{name}_l{layer}", parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Run over the sequence ``x`` [N, T, I]."""
        for layer in range(self.layers):
            weights = (getattr(self, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
            x = _run_layer(x, *weights)
        return x


def _run_layer(x: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> Tensor:
    # Unbinding and splitting, not indexing: their gradients are one concatenation each.
    inputs = linear(x, weight_ih, bias_ih).unbind(1)
    hidden = weight_hh.shape[1]
    # The initial state is zero: the first recurrent product is its bias.
    reset_update, candidate = bias_hh.split((2 * hidden, hidden), -1)
    state = None
    states = []
    for gates in inputs:
        if state is not None:
            reset_update, candidate = linear(state, weight_hh, bias_hh).split((2 * hidden, hidden), -1)
        from_input, candidate_input = gates.split((2 * hidden, hidden), -1)
        reset, update = torch.sigmoid(from_input + reset_update).chunk(2, -1)
        new = torch.tanh(torch.addcmul(candidate_input, reset, candidate))
        state = new - update * new if state is None else torch.lerp(new, state.to(new.dtype), update.to(new.dtype))
        states.append(state)
    return torch.stack(states, 1)
