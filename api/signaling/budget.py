"""The limit on what one client may send: a burst, then a rate (pure; times are monotonic nanoseconds)."""

from typing import Final

from rokuga.recorder.media import NS_PER_S

MAX_MESSAGES: Final = 500
"""In a burst. A client that trickles its candidates sends some dozens."""
MESSAGES_PER_S: Final = 20
MAX_BYTES: Final = 2 * 1024 * 1024
"""In a burst; the longest message has half of it."""
BYTES_PER_S: Final = 128 * 1024
"""A pong every 5 s has 10 to 40 kB."""


class MessageBudget:
    """The messages and bytes that a client may still send: a token bucket for each."""

    def __init__(self, now_ns: int) -> None:
        self._messages = MAX_MESSAGES * NS_PER_S
        self._bytes = MAX_BYTES * NS_PER_S
        self._since_ns = now_ns

    def spend(self, size_bytes: int, now_ns: int) -> str | None:
        """Deduct a message. Return the name of the limit that it exceeds, None if it exceeds none."""
        passed_ns, self._since_ns = max(0, now_ns - self._since_ns), now_ns
        self._messages = min(MAX_MESSAGES * NS_PER_S, self._messages + passed_ns * MESSAGES_PER_S) - NS_PER_S
        self._bytes = min(MAX_BYTES * NS_PER_S, self._bytes + passed_ns * BYTES_PER_S) - size_bytes * NS_PER_S
        if self._messages < 0:
            return "TOO-MANY-MESSAGES"
        return "TOO-MANY-BYTES" if self._bytes < 0 else None
