"""The configuration of the recorder and of its cluster. Durations are nanoseconds, sizes are bytes."""

from dataclasses import dataclass
from pathlib import Path

from rokuga.recorder.media import NS_PER_S


@dataclass(frozen=True, slots=True)
class RecorderConfig:
    """The configuration of a recorder. Each field is a key of the configuration file (api/config/loader.py)."""

    archive_dir: Path = Path("archive")
    label: str = "WebRTC SFU Sora"
    node_name: str = "rokuga@127.0.0.1"
    media_port: int = 5004
    media_addresses: tuple[str, ...] = ()
    media_tcp: bool = True
    video_bit_rate_kbps: int = 2500
    media_timeout_ns: int = 15 * NS_PER_S
    recording_dual_output: bool = True
    recording_write_damaged: bool = False
    archive_file_mode: int = 0o640
    archive_folder_mode: int = 0o750
    archive_min_free_bytes: int = 0
    archive_max_queued_bytes: int = 512_000_000
    archive_sync_interval_ns: int = NS_PER_S


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """The etcd of a cluster and the credentials for it; without endpoints there is no cluster.

    `prefix` is that of all our keys. A node that writes nothing for `node_timeout_s` is dead. `signaling_url` and
    `api_url` are published to the other nodes. With `redirect`, clients are sent to nodes that have fewer clients.
    """

    endpoints: tuple[str, ...] = ()
    prefix: str = "/rokuga/"
    node_timeout_s: int = 10
    user: str | None = None
    password: str | None = None
    ca_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    signaling_url: str = ""
    api_url: str = ""
    redirect: bool = False
