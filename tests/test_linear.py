"""Linear layers by oneDNN, against PyTorch's own and against float64."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from zoomrl.agents.build import assemble
from zoomrl.agents.engine import accelerate
from zoomrl.agents.registry import AGENT_CONFIGS
from zoomrl.nets import linear as module
from zoomrl.nets.linear import OneDNNLinear, linear, linear_columns, onednn_is_faster
from zoomrl.nets.perception import ObservationShape

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")


@pytest.fixture
def onednn(monkeypatch):
    """Every product by oneDNN, also small ones and on any processor; the list of what it multiplied."""
    monkeypatch.setattr(module, "ONEDNN", True)
    monkeypatch.setattr(module, "_LARGE", 1)
    seen = []
    apply = module._apply

    def watched(x, weight, bias):
        seen.append((tuple(x.shape), tuple(weight.shape)))
        return apply(x, weight, bias)

    monkeypatch.setattr(module, "_apply", watched)
    return seen


def gradients(function, *inputs):
    """Result of ``function`` and the gradients of a fixed weighted sum of it."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    result = function(*leaves)
    weights = torch.linspace(-1, 1, result.numel(), dtype=result.dtype).view(result.shape)
    return [result.detach(), *torch.autograd.grad((result * weights).sum(), leaves)]


def exact(function, *inputs):
    """The same in float64, rounded at the end."""
    return [x.to(torch.float32) for x in gradients(function, *(x.double() for x in inputs))]


@pytest.mark.parametrize("shape", [(7, 5), (1, 5), (2, 3, 5)])
@pytest.mark.parametrize("biased", [True, False])
def test_result_and_gradients_are_those_of_pytorch(onednn, shape, biased):
    inputs = [torch.randn(shape), torch.randn(4, 5)] + ([torch.randn(4)] if biased else [])
    torch.testing.assert_close(gradients(linear, *inputs), exact(F.linear, *inputs))
    assert onednn == [((torch.Size(shape[:-1]).numel(), 5), (4, 5))]


def test_columns_are_the_transposed_rows(onednn):
    weight, bias, x = torch.randn(6, 5), torch.randn(6), torch.randn(9, 5)
    found = gradients(linear_columns, weight, bias, x)
    torch.testing.assert_close(found, exact(lambda w, b, y: F.linear(y, w, b).t(), weight, bias, x))
    assert onednn
    plain = gradients(lambda w, b, y: torch.addmm(b[:, None], w, y.t()), weight, bias, x)
    torch.testing.assert_close(found, plain)


@pytest.mark.parametrize("expand", [lambda x: x[:1].expand(7, -1), lambda x: x[:, :1].expand(-1, 5), lambda x: x[::2]])
def test_views_of_any_strides_are_multiplied(onednn, expand):
    inputs = [torch.randn(7, 5), torch.randn(4, 5)]
    torch.testing.assert_close(
        gradients(lambda x, w: linear(expand(x), w), *inputs), exact(lambda x, w: F.linear(expand(x), w), *inputs)
    )
    turned = torch.randn(5, 4).t()
    torch.testing.assert_close(linear(inputs[0], turned), F.linear(inputs[0], turned))
    assert len(onednn) == 2


def test_a_gradient_that_is_one_number_everywhere_arrives(onednn):
    layer, x = OneDNNLinear(5, 4), torch.randn(7, 5)
    layer(x).sum().backward()
    torch.testing.assert_close(layer.weight.grad, x.sum(0).expand(4, 5))
    torch.testing.assert_close(layer.bias.grad, torch.full((4,), 7.0))


def test_only_what_is_asked_for_is_differentiated(onednn, monkeypatch):
    products = []
    product = module._product
    monkeypatch.setattr(
        torch.ops.zoomrl, "product", lambda a, b, bias: products.append(tuple(a.shape)) or product(a, b, bias)
    )
    layer, x = OneDNNLinear(5, 4).requires_grad_(False), torch.randn(7, 5, requires_grad=True)
    layer(x).sum().backward()
    assert products == [(7, 5), (7, 4)]
    assert layer.weight.grad is None
    products.clear()
    layer.requires_grad_(True)
    layer(x.detach()).sum().backward()
    assert products == [(7, 5), (4, 7)]
    products.clear()
    with torch.no_grad():
        assert not layer(x).requires_grad
    assert products == [(7, 5)]


def test_second_derivatives_are_refused(onednn):
    x = torch.randn(7, 5, requires_grad=True)
    (first,) = torch.autograd.grad((linear(x, torch.randn(4, 5)) ** 2).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_small_double_and_lowered_products_are_left_to_pytorch(onednn, monkeypatch):
    layer, x = OneDNNLinear(5, 4), torch.randn(7, 5)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    assert layer.double()(x.double()).dtype == torch.float64
    assert layer.float()(x[:0]).shape == (0, 4)
    monkeypatch.setattr(module, "_LARGE", 141)
    layer(x)
    assert onednn == []
    monkeypatch.setattr(module, "_LARGE", 140)
    layer(x)
    assert len(onednn) == 1
    monkeypatch.setattr(module, "ONEDNN", False)
    layer(x)
    assert len(onednn) == 1


@pytest.mark.long
def test_compiled_layers_are_one_graph_with_the_same_results(onednn):
    layer, x = nn.Sequential(OneDNNLinear(5, 6), nn.ReLU(), OneDNNLinear(6, 3)), torch.randn(7, 5)
    plain = gradients(lambda y: layer(y), x)
    torch.testing.assert_close(gradients(torch.compile(layer, fullgraph=True, backend="aot_eager"), x), plain)


def test_weights_are_saved_as_those_of_pytorchs_layer():
    layer, theirs = OneDNNLinear(5, 4), nn.Linear(5, 4)
    theirs.load_state_dict(layer.state_dict())
    assert isinstance(layer, nn.Linear)
    assert repr(layer) == repr(theirs).replace("Linear", "OneDNNLinear")


@pytest.mark.parametrize("name", [*AGENT_CONFIGS])
def test_an_accelerated_agent_multiplies_by_it_where_it_is_the_faster_one(name, onednn, monkeypatch):
    """All layers that are linear, those of targets too; the rest, and the names of weights, stay as they are."""
    shape = ObservationShape(state=3, views=0, frames=1, size=0)
    fast, plain = (assemble(AGENT_CONFIGS[name](), shape, 2, 0) for _ in range(2))
    accelerate(fast, "eager")
    pairs = list(zip(fast.modules(), plain.modules(), strict=True))
    swapped = [(type(a), type(b)) for a, b in pairs if isinstance(b, nn.Linear)]
    assert set(swapped) == {(OneDNNLinear, nn.Linear)}
    assert all(type(a) is type(b) for a, b in pairs if not isinstance(b, nn.Linear))
    assert fast.state_dict().keys() == plain.state_dict().keys()
    monkeypatch.setattr(module, "ONEDNN", False)
    accelerate(plain, "eager")
    assert not any(isinstance(part, OneDNNLinear) for part in plain.modules())


@pytest.mark.parametrize(
    ("capability", "processor", "expected"),
    [
        ("AVX512", "vendor_id\t: AuthenticAMD\n", True),
        ("AVX512", "vendor_id\t: GenuineIntel\n", False),
        ("AVX2", "vendor_id\t: AuthenticAMD\n", False),
        ("AVX512", "", False),
    ],
)
def test_onednn_is_for_amd_with_avx512(capability, processor, expected):
    assert onednn_is_faster(capability, processor) is expected
