"""The log files of event webhooks, as Sora keeps them: a line of JSON each, rotated by size.

`event_webhook.jsonl` has every event, with `event_metadata` redacted unless configured otherwise;
`event_webhook_error.jsonl` has the attempts that failed, unredacted, to be sent again by hand. Lines that the disk
refuses are counted and dropped: no delivery waits for a log. The daemon's own log reports the first refusal and its
end.
"""

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import structlog

from rokuga.recorder.clock import rfc3339
from rokuga.webhooks.delivery import Delivery

log = structlog.get_logger()

MAX_BYTES: Final = 64 * 1024 * 1024
BACKUPS: Final = 9
FILE_MODE: Final = 0o640
REDACTED: Final = "REDACTED"


class LogFile:
    """Appends whole lines. The file is opened for each write: one that was moved away is created again."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES, backups: int = BACKUPS) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._backups = backups
        self._lock = threading.Lock()
        self._is_refusing = False
        self.refused = 0

    def write(self, lines: Sequence[bytes]) -> bool:
        """Append all lines and return True, or none and return False where the disk refuses them."""
        with self._lock:
            try:
                self._append(b"".join(line + b"\n" for line in lines))
            except OSError as error:
                self.refused += len(lines)
                self._log_refusal(error)
                return False
            if self._is_refusing:
                self._is_refusing = False
                log.info("webhook log written again", path=str(self._path), refused=self.refused)
        return True

    def _log_refusal(self, error: OSError) -> None:
        if not self._is_refusing:
            self._is_refusing = True
            reason = error.strerror or str(error)
            log.error("webhook log not written", path=str(self._path), reason=reason, errno=error.errno)

    def _append(self, data: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists() and 0 < self._path.stat().st_size > self._max_bytes - len(data):
            self._rotate()
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            size = os.fstat(file).st_size
            if os.write(file, data) < len(data):
                os.ftruncate(file, size)
                raise OSError("partial write")
        finally:
            os.close(file)

    def _rotate(self) -> None:
        """Rename each file to the next number; the oldest is overwritten."""
        names = [self._path, *(self._path.with_name(f"{self._path.name}.{n}") for n in range(1, self._backups + 1))]
        for older, newer in reversed([*zip(names[1:], names, strict=False)]):
            if newer.exists():
                newer.replace(older)


class WebhookLog:
    """Both files, in one folder. Its methods write to the disk and may be called in any thread."""

    def __init__(self, folder: Path, *, redact: bool) -> None:
        self._redact = redact
        self._events = LogFile(folder / "event_webhook.jsonl")
        self._errors = LogFile(folder / "event_webhook_error.jsonl")

    def events(self, bodies: Sequence[bytes]) -> bool:
        """Write events by their bodies; return False where the disk refused them."""
        return self._events.write([_redacted(body) for body in bodies] if self._redact else bodies)

    def failure(self, delivery: Delivery, reason: str, wall_ns: int, next_wall_ns: int | None) -> None:
        """Write an attempt that failed, when the next one is due (None: it was given up), and the body to send."""
        line = {
            "timestamp": rfc3339(wall_ns),
            "reason": reason,
            "attempts": delivery.attempts + 1,
            "next_attempt": None if next_wall_ns is None else rfc3339(next_wall_ns),
            "body": msgspec.Raw(delivery.body),
        }
        self._errors.write([msgspec.json.encode(line)])

    @property
    def refused_lines(self) -> int:
        """Lines that the disk refused."""
        return self._events.refused + self._errors.refused


def _redacted(body: bytes) -> bytes:
    """Replace `event_metadata`, which is the envelope's; a recording's own `metadata` is no secret."""
    if b'"event_metadata"' not in body:
        return body
    envelope = msgspec.json.decode(body)
    for place in (envelope, envelope["data"]):
        if "event_metadata" in place:
            place["event_metadata"] = REDACTED
    return msgspec.json.encode(envelope)
