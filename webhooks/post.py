"""One HTTP POST: the body of an entry to the customer's URL, and what became of it as a value."""

import asyncio
import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Final, Self

import aiohttp

from rokuga.recorder.media import NS_PER_S
from rokuga.webhooks.config import WebhookConfig
from rokuga.webhooks.entry import Entry
from rokuga.webhooks.http_client import HttpClient
from rokuga.webhooks.retry_policy import Delivered, Outcome, Refused, Unreachable

MAX_ANSWER_BYTES: Final = 64 * 1024
"""No more of an answer is read; what it says does not matter."""

REASON_BYTES: Final = 200
"""So much of a refusal is kept as its reason."""

NETWORK_FAULTS: Final = (aiohttp.ClientError, OSError, ValueError, asyncio.IncompleteReadError)
"""What a consumer, the network and a URL that leads nowhere make aiohttp raise; a timeout is an OSError."""


class Poster:
    """Posts entries; a context, since it keeps connections open. `post` raises nothing but cancellation."""

    def __init__(self, config: WebhookConfig) -> None:
        """Take the configuration. Raises ValueError for a secret that is no key."""
        self._config = config
        self._key = signing_key(config.secret) if config.secret is not None else None
        self._client = HttpClient(config)

    async def __aenter__(self) -> Self:
        """Read certificates. Raises OSError and ssl.SSLError where they cannot be used."""
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, traceback)

    async def post(self, entry: Entry, now_wall_ns: int) -> Outcome:
        """Send an entry once. A 2xx counts as soon as it is seen, however the rest of the answer goes on."""
        try:
            headers = make_headers(entry, self._config.version, self._key, now_wall_ns)
            async with self._client.post(self._config.url or "", entry.body, headers) as answer:
                text = await _beginning(answer)
                if 200 <= answer.status < 300:
                    return Delivered(answer.status)
                pause_s = retry_after_s(answer.headers.get("retry-after", ""), now_wall_ns)
                return Refused(answer.status, pause_s, text)
        except TimeoutError:
            return Unreachable("timeout")
        except NETWORK_FAULTS as error:
            return Unreachable(f"{type(error).__name__}: {error}")


async def _beginning(answer: aiohttp.ClientResponse) -> str:
    """Read an answer, so that its connection can be used again, but no more of it than MAX_ANSWER_BYTES."""
    first, size = b"", 0
    try:
        while size < MAX_ANSWER_BYTES and (chunk := await answer.content.read(MAX_ANSWER_BYTES - size)):
            first, size = first or chunk, size + len(chunk)
    except NETWORK_FAULTS:
        answer.close()
    return first[:REASON_BYTES].decode("utf-8", "replace")


def make_headers(entry: Entry, version: str, key: bytes | None, now_wall_ns: int) -> Mapping[str, str]:
    """Give the headers of a POST: Sora's, and with a key those of Standard Webhooks (standardwebhooks.com)."""
    headers = {
        "content-type": "application/json",
        "user-agent": f"Rokuga/{version or '0'}",
        "sora-event-webhook-type": entry.type,
    }
    if entry.session_id:
        headers["sora-session-id"] = entry.session_id
    if entry.connection_id:
        headers["sora-connection-id"] = entry.connection_id
    if key is not None:
        timestamp = str(now_wall_ns // NS_PER_S)
        headers |= {
            "webhook-id": entry.event_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": sign(key, entry.event_id, timestamp, entry.body),
        }
    return headers


def signing_key(secret: str) -> bytes:
    """Read a secret: base64 behind `whsec_`, any other is taken as it is. Raises ValueError."""
    if not secret.startswith("whsec_"):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError as error:
        raise ValueError("the webhook secret is not base64 behind whsec_") from error


def sign(key: bytes, event_id: str, timestamp: str, body: bytes) -> str:
    """Sign as Standard Webhooks does."""
    digest = hmac.digest(key, b".".join((event_id.encode(), timestamp.encode(), body)), hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


def retry_after_s(value: str, now_wall_ns: int) -> int | None:
    """Read Retry-After, seconds or a date (RFC 9110 section 10.2.3); None for anything else."""
    if re.fullmatch("[0-9]{1,9}", value):
        return int(value)
    try:
        return max(int(parsedate_to_datetime(value).timestamp()) - now_wall_ns // NS_PER_S, 0)
    except (ValueError, OverflowError):
        return None
