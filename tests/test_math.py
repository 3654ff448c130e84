"""Golden numbers and properties of the pure tensor functions."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zoomrl.math.bin_losses import categorical_bin_losses
from zoomrl.math.categorical import geometric_support, project, support, two_hot, uneven_two_hot
from zoomrl.math.grid import cell_centre, centres, decode, encode, snap, to_cell, zoom
from zoomrl.math.losses import cosines, directions, dominance_loss, margin_loss, masked_mean
from zoomrl.math.returns import n_step
from zoomrl.math.schedules import parse_schedule, schedule

GOLDEN_GRID = [
    (-1.0, (0, 0, 0), -0.992),
    (-0.2, (2, 0, 0), -0.192),
    (0.0, (2, 2, 2), 0.0),
    (0.5, (3, 3, 3), 0.496),
    (0.6, (4, 0, 0), 0.608),
    (2 / 3, (4, 0, 4), 0.672),
    (1.0, (4, 4, 4), 0.992),
]


@pytest.mark.parametrize(("action", "bins", "centre"), GOLDEN_GRID)
def test_grid_golden_vectors(action, bins, centre):
    index = encode(torch.tensor([action]), 3, 5)
    assert tuple(index[:, 0].tolist()) == bins
    assert decode(index, 5).item() == pytest.approx(centre, abs=1e-6)


def test_all_125_triples_survive_a_round_trip():
    index = torch.cartesian_prod(*[torch.arange(5)] * 3).T  # [3, 125]
    assert torch.equal(encode(decode(index, 5), 3, 5), index)


grids = st.tuples(st.integers(1, 4), st.integers(2, 9))
actions = st.floats(-1, 1, width=32)


@given(grids, st.lists(actions, min_size=1, max_size=5))
def test_decoded_action_is_within_half_a_cell(grid, values):
    levels, bins = grid
    action = torch.tensor(values)
    error = (decode(encode(action, levels, bins), bins) - action).abs()
    assert error.max() <= 1 / bins**levels + 1e-6


@given(grids, st.lists(actions, min_size=1, max_size=5))
def test_snap_is_idempotent_and_equals_decode_of_encode(grid, values):
    levels, bins = grid
    once = snap(torch.tensor(values), levels, bins)
    assert torch.equal(snap(once, levels, bins), once)
    assert torch.equal(decode(encode(once, levels, bins), bins), once)


@given(grids, st.lists(actions, min_size=1, max_size=5))
@pytest.mark.long
def test_zooming_along_the_encoded_bins_visits_the_centres(grid, values):
    """The independent slow way: carry interval bounds and cut them level by level."""
    levels, bins = grid
    action = torch.tensor(values)
    index, rows = encode(action, levels, bins), centres(to_cell(action, levels, bins), levels, bins)
    low, high, cell = (
        -torch.ones(len(values)),
        torch.ones(len(values)),
        torch.zeros(len(values), dtype=torch.long),
    )
    for level in range(levels):
        torch.testing.assert_close(rows[level], (low + high) / 2, atol=1e-6, rtol=0)
        torch.testing.assert_close(cell_centre(cell, level, bins), rows[level], atol=1e-6, rtol=0)
        width = (high - low) / bins
        low, high = low + width * index[level], low + width * (index[level] + 1)
        cell = zoom(cell, index[level], bins)
    assert torch.equal(cell, to_cell(action, levels, bins))


def test_projection_golden_vectors():
    atoms = support(-2, 2, 51)
    uniform = torch.full((1, 1, 51), 1 / 51)
    m = project(uniform, torch.zeros(1), torch.tensor([0.99]), atoms)[0, 0]
    torch.testing.assert_close(m[24:27], torch.tensor([0.019804, 0.020000, 0.019804]), atol=1e-6, rtol=0)
    assert m.sum().item() == pytest.approx(1, abs=1e-6)

    m = project(uniform, torch.ones(1), torch.zeros(1), atoms)[0, 0]
    assert m[37].item() == pytest.approx(0.5, abs=1e-5)
    assert m[38].item() == pytest.approx(0.5, abs=1e-5)

    m = project(uniform, torch.zeros(1), torch.zeros(1), atoms)[0, 0]
    assert m[25].item() == pytest.approx(1, abs=1e-6)
    assert m[[24, 26]].abs().max() < 1e-5


@given(
    st.floats(-5, 5, width=32),
    st.sampled_from([0.0, 0.5, 0.97, 0.99, 1.0]),
    st.integers(2, 101),
    st.integers(0, 2**31),
)
def test_projection_keeps_the_mass_and_the_mean(reward, discount, count, seed):
    atoms = support(-2, 2, count)
    probs = torch.rand(1, 3, count, generator=torch.Generator().manual_seed(seed)).softmax(-1)
    out = project(probs, torch.tensor([reward]), torch.tensor([discount]), atoms)
    torch.testing.assert_close(out.sum(-1), torch.ones(1, 3), atol=1e-5, rtol=0)
    clipped = (reward + discount * atoms).clamp(-2, 2)
    torch.testing.assert_close((out * atoms).sum(-1), (probs * clipped).sum(-1), atol=1e-4, rtol=0)


def test_geometric_atoms_lie_equal_numbers_of_steps_apart():
    atoms = geometric_support(0.99**300, 1.0, 51)
    assert atoms[0] == 0
    assert atoms[-1] == 1
    steps = atoms[1:].double().log() / math.log(0.99)
    torch.testing.assert_close(steps, torch.linspace(300, 0, 50, dtype=torch.float64), atol=1e-3, rtol=0)
    for wrong in ((0.0, 1.0, 5), (1.0, 1.0, 5), (0.1, 1.0, 2)):
        with pytest.raises(ValueError, match="geometric atoms need"):
            geometric_support(*wrong)


@given(
    st.sampled_from([0.0, 0.97, 1.0]),
    st.sampled_from([0.0, 0.5, 0.97, 0.99, 1.0]),
    st.integers(3, 101),
    st.integers(0, 2**31),
)
def test_projection_onto_uneven_atoms_keeps_the_mass_and_the_mean(reward, discount, count, seed):
    atoms = geometric_support(0.02, 1.0, count)
    probs = torch.rand(1, 3, count, generator=torch.Generator().manual_seed(seed)).softmax(-1)
    out = project(probs, torch.tensor([reward]), torch.tensor([discount]), atoms, even=False)
    assert (out >= 0).all()
    torch.testing.assert_close(out.sum(-1), torch.ones(1, 3), atol=1e-5, rtol=0)
    clipped = (reward + discount * atoms).clamp(0, 1)
    torch.testing.assert_close((out * atoms).sum(-1), (probs * clipped).sum(-1), atol=1e-5, rtol=0)
    # Two neighbours at most have anything of one value.
    one_hot = torch.eye(count)[seed % count][None, None]
    moved = project(one_hot, torch.tensor([reward]), torch.tensor([discount]), atoms, even=False)
    assert (moved > 1e-6).sum() <= 2


@given(st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=8), st.integers(2, 60))
def test_on_even_atoms_both_projections_are_one(values, count):
    atoms = support(-2, 2, count)
    given = torch.tensor(values)
    torch.testing.assert_close(uneven_two_hot(given, atoms), two_hot(given, atoms), atol=1e-4, rtol=0)


@pytest.mark.parametrize("atoms", [support(-2, 2, 51), geometric_support(0.99**300, 1.0, 51)])
def test_repeated_backups_discount_geometrically(atoms):
    probs = torch.full((1, 1, 51), 1 / 51)
    even = bool(atoms[0])
    probs = project(probs, torch.ones(1), torch.zeros(1), atoms, even=even)
    for k in range(1, 301):
        probs = project(probs, torch.zeros(1), torch.tensor([0.99]), atoms, even=even)
        if k in (1, 100, 200, 300):
            assert (probs * atoms).sum().item() == pytest.approx(0.99**k, rel=1e-3)


def test_dominance_and_margin_at_a_zero_head():
    probs = torch.full((2, 5, 51), 1 / 51, requires_grad=True)
    chosen = torch.tensor([0, 3])
    loss = dominance_loss(probs, chosen)
    assert torch.equal(loss, torch.zeros(2))
    (grad,) = torch.autograd.grad(loss.sum(), probs)
    assert grad.abs().max() > 0  # equality already pushes the chosen bin up
    torch.testing.assert_close(margin_loss(torch.zeros(2, 5), chosen, 0.1), torch.full((2,), 0.1))


def test_margin_floor_is_margin_over_bins():
    values = torch.tensor([[1.0, 0.0, 0.0, 0.0, 0.0]])
    assert margin_loss(values, torch.tensor([0]), 0.1).item() == pytest.approx(0.1 / 5)


def test_dominance_against_a_plain_loop():
    gen = torch.Generator().manual_seed(0)
    probs = torch.rand(4, 5, 7, generator=gen).softmax(-1)
    chosen = torch.tensor([0, 1, 4, 2])
    for row, best, loss in zip(probs, chosen, dominance_loss(probs, chosen), strict=True):
        slow = 0.0
        for other in range(5):
            for z in range(7):
                slow += max(0.0, float(row[best, : z + 1].sum() - row[other, : z + 1].sum())) / 5
        assert loss.item() == pytest.approx(slow, abs=1e-5)


def test_masked_mean_ignores_what_is_masked():
    values = torch.tensor([1.0, math.nan, 3.0])
    assert masked_mean(values, torch.tensor([1.0, 0.0, 1.0])).item() == 2.0
    assert masked_mean(values, torch.zeros(3)).item() == 0.0


def test_cosines_are_those_of_pytorch_with_their_gradient():
    x = torch.randn(6, 9, dtype=torch.float64)
    other = torch.randn(6, 9, dtype=torch.float64)
    other[2], x[3] = 0.0, other[3]
    x.requires_grad_()
    ours, theirs = cosines(x, directions(other)), torch.cosine_similarity(x, other, dim=-1, eps=1e-6)
    torch.testing.assert_close(ours, theirs)
    assert ours[3].item() == pytest.approx(1.0)
    assert ours[2].item() == 0.0
    torch.testing.assert_close(*(torch.autograd.grad(value.sum(), x)[0] for value in (ours, theirs)))


def test_second_derivatives_of_cosines_are_refused():
    x = torch.randn(3, 4, requires_grad=True)
    (first,) = torch.autograd.grad(cosines(x, directions(torch.ones(3, 4))).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_a_latent_of_zeros_has_cosine_zero_and_a_finite_gradient():
    x = torch.zeros(1, 4, requires_grad=True)
    value = cosines(x, directions(torch.ones(1, 4)))
    value.sum().backward()
    assert value.item() == 0.0
    torch.testing.assert_close(x.grad, torch.full((1, 4), 0.5 / 1e-6))


def test_n_step_golden_vector():
    reward = torch.ones(1, 3)
    value, discount = n_step(reward, torch.tensor([3]), torch.tensor([True]), 0.99)
    assert value.item() == pytest.approx(2.9701)
    assert discount.item() == 0.0


@given(st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=6), st.integers(1, 6), st.booleans())
def test_n_step_against_a_plain_loop(rewards, length, terminal):
    length = min(length, len(rewards))
    padded = torch.tensor([rewards[:length] + [math.nan] * (len(rewards) - length)])
    value, discount = n_step(padded, torch.tensor([length]), torch.tensor([terminal]), 0.9)
    slow = sum(0.9**k * r for k, r in enumerate(rewards[:length]))
    assert value.item() == pytest.approx(slow, abs=1e-5)
    assert discount.item() == pytest.approx(0.0 if terminal else 0.9**length)


def test_schedules():
    assert schedule("0.1", 10**9) == 0.1
    assert schedule("linear(1, 0, 100)", 25) == pytest.approx(0.75)
    assert schedule("linear(1, 0, 100)", 500) == 0.0
    assert schedule("step_linear(1, 0.5, 10, 0.1, 10)", 5) == pytest.approx(0.75)
    assert schedule("step_linear(1, 0.5, 10, 0.1, 10)", 15) == pytest.approx(0.3)
    assert schedule("step_linear(1, 0.5, 10, 0.1, 10)", 99) == pytest.approx(0.1)
    for bad in ("linear(1, 0)", "sine(1, 0, 5)", "", "linear(1, 0, 0)", "linear(a, b, c)"):
        with pytest.raises(ValueError, match=r"expected|positive"):
            parse_schedule(bad)


@pytest.mark.parametrize("demos", [0, 3, 8])
def test_closed_form_of_the_bin_losses_equals_autograd(demos):
    """The fused losses and their gradient against the formulas they are made of."""
    g = torch.Generator().manual_seed(demos)
    dims, bins, count, tokens = 2, 5, 11, 8
    atoms = support(-1, 1, count).double()
    logits = torch.randn(dims, bins, count, tokens, generator=g, dtype=torch.float64, requires_grad=True)
    chosen = torch.randint(bins, (dims, tokens), generator=g)
    target = torch.rand(dims, count, tokens, generator=g, dtype=torch.float64).softmax(1)
    td_weight = torch.rand(tokens, generator=g, dtype=torch.float64)
    bc_weight = torch.rand(tokens, generator=g, dtype=torch.float64) * (torch.arange(tokens) < demos)

    total, parts = categorical_bin_losses(logits, chosen, target, td_weight, bc_weight, atoms, 0.3)
    (fast,) = torch.autograd.grad(total, logits)

    rows = logits.permute(0, 3, 1, 2)  # [A, N, K, Z]
    log_probs = rows.log_softmax(-1)
    picked = log_probs.gather(2, chosen[..., None, None].expand(-1, -1, 1, count))[:, :, 0]
    td = -((target.transpose(1, 2) * picked).sum(-1) * td_weight).sum()
    dominance = (dominance_loss(log_probs.exp(), chosen) * bc_weight).sum()
    margin = (margin_loss(log_probs.exp() @ atoms, chosen, 0.3) * bc_weight).sum()
    (slow,) = torch.autograd.grad(td + dominance + margin, logits)
    torch.testing.assert_close(parts, torch.stack([td, dominance, margin]).detach())
    torch.testing.assert_close(fast, slow)


@pytest.mark.parametrize("tokens", [1, 7, 515])
def test_equal_distributions_all_take_the_same_side_of_the_hinge(tokens):
    """With heads of zeros every difference is 0 and the gradient known; one rounding error would turn its sign."""
    g = torch.Generator().manual_seed(0)
    bins, count = 5, 51
    logits = torch.zeros(2, bins, count, tokens, requires_grad=True)
    chosen = torch.randint(bins, (2, tokens), generator=g)
    target, nothing = torch.zeros(2, count, tokens), torch.zeros(tokens)
    atoms = support(-1, 1, count)
    total, parts = categorical_bin_losses(logits, chosen, target, nothing, torch.ones(tokens), atoms, -1.0)
    (gradient,) = torch.autograd.grad(total, logits)
    assert parts.tolist() == [0, 0, 0]
    # dF_z / dlogit_j = p_j ([j <= z] - F_z) with p = 1 / Z, summed over z.
    j = torch.arange(1, count + 1)
    fraction = ((count - j + 1) - (count + 1) / 2) / count / bins
    expected = torch.where(torch.arange(bins)[:, None] == chosen[:, None], bins - 1.0, -1.0)
    torch.testing.assert_close(gradient, expected[:, :, None] * fraction[:, None])


def test_the_fused_gradient_is_taken_once():
    logits = torch.zeros(1, 2, 3, 1, requires_grad=True)
    one = torch.ones(1)
    total, _ = categorical_bin_losses(
        logits, torch.zeros(1, 1, dtype=torch.int64), torch.full((1, 3, 1), 1 / 3), one, one, support(0, 1, 3), 0.1
    )
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="taken once"):
        total.backward()
