"""The authentication webhook: one question for each client that comes, and no way in without an answer.

Sora's, as far as it is documented (https://sora-doc.shiguredo.jp/AUTH_WEBHOOK; fields as in sora-server-sdk-ts
types/webhook/auth_webhook.d.ts, 2023.2). Unlike an event, a question is asked once: the client waits for it.
"""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import msgspec
import structlog

from rokuga.recorder.clock import Clock, rfc3339
from rokuga.recorder.media import NS_PER_S
from rokuga.webhooks.auth_log import AuthLog
from rokuga.webhooks.config import WebhookConfig
from rokuga.webhooks.http_client import HttpClient
from rokuga.webhooks.post import NETWORK_FAULTS, sign, signing_key

log = structlog.get_logger()

MAX_ANSWER_BYTES: Final = 64 * 1024
"""A longer answer is none."""


class NoAnswer(Exception):
    """Nobody can be let in on this; the text says why, and nothing of the network behind us."""


class AuthWebhook:
    """Asks; a context, since it keeps connections open. Asking raises nothing but NoAnswer and cancellation."""

    def __init__(self, url: str, config: WebhookConfig, clock: Clock) -> None:
        """Take the configuration; `config.url` is that of events. Raises ValueError for a secret that is no key."""
        self._url = url
        self._config = config
        self._clock = clock
        self._key = signing_key(config.secret) if config.secret is not None else None
        self._stack = AsyncExitStack()
        self._log = AuthLog(config.log_dir, url, redact=config.redact)
        self._counts = dict.fromkeys(("allowed", "denied", "failed"), 0)

    async def __aenter__(self) -> Self:
        """Read certificates. Raises OSError and ssl.SSLError where they cannot be used."""
        self._client = await self._stack.enter_async_context(HttpClient(self._config))
        await self._stack.enter_async_context(self._log)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def ask(self, connection_id: str, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """Ask about a client; give the answer, whose `allowed` is true or false. Raises NoAnswer."""
        wall_ns = self._clock.wall_ns()
        asked = {**self._envelope(wall_ns), **question}
        try:
            answer = read_answer(await self._post(connection_id, msgspec.json.encode(asked)))
        except NoAnswer as error:
            self._counts["failed"] += 1
            self._log.note(wall_ns, asked, None, str(error))
            log.warning("no answer of the authentication webhook", connection_id=connection_id, reason=str(error))
            raise
        self._log.note(wall_ns, asked, answer)
        self._counts["allowed" if answer["allowed"] else "denied"] += 1
        return answer

    async def counters(self) -> Mapping[str, int]:
        """Give what became of its questions since the start, by the names of the daemon's table of counters."""
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
        try:
            async with self._client.post(self._url, body, self._headers(connection_id, body)) as answer:
                if answer.status != 200:
                    raise NoAnswer(f"status {answer.status}")
                return await _read(answer)
        except TimeoutError as error:
            raise NoAnswer("timeout") from error
        except NETWORK_FAULTS as error:
            log.warning("the authentication webhook cannot be reached", fault=f"{type(error).__name__}: {error}")
            raise NoAnswer("it cannot be reached") from error

    def _headers(self, connection_id: str, body: bytes) -> Mapping[str, str]:
        headers = {
            "content-type": "application/json",
            "accept-encoding": "identity",
            "user-agent": f"Rokuga/{self._config.version or '0'}",
            "sora-connection-id": connection_id,
        }
        if self._key is not None:
            timestamp = str(self._clock.wall_ns() // NS_PER_S)
            headers |= {
                "webhook-id": connection_id,
                "webhook-timestamp": timestamp,
                "webhook-signature": sign(self._key, connection_id, timestamp, body),
            }
        return headers


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            answer.close()
            raise NoAnswer(f"more than {MAX_ANSWER_BYTES} bytes")
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
