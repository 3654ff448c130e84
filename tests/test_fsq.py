"""Finite scalar quantisation, activations and rank: golden numbers and independent formulas."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from zoomrl.math.fsq import code_index, quantise
from zoomrl.math.rank import condition_number, rank_fractions, singular_values
from zoomrl.nets.activations import Mish


def slow_level(x: float, level: int) -> float:
    """One number, as the paper writes it."""
    half = (level - 1) * (1 + 1e-3) / 2
    offset = 0.5 if level % 2 == 0 else 0.0
    bounded = half * math.tanh(x + math.atanh(offset / half)) - offset
    return round(bounded) / (level // 2)


def test_eight_levels_reach_minus_one_but_not_one():
    x = torch.linspace(-9, 9, 4001)[:, None]
    found = quantise(x, (8,)).unique().tolist()
    assert found == [-1, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75]


def test_codes_are_not_mapped_to_themselves():
    codes = torch.tensor([[-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75]])
    assert quantise(codes, (8, 8)).tolist() == [[-0.75, -0.5, -0.5, -0.25, 0.0, 0.25, 0.25, 0.5]]


@pytest.mark.parametrize("levels", [(8, 8), (8,), (5, 5), (8, 6, 5), (2, 3), (7, 4)])
def test_every_number_is_rounded_to_its_channels_levels(levels):
    x = torch.randn(40, 6 * len(levels)) * 2
    fast = quantise(x, levels)
    slow = [[slow_level(float(v), levels[i % len(levels)]) for i, v in enumerate(row)] for row in x]
    torch.testing.assert_close(fast, torch.tensor(slow))
    for channel, level in enumerate(levels):
        assert len(fast[:, channel :: len(levels)].unique()) <= level


@pytest.mark.parametrize("levels", [(8, 8), (8, 6, 5)])
def test_the_gradient_passes_the_rounding_and_keeps_the_tanh(levels):
    x = (torch.randn(5, 6) * 2).requires_grad_()
    weight = torch.randn(5, 6)
    (quantise(x, levels) * weight).sum().backward()
    for i in range(6):
        level = levels[i % len(levels)]
        half = (level - 1) * (1 + 1e-3) / 2
        shift = math.atanh((0.5 if level % 2 == 0 else 0.0) / half)
        slope = half * (1 - torch.tanh(x[:, i] + shift) ** 2) / (level // 2)
        torch.testing.assert_close(x.grad[:, i], weight[:, i] * slope)


def test_compiled_and_plain_quantisation_are_one_function():
    from zoomrl.math import fsq

    x = (torch.randn(7, 8) * 2).requires_grad_()
    bounds = (*fsq._bounds(8), 1 / 4)
    for function in (fsq._quantise, fsq._Quantise.apply):
        x.grad = None
        result = function(x, *bounds)
        result.square().sum().backward()
        if function is fsq._quantise:
            expected, gradient = result.detach(), x.grad.clone()
    torch.testing.assert_close(result.detach(), expected)
    torch.testing.assert_close(x.grad, gradient)


def test_code_indices():
    codes = torch.tensor([[-1.0, -1.0, 0.75, 0.75, 0.0, -1.0, -1.0, 0.0, 0.25, -0.5]])
    # (4 q1 + 4) + 8 (4 q2 + 4)
    assert code_index(codes, (8, 8)).tolist() == [[0, 63, 4, 32, 21]]


@given(st.integers(2, 9), st.integers(2, 9))
def test_code_indices_tell_all_codes_apart(first, second):
    grid = [slow_level(x / 4, first) for x in range(-40, 41)], [slow_level(x / 4, second) for x in range(-40, 41)]
    pairs = sorted({(a, b) for a in grid[0] for b in grid[1]})
    index = code_index(torch.tensor(pairs), (first, second))[:, 0]
    assert len(index.unique()) == len(pairs) == first * second
    assert int(index.min()) == 0
    assert int(index.max()) == first * second - 1


@pytest.mark.parametrize("scale", [0.1, 3.0, 40.0, 200.0])
def test_mish_is_mish(scale):
    x = (torch.randn(50, dtype=torch.float64) * scale).requires_grad_()
    expected = F.mish(x)
    torch.testing.assert_close(Mish()(x), expected, rtol=1e-7, atol=1e-9)
    weight = torch.randn(50, dtype=torch.float64)
    (slope,) = torch.autograd.grad((Mish()(x) * weight).sum(), x)
    (wanted,) = torch.autograd.grad((expected * weight).sum(), x)
    torch.testing.assert_close(slope, wanted, rtol=1e-6, atol=1e-7)
    assert torch.isfinite(Mish()(x.detach().float())).all()


def test_mish_in_bfloat16_is_computed_in_float32():
    x = torch.randn(100).to(torch.bfloat16).requires_grad_()
    result = Mish()(x)
    assert result.dtype == torch.bfloat16
    torch.testing.assert_close(result.float(), F.mish(x.float()), rtol=1e-2, atol=1e-2)
    result.sum().backward()
    assert x.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("function", [Mish(), lambda x: quantise(x, (8, 8))], ids=["mish", "quantise"])
def test_without_gradient_the_values_are_the_same_and_the_input_is_left_alone(function):
    x = torch.randn(20, 6) * 3
    kept = x.clone()
    assert torch.equal(function(x), function(x.clone().requires_grad_()).detach())
    assert torch.equal(x, kept)


@pytest.mark.parametrize("function", [Mish(), lambda x: quantise(x, (8, 8))], ids=["mish", "quantise"])
def test_second_derivatives_are_refused_not_wrong(function):
    x = torch.randn(20, 6).requires_grad_()
    (slope,) = torch.autograd.grad(function(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_rank_counts_what_is_above_the_tolerance():
    # Singular values 10, 2, 0.05 and 0: in units of the largest 1, 0.2, 0.005, 0.
    basis, _ = torch.linalg.qr(torch.randn(9, 4))
    latents = basis * torch.tensor([10.0, 2.0, 0.05, 0.0])
    assert [float(s) for s in rank_fractions(singular_values(latents), (1e-1, 1e-2, 1e-3))] == [0.5, 0.5, 0.75]
    for tolerance in (1e-1, 1e-2, 1e-3):
        expected = torch.linalg.matrix_rank(latents, atol=tolerance, rtol=tolerance) / 4
        assert rank_fractions(singular_values(latents), (tolerance,)) == [expected]
    whole = singular_values(basis * torch.tensor([10.0, 2.0, 1.0, 0.5]))
    assert condition_number(whole) == pytest.approx(20, rel=1e-4)
