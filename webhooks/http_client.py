"""The HTTP client of both webhooks: one POST, its URL byte for byte, without redirects, and no answer decoded.

A consumer may close a connection that was kept open at the very moment in which it is used again (RFC 9112 section
9.3.1): a request that dies so was not answered by anybody. It is repeated at once on a new connection, and only what
becomes of that one is the outcome.
"""

import base64
import errno
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace, TracebackType
from typing import Final, Self

import aiohttp
from aiohappyeyeballs import AddrInfoType

from rokuga.recorder.media import NS_PER_S
from rokuga.webhooks.config import WebhookConfig
from rokuga.webhooks.public_address import is_public
from rokuga.webhooks.request_url import request_url

CONNECT_S: Final = 3.0


class HttpClient:
    """Posts; a context, since it keeps connections open."""

    def __init__(self, config: WebhookConfig) -> None:
        self._config = config
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Read certificates. Raises OSError and ssl.SSLError where they cannot be used."""
        context = ssl_context(self._config)
        self._session = await self._stack.enter_async_context(self._open(context, keeps_open=True))
        self._fresh = await self._stack.enter_async_context(self._open(context, keeps_open=False))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @asynccontextmanager
    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        """Post and give the answer, as soon as its head is there. A repeat has the whole time-out again.

        Raises aiohttp.ClientError, OSError (TimeoutError is one), ValueError, and asyncio.IncompleteReadError.
        """
        target = request_url(url)
        use = _Use()
        try:
            answer = await self._session.post(
                target, data=body, headers=headers, allow_redirects=False, trace_request_ctx=use
            )
        except aiohttp.ClientConnectionError as error:
            if not (use.is_again and is_unanswered(error)):
                raise
            answer = await self._fresh.post(target, data=body, headers=headers, allow_redirects=False)
        async with answer:
            yield answer

    def _open(self, context: ssl.SSLContext, *, keeps_open: bool) -> aiohttp.ClientSession:
        config = self._config
        connector = aiohttp.TCPConnector(
            ssl=context,
            limit=config.max_in_flight,
            force_close=not keeps_open,
            socket_factory=public_socket if config.deny_private else None,
        )
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(_note_again)
        return aiohttp.ClientSession(
            connector=connector,
            headers=authorization(config),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=config.response_timeout_ns / NS_PER_S, sock_connect=CONNECT_S),
            trace_configs=[trace] if keeps_open else None,
        )


class _Use:
    """Whether the connection of a request was used before."""

    is_again = False


async def _note_again(
    _session: aiohttp.ClientSession, context: SimpleNamespace, _params: aiohttp.TraceConnectionReuseconnParams
) -> None:
    context.trace_request_ctx.is_again = True


def is_unanswered(error: aiohttp.ClientConnectionError) -> bool:
    """Whether the connection of a request ended, by itself, before anything of an answer came."""
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return isinstance(error.message, str)  # else it is what there is of an answer
    return not isinstance(error, aiohttp.ClientConnectorError | TimeoutError)


def authorization(config: WebhookConfig) -> Mapping[str, str]:
    """Give the header of HTTP basic authentication (RFC 7617), if there is a user."""
    if config.basic_user is None:
        return {}
    credentials = f"{config.basic_user}:{config.basic_password or ''}".encode()
    return {"authorization": f"Basic {base64.b64encode(credentials).decode()}"}


def ssl_context(config: WebhookConfig) -> ssl.SSLContext:
    """Read the certificates that the configuration names. Raises OSError and ssl.SSLError."""
    context = ssl.create_default_context(cafile=config.ca_file)
    if config.client_cert is not None:
        context.load_cert_chain(config.client_cert, config.client_key)
    return context


def public_socket(address_info: AddrInfoType) -> socket.socket:
    """Open a socket to a public address only: checked here, names and literal addresses alike are caught."""
    family, kind, protocol, _, address = address_info
    if not is_public(str(address[0])):
        raise PermissionError(errno.EACCES, f"{address[0]} is a private address")
    return socket.socket(family, kind, protocol)
