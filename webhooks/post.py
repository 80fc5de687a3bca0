"""The sender of the event webhook: one POST of a delivery, and its outcome as a value."""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Final, Self

import aiohttp

from rokuga.recorder.media import NS_PER_S
from rokuga.webhooks.config import WebhookConfig
from rokuga.webhooks.delivery import Delivery
from rokuga.webhooks.http_client import MAX_RESPONSE_BYTES, NETWORK_ERRORS, WebhookClient
from rokuga.webhooks.retry_policy import Delivered, Outcome, Refused, Unreachable

REASON_BYTES: Final = 200
"""So much of a refusal is kept as its reason."""


class Poster:
    """Posts deliveries to one URL; a context, since it keeps connections open."""

    def __init__(self, config: WebhookConfig, url: str) -> None:
        """Read the configuration. Raises ValueError for a secret that is not base64 behind `whsec_`."""
        self._client = WebhookClient(config, url)

    async def __aenter__(self) -> Self:
        """Read certificates. Raises OSError and ssl.SSLError where they cannot be used."""
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, traceback)

    async def send(self, delivery: Delivery, now_wall_ns: int) -> Outcome:
        """Post a delivery once. A 2xx counts as soon as it is seen, however the rest of the response goes on.

        Raises nothing but cancellation.
        """
        headers = event_headers(delivery)
        try:
            async with self._client.post(delivery.event_id, delivery.body, headers, now_wall_ns) as response:
                text = await _beginning(response)
                if 200 <= response.status < 300:
                    return Delivered(response.status)
                pause_s = retry_after_s(response.headers.get("retry-after", ""), now_wall_ns)
                return Refused(response.status, pause_s, text)
        except TimeoutError:
            return Unreachable("timeout")
        except NETWORK_ERRORS as error:
            return Unreachable(f"{type(error).__name__}: {error}")


async def _beginning(response: aiohttp.ClientResponse) -> str:
    """Read up to MAX_RESPONSE_BYTES, so that the connection can be used again; return how the response begins."""
    first, size = b"", 0
    try:
        while size < MAX_RESPONSE_BYTES and (chunk := await response.content.read(MAX_RESPONSE_BYTES - size)):
            first, size = first or chunk, size + len(chunk)
    except NETWORK_ERRORS:
        response.close()
    return first[:REASON_BYTES].decode("utf-8", "replace")


def event_headers(delivery: Delivery) -> Mapping[str, str]:
    """Return Sora's headers of an event webhook."""
    headers = {"sora-event-webhook-type": delivery.type}
    if delivery.session_id:
        headers["sora-session-id"] = delivery.session_id
    if delivery.connection_id:
        headers["sora-connection-id"] = delivery.connection_id
    return headers


def retry_after_s(value: str, now_wall_ns: int) -> int | None:
    """Read Retry-After, seconds or a date (RFC 9110 section 10.2.3); return None for anything else."""
    if re.fullmatch("[0-9]{1,9}", value):
        return int(value)
    try:
        return max(int(parsedate_to_datetime(value).timestamp()) - now_wall_ns // NS_PER_S, 0)
    except (ValueError, OverflowError):
        return None
