"""The table of configuration keys, one row each. Keys that Sora has keep its names and defaults."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rokuga.api.config.values import (
    Parser,
    basic_auth,
    bearer_token,
    duration_ns,
    file_mode,
    flag,
    header_text,
    host_names,
    http_url,
    http_urls,
    media_addresses,
    networks,
    not_flag,
    one_of,
    path,
    seconds,
    size_bytes,
    text,
    web_origins,
    whole_number,
)


@dataclass(frozen=True, slots=True)
class Key:
    """One row. `default` is the text of the value, None for unset.

    `fields` are the fields of DaemonConfig that it sets, as in `recorder.label`; none where `loader` sets them.
    """

    name: str
    parse: Parser
    default: str | None
    fields: tuple[str, ...]
    doc: str
    is_secret: bool = False


_PORT = whole_number(0, 65535)

KEYS: Final[Mapping[str, Key]] = {
    key.name: key
    for key in (
        # Files
        Key("archive_dir", path, "archive", ("recorder.archive_dir",), "Directory of the recordings."),
        Key(
            "archive_file_mode",
            file_mode,
            "0640",
            ("recorder.archive_file_mode",),
            "Permissions of the recorded files.",
        ),
        Key(
            "archive_folder_mode",
            file_mode,
            "0750",
            ("recorder.archive_folder_mode",),
            "Permissions of the recordings' directories.",
        ),
        Key(
            "archive_min_free_bytes",
            size_bytes,
            "0",
            ("recorder.archive_min_free_bytes",),
            "With less free disk space (bytes, or with a unit as in 1 GB), archives end and none is started.",
        ),
        Key(
            "archive_max_queued_bytes",
            size_bytes,
            "512 MB",
            ("recorder.archive_max_queued_bytes",),
            "Media of all archives that is queued in memory while the disk stalls; an archive that exceeds it fails.",
        ),
        Key(
            "archive_sync_interval",
            duration_ns,
            "1 s",
            ("recorder.archive_sync_interval_ns",),
            "Interval of fsync for files that are being written: the most media that a power failure can lose.",
        ),
        Key("data_dir", path, "data", ("data_dir",), "Directory of the daemon's state and of its event logs."),
        # Recordings
        Key(
            "recording_max_expire_time",
            seconds,
            "86400",
            ("recording_max_expire_time",),
            "Longest expire_time of StartRecording: seconds, or with a unit.",
        ),
        Key(
            "recording_max_split_duration",
            seconds,
            "86400",
            ("recording_max_split_duration",),
            "Longest split_duration of StartRecording: seconds, or with a unit.",
        ),
        Key(
            "recording_dual_output",
            flag,
            "true",
            ("recorder.recording_dual_output",),
            "Whether split_duration without split_only writes the whole file beside the parts.",
        ),
        Key(
            "recording_write_damaged",
            flag,
            "false",
            ("recorder.recording_write_damaged",),
            "Whether frames after a loss are written; they show errors until the next key frame.",
        ),
        # Names
        Key("label", text, "WebRTC SFU Sora", ("recorder.label", "webhooks.label"), "Label in events and reports."),
        Key(
            "node_name",
            text,
            "rokuga@127.0.0.1",
            ("recorder.node_name", "webhooks.node_name"),
            "Name of this node in events and reports.",
        ),
        # API
        Key("api_port", _PORT, "3000", ("api_port",), "TCP port of the API; 0 for any free one."),
        Key(
            "api_loopback_address_only",
            flag,
            "true",
            (),
            "Whether the API is for this machine only. Without api_bearer_token it has no authentication.",
        ),
        Key(
            "api_cors_origin",
            header_text,
            None,
            ("api_cors_origin",),
            "Origin of web pages that may call the API (CORS).",
        ),
        Key(
            "api_bearer_token",
            bearer_token,
            None,
            ("api_bearer_token",),
            "Token that every API request needs, as in Authorization: Bearer TOKEN.",
            is_secret=True,
        ),
        Key(
            "allowed_hosts",
            host_names,
            "",
            ("allowed_hosts",),
            "Host names without ports of the API and the page, besides localhost and addresses.",
        ),
        Key(
            "trusted_proxies",
            networks,
            "",
            ("trusted_proxies",),
            "Addresses or networks of proxies that report the client by X-Forwarded-For or the PROXY protocol.",
        ),
        # Signalling and media
        Key("signaling_host", text, "0.0.0.0", ("signaling_host",), "Address that signalling listens on."),
        Key("signaling_port", _PORT, "5000", ("signaling_port",), "TCP port of signalling; 0 for any free one."),
        Key(
            "signaling_origins",
            web_origins,
            "",
            ("signaling_origins",),
            "Origins of web pages that may publish; signalling then needs an allowed host, too. Unset: all origins.",
        ),
        Key(
            "max_connections",
            whole_number(1, 100_000),
            "4000",
            ("max_connections",),
            "Most TCP connections of each of the two ports; half of them may be unverified.",
        ),
        Key(
            "max_connects_per_second",
            whole_number(1, 100_000),
            "200",
            ("max_connects_per_second",),
            "Most new connections of one address in a second; more of them are delayed.",
        ),
        Key("tls_certificate", path, None, ("tls_certificate",), "Certificate chain for TLS of API and signalling."),
        Key("tls_key", path, None, ("tls_key",), "Its private key."),
        Key(
            "whip_bearer_token",
            header_text,
            None,
            ("whip_bearer_token",),
            "Token that WHIP clients need. Unset: none. auth_webhook_url receives the client's token either way.",
            is_secret=True,
        ),
        Key(
            "media_port",
            _PORT,
            "5004",
            ("recorder.media_port",),
            "Port of all media, UDP and (media_tcp) TCP; 0 for any free one.",
        ),
        Key(
            "media_address",
            media_addresses,
            "",
            ("recorder.media_addresses",),
            "Where clients reach the media port: addresses, names or HOST:PORT of a mapped one. Unset: all of ours.",
        ),
        Key(
            "media_tcp",
            flag,
            "true",
            ("recorder.media_tcp",),
            "Whether clients whose UDP is blocked reach the media port by TCP, on the same port number (ICE-TCP).",
        ),
        Key(
            "media_timeout",
            duration_ns,
            "15 s",
            ("recorder.media_timeout_ns",),
            "A client that sends nothing for so long is disconnected.",
        ),
        Key(
            "video_bit_rate",
            whole_number(1, 1_000_000),
            "2500",
            ("recorder.video_bit_rate_kbps",),
            "Bit rate of video for clients that request none, kbit/s.",
        ),
        # The browser page
        Key("admin_enabled", flag, "true", ("admin_enabled",), "Whether the signalling port serves the page."),
        Key(
            "admin_loopback_address_only",
            flag,
            "true",
            ("admin_loopback_address_only",),
            "Whether the page, its files and its access to the API are for this machine only.",
        ),
        Key(
            "admin_basic_auth",
            basic_auth,
            None,
            ("admin_basic_auth",),
            "user:password that the page needs. Unset: none.",
            is_secret=True,
        ),
        # Webhooks
        Key(
            "auth_webhook_url",
            http_url,
            None,
            ("auth_webhook_url",),
            "URL that allows or denies every client; without an answer a client is refused. Unset: all are allowed.",
        ),
        Key(
            "event_webhook_url",
            http_url,
            None,
            ("webhooks.url",),
            "URL that events are posted to. Unset: events are only logged.",
        ),
        Key(
            "webhook_response_timeout",
            duration_ns,
            "5 s",
            ("webhooks.response_timeout_ns",),
            "Timeout of an answer to a webhook.",
        ),
        Key(
            "webhook_max_age",
            duration_ns,
            "24 h",
            ("webhooks.max_age_ns",),
            "How long delivery of an event is retried.",
        ),
        Key(
            "webhook_max_attempts",
            whole_number(1, 1_000_000),
            None,
            ("webhooks.max_attempts",),
            "Most attempts to deliver an event. Unset: until webhook_max_age. Sora has 1.",
        ),
        Key(
            "webhook_max_in_flight",
            whole_number(1, 10_000),
            "64",
            ("webhooks.max_in_flight",),
            "Most events that are being posted at a time, over all channels.",
        ),
        Key(
            "webhook_dead_max_age",
            duration_ns,
            "720 h",
            ("webhooks.dead_max_age_ns",),
            "How long an undelivered event is kept for a manual retry.",
        ),
        Key(
            "webhook_dead_max_number",
            whole_number(1, 100_000_000),
            "100000",
            ("webhooks.dead_max_number",),
            "Most undelivered events, and most parked ones, that are kept.",
        ),
        Key("webhook_basic_authn", flag, "false", (), "Whether webhooks use HTTP basic authentication."),
        Key("webhook_basic_authn_user_id", text, None, ("webhooks.basic_user",), "Its user."),
        Key(
            "webhook_basic_authn_password", text, None, ("webhooks.basic_password",), "Its password.", is_secret=True
        ),
        Key(
            "webhook_tls_verify_cacert_path",
            path,
            None,
            ("webhooks.ca_file",),
            "CA certificates to trust for webhooks instead of the system's.",
        ),
        Key("webhook_tls_fullchain_path", path, None, ("webhooks.client_cert",), "Client certificate for webhooks."),
        Key("webhook_tls_privkey_path", path, None, ("webhooks.client_key",), "Its private key."),
        Key(
            "webhook_secret",
            text,
            None,
            ("webhooks.secret",),
            "Secret of webhook signatures according to Standard Webhooks (whsec_...).",
            is_secret=True,
        ),
        Key(
            "webhook_deny_private_addresses",
            flag,
            "false",
            ("webhooks.deny_private",),
            "Whether webhooks to private addresses are refused.",
        ),
        Key(
            "skip_redact_sensitive_data",
            not_flag,
            "false",
            ("webhooks.redact",),
            "Whether event_webhook.jsonl shows event_metadata.",
        ),
        # Cluster
        Key(
            "cluster_endpoints",
            http_urls,
            "",
            ("cluster.endpoints",),
            "etcd servers of the cluster, the nearest first. Unset: no cluster.",
        ),
        Key("cluster_prefix", text, "/rokuga/", ("cluster.prefix",), "Prefix of all keys in etcd."),
        Key(
            "cluster_node_timeout",
            whole_number(3, 3600),
            "10",
            ("cluster.node_timeout_s",),
            "Seconds without a sign of a node after which other nodes take over its reports.",
        ),
        Key("cluster_user", text, None, ("cluster.user",), "User for etcd."),
        Key("cluster_password", text, None, ("cluster.password",), "Its password.", is_secret=True),
        Key("cluster_tls_verify_cacert_path", path, None, ("cluster.ca_file",), "CA certificates to trust for etcd."),
        Key("cluster_tls_fullchain_path", path, None, ("cluster.client_cert",), "Client certificate for etcd."),
        Key("cluster_tls_privkey_path", path, None, ("cluster.client_key",), "Its private key."),
        Key(
            "cluster_signaling_url",
            text,
            "",
            ("cluster.signaling_url",),
            "URL of this node's signalling, for ListClusterNodes and for clients that other nodes redirect here.",
        ),
        Key(
            "cluster_redirect",
            flag,
            "false",
            ("cluster.redirect",),
            "Whether clients are redirected, once, to a node with a cluster_signaling_url that has clearly fewer.",
        ),
        Key("cluster_api_url", text, "", ("cluster.api_url",), "URL of this node's API, for ListClusterNodes."),
        # Log
        Key("log_format", one_of("console", "json"), "console", ("log_format",), "Format of the daemon's log lines."),
    )
}

UNUSED_SORA_KEYS: Final = frozenset(
    {
        "connection_updated_webhook_interval",
        "demo",
        "event_webhook_worker_number",
        "ignore_connection_updated_webhook",
        "ipv4_address",
        "ipv6",
        "ipv6_address",
        "legacy_recording",
        "license_file",
        "redact_api_sensitive_data",
        "redact_archive_metadata_sensitive_data",
        "session_webhook_url",
        "signaling_bundle_id",
        "stats_webhook_url",
        "webhook_insecure",
    }
)
"""Keys of Sora without effect here. They cause a warning, so that an existing sora.conf works unchanged."""
