"""An aiohttp application on a port while a context is open, such as a webhook consumer."""

import contextlib
import ssl
from collections.abc import AsyncIterator

from aiohttp import web


@contextlib.asynccontextmanager
async def serving(
    app: web.Application,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    tls: ssl.SSLContext | None = None,
    grace_s: float = 0.1,
) -> AsyncIterator[str]:
    """Serve on a free port, unless one is given; yield HOST:PORT as in a URL.

    At the end, open requests have `grace_s` to finish. Raises OSError if the port is not available.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=grace_s)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls).start()
        address, number = runner.addresses[0][:2]
        yield f"[{address}]:{number}" if ":" in address else f"{address}:{number}"
    finally:
        await runner.cleanup()
