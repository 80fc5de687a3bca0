"""An app on a real port, served as the daemon serves it; the configuration of a daemon on free ports."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from rokuga.api.config import DaemonConfig, load_config
from rokuga.api.loopback import loopback_environment


def config_in(folder: Path, **settings: str) -> DaemonConfig:
    """Configure a daemon on free ports with its files in a folder; `settings` by the names of their keys."""
    return load_config(None, loopback_environment(folder, **settings))[0]


class _Server(uvicorn.Server):
    """Leaves signals to the test run."""

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]  # as in the class it overrides
        yield


@contextlib.asynccontextmanager
async def served(app: Starlette) -> AsyncIterator[str]:
    """Serve until the end of the context; gives HOST:PORT."""
    # With the protocol named, asyncio sets TCP_NODELAY on what it accepts: without, each answer takes 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    server = _Server(
        uvicorn.Config(
            app, log_config=None, access_log=False, server_header=False, ws_max_size=1 << 20, lifespan="off"
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
        listener.close()
