"""A gated recurrent unit written out in matrix multiplications, so that it can be compiled and captured.

``nn.GRU`` breaks a compiled graph and hides its first step's matmul with a zero state. This module has ``nn.GRU``'s
parameter names, initialisation and results.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from zoomrl.nets.linear import linear

_whole = False


@contextmanager
def whole_gru() -> Iterator[None]:
    """Run each GRU as PyTorch's own operation: graphs for other programs have one for it, several times faster than
    the steps written out."""
    global _whole
    before, _whole = _whole, True
    try:
        yield
    finally:
        _whole = before


class GRU(nn.Module):
    """``layers`` stacked GRUs, batch first, zero initial state: [N, T, I] -> [N, T, H]."""

    def __init__(self, input_dim: int, hidden_dim: int, layers: int = 1) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"a GRU needs at least one layer, got {layers}")
        self.layers, self.hidden_dim = layers, hidden_dim
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
        if _whole:
            start = x.new_zeros(self.layers, len(x), self.hidden_dim)
            held = tuple(self.parameters())
            whole: Tensor = torch.gru(x, start, held, True, self.layers, 0.0, False, False, True)[0]
            return whole
        for layer in range(self.layers):
            weights = (getattr(self, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
            x = self._run_layer(x, *weights)
        return x

    def _run_layer(self, x: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> Tensor:
        # Unbinding and splitting, not indexing: their gradients are one concatenation each.
        first, *others = linear(x, weight_ih, bias_ih).unbind(1)
        # The initial state is zero: the first recurrent matmul gives its bias.
        new, update = _gates(first, bias_hh)
        states = [new - update * new]
        for gates in others:
            states.append(self.cell(states[-1], gates, weight_hh, bias_hh))
        return torch.stack(states, 1)

    def cell(self, state: Tensor, gates: Tensor, weight_hh: Tensor, bias_hh: Tensor) -> Tensor:
        """The state [N, H] that follows ``state``, from the matmul of the input [N, 3 H]."""
        new, update = _gates(gates, linear(state, weight_hh, bias_hh))
        return torch.lerp(new, state.to(new.dtype), update.to(new.dtype))


def _gates(inputs: Tensor, recurrent: Tensor) -> tuple[Tensor, Tensor]:
    """Candidate and update gate, both [N, H], from the matmuls of input and state [N, 3 H]."""
    hidden = inputs.shape[-1] // 3
    reset_update, candidate = recurrent.split((2 * hidden, hidden), -1)
    from_input, candidate_input = inputs.split((2 * hidden, hidden), -1)
    reset, update = torch.sigmoid(from_input + reset_update).chunk(2, -1)
    return torch.tanh(torch.addcmul(candidate_input, reset, candidate)), update
