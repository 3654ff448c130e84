"""Independent seeds for everything random in a run, all derived from one."""

from __future__ import annotations

from typing import Literal

import numpy as np

Stream = Literal[
    "agent",
    "replay",
    "noise",
    "ties",
    "train_env",
    "eval_env",
    "final_env",
    "eval_ties",
    "measure",
    "cli_env",
    "validation",
    "ticket_env",
    "ticket_noise",
    "ticket_ties",
    "execution_env",
]

_STREAMS: dict[Stream, int] = {
    "agent": 1,
    "replay": 2,
    "noise": 3,
    "ties": 4,
    "train_env": 5,
    "eval_env": 6,
    "final_env": 7,
    "eval_ties": 8,
    "measure": 9,
    "cli_env": 10,
    "validation": 11,
    "ticket_env": 12,
    "ticket_noise": 13,
    "ticket_ties": 14,
    "execution_env": 15,
}


def derive(seed: int, stream: Stream, *index: int) -> int:
    """A 31-bit seed for member ``index`` of ``stream``; different arguments give unrelated seeds."""
    sequence = np.random.SeedSequence(seed, spawn_key=(_STREAMS[stream], *index))
    return int(sequence.generate_state(1)[0] & 0x7FFFFFFF)
