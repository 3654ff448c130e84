"""``zoomrl demos view``."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from zoomrl.errors import ConfigError, plural

if TYPE_CHECKING:
    from zoomrl.demos.view.pages import SetPages


@dataclass(frozen=True)
class ViewDemos:
    """Show the episodes of a demonstration set in the browser: images, state, actions on the zoom grid."""

    path: Positional[Path]
    """Folder of the set."""
    out: Annotated[Path | None, arg(metavar="PATH")] = None
    """Write pages into this folder instead of serving them; they need no network and no other file."""
    rrd: Annotated[Path | None, arg(metavar="PATH")] = None
    """Write a recording for rerun to this file instead of serving pages (extra zoomrl[rerun])."""
    episodes: tuple[int, ...] = ()
    """Numbers of the episodes to show; empty shows all."""
    levels: int = 3
    """Zoom levels of the grid that actions are shown on."""
    bins: int = 5
    """Bins per level of the grid."""
    range: Literal["env", "demos"] = "env"
    """What the grid covers: the set's action bounds, or the range of its successful demonstrations."""
    port: int = 0
    """Port to serve at, on this machine alone; 0 takes a free one."""
    open: FlagCreatePairsOff[bool] = False
    """Open the address in the browser."""
    overwrite: FlagCreatePairsOff[bool] = False
    """Replace pages, or a recording, that are there already."""

    def run(self) -> int:
        """Serve until interrupted, or write; 1 where a part of the set cannot be read."""
        from zoomrl.demos.view.pages import open_pages

        writes = self.out is not None or self.rrd is not None
        if writes and (self.open or self.port):
            raise ConfigError("--open and --port belong to pages that are served: leave them out, or --out and --rrd")
        if self.overwrite and not writes:
            raise ConfigError("--overwrite belongs to --out and --rrd")
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"--port must be 0 (any) to 65535, got {self.port}")
        grid = {"levels": self.levels, "bins": self.bins}
        with open_pages(self.path, **grid, scale=self.range, episodes=self.episodes) as pages:
            for fault in pages.faults:
                print(f"cannot be shown: {fault}", file=sys.stderr)
            if self.rrd is not None:
                self._record(pages, self.rrd)
            if self.out is not None:
                self._write(pages, self.out)
            if not writes:
                self._serve(pages)
            return 1 if pages.faults else 0

    def _serve(self, pages: SetPages) -> None:
        from zoomrl.demos.view.server import Viewer

        viewer = Viewer(pages, self.port)
        try:
            print(f"{plural(len(pages.shown), 'episode')} of {self.path} at {viewer.address}", flush=True)
            print("Ctrl-C ends it", flush=True)
            if self.open:
                import webbrowser

                if not webbrowser.open(viewer.address):
                    print("no browser could be opened: open the address by hand", file=sys.stderr)
            threading.Event().wait()
        except KeyboardInterrupt:
            print("stopped")
        finally:
            viewer.close()

    def _write(self, pages: SetPages, out: Path) -> None:
        from rich.console import Console
        from rich.progress import Progress

        from zoomrl.demos.view.pages import write_pages

        with Progress(console=Console(stderr=True, emoji=False), disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task("writing", total=len(pages.shown))
            size = write_pages(pages, out, overwrite=self.overwrite, on_page=lambda _: progress.advance(task))
        print(f"wrote {plural(len(pages.shown), 'page')} and an index, {size / 1e6:.1f} MB: {out / 'index.html'}")

    def _record(self, pages: SetPages, path: Path) -> None:
        from zoomrl.demos.view.rerun import write_rrd

        write_rrd(pages, path, overwrite=self.overwrite)
        print(f"wrote {plural(len(pages.shown), 'episode')}: {path}; show it with `rerun {path}`")
