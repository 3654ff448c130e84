"""ACT's losses written straight from the paper: one sample at a time, one head at a time, no padding at all.

Only weights are taken from the agent. What is padded is cut off, not masked.
"""

from __future__ import annotations

import copy
import math

import torch


def linear(layer, x):
    return x @ layer.weight.T + layer.bias


def normalised(layer, x):
    centred = x - x.mean(-1, keepdim=True)
    return centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + layer.eps) * layer.weight + layer.bias


def attention(layer, x, memory):
    """[L, D] looks at [M, D]."""
    dim = x.shape[-1]
    size = dim // layer.heads
    queries = linear(layer.query, x)
    both = linear(layer.key_value, memory)
    keys, values = both[:, :dim], both[:, dim:]
    mixed = []
    for head in range(layer.heads):
        part = slice(head * size, (head + 1) * size)
        scores = torch.stack([(keys[:, part] * query).sum(-1) for query in queries[:, part]]) / math.sqrt(size)
        weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
        mixed.append(weights @ values[:, part])
    return linear(layer.out, torch.cat(mixed, -1))


def dropped(x, keep, rate):
    return x if keep is None else torch.where(keep, x / (1 - rate), torch.zeros_like(x))


def block(layer, x, keep, memory=None):
    """One layer; ``keep`` [L, width of all masks side by side]; with a memory it is a decoder's."""
    dim, hidden = x.shape[-1], layer.rise.out_features
    widths = [dim, *([dim] if memory is not None else []), hidden, dim]
    ends = [sum(widths[: i + 1]) for i in range(len(widths))]
    masks = [None if keep is None else keep[:, end - width : end] for end, width in zip(ends, widths, strict=True)]
    rate = layer.dropout
    x = normalised(layer.norm, x + dropped(attention(layer.attention, x, x), masks[0], rate))
    if memory is not None:
        x = normalised(layer.cross_norm, x + dropped(attention(layer.cross_attention, x, memory), masks[1], rate))
    fed = dropped(linear(layer.rise, x).clamp(min=0), masks[-2], rate)
    return normalised(layer.last_norm, x + dropped(linear(layer.fall, fed), masks[-1], rate))


def angle(position, index, dim):
    """Number ``index`` of the position's code."""
    inner = position / 10_000 ** ((index - index % 2) / dim)
    return math.sin(inner) if index % 2 == 0 else math.cos(inner)


def code(position, dim):
    return torch.tensor([angle(position, index, dim) for index in range(dim)], dtype=torch.float64)


class SlowACT:
    """Losses of ``agent``, in float64."""

    def __init__(self, agent):
        self.config = agent.config
        self.posterior, self.policy, self.perception = (
            copy.deepcopy(part).double() for part in (agent.posterior, agent.policy, agent.perception)
        )

    def parameters(self):
        modules = {"posterior": self.posterior, "policy": self.policy, "perception": self.perception}
        return {f"{n}.{k}": p for n, m in modules.items() for k, p in m.named_parameters()}

    def style(self, state, actions, keep):
        """Mean and log-variance from the real steps [t, A] of one sample."""
        net, dim = self.posterior, self.config.dim
        tokens = [net.summary]
        if state is not None:
            tokens.append(linear(net.state, state))
        tokens += [linear(net.actions, action) for action in actions]
        x = torch.stack([token + code(i, dim) for i, token in enumerate(tokens)])
        for index, layer in enumerate(net.stack.layers):
            x = block(layer, x, None if keep is None else keep[index, : len(x)])
        out = linear(net.head, x[0])
        return out[: self.config.style_dim], out[self.config.style_dim :]

    def chunk(self, style, state, maps, encoder_keep=None, decoder_keep=None):
        """[T, A] of one sample; ``maps`` [V, C, rows, columns]."""
        net, dim = self.policy, self.config.dim
        tokens = [linear(net.style, style) + net.kinds[0]]
        if state is not None:
            tokens.append(linear(net.state, state) + net.kinds[1])
        for view, image in enumerate([] if maps is None else maps):
            for row in range(image.shape[1]):
                for column in range(image.shape[2]):
                    place = torch.cat([code(row, dim // 2), code(column, dim // 2)])
                    tokens.append(linear(net.patch, image[:, row, column]) + place + net.views[view, 0])
        memory = torch.stack(tokens)
        for index, layer in enumerate(net.encoder.layers):
            memory = block(layer, memory, None if encoder_keep is None else encoder_keep[index])
        x = net.queries
        for index, layer in enumerate(net.decoder.layers):
            x = block(layer, x, None if decoder_keep is None else decoder_keep[index], memory)
        return linear(net.head, x)

    def maps(self, frames):
        """Maps [V, C, rows, columns] of one sample's images [F, V, H, W, 3], by its own convolutional networks."""
        found = []
        for view in range(frames.shape[1]):
            net = self.perception.encoder.nets[view]
            x = torch.cat([frame.permute(2, 0, 1) for frame in frames[:, view]])[None].double() / 255 - 0.5
            for conv, norm in zip(net.convs, net.norms, strict=True):
                x = net.activation(norm(conv(x)))
            found.append(x[0])
        return torch.stack(found)

    def losses(self, batch, noise):
        """Imitation loss and divergence over the demonstrated samples."""
        errors, divergences = [], []
        for i in range(len(batch)):
            if not batch["is_demo"][i]:
                continue
            state = maps = None
            if self.perception.shape.state:
                normalizer = self.perception.normalizer
                state = batch["obs", "state"][i].double()
                if normalizer.active:
                    state = ((state - normalizer.mean) / normalizer.std).clamp(-10, 10)
            if self.perception.shape.views:
                maps = self.maps(batch["obs", "rgb"][i])
            steps = int(batch["valid"][i].sum())
            actions = batch["actions"][i, :steps].double()
            posterior, encoder, decoder = (
                noise[name][:, i] if name in noise else None
                for name in ("posterior_keep", "encoder_keep", "decoder_keep")
            )
            mean, log_variance = self.style(state, actions, posterior)
            style = mean + torch.exp(log_variance / 2) * noise["style"][i].double()
            planned = self.chunk(style, state, maps, encoder, decoder)[:steps]
            errors += [(planned[t] - actions[t]).abs().mean() for t in range(steps)]
            terms = [(m**2 + torch.exp(v) - 1 - v) / 2 for m, v in zip(mean, log_variance, strict=True)]
            divergences.append(sum(terms))
        return sum(errors) / len(errors), sum(divergences) / len(divergences)
