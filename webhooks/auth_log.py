"""The log files of the authentication webhook, as Sora keeps them: a line of JSON for each request.

`auth_webhook.jsonl` has every request with its response, if there was one; `auth_webhook_error.jsonl` has those
without, and why. Fields as soralog reads them (sile/soralog, AuthWebhookMessage); `reason` is ours. Clients send
tokens in `metadata`: it is redacted like `event_metadata` unless configured otherwise. No client waits for a log.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from rokuga.recorder.clock import rfc3339
from rokuga.recorder.identifiers import new_id
from rokuga.webhooks.log import REDACTED, LogFile

MAX_WAITING: Final = 1000
"""Lines that wait for the disk; further ones are counted and dropped."""

SECRETS: Final = ("metadata", "event_metadata")

Line = tuple[bytes, bool]
"""A line, and whether it is written to the file of errors, too."""


class AuthLog:
    """Both files, in one folder; a context that writes in another thread."""

    def __init__(self, folder: Path, url: str, *, redact: bool) -> None:
        self._url = url
        self._redact = redact
        self._all = LogFile(folder / "auth_webhook.jsonl")
        self._errors = LogFile(folder / "auth_webhook_error.jsonl")
        self._waiting: asyncio.Queue[Line | None] = asyncio.Queue(MAX_WAITING)
        self._dropped = 0

    async def __aenter__(self) -> Self:
        self._writing = asyncio.create_task(self._write())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Write what is queued."""
        await self._waiting.put(None)
        await self._writing

    def append(
        self, wall_ns: int, request: Mapping[str, Any], response: Mapping[str, Any] | None, reason: str | None = None
    ) -> None:
        """Queue a request and its response, or the reason why there is none."""
        line: dict[str, Any] = {
            "id": new_id(),
            "timestamp": rfc3339(wall_ns),
            "url": self._url,
            "req": self._redacted(request),
        }
        if response is not None:
            line["res"] = self._redacted(response)
        if reason is not None:
            line["reason"] = reason
        try:
            self._waiting.put_nowait((msgspec.json.encode(line), reason is not None))
        except asyncio.QueueFull:
            self._dropped += 1

    @property
    def refused_lines(self) -> int:
        """Lines that the disk refused, or was too slow for."""
        return self._dropped + self._all.refused + self._errors.refused

    def _redacted(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        if not self._redact:
            return values
        return {**values, **{name: REDACTED for name in SECRETS if name in values}}

    async def _write(self) -> None:
        """Write lines as they are queued."""
        while (line := await self._waiting.get()) is not None:
            await asyncio.to_thread(self._append, line)

    def _append(self, line: Line) -> None:
        text, is_error = line
        self._all.write([text])
        if is_error:
            self._errors.write([text])
