"""The HTTP client of both webhooks: one signed POST, its URL byte for byte; no redirects, no decoding of responses.

A server may close a connection that was kept open at the very moment in which it is used again (RFC 9112 section
9.3.1). A request that ends so got no response: it is repeated at once on a new connection, and only the outcome of
that one counts.
"""

import asyncio
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
from rokuga.webhooks.signature import signature_headers, signing_key

CONNECT_S: Final = 3.0

MAX_RESPONSE_BYTES: Final = 64 * 1024
"""No more of a response is read."""

NETWORK_ERRORS: Final = (aiohttp.ClientError, OSError, ValueError, asyncio.IncompleteReadError)
"""What servers, the network and an unusable URL make aiohttp raise; a timeout is an OSError."""


class WebhookClient:
    """Posts to one URL; a context, since it keeps connections open. Each URL has connections of its own."""

    def __init__(self, config: WebhookConfig, url: str) -> None:
        """Read the configuration. Raises ValueError for a secret that is not base64 behind `whsec_`."""
        self._config = config
        self._url = url
        self._key = signing_key(config.secret) if config.secret is not None else None
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
    async def post(
        self, message_id: str, body: bytes, headers: Mapping[str, str], now_wall_ns: int
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Post JSON with these headers; yield the response as soon as its head is there.

        A repeat on a new connection has the whole timeout again. Raises NETWORK_ERRORS.
        """
        target = request_url(self._url)
        headers = {**self._headers(message_id, body, now_wall_ns), **headers}
        use = _ConnectionUse()
        try:
            response = await self._session.post(
                target, data=body, headers=headers, allow_redirects=False, trace_request_ctx=use
            )
        except aiohttp.ClientConnectionError as error:
            if not (use.is_reused and is_unanswered(error)):
                raise
            response = await self._fresh.post(target, data=body, headers=headers, allow_redirects=False)
        async with response:
            yield response

    def _headers(self, message_id: str, body: bytes, now_wall_ns: int) -> dict[str, str]:
        headers = {"content-type": "application/json", "user-agent": f"Rokuga/{self._config.version or '0'}"}
        if self._key is not None:
            headers |= signature_headers(self._key, message_id, now_wall_ns // NS_PER_S, body)
        return headers

    def _open(self, context: ssl.SSLContext, *, keeps_open: bool) -> aiohttp.ClientSession:
        config = self._config
        connector = aiohttp.TCPConnector(
            ssl=context,
            limit=config.max_in_flight,
            force_close=not keeps_open,
            socket_factory=public_socket if config.deny_private else None,
        )
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(_note_reuse)
        return aiohttp.ClientSession(
            connector=connector,
            headers=authorization(config),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=config.response_timeout_ns / NS_PER_S, sock_connect=CONNECT_S),
            trace_configs=[trace] if keeps_open else None,
        )


class _ConnectionUse:
    """Whether the connection of a request was used before."""

    is_reused = False


async def _note_reuse(
    _session: aiohttp.ClientSession, context: SimpleNamespace, _params: aiohttp.TraceConnectionReuseconnParams
) -> None:
    context.trace_request_ctx.is_reused = True


def is_unanswered(error: aiohttp.ClientConnectionError) -> bool:
    """Return whether the server closed the connection before it sent anything of a response."""
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return isinstance(error.message, str)  # else it is the response as far as it came
    return not isinstance(error, aiohttp.ClientConnectorError | TimeoutError)


def authorization(config: WebhookConfig) -> Mapping[str, str]:
    """Return the header of HTTP basic authentication (RFC 7617), if there is a user."""
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
    """Open a socket to a public address; called with resolved and literal addresses alike. Raises PermissionError."""
    family, kind, protocol, _, address = address_info
    if not is_public(str(address[0])):
        raise PermissionError(errno.EACCES, f"{address[0]} is a private address")
    return socket.socket(family, kind, protocol)
