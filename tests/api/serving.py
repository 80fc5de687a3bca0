"""Servers of applications on real ports, and the configuration of a daemon on free ports."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.applications import Starlette

from rokuga.api.config.loader import DaemonConfig, load_config
from rokuga.api.http.connection_limits import ConnectionCounts
from rokuga.api.http.server import listen, serve
from rokuga.devtools.loopback import loopback_environment


def config_in(folder: Path, **settings: str) -> DaemonConfig:
    """Return the configuration of a daemon on free ports with its files in a directory; `settings` are keys."""
    return load_config(None, loopback_environment(folder, **settings))[0]


@contextlib.asynccontextmanager
async def served(app: Starlette) -> AsyncIterator[str]:
    """Serve until the end of the context as the daemon does; yield HOST:PORT."""
    async with serve(app, "127.0.0.1", listen("127.0.0.1", 0), DaemonConfig(), ConnectionCounts()) as address:
        yield address
