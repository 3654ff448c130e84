"""Random shift and image encoders against the published formulations, written out slowly."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from zoomrl.errors import ConfigError
from zoomrl.nets.augment import sample_offsets, shift
from zoomrl.nets.config import EncoderConfig
from zoomrl.nets.encoders import make_encoder
from zoomrl.nets.init import orthogonal_
from zoomrl.nets.resnet import MEAN, STD, ResNet18


def random_images(*shape, seed=0):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def generator(seed=3):
    return torch.Generator().manual_seed(seed)


# Random shift.


def pad_and_slice(frames, pad, offsets):
    """One image at a time: rows and columns repeated at the border, then a slice."""
    out = torch.empty_like(frames)
    batch, stack, views, height, width, _ = frames.shape
    for b in range(batch):
        for v in range(views):
            row, column = offsets[:, b, v].tolist()
            for f in range(stack):
                image = frames[b, f, v]
                image = torch.cat([image[:1]] * pad + [image] + [image[-1:]] * pad, 0)
                image = torch.cat([image[:, :1]] * pad + [image] + [image[:, -1:]] * pad, 1)
                out[b, f, v] = image[row : row + height, column : column + width]
    return out


def sampled_shift(images, pad, offsets):
    """DrQ-v2's formulation of square float images [N, C, H, H] with ``offsets`` [N, 2] (row, column): pad by
    replication, sample bilinearly on a grid of pixel centres that is moved by whole pixels."""
    size = images.shape[-1]
    padded = F.pad(images, (pad,) * 4, mode="replicate")
    full = size + 2 * pad
    centres = (2 * torch.arange(size, dtype=torch.float32) + 1) / full - 1
    move = offsets.to(torch.float32) * 2 / full
    rows = (centres + move[:, :1])[:, :, None].expand(-1, -1, size)
    columns = (centres + move[:, 1:])[:, None, :].expand(-1, size, -1)
    grid = torch.stack([columns, rows], -1)
    return F.grid_sample(padded, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


@pytest.mark.parametrize(
    ("shape", "pad"),
    [((5, 3, 2, 12, 9, 3), 4), ((40, 1, 1, 5, 5, 1), 4), ((3, 2, 3, 7, 7, 3), 1), ((2, 1, 2, 3, 4, 2), 6)],
)
def test_shift_equals_pad_and_slice(shape, pad):
    frames = random_images(*shape)
    offsets = sample_offsets(shape[0], shape[2], pad, generator())
    out = shift(frames, pad, offsets)
    assert out.dtype == torch.uint8
    assert torch.equal(out, pad_and_slice(frames, pad, offsets))


def test_shift_reads_frames_that_are_not_contiguous():
    frames = random_images(4, 3, 6, 8, 2, 3).permute(0, 1, 4, 3, 2, 5)[:, ::2]
    offsets = sample_offsets(4, 2, 2, generator())
    assert torch.equal(shift(frames, 2, offsets), pad_and_slice(frames, 2, offsets))


@pytest.mark.parametrize("size", [84, 64])
def test_shift_equals_bilinear_sampling(size):
    frames = random_images(12, 2, 1, size, size, 3)
    offsets = sample_offsets(12, 1, 4, generator())
    images = frames[:, :, 0].permute(0, 1, 4, 2, 3).flatten(1, 2).float()
    want = sampled_shift(images, 4, offsets[:, :, 0].t())
    got = shift(frames, 4, offsets)[:, :, 0].permute(0, 1, 4, 2, 3).flatten(1, 2).float()
    assert (got - want).abs().max() < 0.01


def test_shifts_are_uniform_and_differ_between_samples_and_views():
    offsets = sample_offsets(3000, 3, 4, generator())
    assert offsets.shape == (2, 3000, 3)
    fractions = torch.bincount(offsets.flatten(), minlength=9) / offsets.numel()
    assert len(fractions) == 9
    torch.testing.assert_close(fractions, torch.full((9,), 1 / 9), atol=0.01, rtol=0)
    # Rows, columns and views are independent: the same in one of nine cases.
    for one, other in ((offsets[0], offsets[1]), (offsets[:, :, 0], offsets[:, :, 1])):
        assert abs((one == other).float().mean() - 1 / 9) < 0.03


@pytest.mark.long
def test_shift_has_no_graph_breaks():
    frames = random_images(2, 2, 2, 8, 8, 3)
    offsets = sample_offsets(2, 2, 2, generator())
    compiled = torch.compile(shift, fullgraph=True, backend="eager")
    assert torch.equal(compiled(frames, 2, offsets), shift(frames, 2, offsets))


# Encoders.


def slow_encoder(encoder, config, frames, strides, padding):
    """View by view, channels first, norms by hand: what :func:`make_encoder` builds, in double precision."""
    nets = list(encoder.nets) * (frames.shape[2] if len(encoder.nets) == 1 else 1)
    outs = []
    for view, net in enumerate(nets):
        stack = [frames[:, f, view].permute(0, 3, 1, 2) for f in range(frames.shape[1])]
        x = torch.cat(stack, 1).double().contiguous() / 255 - 0.5
        for conv, norm, stride in zip(net.convs, net.norms, strides, strict=True):
            x = F.conv2d(x, conv.weight.double(), conv.bias.double(), stride, padding)
            if config.norm == "layer":
                axes = (1,) if config.kind == "strided" else (1, 2, 3)
                spread = x.var(axes, correction=0, keepdim=True)
                x = (x - x.mean(axes, keepdim=True)) / (spread + 1e-5).sqrt()
                x = x * norm.weight.double()[:, None, None] + norm.bias.double()[:, None, None]
            x = x * torch.sigmoid(x) if config.activation == "silu" else x.clamp(min=0)
        outs.append(x.permute(0, 2, 3, 1).flatten(1))
    return torch.cat(outs, 1)


KINDS = [("strided", 21, (2, 2, 2, 2), 1), ("drqv2", 19, (2, 1, 1, 1), 0)]


@pytest.mark.parametrize("fraction", [False, True])
@pytest.mark.parametrize(("norm", "activation"), [("layer", "silu"), ("none", "relu"), ("layer", "relu")])
@pytest.mark.parametrize(("kind", "size", "strides", "padding"), KINDS)
def test_equals_the_slow_formula(kind, size, strides, padding, norm, activation, fraction):
    config = EncoderConfig(kind=kind, channels=4, norm=norm, activation=activation, share_views=fraction)
    encoder = make_encoder(config, views=2, frames=3, size=size)
    for parameter in encoder.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    frames = random_images(3, 3, 2, size, size, 3)
    out = encoder(frames)
    assert out.shape == (3, encoder.out_dim)
    assert out.dtype == torch.float32
    want = slow_encoder(encoder, config, frames, strides, padding)
    torch.testing.assert_close(out.double(), want, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(encoder(frames), out)

    pull = torch.randn_like(out)
    parameters = list(encoder.parameters())
    got = torch.autograd.grad(out, parameters, pull)
    expected = torch.autograd.grad(want, parameters, pull.double())
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)

    torch.testing.assert_close(copy.deepcopy(encoder).double()(frames), want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("views", "frames", "kind", "features"),
    [(3, 4, "strided", 19200), (4, 8, "strided", 25600), (1, 3, "drqv2", 39200)],
)
def test_published_sizes(views, frames, kind, features):
    encoder = make_encoder(EncoderConfig(kind=kind), views, frames, 84)
    assert encoder.out_dim == features
    with torch.no_grad():
        assert encoder(random_images(1, frames, views, 84, 84, 3)).shape == (1, features)


def test_published_number_of_parameters():
    encoder = make_encoder(EncoderConfig(), views=3, frames=4, size=84)
    # CQN on BiGym: 2.09 million.
    count = sum(parameter.numel() for parameter in encoder.parameters())
    per_view = sum(16 * i * o + o + 2 * o for i, o in ((12, 32), (32, 64), (64, 128), (128, 256)))
    assert count == 3 * per_view
    assert round(count / 1e6, 2) == 2.09
    shared = make_encoder(EncoderConfig(share_views=True), views=3, frames=4, size=84)
    assert sum(parameter.numel() for parameter in shared.parameters()) == per_view


def test_views_have_networks_of_their_own():
    encoder = make_encoder(EncoderConfig(channels=4), views=2, frames=1, size=16)
    frames = random_images(2, 1, 1, 16, 16, 3).expand(-1, -1, 2, -1, -1, -1)
    first, second = encoder(frames).chunk(2, 1)
    assert not torch.allclose(first, second)
    first, second = make_encoder(EncoderConfig(channels=4, share_views=True), 2, 1, 16)(frames).chunk(2, 1)
    torch.testing.assert_close(first, second)


def test_initialisation():
    encoder = make_encoder(EncoderConfig(channels=4), views=1, frames=2, size=16)
    net = encoder.nets[0]
    for conv, norm in zip(net.convs, net.norms, strict=True):
        rows = conv.weight.detach().flatten(1)
        torch.testing.assert_close(rows @ rows.t(), 2 * torch.eye(len(rows)), rtol=0, atol=1e-4)
        assert conv.weight.is_contiguous(memory_format=torch.channels_last)
        assert not conv.bias.any()
        assert (norm.weight == 1).all()
        assert not norm.bias.any()


def test_linear_initialisation_is_torchs():
    ours, theirs = torch.nn.Linear(7, 5), torch.nn.Linear(7, 5)
    torch.manual_seed(5)
    orthogonal_(ours)
    torch.manual_seed(5)
    torch.nn.init.orthogonal_(theirs.weight)
    assert torch.equal(ours.weight, theirs.weight)
    assert not ours.bias.any()


@pytest.mark.parametrize("kind", ["strided", "drqv2"])
@pytest.mark.parametrize("norm", ["layer", "none"])
def test_activations_stay_channels_last(kind, norm):
    encoder = make_encoder(EncoderConfig(kind=kind, norm=norm, channels=4), views=2, frames=2, size=32)
    seen = []

    def look(module, inputs, output):
        seen.extend(x.is_contiguous(memory_format=torch.channels_last) for x in (*inputs, output))

    for net in encoder.nets:
        for module in (*net.convs, *net.norms):
            module.register_forward_hook(look)
    encoder(random_images(3, 2, 2, 32, 32, 3)).sum().backward()
    assert len(seen) == 32
    assert all(seen)


@pytest.mark.parametrize("kind", ["strided", "drqv2", pytest.param("resnet18", marks=pytest.mark.slow)])
@pytest.mark.long
def test_no_graph_breaks(kind):
    encoder = make_encoder(EncoderConfig(kind=kind, channels=4), views=2, frames=2, size=16)
    frames = random_images(2, 2, 2, 16, 16, 3)
    compiled = torch.compile(encoder, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(frames), encoder(frames))


@pytest.mark.parametrize(("kind", "smallest"), [("strided", 16), ("drqv2", 15)])
def test_images_too_small(kind, smallest):
    config = EncoderConfig(kind=kind, channels=2)
    make_encoder(config, views=1, frames=1, size=smallest)(random_images(1, 1, 1, smallest, smallest, 3))
    with pytest.raises(ConfigError, match=f"smallest size is {smallest}"):
        make_encoder(config, views=1, frames=1, size=smallest - 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "strides"}, "strided"),
        ({"norm": "batch"}, "layer"),
        ({"activation": "gelu"}, "relu"),
        ({"weights": "x.pt"}, "resnet18"),
        ({"frozen": True}, "resnet18"),
        ({"channels": 1}, "at least 2"),
        ({"kind": "resnet18", "frozen": True}, "weights"),
    ],
)
def test_options_that_cannot_work(options, message):
    with pytest.raises(ConfigError, match=message):
        make_encoder(EncoderConfig(**options), views=1, frames=1, size=32)


def test_frames_of_another_kind_are_refused():
    encoder = make_encoder(EncoderConfig(channels=4), views=1, frames=1, size=16)
    with pytest.raises(ValueError, match="uint8"):
        encoder(torch.zeros(1, 1, 1, 16, 16, 3))
    with pytest.raises(ValueError, match="expected"):
        encoder(random_images(1, 1, 2, 16, 16, 3))


# ResNet-18.


def slow_resnet(state, image):
    """He et al.'s ResNet-18 from torchvision's names alone: uint8 [N, H, W, 3] -> [N, 512]."""

    def norm(x, name):
        mean, spread, weight, bias = (
            state[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (spread + 1e-5).sqrt() * weight + bias

    state = {name: value.double() for name, value in state.items()}
    x = (image.double() / 255 - torch.tensor(MEAN).double()) / torch.tensor(STD).double()
    x = F.conv2d(x.permute(0, 3, 1, 2), state["conv1.weight"], stride=2, padding=3)
    x = F.max_pool2d(norm(x, "bn1").relu(), 3, 2, 1)
    for layer in (1, 2, 3, 4):
        for block in (0, 1):
            name = f"layer{layer}.{block}"
            stride = 2 if layer > 1 and block == 0 else 1
            y = F.conv2d(x, state[f"{name}.conv1.weight"], stride=stride, padding=1)
            y = F.conv2d(norm(y, f"{name}.bn1").relu(), state[f"{name}.conv2.weight"], padding=1)
            if stride == 2:
                x = norm(F.conv2d(x, state[f"{name}.downsample.0.weight"], stride=2), f"{name}.downsample.1")
            x = (norm(y, f"{name}.bn2") + x).relu()
    return x.mean((2, 3))


def published_weights():
    """A state dict as torchvision would write it, classifier included."""
    torch.manual_seed(1)
    state = ResNet18(frames=1, frozen=False).state_dict()
    for name, value in state.items():
        if name.endswith(("running_var", "bn1.weight", "bn2.weight")):
            value.uniform_(0.5, 1.0)
        elif name.endswith(("running_mean", "bias")):
            value.uniform_(-0.2, 0.2)
    return {**state, "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(published_weights(), path)
    return path


@pytest.mark.long
def test_resnet_has_the_published_parameters():
    net = ResNet18(frames=1, frozen=False)
    # torchvision's resnet18 has 11 689 512 parameters, 513 000 of them in the classifier.
    assert sum(parameter.numel() for parameter in net.parameters()) == 11_689_512 - 513_000
    names = set(net.state_dict())
    assert len(names) == 120
    assert {"conv1.weight", "bn1.running_mean", "layer2.0.downsample.1.bias", "layer4.1.bn2.weight"} <= names


@pytest.mark.parametrize("fraction", [False, True])
@pytest.mark.slow
def test_resnet_encodes_each_frame(weights, fraction):
    config = EncoderConfig(kind="resnet18", weights=str(weights), share_views=fraction)
    encoder = make_encoder(config, views=2, frames=2, size=40)
    frames = random_images(2, 2, 2, 40, 40, 3)
    state = torch.load(weights)
    order = [(view, frame) for view in (0, 1) for frame in (0, 1)]
    want = torch.cat([slow_resnet(state, frames[:, frame, view]) for view, frame in order], 1)
    out = encoder(frames)
    assert encoder.out_dim == out.shape[1] == 2 * 2 * 512
    torch.testing.assert_close(out.double(), want, rtol=1e-3, atol=1e-4)
    # Learning uses the stored statistics too, and leaves them alone.
    before = {name: value.clone() for name, value in encoder.named_buffers()}
    out.sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in encoder.named_buffers())
    assert all(parameter.grad is not None for parameter in encoder.parameters())
    torch.testing.assert_close(encoder.eval()(frames), out)


@pytest.mark.long
def test_frozen_resnet_stays_as_it_is(weights):
    config = EncoderConfig(kind="resnet18", weights=str(weights), frozen=True)
    encoder = make_encoder(config, views=2, frames=1, size=32).train()
    # Networks that would always be the same are one.
    assert len(encoder.nets) == 1
    assert not encoder.nets[0].training
    assert not any(module.training for module in encoder.nets[0].modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert not encoder(random_images(1, 1, 2, 32, 32, 3)).requires_grad


@pytest.mark.long
def test_resnet_weights_without_counters_load(tmp_path):
    state = {name: value for name, value in published_weights().items() if "num_batches" not in name}
    torch.save(state, tmp_path / "old.pth")
    config = EncoderConfig(kind="resnet18", weights=str(tmp_path / "old.pth"))
    net = make_encoder(config, views=1, frames=1, size=32).nets[0]
    assert torch.equal(net.layer3[0].downsample[0].weight, state["layer3.0.downsample.0.weight"])


@pytest.mark.slow
def test_resnet_weights_that_cannot_be_used(tmp_path):
    state = published_weights()
    state["layer1.2.conv1.weight"] = state.pop("layer1.1.conv1.weight")
    state["conv1.weight"] = torch.zeros(64, 9, 7, 7)
    torch.save(state, tmp_path / "other.pt")
    (tmp_path / "text.pt").write_text("not a checkpoint")
    torch.save([1, 2], tmp_path / "list.pt")

    def build(name):
        make_encoder(EncoderConfig(kind="resnet18", weights=str(tmp_path / name)), views=1, frames=1, size=32)

    with pytest.raises(ConfigError, match=r"other\.pt") as caught:
        build("other.pt")
    for part in (
        "missing: layer1.1.conv1.weight",
        "unexpected: layer1.2.conv1.weight",
        "conv1.weight [64, 9, 7, 7], not [64, 3, 7, 7]",
    ):
        assert part in str(caught.value)
    for name in ("text.pt", "list.pt", "absent.pt"):
        with pytest.raises(ConfigError, match=name):
            build(name)


def test_resnet_needs_colour():
    with pytest.raises(ConfigError, match="3 channels"):
        make_encoder(EncoderConfig(kind="resnet18"), views=1, frames=1, size=32, channels=1)
