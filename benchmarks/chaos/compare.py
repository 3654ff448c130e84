"""Whether two runs left the same: rows, weights, replayed episodes, best weights, corrections, result.

A stop asks for a checkpoint of its own. Which checkpoint came before the newest one, and how the episodes between are
spread over files, is therefore no result; the episodes are.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zoomrl.seal import KEY
from zoomrl.training.checkpoint import read_state
from zoomrl.training.rows import WALL_FIELDS, read_rows

MEASURED = ("training_seconds", "peak_memory_gb", "expected_memory_gb", KEY)
"""Fields of ``result.json`` that depend on the clock and on the machine's memory, and the checksum of all."""
OF_THE_CLOCK = ("seconds", "log_position", "log_sha256", "run", "segments")
"""Entries of a checkpoint that do so: wall time, length and hash of the rows that hold it; the run's own id; and names
and hashes of the files of its episodes, which are compared one by one."""


def differences(reference: Path, run: Path) -> list[str]:
    """In what ``run`` differs from ``reference``, in words; empty where both left the same."""
    ours, theirs = left_by(run), left_by(reference)
    found = [f"{name} differs" for name in sorted(ours | theirs) if ours.get(name) != theirs.get(name)]
    return found + [f"only one has {name}" for name in sorted({*names(run)} ^ {*names(reference)})]


def left_by(run: Path) -> dict[str, str]:
    """What a finished run left: name -> hash, without what depends on the clock."""
    states = sorted((run / "checkpoints").glob("step_*.pt"))
    found = {"files": ", ".join(names(run)), "rows": _hash(rows(run)), "result": _hash(result(run))}
    for path in [*states[-1:], *(run / "checkpoints").glob("best.pt")]:
        state = read_state(path)
        found[path.name] = _hash({key: value for key, value in state.items() if key not in OF_THE_CLOCK})
        if path in states:
            found |= {f"episode {serial}": _hash(episode) for serial, episode in episodes(run, state).items()}
    for path in (run / "corrections").glob("episode_*.npz"):
        found[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def episodes(run: Path, state: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """The online episodes that a checkpoint's ``state`` holds, by their serial numbers."""
    found = {}
    for name in state["segments"]:
        if not (run / "replay" / name).exists():  # its episodes are lost
            continue
        with np.load(run / "replay" / name) as file:
            segment = dict(file)
        ends = np.cumsum(segment["length"] + 1)
        for index, (serial, end) in enumerate(zip(segment["serial"].tolist(), ends.tolist(), strict=True)):
            rows = slice(end - int(segment["length"][index]) - 1, end)
            parts = {k: v[rows] if len(v) == ends[-1] else v[index] for k, v in segment.items()}
            if serial >= state["replay"]["oldest"]:
                found[serial] = {name: torch.as_tensor(part) for name, part in parts.items()}
    return found


def names(run: Path) -> list[str]:
    """Files of a run, without those put aside, older checkpoints and episodes."""
    older = {str(path.relative_to(run)) for path in sorted((run / "checkpoints").glob("step_*.pt"))[:-1]}
    paths = {str(path.relative_to(run)) for path in run.rglob("*") if not path.is_dir()} - older
    aside = ("corrections/dropped_", "replay/")
    return sorted(path for path in paths if not path.startswith(aside) and ".damaged" not in path)


def rows(run: Path) -> list[dict[str, Any]]:
    """Rows of metrics without the fields that depend on the clock; damaged ones are left out, as by zoomrl itself."""
    found = read_rows(run / "metrics.jsonl")
    return [{key: value for key, value in row.items() if key not in WALL_FIELDS} for row in found]


def result(run: Path) -> dict[str, Any]:
    """``result.json`` without what depends on the clock."""
    found = json.loads((run / "result.json").read_text())
    return {key: value for key, value in found.items() if key not in MEASURED}


def _hash(value: Any) -> str:
    digest = hashlib.sha256()
    _feed(digest, value)
    return digest.hexdigest()


def _feed(digest: Any, value: Any) -> None:
    """Add a nested state to ``digest``, tensors by their bytes."""
    if isinstance(value, dict):
        for key, part in value.items():
            digest.update(f"{{{key!r}:".encode())
            _feed(digest, part)
    elif isinstance(value, list | tuple):
        digest.update(f"[{len(value)}".encode())
        for part in value:
            _feed(digest, part)
    elif isinstance(value, torch.Tensor):
        digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
        digest.update(value.detach().contiguous().numpy().tobytes())
    else:
        digest.update(repr(value).encode())
