"""Batches as the replay hands them out, with images, state or both."""

from __future__ import annotations

import torch
from tensordict import TensorDict

from zoomrl.nets.perception import ObservationShape

SIZE = 16
"""Height and width of the images: four layers of either encoder fit."""
STATE, ACTIONS = 7, 3
ONLY_STATE = ObservationShape(STATE)
ONLY_PIXELS = ObservationShape(0, views=1, frames=3, size=SIZE)
BOTH = ObservationShape(STATE, views=2, frames=2, size=SIZE)


def make_observation(shape: ObservationShape, size: int, g: torch.Generator) -> dict[str, torch.Tensor]:
    observation = {}
    if shape.state:
        observation["state"] = torch.randn(size, shape.state, generator=g)
    if shape.views:
        images = (size, shape.frames, shape.views, shape.size, shape.size, 3)
        observation["rgb"] = torch.randint(0, 256, images, dtype=torch.uint8, generator=g)
    return observation


def make_batch(
    shape: ObservationShape,
    chunk_length: int,
    size: int = 8,
    *,
    demo: float = 0.5,
    seed: int = 0,
    actions: int = ACTIONS,
    sequence_length: int = 0,
) -> TensorDict:
    """Chunks are padded at their end, as in the replay; about one sample in two has padding.

    With ``sequence_length`` there is a sequence of so many steps too, one sample in two leaving its episode.
    """
    g = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 2 * chunk_length + 1, (size, 1), generator=g)
    batch = TensorDict(
        {
            "obs": TensorDict(make_observation(shape, size, g), [size]),
            "next_obs": TensorDict(make_observation(shape, size, g), [size]),
            "actions": torch.rand(size, chunk_length, actions, generator=g) * 2 - 1,
            "valid": torch.arange(chunk_length) < lengths,
            "reward": (torch.rand(size, generator=g) < 0.3).float(),
            "discount": torch.where(torch.rand(size, generator=g) < 0.2, 0.0, 0.97),
            "is_demo": torch.rand(size, generator=g) < demo,
        },
        [size],
    )
    if sequence_length:
        following = make_observation(shape, size * sequence_length, g)
        inside = torch.randint(1, 2 * sequence_length + 1, (size, 1), generator=g)
        columns = {
            "obs": TensorDict(
                {name: array.unflatten(0, (size, sequence_length)) for name, array in following.items()}, [size]
            ),
            "actions": torch.rand(size, sequence_length, actions, generator=g) * 2 - 1,
            "reward": torch.rand(size, sequence_length, generator=g),
            "valid": torch.arange(sequence_length) < inside,
        }
        ends = (torch.arange(sequence_length) + 1 == inside) & (torch.arange(size)[:, None] % 3 == 0)
        columns["discount"] = torch.where(columns["valid"], torch.where(ends, 0.0, 0.97), 1.0)
        batch["sequence"] = TensorDict(columns, [size])
    return batch


def in_double(batch: TensorDict) -> TensorDict:
    """The batch with float64 numbers; images stay bytes."""
    return batch.apply(lambda x: x.double() if x.is_floating_point() else x)
