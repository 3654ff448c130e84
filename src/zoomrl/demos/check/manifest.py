"""The manifest, a file next to the set with the result of its check: training refuses a set that does not fit it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from zoomrl.demos.check.findings import EpisodeAccount, Report, fails
from zoomrl.demos.collect import PACKAGES
from zoomrl.demos.entries import align_spec
from zoomrl.demos.fit_images import fit_spec
from zoomrl.demos.store import layout
from zoomrl.demos.store.intact import file_hash
from zoomrl.demos.store.reader import DemoSet
from zoomrl.envs.versions import installed_version
from zoomrl.errors import DemonstrationError, command_line, plural
from zoomrl.files import read_json, write_json
from zoomrl.spec import EnvSpec
from zoomrl.version import __version__

MANIFEST_FILE = "manifest.json"
MANIFEST_VERSION = 1


def manifest_path(path: str | Path) -> Path:
    """Where the manifest of the set at ``path`` lies: in the folder above its data."""
    folder = layout.data_dir(path)
    return (folder.parent if folder.name == layout.DATA_DIR else folder) / MANIFEST_FILE


def write_manifest(path: str | Path, report: Report, spec: EnvSpec) -> Path:
    """Write what ``report`` says of the set at ``path``; a reader sees the old file or the new one.

    Args:
        path: of the set.
        report: of its check.
        spec: what it was recorded under.
    """
    folder, target = layout.data_dir(path), manifest_path(path)
    content = {
        "format": MANIFEST_VERSION,
        "zoomrl": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "verdict": "passed" if report.passed else "failed",
        "findings": report.counts,
        "sha256": report.sha256,
        "files": {name: file_hash(folder / name) for name in (layout.MAIN_FILE, layout.METADATA_FILE)},
        "versions": {name: version for name in PACKAGES if (version := installed_version(name)) is not None},
        "replayed": report.replayed,
        "episodes": [_verdict(account) for account in report.episodes],
        "env_spec": spec.to_dict(),
    }
    write_json(target, content)
    return target


def read_manifest(path: str | Path) -> dict[str, Any] | None:
    """The manifest of the set at ``path``; None without one.

    Raises:
        DemonstrationError: where it cannot be read, or has another format.
    """
    file = manifest_path(path)
    if not file.exists():
        return None
    try:
        content = read_json(file, error=DemonstrationError, hint=_again(path, file))
        if content["format"] != MANIFEST_VERSION:
            raise ValueError(f"its format is {content['format']!r}; {MANIFEST_VERSION} is read")
        EnvSpec.from_dict(content["env_spec"])
        if not all(key in content for key in ("sha256", "findings", "verdict")):
            raise ValueError("it is incomplete")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise DemonstrationError(f"{file} cannot be read ({error}). {_again(path, file)}") from error
    return dict(content)


def check_manifest(demos: DemoSet, spec: EnvSpec) -> None:
    """Return when ``demos`` are what was checked, and the check found no error; or when they were never checked.

    Args:
        demos: as read.
        spec: of the environment that they are to be used in.

    Raises:
        DemonstrationError: where the set has a manifest that does not fit it or ``spec``, or that records errors.
    """
    manifest = read_manifest(demos.path) if demos.path else None
    if manifest is None:
        return
    file = manifest_path(demos.path)
    if manifest["sha256"] and manifest["sha256"] != demos.sha256:
        raise DemonstrationError(
            f"the demonstrations at {demos.path} have changed since they were checked: their content is "
            f"{demos.sha256[:16]}, and {manifest['sha256'][:16]} was checked on {manifest.get('date')}. "
            + _again(demos.path, file)
        )
    checked = fit_spec(align_spec(EnvSpec.from_dict(manifest["env_spec"]), spec), spec)
    if found := checked.mismatches(spec):
        lines = "\n".join(f"  - {line}" for line in found)
        raise DemonstrationError(
            f"the demonstrations at {demos.path} were checked for another environment than {spec.id} is now; checked "
            f"against now:\n{lines}\n{_again(demos.path, file)}"
        )
    errors = int(manifest["findings"].get("error", 0)) if isinstance(manifest["findings"], Mapping) else 0
    if errors or manifest["verdict"] != "passed":
        check = command_line("zoomrl", "demos", "check", demos.path)
        raise DemonstrationError(
            f"the demonstrations at {demos.path} failed their check, with {plural(errors, 'error')}. See them with "
            f"`{check}`. Demonstrations that fail when they are replayed are kept, and no longer imitated, after "
            f"`{check} --mark-failed`. To train all the same, remove {file}"
        )


def _again(path: str | Path, file: Path) -> str:
    again = command_line("zoomrl", "demos", "check", path)
    return f"Check the set again with `{again}`, or remove {file} to train without a check"


def _verdict(account: EpisodeAccount) -> dict[str, Any]:
    replay = account.replay
    good = bool(account.sha256) and (replay is None or not (replay.problem or (account.success and fails(replay))))
    return {
        "index": account.index,
        "sha256": account.sha256,
        "length": account.length,
        "is_demo": account.is_demo,
        "success": account.success,
        "replayed": replay is not None,
        "replay_success": None if replay is None else replay.success,
        "divergence": None if replay is None else replay.divergence,
        "good": good,
    }
