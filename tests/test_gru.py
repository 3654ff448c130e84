"""The written-out GRU against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from zoomrl.nets.gru import GRU, whole_gru

SHAPES = [(1, 1, 3, 2), (4, 1, 5, 7), (3, 4, 6, 6), (2, 16, 3, 8), (0, 3, 4, 5)]


def pair(width: int, hidden: int, layers: int) -> tuple[GRU, nn.GRU]:
    ours, theirs = GRU(width, hidden, layers), nn.GRU(width, hidden, layers, batch_first=True)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize(("batch", "steps", "width", "hidden"), SHAPES)
def test_equals_torch(batch, steps, width, hidden, layers):
    ours, theirs = pair(width, hidden, layers)
    x, y = (torch.randn(batch, steps, width, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    x.requires_grad_(True)
    y.requires_grad_(True)
    out = ours(x)
    want, _ = theirs(y)
    torch.testing.assert_close(out, want, rtol=1e-5, atol=1e-6)
    pull = torch.randn_like(out)
    out.backward(pull)
    want.backward(pull)
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-4, atol=1e-5)
    grads = dict(theirs.named_parameters())
    assert set(grads) == {name for name, _ in ours.named_parameters()}
    for name, parameter in ours.named_parameters():
        theirs_grad = grads[name].grad
        # With one step from a zero state, the recurrent weights have no influence at all.
        got = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(got, theirs_grad, rtol=1e-4, atol=1e-5, msg=name)


def test_as_one_operation_it_is_the_same():
    ours, _ = pair(5, 7, 2)
    x = torch.randn(3, 4, 5)
    with whole_gru():
        whole = ours(x)
    torch.testing.assert_close(whole, ours(x), rtol=1e-5, atol=1e-6)
    assert torch.equal(ours(x), ours(x)), "written out again, to the last digit"


def test_equals_torch_in_double_precision():
    ours, theirs = (module.double() for module in pair(5, 9, 2))
    x = torch.randn(7, 20, 5, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x)[0], rtol=1e-12, atol=1e-12)


def test_state_dicts_are_interchangeable():
    ours, theirs = pair(3, 4, 2)
    theirs.load_state_dict(ours.state_dict())
    assert list(ours.state_dict()) == list(theirs.state_dict())


def test_initial_weights_are_distributed_as_torchs():
    ours, theirs = GRU(16, 64), nn.GRU(16, 64)
    for name, parameter in ours.named_parameters():
        reference = dict(theirs.named_parameters())[name]
        assert parameter.shape == reference.shape
        assert parameter.abs().max() <= 64**-0.5
        assert float(parameter.detach().std()) == pytest.approx(float(reference.detach().std()), rel=0.2)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.long
def test_compiles_without_a_break(backend, layers):
    ours, theirs = pair(5, 6, layers)
    compiled = torch.compile(ours, fullgraph=True, backend=backend)
    x = torch.randn(3, 4, 5)
    torch.testing.assert_close(compiled(x), ours(x))
    compiled(x).square().sum().backward()
    theirs(x)[0].square().sum().backward()
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, dict(theirs.named_parameters())[name].grad, rtol=1e-4, atol=1e-5)


def test_no_layers_is_an_error():
    with pytest.raises(ValueError, match="at least one layer"):
        GRU(3, 4, 0)
