"""What the start warns of, one configuration at a time."""

import pytest

from rokuga.api.config.exposure import exposure_warnings
from rokuga.api.config.loader import DaemonConfig
from rokuga.api.http.authority import Network
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
def test_every_open_door_has_a_line_that_names_it(settings: dict[str, object], words: list[str]) -> None:
    doors = exposure_warnings(DaemonConfig(**settings))  # type: ignore[arg-type]
    assert len(doors) == len(words)
    assert all(word in door for word, door in zip(words, doors, strict=True))


def test_the_default_carries_a_thousand_clients_that_come_at_once() -> None:
    assert DaemonConfig().max_connections // 2 > 1000


def test_too_few_open_files_are_told() -> None:
    assert open_files_warning(9000, 4000) is None
    assert "8999" in str(open_files_warning(8999, 4000))
