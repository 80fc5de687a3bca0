"""The log files of the authentication webhook, as Sora keeps them: a line of JSON for each question.

`auth_webhook.jsonl` has every question with its answer, if there was one; `auth_webhook_error.jsonl` has those that
nobody answered, and why. Fields as soralog reads them (sile/soralog, AuthWebhookMessage); `reason` is ours. Clients
show tokens in `metadata`: it is redacted like `event_metadata` unless told otherwise. No client waits for a log.
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
"""Questions that wait for the disk; those beyond are counted and given up."""

SECRETS: Final = ("metadata", "event_metadata")

Line = tuple[bytes, bool]
"""A line, and whether it goes into the file of errors, too."""


class AuthLog:
    """Both files, in one folder; a context, which writes in another thread until its end."""

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
        """Write what waits."""
        await self._waiting.put(None)
        await self._writing

    def append(
        self, wall_ns: int, asked: Mapping[str, Any], answer: Mapping[str, Any] | None, reason: str | None = None
    ) -> None:
        """Note a question and its answer, or the reason why there is none."""
        line: dict[str, Any] = {
            "id": new_id(),
            "timestamp": rfc3339(wall_ns),
            "url": self._url,
            "req": self._shown(asked),
        }
        if answer is not None:
            line["res"] = self._shown(answer)
        if reason is not None:
            line["reason"] = reason
        try:
            self._waiting.put_nowait((msgspec.json.encode(line), reason is not None))
        except asyncio.QueueFull:
            self._dropped += 1

    @property
    def refused_lines(self) -> int:
        """Lines that the disk did not take, or not in time."""
        return self._dropped + self._all.refused + self._errors.refused

    def _shown(self, said: Mapping[str, Any]) -> Mapping[str, Any]:
        if not self._redact:
            return said
        return {**said, **{name: REDACTED for name in SECRETS if name in said}}

    async def _write(self) -> None:
        """Write lines as they come."""
        while (line := await self._waiting.get()) is not None:
            await asyncio.to_thread(self._append, line)

    def _append(self, line: Line) -> None:
        text, is_error = line
        self._all.write([text])
        if is_error:
            self._errors.write([text])
