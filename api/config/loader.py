"""The daemon's configuration: a flat file in the format of sora.conf, every key overridable by ROKUGA_<KEY>.

    # a comment has its own line
    archive_dir = /var/lib/rokuga/archive
    webhook_response_timeout = 5 s

Every key has a working default. All faults are reported at once.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from rokuga.api.config.keys import KEYS, UNUSED_SORA_KEYS, Key
from rokuga.api.http.address_text import Network
from rokuga.recorder.config import ClusterConfig, RecorderConfig
from rokuga.webhooks.config import WebhookConfig

ENVIRONMENT_PREFIX: Final = "ROKUGA_"


class ConfigError(ValueError):
    """The configuration is invalid; the message has a line for every fault."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


@dataclass(frozen=True, slots=True)
class DaemonConfig:
    """The parsed configuration. Limits of recordings are in seconds."""

    recorder: RecorderConfig = field(default_factory=RecorderConfig)
    webhooks: WebhookConfig = field(default_factory=WebhookConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    recording_max_expire_time: int = 86400
    recording_max_split_duration: int = 86400
    api_host: str = "127.0.0.1"
    api_port: int = 3000
    api_cors_origin: str | None = None
    api_bearer_token: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    signaling_host: str = "0.0.0.0"
    signaling_port: int = 5000
    signaling_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[Network, ...] = ()
    max_connections: int = 4000
    max_connects_per_second: int = 200
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    admin_enabled: bool = True
    admin_loopback_address_only: bool = True
    admin_basic_auth: str | None = None
    whip_bearer_token: str | None = None
    auth_webhook_url: str | None = None
    data_dir: Path = Path("data")
    log_format: str = "console"
    version: str = field(default_factory=lambda: version("rokuga"))

    @property
    def is_behind_proxy(self) -> bool:
        """Whether connections from loopback may be those of a proxy."""
        return bool(self.allowed_hosts or self.trusted_proxies)


@dataclass(frozen=True, slots=True)
class Setting:
    """The effective text of one key, None for unset, and where it is from."""

    text: str | None
    place: str


def load_config(file: Path | None, environment: Mapping[str, str]) -> tuple[DaemonConfig, list[str]]:
    """Return the configuration and its warnings. Raises ConfigError."""
    settings, faults, warnings = read_settings(file, environment)
    values: dict[str, Any] = {}
    for name, setting in settings.items():
        key = KEYS[name]
        try:
            values[name] = None if setting.text is None else key.parse(setting.text)
        except ValueError as error:
            shown = "its value" if key.is_secret else repr(setting.text)
            faults.append(f"{setting.place}: {name}: {shown} {error}")
    faults += _contradictions(settings)
    if faults:
        raise ConfigError(faults)
    return _build(values), warnings


def read_settings(
    file: Path | None, environment: Mapping[str, str]
) -> tuple[dict[str, Setting], list[str], list[str]]:
    """Return the settings of all keys in the order of the table, the faults so far, and the warnings."""
    faults: list[str] = []
    warnings: list[str] = []
    settings = {key.name: Setting(key.default, "default") for key in KEYS.values()}
    if file is not None:
        try:
            text = file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            faults.append(f"{file}: cannot be read: {error}")
        else:
            settings |= _from_file(text, str(file), faults, warnings)
    return settings | _from_environment(environment, warnings), faults, warnings


def effective_config(file: Path | None, environment: Mapping[str, str]) -> str:
    """Return all settings and where they are from, in the format of the file. Secrets are hidden."""
    settings, _, _ = read_settings(file, environment)
    return "\n".join(f"# {setting.place}\n{_line(KEYS[name], setting.text)}\n" for name, setting in settings.items())


def sample_config() -> str:
    """Return a file with all keys, explained, at their defaults."""
    return "\n".join(f"# {key.doc}\n{_line(key, key.default)}\n" for key in KEYS.values())


def _line(key: Key, text: str | None) -> str:
    if not text:
        return f"# {key.name} ="
    return f"{key.name} = {text}" if not key.is_secret else f"# {key.name} = (set, not shown)"


def _from_file(text: str, source: str, faults: list[str], warnings: list[str]) -> dict[str, Setting]:
    given: dict[str, Setting] = {}
    for number, line in enumerate(text.splitlines(), 1):
        place = f"{source} line {number}"
        name, equals, value = (part.strip() for part in line.partition("="))
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not equals or not name:
            faults.append(f"{place}: is not of the form key = value")
        elif name in UNUSED_SORA_KEYS:
            warnings.append(f"{place}: {name} is a key of Sora that changes nothing here")
        elif name not in KEYS:
            faults.append(f"{place}: {name} is not a known key{_nearest(name)}")
        elif name in given:
            faults.append(f"{place}: {name} was given before, at {given[name].place}")
        elif not value:
            faults.append(f"{place}: {name} has no value")
        else:
            given[name] = Setting(value, place)
            if " #" in value:
                warnings.append(f"{place}: # is part of the value of {name}; a comment has its own line")
    return given


def _from_environment(environment: Mapping[str, str], warnings: list[str]) -> dict[str, Setting]:
    """Read ROKUGA_<KEY>; an empty value counts as unset.

    An unknown key is only a warning: Kubernetes sets ROKUGA_SERVICE_HOST for a service named rokuga.
    """
    given: dict[str, Setting] = {}
    for variable, value in environment.items():
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        if not variable.startswith(ENVIRONMENT_PREFIX) or not value.strip():
            continue
        if name in KEYS:
            given[name] = Setting(value.strip(), f"environment variable {variable}")
        else:
            warnings.append(f"environment variable {variable}: {name} is not a known key{_nearest(name)}")
    return given


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name, [*KEYS, *UNUSED_SORA_KEYS], n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _contradictions(settings: Mapping[str, Setting]) -> list[str]:
    """Return the faults of keys that contradict one another."""
    texts = {name: setting.text for name, setting in settings.items()}
    faults = []
    for name in ("webhook_basic_authn_user_id", "webhook_basic_authn_password"):
        if texts["webhook_basic_authn"] == "true" and not texts[name]:
            faults.append(f"webhook_basic_authn is true, but there is no {name}")
    for peer in ("webhook", "cluster"):
        if bool(texts[f"{peer}_tls_fullchain_path"]) != bool(texts[f"{peer}_tls_privkey_path"]):
            faults.append(f"{peer}_tls_fullchain_path and {peer}_tls_privkey_path need each other")
    if bool(texts["cluster_user"]) != bool(texts["cluster_password"]):
        faults.append("cluster_user and cluster_password need each other")
    if texts["cluster_endpoints"] and settings["node_name"].place == "default":
        faults.append("cluster_endpoints is set, but there is no node_name: each node of a cluster has its own")
    if bool(texts["tls_certificate"]) != bool(texts["tls_key"]):
        faults.append("tls_certificate and tls_key need each other")
    return faults


def _build(values: Mapping[str, Any]) -> DaemonConfig:
    parts: dict[str, dict[str, Any]] = {"": {}, "recorder": {}, "webhooks": {}, "cluster": {}}
    for key in KEYS.values():
        for field_name in key.fields:
            part, _, name = field_name.rpartition(".")
            parts[part][name] = values[key.name]
    webhooks = WebhookConfig(
        **parts["webhooks"], log_dir=parts[""]["data_dir"] / "log", version=DaemonConfig().version
    )
    if not values["webhook_basic_authn"]:
        webhooks = replace(webhooks, basic_user=None, basic_password=None)
    return DaemonConfig(
        **parts[""],
        recorder=RecorderConfig(**parts["recorder"]),
        webhooks=webhooks,
        cluster=ClusterConfig(**parts["cluster"]),
        api_host="127.0.0.1" if values["api_loopback_address_only"] else "0.0.0.0",
    )
