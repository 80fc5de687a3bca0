"""Warnings about exposure at the start."""

import pytest

from rokuga.api.config.loader import DaemonConfig
from rokuga.api.config.security_warnings import security_warnings
from rokuga.api.http.address_text import Network
from rokuga.api.open_files import open_files_warning

CLOSED = {"auth_webhook_url": "http://127.0.0.1:1/"}
TOKEN = {"api_bearer_token": "0123456789abcdef"}
PASSWORD = {"admin_basic_auth": "me:secret"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (CLOSED, []),
        ({}, ["publish by signalling and WHIP"]),
        ({"whip_bearer_token": "x"}, ["publish by signalling:"]),
        ({"signaling_host": "127.0.0.1"}, []),
        ({**CLOSED, "api_host": "0.0.0.0"}, ["the API's port"]),
        ({**CLOSED, **TOKEN, "api_host": "0.0.0.0"}, []),
        ({**CLOSED, "api_cors_origin": "*"}, ["any page"]),
        ({**CLOSED, "admin_loopback_address_only": False}, ["the page and its recordings"]),
        ({**CLOSED, **PASSWORD, "admin_loopback_address_only": False}, []),
        ({**CLOSED, "allowed_hosts": ("a",)}, ["the API refuses everybody", "the page refuses everybody"]),
        ({**CLOSED, **TOKEN, **PASSWORD, "allowed_hosts": ("a",)}, []),
        ({**CLOSED, **TOKEN, "allowed_hosts": ("a",), "admin_enabled": False}, []),
        ({**CLOSED, **TOKEN, **PASSWORD, "trusted_proxies": (Network(bytes(4), 0),)}, ["every address"]),
    ],
)
def test_every_exposure_has_a_warning_with_its_key(settings: dict[str, object], words: list[str]) -> None:
    doors = security_warnings(DaemonConfig(**settings))  # type: ignore[arg-type]
    assert len(doors) == len(words)
    assert all(word in door for word, door in zip(words, doors, strict=True))


def test_the_default_admits_a_thousand_simultaneous_clients() -> None:
    assert DaemonConfig().max_connections // 2 > 1000


def test_a_low_limit_of_open_files_is_a_warning() -> None:
    assert open_files_warning(9000, 4000) is None
    assert "8999" in str(open_files_warning(8999, 4000))
