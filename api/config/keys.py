"""Every key of the configuration file, one row each. Sora's own keys keep Sora's names and defaults."""

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
    """One row. `default` is as one would write it, None for unset.

    `fields` are those of DaemonConfig that it sets, with a dot for those of its parts; none where config.py decides.
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
        Key("archive_dir", path, "archive", ("recorder.archive_dir",), "Folder of the recordings."),
        Key("archive_file_mode", file_mode, "0640", ("recorder.archive_file_mode",), "Permissions of files."),
        Key("archive_folder_mode", file_mode, "0750", ("recorder.archive_folder_mode",), "Permissions of folders."),
        Key(
            "archive_min_free_bytes",
            size_bytes,
            "0",
            ("recorder.archive_min_free_bytes",),
            "Less free disk than this (bytes, or with a unit as in 1 GB) ends archives cleanly and refuses new ones.",
        ),
        Key(
            "archive_max_queued_bytes",
            size_bytes,
            "512 MB",
            ("recorder.archive_max_queued_bytes",),
            "Media that waits in memory while the disk stalls, over all archives; one that finds no room fails.",
        ),
        Key(
            "archive_sync_interval",
            duration_ns,
            "1 s",
            ("recorder.archive_sync_interval_ns",),
            "A file that is being written is synced to the disk this often: so much more a power cut may cost.",
        ),
        Key("data_dir", path, "data", ("data_dir",), "Folder of the daemon's own state and of its logs."),
        # Recordings
        Key(
            "recording_max_expire_time",
            seconds,
            "86400",
            ("recording_max_expire_time",),
            "Longest expire_time that StartRecording takes: seconds, or with a unit.",
        ),
        Key(
            "recording_max_split_duration",
            seconds,
            "86400",
            ("recording_max_split_duration",),
            "Longest split_duration that StartRecording takes: seconds, or with a unit.",
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
            "Whether pictures that refer to lost ones are written; they show errors until the next key frame.",
        ),
        # Names
        Key(
            "label", text, "WebRTC SFU Sora", ("recorder.label", "webhooks.label"), "The label in events and reports."
        ),
        Key(
            "node_name",
            text,
            "rokuga@127.0.0.1",
            ("recorder.node_name", "webhooks.node_name"),
            "This node's name in events and reports.",
        ),
        # API
        Key("api_port", _PORT, "3000", ("api_port",), "TCP port of the API; 0 takes any free one."),
        Key(
            "api_loopback_address_only",
            flag,
            "true",
            (),
            "Whether the API can only be called from this machine. Without a token it asks nobody who he is.",
        ),
        Key("api_cors_origin", header_text, None, ("api_cors_origin",), "Origin of pages that may call the API."),
        Key(
            "api_bearer_token",
            bearer_token,
            None,
            ("api_bearer_token",),
            "Token that every call of the API must show, as in Authorization: Bearer TOKEN.",
            is_secret=True,
        ),
        Key(
            "allowed_hosts",
            host_names,
            "",
            ("allowed_hosts",),
            "Names by which the API and the pages may be called, beside localhost and addresses: no ports.",
        ),
        Key(
            "trusted_proxies",
            networks,
            "",
            ("trusted_proxies",),
            "Addresses or networks of proxies that say who calls, by X-Forwarded-For or the PROXY protocol.",
        ),
        # Signalling and media
        Key("signaling_host", text, "0.0.0.0", ("signaling_host",), "Address on which signalling listens."),
        Key("signaling_port", _PORT, "5000", ("signaling_port",), "TCP port of signalling; 0 takes any free one."),
        Key(
            "signaling_origins",
            web_origins,
            "",
            ("signaling_origins",),
            "Origins whose pages may publish; signalling then wants one of allowed_hosts, too. Unset: all pages may.",
        ),
        Key(
            "max_connections",
            whole_number(1, 100_000),
            "4000",
            ("max_connections",),
            "How many TCP connections each of the two ports may have; half of them may have shown nothing yet.",
        ),
        Key(
            "max_connects_per_second",
            whole_number(1, 100_000),
            "200",
            ("max_connects_per_second",),
            "How many connections a port reads from one address in a second, those that are too many later.",
        ),
        Key("tls_certificate", path, None, ("tls_certificate",), "Certificate chain: API and signalling speak TLS."),
        Key("tls_key", path, None, ("tls_key",), "Its private key."),
        Key(
            "whip_bearer_token",
            header_text,
            None,
            ("whip_bearer_token",),
            "What publishers by WHIP have to show. Unset: nothing; auth_webhook_url is told of it either way.",
            is_secret=True,
        ),
        Key(
            "media_port",
            _PORT,
            "5004",
            ("recorder.media_port",),
            "Port of all media, UDP and (media_tcp) TCP; 0 takes any free one.",
        ),
        Key(
            "media_address",
            media_addresses,
            "",
            ("recorder.media_addresses",),
            "Where clients find the media port: addresses, names or HOST:PORT of a mapped one. Unset: all we have.",
        ),
        Key(
            "media_tcp",
            flag,
            "true",
            ("recorder.media_tcp",),
            "Whether clients whose UDP is blocked reach the media port by TCP, on the same number (ICE-TCP).",
        ),
        Key(
            "media_timeout",
            duration_ns,
            "15 s",
            ("recorder.media_timeout_ns",),
            "A client that has been silent for so long is gone.",
        ),
        Key(
            "video_bit_rate",
            whole_number(1, 1_000_000),
            "2500",
            ("recorder.video_bit_rate_kbps",),
            "Bit rate of video for clients that ask for none, kbit/s.",
        ),
        # The browser page
        Key("admin_enabled", flag, "true", ("admin_enabled",), "Whether there is a page, on the signalling port."),
        Key(
            "admin_loopback_address_only",
            flag,
            "true",
            ("admin_loopback_address_only",),
            "Whether the page, its files and its way to the API are for this machine only.",
        ),
        Key(
            "admin_basic_auth",
            basic_auth,
            None,
            ("admin_basic_auth",),
            "user:password that a browser is asked for. Unset: none.",
            is_secret=True,
        ),
        # Webhooks
        Key(
            "auth_webhook_url",
            http_url,
            None,
            ("auth_webhook_url",),
            "Who is asked about every client that comes. Without an answer nobody comes in. Unset: everybody does.",
        ),
        Key("event_webhook_url", http_url, None, ("webhooks.url",), "Where events are posted. Unset: only logged."),
        Key(
            "webhook_response_timeout",
            duration_ns,
            "5 s",
            ("webhooks.response_timeout_ns",),
            "How long an answer to a webhook may take.",
        ),
        Key("webhook_max_age", duration_ns, "24 h", ("webhooks.max_age_ns",), "How long an event is tried again."),
        Key(
            "webhook_max_attempts",
            whole_number(1, 1_000_000),
            None,
            ("webhooks.max_attempts",),
            "How often an event is tried. Unset: until webhook_max_age; 1 is Sora's own way.",
        ),
        Key(
            "webhook_max_in_flight",
            whole_number(1, 10_000),
            "64",
            ("webhooks.max_in_flight",),
            "How many events are being posted at a time, over all channels.",
        ),
        Key(
            "webhook_dead_max_age",
            duration_ns,
            "720 h",
            ("webhooks.dead_max_age_ns",),
            "How long an event that was given up is kept, to be tried again by hand.",
        ),
        Key(
            "webhook_dead_max_number",
            whole_number(1, 100_000_000),
            "100000",
            ("webhooks.dead_max_number",),
            "How many of them, and of those that are parked, are kept at most.",
        ),
        Key("webhook_basic_authn", flag, "false", (), "Whether webhooks carry HTTP basic authentication."),
        Key("webhook_basic_authn_user_id", text, None, ("webhooks.basic_user",), "Its user."),
        Key(
            "webhook_basic_authn_password", text, None, ("webhooks.basic_password",), "Its password.", is_secret=True
        ),
        Key("webhook_tls_verify_cacert_path", path, None, ("webhooks.ca_file",), "Certificates to trust instead."),
        Key("webhook_tls_fullchain_path", path, None, ("webhooks.client_cert",), "Certificate that we show."),
        Key("webhook_tls_privkey_path", path, None, ("webhooks.client_key",), "Its private key."),
        Key(
            "webhook_secret",
            text,
            None,
            ("webhooks.secret",),
            "Signs webhooks as Standard Webhooks says (whsec_...).",
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
            "The etcd servers that several nodes share, the nearest first. Unset: this node stands alone.",
        ),
        Key("cluster_prefix", text, "/rokuga/", ("cluster.prefix",), "What every key in etcd begins with."),
        Key(
            "cluster_node_timeout",
            whole_number(3, 3600),
            "10",
            ("cluster.node_timeout_s",),
            "Seconds after which a node that is silent counts as dead: others tell its reports.",
        ),
        Key("cluster_user", text, None, ("cluster.user",), "User of etcd."),
        Key("cluster_password", text, None, ("cluster.password",), "Its password.", is_secret=True),
        Key("cluster_tls_verify_cacert_path", path, None, ("cluster.ca_file",), "Certificates that etcd must have."),
        Key("cluster_tls_fullchain_path", path, None, ("cluster.client_cert",), "Certificate that we show to etcd."),
        Key("cluster_tls_privkey_path", path, None, ("cluster.client_key",), "Its private key."),
        Key(
            "cluster_signaling_url",
            text,
            "",
            ("cluster.signaling_url",),
            "Our signalling, for ListClusterNodes and for clients that other nodes send here.",
        ),
        Key(
            "cluster_redirect",
            flag,
            "false",
            ("cluster.redirect",),
            "Whether a client is sent to another node that has clearly fewer, once, with a cluster_signaling_url.",
        ),
        Key("cluster_api_url", text, "", ("cluster.api_url",), "Our API, for ListClusterNodes."),
        # Log
        Key("log_format", one_of("console", "json"), "console", ("log_format",), "Form of the daemon's log lines."),
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
"""Keys of Sora that change nothing here: a warning, so that an existing sora.conf can be used as it is."""
