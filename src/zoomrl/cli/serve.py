"""``zoomrl serve``."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg

TOKEN = "ZOOMRL_TOKEN"


@dataclass(frozen=True)
class Serve:
    """Serve a bundle over WebSocket, in the protocol of openpi's clients."""

    bundle: Annotated[Positional[str], arg(metavar="BUNDLE")]
    """Folder that `zoomrl export` wrote, or owner/name on the Hugging Face Hub."""
    host: str = "127.0.0.1"
    """Address to listen on: this machine alone by default. Others need a token."""
    port: int = 8000
    """Port to listen on; 0 takes a free one."""
    token: Annotated[str, arg(help_behavior_hint=f"(default: what {TOKEN} holds)")] = ""
    """What clients must send as Authorization: Api-Key TOKEN. Other users of this machine can read it in the list of
    processes: better set ZOOMRL_TOKEN."""
    max_clients: int = 8
    """Clients at once; more are refused."""
    max_megabytes: float = 16.0
    """Largest message."""
    max_hz: float = 1000.0
    """Messages per second of one client; faster ones wait."""
    idle_seconds: float = 60.0
    """Time after which a client that does not answer a ping is dropped."""

    def run(self) -> int:
        """Serve until interrupted."""
        from zoomrl.deploy.places import bundle_folder
        from zoomrl.deploy.server import Server, ServerOptions

        options = ServerOptions(
            host=self.host,
            port=self.port,
            token=self.token or os.environ.get(TOKEN, ""),
            max_clients=self.max_clients,
            max_megabytes=self.max_megabytes,
            max_hz=self.max_hz,
            idle_seconds=self.idle_seconds,
        )
        server = Server(bundle_folder(self.bundle), options)

        def ready() -> None:
            print(f"serving {self.bundle} at ws://{self.host}:{server.port}; Ctrl-C ends it", flush=True)

        async def until_stopped() -> None:
            task = asyncio.create_task(server.run(ready))
            loop = asyncio.get_running_loop()
            for name in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(name, task.cancel)
            try:
                await task
            except asyncio.CancelledError:
                print("stopped")

        asyncio.run(until_stopped())
        return 0
