"""Warnings about what a configuration exposes to everybody who reaches a port, for the log at the start (pure)."""

from rokuga.api.config.loader import DaemonConfig
from rokuga.api.http.address_text import is_loopback


def security_warnings(config: DaemonConfig) -> list[str]:
    """Return a line for each exposure, or refusal caused by a proxy's configuration, with the key that changes it."""
    return [*_api(config), *_page(config), *_publishing(config), *_proxies(config)]


def _api(config: DaemonConfig) -> list[str]:
    if config.api_bearer_token is not None:
        return []
    warnings = []
    if not is_loopback(config.api_host):
        warnings.append("anybody who reaches the API's port can use it: set api_bearer_token")
    elif config.is_behind_proxy:
        warnings.append(
            "the API refuses everybody, since a proxy may pass on what comes from loopback: set api_bearer_token"
        )
    if config.api_cors_origin == "*":
        warnings.append("any page that is open in a browser that reaches the API can use it: set api_bearer_token")
    return warnings


def _page(config: DaemonConfig) -> list[str]:
    if not config.admin_enabled or config.admin_basic_auth is not None:
        return []
    if not config.admin_loopback_address_only:
        return ["anybody who reaches the signalling port can use the page and its recordings: set admin_basic_auth"]
    if config.is_behind_proxy:
        return ["the page refuses everybody without a password: set admin_basic_auth, or admin_enabled = false"]
    return []


def _publishing(config: DaemonConfig) -> list[str]:
    if config.auth_webhook_url is not None or is_loopback(config.signaling_host):
        return []
    by = "by signalling" if config.whip_bearer_token is not None else "by signalling and WHIP"
    return [f"anybody who reaches the signalling port can publish {by}: set auth_webhook_url"]


def _proxies(config: DaemonConfig) -> list[str]:
    if not any(network.bits == 0 for network in config.trusted_proxies):
        return []
    return ["trusted_proxies has every address, so that anybody can say where a request comes from"]
