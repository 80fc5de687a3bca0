"""The authentication webhook: asks the customer whether a client may connect; without a response it may not.

Sora's, as far as it is documented (https://sora-doc.shiguredo.jp/AUTH_WEBHOOK; fields as in sora-server-sdk-ts
types/webhook/auth_webhook.d.ts, 2023.2). Unlike an event, a request is not retried: the client waits.
"""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec
import structlog

from rokuga.recorder.clock import Clock, rfc3339
from rokuga.webhooks.auth_log import AuthLog
from rokuga.webhooks.config import WebhookConfig
from rokuga.webhooks.http_client import MAX_RESPONSE_BYTES, NETWORK_ERRORS, WebhookClient

log = structlog.get_logger()


class NoAnswer(Exception):
    """The webhook did not decide; the text goes to the client, and names no internal host or address."""


class AuthWebhook:
    """Asks the authentication webhook; a context, since it keeps connections open."""

    def __init__(self, url: str, config: WebhookConfig, clock: Clock) -> None:
        """Read the configuration; `config.url` is that of events. Raises ValueError for an unusable secret."""
        self._config = config
        self._clock = clock
        self._stack = AsyncExitStack()
        self._client = WebhookClient(config, url)
        self._log = AuthLog(config.log_dir, url, redact=config.redact)
        self._counts = dict.fromkeys(("allowed", "denied", "failed"), 0)

    async def __aenter__(self) -> Self:
        """Read certificates. Raises OSError and ssl.SSLError where they cannot be used."""
        await self._stack.enter_async_context(self._client)
        await self._stack.enter_async_context(self._log)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def ask(self, connection_id: str, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """Ask about a client; return the answer, whose `allowed` is a boolean. Raises NoAnswer and nothing else."""
        wall_ns = self._clock.wall_ns()
        request = {**self._envelope(wall_ns), **question}
        try:
            answer = read_answer(await self._post(connection_id, msgspec.json.encode(request)))
        except NoAnswer as error:
            self._counts["failed"] += 1
            self._log.append(wall_ns, request, None, str(error))
            log.warning(
                "authentication webhook failed, client denied", connection_id=connection_id, reason=str(error)
            )
            raise
        self._log.append(wall_ns, request, answer)
        self._counts["allowed" if answer["allowed"] else "denied"] += 1
        return answer

    async def counters(self) -> Mapping[str, int]:
        """Return the outcomes of requests since the start, by their metric names."""
        outcomes = {f"auth_webhook_{outcome}": count for outcome, count in self._counts.items()}
        return {**outcomes, "auth_webhook_log_lines_refused": self._log.refused_lines}

    def _envelope(self, wall_ns: int) -> Mapping[str, Any]:
        config = self._config
        return {
            "timestamp": rfc3339(wall_ns),
            "version": config.version,
            "label": config.label,
            "node_name": config.node_name,
        }

    async def _post(self, connection_id: str, body: bytes) -> bytes:
        headers = {"accept-encoding": "identity", "sora-connection-id": connection_id}
        try:
            async with self._client.post(connection_id, body, headers, self._clock.wall_ns()) as response:
                if response.status != 200:
                    raise NoAnswer(f"status {response.status}")
                return await _read(response)
        except TimeoutError as error:
            raise NoAnswer("timeout") from error
        except NETWORK_ERRORS as error:
            log.warning("authentication webhook unreachable", error=f"{type(error).__name__}: {error}")
            raise NoAnswer("it cannot be reached") from error


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_RESPONSE_BYTES:
            response.close()
            raise NoAnswer(f"more than {MAX_RESPONSE_BYTES} bytes")
    return bytes(body)


def read_answer(body: bytes) -> Mapping[str, Any]:
    """Read an answer: a JSON object whose `allowed` is a boolean. Raises NoAnswer."""
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise NoAnswer("it is not JSON") from error
    if not isinstance(answer, dict) or not isinstance(answer.get("allowed"), bool):
        raise NoAnswer("there is no boolean allowed")
    return answer
