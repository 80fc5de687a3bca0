"""One HTTP POST: the body of an entry to the customer's URL, and what became of it as a value."""

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import socket
import ssl
from collections.abc import Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Self

import aiohttp
from aiohappyeyeballs import AddrInfoType

from rokuga.recorder.media import NS_PER_S
from rokuga.webhooks.config import WebhookConfig
from rokuga.webhooks.outbox import Entry
from rokuga.webhooks.retry_policy import Delivered, Outcome, Refused, Unreachable

MAX_ANSWER_BYTES: Final = 64 * 1024
"""No more of an answer is read; what it says does not matter."""

CONNECT_S: Final = 3.0


class PrivateAddressError(OSError):
    """The URL leads to a private address, which the configuration forbids."""


class Poster:
    """Posts entries; a context, since it keeps connections open. `post` raises nothing but cancellation."""

    def __init__(self, config: WebhookConfig) -> None:
        self._config = config
        self._stack = AsyncExitStack()
        self._timeout = aiohttp.ClientTimeout(total=config.response_timeout_ns / NS_PER_S, sock_connect=CONNECT_S)

    async def __aenter__(self) -> Self:
        """Read certificates. Raises OSError and ssl.SSLError where they cannot be used."""
        config = self._config
        connector = aiohttp.TCPConnector(
            ssl=_ssl_context(config),
            limit=config.max_in_flight,
            socket_factory=_public_socket if config.deny_private else None,
        )
        user, password = config.basic_user, config.basic_password
        basic = aiohttp.BasicAuth(user, password or "") if user is not None else None
        session = aiohttp.ClientSession(connector=connector, auth=basic, cookie_jar=aiohttp.DummyCookieJar())
        self._session = await self._stack.enter_async_context(session)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def post(self, entry: Entry, now_wall_ns: int) -> Outcome:
        """Send an entry once."""
        try:
            async with self._session.post(
                self._config.url or "",
                data=entry.body,
                headers=make_headers(entry, self._config, now_wall_ns),
                allow_redirects=False,
                timeout=self._timeout,
            ) as answer:
                await answer.content.read(MAX_ANSWER_BYTES)
                if 200 <= answer.status < 300:
                    return Delivered(answer.status)
                return Refused(answer.status, _seconds(answer.headers.get("retry-after")))
        except TimeoutError:
            return Unreachable("timeout")
        except (aiohttp.ClientError, OSError, ValueError, asyncio.IncompleteReadError) as error:
            return Unreachable(f"{type(error).__name__}: {error}")


def make_headers(entry: Entry, config: WebhookConfig, now_wall_ns: int) -> Mapping[str, str]:
    """Give the headers of a POST: Sora's, and with a secret those of Standard Webhooks (standardwebhooks.com)."""
    headers = {
        "content-type": "application/json",
        "user-agent": f"Rokuga/{config.version or '0'}",
        "sora-event-webhook-type": entry.type,
    }
    if entry.session_id:
        headers["sora-session-id"] = entry.session_id
    if entry.connection_id:
        headers["sora-connection-id"] = entry.connection_id
    if config.secret is not None:
        timestamp = str(now_wall_ns // NS_PER_S)
        headers |= {
            "webhook-id": entry.event_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": sign(config.secret, entry.event_id, timestamp, entry.body),
        }
    return headers


def sign(secret: str, event_id: str, timestamp: str, body: bytes) -> str:
    """Sign as Standard Webhooks does. A secret that begins with `whsec_` is base64, any other is taken as it is."""
    key = base64.b64decode(secret.removeprefix("whsec_")) if secret.startswith("whsec_") else secret.encode()
    digest = hmac.digest(key, b".".join((event_id.encode(), timestamp.encode(), body)), hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


def _seconds(retry_after: str | None) -> int | None:
    """Read Retry-After in seconds; its other form, a date, is not honoured."""
    return int(retry_after) if retry_after is not None and retry_after.strip().isdigit() else None


def _ssl_context(config: WebhookConfig) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=config.ca_file)
    if config.client_cert is not None:
        context.load_cert_chain(config.client_cert, config.client_key)
    return context


def _public_socket(address_info: AddrInfoType) -> socket.socket:
    """Open a socket to a public address only: checked here, names and literal addresses alike are caught."""
    family, kind, protocol, _, address = address_info
    if not ipaddress.ip_address(address[0]).is_global:
        raise PrivateAddressError(f"{address[0]} is a private address")
    return socket.socket(family, kind, protocol)
