"""``zoomrl push`` and ``zoomrl pull``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from zoomrl.cli.command import to_type


@dataclass(frozen=True)
class Push:
    """Send a bundle to the Hugging Face Hub."""

    bundle: Annotated[Positional[Path], arg(metavar="DIR")]
    """Folder that `zoomrl export` wrote."""
    name: Annotated[Positional[str], arg(metavar="OWNER/NAME")]
    """Model on the hub; it is made where there is none."""
    private: FlagCreatePairsOff[bool] = False
    """Make it private."""
    message: str = ""
    """Message of the commit; empty names agent and environment."""

    def run(self) -> int:
        """Send it."""
        from zoomrl.deploy.hub import push

        print(push(self.bundle, self.name, private=self.private, message=self.message))
        return 0


@dataclass(frozen=True)
class Pull:
    """Fetch a bundle from the Hugging Face Hub. Nothing of it is run."""

    name: Annotated[Positional[str], arg(metavar="OWNER/NAME")]
    """Model on the hub."""
    out: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: the hub's cache)")] = None
    """Folder to write it to."""
    revision: Annotated[str | None, arg(help_behavior_hint="(default: the newest)")] = None
    """Branch, tag or commit."""

    def run(self) -> int:
        """Fetch it."""
        from zoomrl.deploy.hub import pull

        folder = pull(self.name, self.out, revision=self.revision)
        print(folder)
        print(f"serve it with: {to_type('serve', folder)}")
        return 0
