"""The configuration: a file in the format of sora.conf, the environment, and all faults in one message."""

from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rokuga.api.config.keys import KEYS, UNUSED_SORA_KEYS
from rokuga.api.config.loader import ConfigError, DaemonConfig, effective_config, load_config, sample_config
from rokuga.recorder.config import ClusterConfig, RecorderConfig
from rokuga.recorder.media import NS_PER_MS, NS_PER_S
from rokuga.webhooks.config import WebhookConfig


def written(folder: Path, text: str) -> Path:
    path = folder / "rokuga.conf"
    path.write_text(text, encoding="utf-8")
    return path


def test_no_file_is_needed() -> None:
    config, warnings = load_config(None, {})
    assert (config.api_host, config.api_port, config.signaling_port, config.recorder.media_port) == (
        "127.0.0.1",
        3000,
        5000,
        5004,
    )
    assert config.recorder.label == config.webhooks.label == "WebRTC SFU Sora"
    assert warnings == []


def test_the_defaults_of_the_keys_are_those_of_the_fields() -> None:
    """Defaults are in the table and in the dataclasses. Paths become absolute; two fields are derived."""
    derived = {"archive_dir", "data_dir", "log_dir", "version", "recorder", "webhooks", "cluster"}
    config, _ = load_config(None, {})
    for part, default in (
        (config, DaemonConfig()),
        (config.recorder, RecorderConfig()),
        (config.webhooks, WebhookConfig()),
        (config.cluster, ClusterConfig()),
    ):
        for member in fields(part):
            if member.name not in derived:
                assert getattr(part, member.name) == getattr(default, member.name), member.name


def test_every_field_has_a_key() -> None:
    targets = {target for key in KEYS.values() for target in key.fields}
    members = {
        f"{part}{member.name}"
        for part, kind in (
            ("", DaemonConfig),
            ("recorder.", RecorderConfig),
            ("webhooks.", WebhookConfig),
            ("cluster.", ClusterConfig),
        )
        for member in fields(kind)
    }
    assert members - targets == {
        "recorder",
        "webhooks",
        "cluster",
        "webhooks.log_dir",
        "webhooks.version",
        "version",
        "api_host",
    }
    assert targets <= members


def test_a_file_in_sora_conf_form_is_read(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
# a comment
  # another one
archive_dir = /var/lib/rokuga/archive
label=Studio 1 = main
event_webhook_url = https://example.com/hook?a=b#c
webhook_response_timeout = 1500 ms
webhook_max_age = 2 h
recording_max_expire_time = 3600
recording_max_split_duration = 10 min
archive_file_mode = 0600
archive_min_free_bytes = 500 MB
media_address = 192.0.2.1, rec.example.com:15004
api_loopback_address_only = false
api_cors_origin = http://127.0.0.1:5000
webhook_max_attempts = 1
skip_redact_sensitive_data = true
log_format = json
""",
    )
    config, warnings = load_config(path, {})
    assert config.recorder.archive_dir == Path("/var/lib/rokuga/archive")
    assert config.recorder.label == config.webhooks.label == "Studio 1 = main"
    assert config.webhooks.url == "https://example.com/hook?a=b#c"
    assert config.webhooks.response_timeout_ns == 1500 * NS_PER_MS
    assert config.webhooks.max_age_ns == 7200 * NS_PER_S
    assert (config.recording_max_expire_time, config.recording_max_split_duration) == (3600, 600)
    assert config.recorder.archive_file_mode == 0o600
    assert config.recorder.archive_min_free_bytes == 500_000_000
    assert config.recorder.media_addresses == ("192.0.2.1", "rec.example.com:15004")
    assert config.api_host == "0.0.0.0"
    assert config.api_cors_origin == "http://127.0.0.1:5000"
    assert config.webhooks.max_attempts == 1
    assert not config.webhooks.redact
    assert config.log_format == "json"
    assert warnings == []


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "api_port = 3001\nlabel = file\n")
    config, _ = load_config(path, {"ROKUGA_API_PORT": "3002", "HOME": "/root"})
    assert (config.api_port, config.recorder.label) == (3002, "file")


def test_relative_paths_become_absolute() -> None:
    config, _ = load_config(None, {"ROKUGA_ARCHIVE_DIR": "here", "ROKUGA_DATA_DIR": "there"})
    assert config.recorder.archive_dir == Path.cwd() / "here"
    assert config.webhooks.log_dir == Path.cwd() / "there" / "log"


@pytest.mark.parametrize("name", sorted(UNUSED_SORA_KEYS))
def test_an_unused_key_of_sora_is_a_warning(tmp_path: Path, name: str) -> None:
    _, warnings = load_config(written(tmp_path, f"\n{name} = 1\n"), {})
    assert warnings == [f"{tmp_path}/rokuga.conf line 2: {name} is a key of Sora that changes nothing here"]


def test_every_fault_is_in_one_message_with_its_line_and_the_nearest_key(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """archive_dirs = x
api_port = 70000
webhook_response_timeout = 5
webhook_max_age = 5 parsecs
no equals sign
label = a
label = b
xyzzy = 1
""",
    )
    with pytest.raises(ConfigError) as raised:
        load_config(path, {"ROKUGA_SIGNALING_PORT": "no", "ROKUGA_WEBHOOK_SECRET": ""})
    assert [fault.removeprefix(f"{path} ").replace(str(path), "PATH") for fault in raised.value.faults] == [
        "line 1: archive_dirs is not a known key; did you mean archive_dir?",
        "line 5: is not of the form key = value",
        "line 7: label was given before, at PATH line 6",
        "line 8: xyzzy is not a known key",
        "line 2: api_port: '70000' is not a whole number from 0 to 65535",
        "environment variable ROKUGA_SIGNALING_PORT: signaling_port: 'no' is not a whole number from 0 to 65535",
        "line 3: webhook_response_timeout: '5' is not a number, a space and a unit (ms, s, min, h) as in 5 s",
        "line 4: webhook_max_age: '5 parsecs' is not a number, a space and a unit (ms, s, min, h) as in 5 s",
    ]
    assert str(raised.value).count("\n") == 7


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("archive_file_mode", "0999"),
        ("archive_min_free_bytes", "500 MBit"),
        ("api_cors_origin", "http://exämple.com"),
        ("api_loopback_address_only", "yes"),
        ("event_webhook_url", "example.com/hook"),
        ("event_webhook_url", "ftp://example.com"),
        ("event_webhook_url", "http://[::1"),
        ("event_webhook_url", "http://example.com/a b"),
        ("log_format", "xml"),
        ("media_address", "0.0.0.0"),
        ("media_address", "192.0.2.1:99999"),
        ("media_timeout", "0 ms"),
        ("recording_max_expire_time", "0"),
        ("recording_max_expire_time", "1500 ms"),
        ("recording_max_expire_time", "٣"),
        ("video_bit_rate", "2.5"),
        ("webhook_max_in_flight", "0"),
        ("webhook_response_timeout", "-5 s"),
    ],
)
def test_a_bad_value_stops_the_start(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"^environment variable ROKUGA_{name.upper()}: {name}: "):
        load_config(None, {f"ROKUGA_{name.upper()}": text})


def test_an_authentication_webhook_is_a_url(tmp_path: Path) -> None:
    config, _ = load_config(written(tmp_path, "auth_webhook_url = http://127.0.0.1/auth"), {})
    assert config.auth_webhook_url == "http://127.0.0.1/auth"
    with pytest.raises(ConfigError, match="auth_webhook_url: 'nobody' is not an http or https URL"):
        load_config(written(tmp_path, "auth_webhook_url = nobody"), {})


def test_an_unknown_variable_is_a_warning(tmp_path: Path) -> None:
    """Kubernetes sets ROKUGA_PORT and the like for a service named rokuga."""
    _, warnings = load_config(None, {"ROKUGA_PORT": "tcp://192.0.2.1:3000", "ROKUGA_LABLE": "x"})
    assert warnings == [
        "environment variable ROKUGA_PORT: port is not a known key; did you mean api_port?",
        "environment variable ROKUGA_LABLE: lable is not a known key; did you mean label?",
    ]


def test_a_comment_after_a_value_is_a_warning(tmp_path: Path) -> None:
    config, warnings = load_config(written(tmp_path, "label = Studio # the big one"), {})
    assert config.recorder.label == "Studio # the big one"
    assert len(warnings) == 1


def test_basic_authentication_needs_both_and_is_off_without_its_switch() -> None:
    environment = {"ROKUGA_WEBHOOK_BASIC_AUTHN_USER_ID": "u", "ROKUGA_WEBHOOK_BASIC_AUTHN_PASSWORD": "p"}
    off, _ = load_config(None, environment)
    on, _ = load_config(None, environment | {"ROKUGA_WEBHOOK_BASIC_AUTHN": "true"})
    assert (off.webhooks.basic_user, off.webhooks.basic_password) == (None, None)
    assert (on.webhooks.basic_user, on.webhooks.basic_password) == ("u", "p")
    with pytest.raises(ConfigError, match="there is no webhook_basic_authn_password"):
        load_config(None, {"ROKUGA_WEBHOOK_BASIC_AUTHN": "true", "ROKUGA_WEBHOOK_BASIC_AUTHN_USER_ID": "u"})


@pytest.mark.parametrize("content", [None, b"label = \xff\xfe"])
def test_a_file_that_cannot_be_read_is_a_fault(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "rokuga.conf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(path, {})


def test_a_byte_order_mark_and_crlf_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "rokuga.conf"
    path.write_bytes(b"\xef\xbb\xbfapi_port = 3001\r\nlabel = x\r\n")
    config, _ = load_config(path, {})
    assert (config.api_port, config.recorder.label) == (3001, "x")


def test_the_effective_configuration_says_where_each_value_comes_from_and_hides_secrets(tmp_path: Path) -> None:
    path = written(tmp_path, "api_port = 3001\nwebhook_secret = whsec_abc")
    shown = effective_config(path, {"ROKUGA_LABEL": "x"})
    assert f"# {path} line 1\napi_port = 3001\n" in shown
    assert "# environment variable ROKUGA_LABEL\nlabel = x\n" in shown
    assert "# default\nmedia_port = 5004\n" in shown
    assert "# webhook_secret = (set, not shown)\n" in shown
    assert "whsec_abc" not in shown
    assert sum(line == "" for line in shown.splitlines()) == len(KEYS) - 1


def test_the_effective_configuration_and_the_sample_can_be_read_again(tmp_path: Path) -> None:
    environment = {"ROKUGA_LABEL": "x", "ROKUGA_MEDIA_ADDRESS": "192.0.2.1"}
    assert load_config(written(tmp_path, effective_config(None, environment)), {}) == load_config(None, environment)
    assert load_config(written(tmp_path, sample_config()), {}) == load_config(None, {})
    assert all(f"{name} =" in sample_config() for name in KEYS)


@given(st.text())
def test_any_text_is_a_configuration_or_a_config_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("any") / "rokuga.conf"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with suppress(ConfigError):
        load_config(path, {})


@given(st.sampled_from(sorted(KEYS)), st.text(max_size=20))
def test_any_value_is_read_or_a_config_error(name: str, text: str) -> None:
    with suppress(ConfigError):
        load_config(None, {f"ROKUGA_{name.upper()}": text})


def test_a_cluster_needs_names_of_its_own_and_both_halves_of_what_comes_in_pairs() -> None:
    """Endpoints are separated by commas; all faults are reported."""
    config, _ = load_config(None, {"ROKUGA_CLUSTER_ENDPOINTS": "http://a:1, https://b:2/", "ROKUGA_NODE_NAME": "n1"})
    assert config.cluster.endpoints == ("http://a:1", "https://b:2")
    assert load_config(None, {})[0].cluster.endpoints == ()
    with pytest.raises(ConfigError) as caught:
        load_config(
            None,
            {
                "ROKUGA_CLUSTER_ENDPOINTS": "http://a:1",
                "ROKUGA_CLUSTER_USER": "root",
                "ROKUGA_CLUSTER_TLS_FULLCHAIN_PATH": "x.pem",
            },
        )
    assert caught.value.faults == (
        "cluster_tls_fullchain_path and cluster_tls_privkey_path need each other",
        "cluster_user and cluster_password need each other",
        "cluster_endpoints is set, but there is no node_name: each node of a cluster has its own",
    )
