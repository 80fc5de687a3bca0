"""What the webhooks can be told. Durations are nanoseconds; None means unset, or without limit."""

from dataclasses import dataclass
from pathlib import Path

from rokuga.recorder.media import NS_PER_S


@dataclass(frozen=True, slots=True)
class WebhookConfig:
    """Defaults work as they are. Each field is a key of the configuration file (api/config/loader.py says which)."""

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
