"""Bundles on the Hugging Face Hub, by way of ``huggingface_hub``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from zoomrl.errors import CheckpointError, ConfigError, ZoomrlError, import_optional
from zoomrl.runtime import GRAPH, POLICY

FILES = (POLICY, GRAPH, "model_step.onnx", "model.safetensors", "policy.py", "README.md")
"""What a bundle is made of: nothing else is sent or fetched."""


def push(folder: Path, name: str, *, private: bool = False, message: str = "") -> str:
    """Send the bundle ``folder`` to the hub as the model ``name``.

    Args:
        folder: that ``zoomrl export`` wrote.
        name: ``owner/name``; the repository is made where there is none.
        private: of a repository that is made.
        message: of the commit.

    Returns:
        Address of the commit.

    Raises:
        CheckpointError: the folder holds no bundle.
        ConfigError: ``name`` is not of the form ``owner/name``.
        MissingDependencyError: without huggingface_hub.
        ZoomrlError: the hub refuses, or cannot be reached.
    """
    hub = _hub(name)
    try:
        facts = json.loads((folder / POLICY).read_text(encoding="utf-8"))
        summary = message or f"{facts['agent']} for {facts['environment']['id']}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder} holds no bundle of `zoomrl export` ({error})") from error
    try:
        hub.create_repo(name, repo_type="model", private=private, exist_ok=True)
        done = hub.upload_folder(
            repo_id=name,
            folder_path=str(folder),
            allow_patterns=list(FILES),
            # Of a bundle that was there before.
            delete_patterns=[file for file in FILES if not (folder / file).exists()],
            commit_message=summary,
        )
    except Exception as error:  # of the library, of what it speaks HTTP with, of the system
        raise ZoomrlError(f"the hub did not take {folder} as {name}: {_reason(error)}. {_LOGIN}") from error
    return str(getattr(done, "commit_url", done))


def pull(name: str, out: Path | None = None, *, revision: str | None = None) -> Path:
    """Fetch the bundle ``name`` from the hub. Nothing of it is run, and ``policy.py`` is not imported.

    Args:
        name: ``owner/name``.
        out: folder for it; None keeps it in the hub's own cache.
        revision: branch, tag or commit.

    Returns:
        The folder.

    Raises:
        ConfigError: as for :func:`push`; or something else than a bundle lies at ``out``.
        MissingDependencyError, ZoomrlError: as for :func:`push`.
    """
    hub = _hub(name)
    if out is not None and out.exists() and not (out / POLICY).is_file() and (out.is_file() or any(out.iterdir())):
        raise ConfigError(f"{out} exists and is no bundle of `zoomrl export`; it is left alone, name another folder")
    try:
        place = None if out is None else str(out)
        found = hub.snapshot_download(name, revision=revision, local_dir=place, allow_patterns=list(FILES))
    except Exception as error:  # as above
        raise ZoomrlError(f"{name} could not be fetched from the hub: {_reason(error)}. {_LOGIN}") from error
    if not (Path(found) / GRAPH).is_file():
        raise CheckpointError(f"{name} on the hub is no bundle of `zoomrl export`: it has no {GRAPH}")
    return Path(found)


_LOGIN = "A private repository, or one to write to, needs a token: hf auth login, or HF_TOKEN"


def _hub(name: str) -> Any:
    owner, _, rest = name.partition("/")
    if not owner or not rest or "/" in rest:
        raise ConfigError(f"a model on the hub is owner/name, got {name!r}")
    return import_optional("huggingface_hub", "hub")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
