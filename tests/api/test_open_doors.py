"""What stands open is said at the start, with the key that closes it."""

from pathlib import Path

import pytest

from rokuga.api.open_doors import open_doors
from tests.api.serving import config_in


def said(folder: Path, **settings: str) -> str:
    """Give the warnings of a configuration whose signalling is on loopback."""
    return "\n".join(open_doors(config_in(folder, **settings)))


def test_on_loopback_alone_nothing_stands_open(tmp_path: Path) -> None:
    assert said(tmp_path) == ""


@pytest.mark.parametrize(
    ("settings", "mended_by"),
    [
        ({"api_loopback_address_only": "false"}, "api_bearer_token"),
        ({"admin_loopback_address_only": "false"}, "admin_basic_auth"),
        ({"signaling_host": "0.0.0.0"}, "auth_webhook_url"),
        ({"trusted_proxies": "0.0.0.0/0", "api_bearer_token": "x" * 40}, "trusted_proxies"),
        ({"allowed_hosts": "rec.example"}, "admin_basic_auth"),
        ({"trusted_proxies": "10.0.0.1"}, "api_bearer_token"),
    ],
)
def test_each_open_door_is_named_with_what_closes_it(
    tmp_path: Path, settings: dict[str, str], mended_by: str
) -> None:
    assert mended_by in said(tmp_path, **settings)
