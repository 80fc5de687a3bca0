"""An HTTP and WebSocket server on one port: uvicorn with our limits, protocols and TLS."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator, Sequence

import uvicorn
from starlette.applications import Starlette

from rokuga.api.config.loader import DaemonConfig
from rokuga.api.http.acceptor import Acceptor, Client
from rokuga.api.http.address_text import Network
from rokuga.api.http.certificates import CertificateFiles
from rokuga.api.http.connection_limits import ConnectionCounts, ConnectionLimits, HttpConnection
from rokuga.api.http.protective_headers import PROTECTIVE_HEADERS
from rokuga.api.http.protocol import HttpProtocol
from rokuga.api.http.slow_readers import SlowReaders
from rokuga.api.http.websocket_protocol import MAX_MESSAGE_BYTES, WebsocketProtocol
from rokuga.recorder.clock import Clock

GRACE_S = 2.0
"""How long requests may go on while the daemon stops."""

BACKLOG = 1024


class _Server(uvicorn.Server):
    """uvicorn's server, without its handling of signals, and with our acceptor."""

    def __init__(self, config: uvicorn.Config, limits: ConnectionLimits, trusted: Sequence[Network]) -> None:
        super().__init__(config)
        self._limits = limits
        self._trusted = trusted

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handlers: the daemon has its own."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start accepting connections."""
        slow_readers = SlowReaders()

        def make(connection: HttpConnection, client: Client) -> asyncio.Protocol:
            return HttpProtocol(connection, client, slow_readers, self.config, self.server_state, self.lifespan.state)

        acceptors = [Acceptor(each, self._limits, self._trusted, make, self.config.ssl) for each in sockets or ()]
        self.servers = acceptors  # type: ignore[assignment]  # uvicorn only closes them
        self.started = True


@contextlib.asynccontextmanager
async def serve(
    app: Starlette,
    host: str,
    listener: socket.socket,
    config: DaemonConfig,
    counts: ConnectionCounts,
    certificate: CertificateFiles | None = None,
) -> AsyncIterator[str]:
    """Serve an application until the end of the context; yield HOST:PORT. `counts` counts refused connections.

    When `certificate` is renewed, new connections use it. The context closes the listener. Raises OSError where the
    certificate and its key cannot be used (ssl.SSLError is a subclass).
    """
    limits = ConnectionLimits(config.max_connections, config.max_connects_per_second, Clock(), counts)
    settings = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # the request policy evaluates these headers
        headers=list(PROTECTIVE_HEADERS),
        http=HttpProtocol,
        ws=WebsocketProtocol,
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,
        lifespan="off",
        ssl_certfile=config.tls_certificate,
        ssl_keyfile=config.tls_key,
    )
    try:
        settings.load()
    except OSError as error:
        raise OSError(error.errno, f"{config.tls_certificate}, {config.tls_key}: {error.strerror}") from error
    if certificate is not None and settings.ssl is not None:
        certificate.contexts.append(settings.ssl)
    server = _Server(settings, limits, config.trusted_proxies)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        abort = asyncio.get_running_loop().call_later(GRACE_S, _abort_connections, server)
        await serving
        abort.cancel()
        listener.close()


def _abort_connections(server: uvicorn.Server) -> None:
    """Abort the connections that are left: clients that do not read, such as a paused player."""
    for connection in list(server.server_state.connections):
        connection.transport.abort()


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; connections queue until it is served. Raises OSError where the port is taken.

    The protocol is explicit, since asyncio sets TCP_NODELAY only for IPPROTO_TCP.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"{host} port {port}: {error.strerror}") from error
    return listener
