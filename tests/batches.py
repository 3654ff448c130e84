"""Batches as the replay hands them out, with pictures, state or both."""

from __future__ import annotations

import torch
from tensordict import TensorDict

from zoomrl.nets.perception import ObservationShape

SIZE = 16
"""Height and width of the pictures: four layers of either encoder fit."""
STATE, ACTIONS = 7, 3
ONLY_STATE = ObservationShape(STATE)
ONLY_PIXELS = ObservationShape(0, views=1, frames=3, size=SIZE)
BOTH = ObservationShape(STATE, views=2, frames=2, size=SIZE)


def make_observation(shape: ObservationShape, size: int, g: torch.Generator) -> dict[str, torch.Tensor]:
    observation = {}
    if shape.state:
        observation["state"] = torch.randn(size, shape.state, generator=g)
    if shape.views:
        pictures = (size, shape.frames, shape.views, shape.size, shape.size, 3)
        observation["rgb"] = torch.randint(0, 256, pictures, dtype=torch.uint8, generator=g)
    return observation


def make_batch(
    shape: ObservationShape,
    horizon: int,
    size: int = 8,
    *,
    demo: float = 0.5,
    seed: int = 0,
    actions: int = ACTIONS,
    span: int = 0,
) -> TensorDict:
    """Chunks are padded at their end, as in the replay; about one sample in two has padding.

    With ``span`` there is a sequence of so many steps too, one sample in two leaving its episode.
    """
    g = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 2 * horizon + 1, (size, 1), generator=g)
    batch = TensorDict(
        {
            "obs": TensorDict(make_observation(shape, size, g), [size]),
            "next_obs": TensorDict(make_observation(shape, size, g), [size]),
            "actions": torch.rand(size, horizon, actions, generator=g) * 2 - 1,
            "valid": torch.arange(horizon) < lengths,
            "reward": (torch.rand(size, generator=g) < 0.3).float(),
            "discount": torch.where(torch.rand(size, generator=g) < 0.2, 0.0, 0.97),
            "is_demo": torch.rand(size, generator=g) < demo,
        },
        [size],
    )
    if span:
        following = make_observation(shape, size * span, g)
        inside = torch.randint(1, 2 * span + 1, (size, 1), generator=g)
        columns = {
            "obs": TensorDict({name: array.unflatten(0, (size, span)) for name, array in following.items()}, [size]),
            "actions": torch.rand(size, span, actions, generator=g) * 2 - 1,
            "reward": torch.rand(size, span, generator=g),
            "valid": torch.arange(span) < inside,
        }
        batch["sequence"] = TensorDict(columns, [size])
    return batch


def in_double(batch: TensorDict) -> TensorDict:
    """The batch with float64 numbers; pictures stay bytes."""
    return batch.apply(lambda x: x.double() if x.is_floating_point() else x)
