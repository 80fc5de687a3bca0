"""Configuration of the webhooks. Durations are nanoseconds; None means unset, or without limit."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rokuga.recorder.media import NS_PER_S
from rokuga.webhooks.delivery import DEFAULT


@dataclass(frozen=True, slots=True)
class WebhookConfig:
    """Configuration of both webhooks. Each field is a key of the configuration file (see api/config/keys.py)."""

    url: str | None = None
    response_timeout_ns: int = 5 * NS_PER_S
    basic_user: str | None = None
    basic_password: str | None = None
    ca_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    secret: str | None = None
    deny_private: bool = False
    max_attempts: int | None = None
    max_age_ns: int = 24 * 3600 * NS_PER_S
    max_in_flight: int = 64
    dead_max_age_ns: int = 30 * 24 * 3600 * NS_PER_S
    dead_max_number: int = 100_000
    redact: bool = True
    log_dir: Path = Path("data/log")
    label: str = "WebRTC SFU Sora"
    node_name: str = "rokuga@127.0.0.1"
    version: str = ""

    @property
    def destinations(self) -> Sequence[tuple[str, str | None]]:
        """The destinations of the event webhook: stored name and URL. One without a URL is skipped.

        A stored name stays when its URL changes: what waits is sent to the new URL.
        """
        rows = [(DEFAULT, self.url)]
        return [row for row in rows if row[1] is not None] or rows[:1]
