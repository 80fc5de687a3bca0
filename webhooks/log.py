"""The log files of event webhooks, as Sora keeps them: a line of JSON each, rotated by size.

`event_webhook.jsonl` has every event, with `event_metadata` redacted unless told otherwise;
`event_webhook_error.jsonl` has what could not be delivered, unredacted, to be sent again by hand. A disk that does
not take a line costs that line.
"""

import logging
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Final

import msgspec

from rokuga.recorder.clock import rfc3339
from rokuga.webhooks.outbox import Entry

MAX_BYTES: Final = 64 * 1024 * 1024
BACKUPS: Final = 9
REDACTED: Final = "REDACTED"


class _File(RotatingFileHandler):
    """A handler that counts what the disk refuses, and says nothing."""

    refused = 0

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is logging's
        """Count a line that could not be written."""
        self.refused += 1


class WebhookLog:
    """Both files, in one folder."""

    def __init__(self, folder: Path, *, redact: bool) -> None:
        """Make the folder. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        self._redact = redact
        self._events = _File(folder / "event_webhook.jsonl", "a", MAX_BYTES, BACKUPS, "utf-8", delay=True)
        self._errors = _File(folder / "event_webhook_error.jsonl", "a", MAX_BYTES, BACKUPS, "utf-8", delay=True)

    def event(self, entry: Entry) -> None:
        """Note an event."""
        line = entry.body
        if self._redact and b'"event_metadata"' in line:
            body = msgspec.json.decode(line)
            _redact(body)
            line = msgspec.json.encode(body)
        _write(self._events, line)

    def failure(self, entry: Entry, reason: str, wall_ns: int) -> None:
        """Note an attempt that failed, with the body to send."""
        line = {
            "timestamp": rfc3339(wall_ns),
            "reason": reason,
            "attempts": entry.attempts + 1,
            "body": msgspec.Raw(entry.body),
        }
        _write(self._errors, msgspec.json.encode(line))

    @property
    def refused_lines(self) -> int:
        """Lines that the disk did not take."""
        return self._events.refused + self._errors.refused

    def close(self) -> None:
        """Close the files."""
        self._events.close()
        self._errors.close()


def _write(file: _File, line: bytes) -> None:
    file.handle(logging.LogRecord("webhooks", logging.INFO, "", 0, line.decode(), None, None))


def _redact(value: Any) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "event_metadata":
                value[key] = REDACTED
            else:
                _redact(inner)
    elif isinstance(value, list):
        for inner in value:
            _redact(inner)
