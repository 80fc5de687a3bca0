"""Responses to requests that a proxy on the same host forwards: it connects from loopback."""

import base64
import json
from pathlib import Path

import aiohttp
import pytest

from rokuga.api.daemon import running
from tests.api.serving import config_in
from tests.api.streams import port_of

PROXIES = [
    {"x-forwarded-for": "203.0.113.9"},
    {"x-forwarded-for": "127.0.0.1"},
    {"x-forwarded-proto": "https"},
    {"x-real-ip": "127.0.0.1"},
    {"forwarded": "for=127.0.0.1"},
    {"via": "1.1 proxy"},
]
LIST = {"x-sora-target": "Sora_20161101.ListStartedRecording"}
TOKEN = "correct-horse-battery-staple"


async def ask(url: str, method: str = "GET", **headers: str) -> tuple[int, str, str]:
    """Return the status, the error type and its reason."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with aiohttp.ClientSession() as session, session.request(method, url, headers=named) as answer:
        body = await answer.text()
        error = json.loads(body) if answer.status in {401, 403, 421} and body else {}
        return answer.status, error.get("error_type", ""), str(error.get("error_reason", ""))


@pytest.mark.parametrize("header", PROXIES)
async def test_forwarded_requests_have_no_privileges_by_default(tmp_path: Path, header: dict[str, str]) -> None:
    async with running(config_in(tmp_path)) as addresses:
        page = f"http://127.0.0.1:{port_of(addresses.signaling_url)}"
        for path in ("/", "/pages/style.css", "/admin/state", "/admin/recordings"):
            assert (await ask(page + path, **header))[:2] == (403, "LOOPBACK-ONLY")
        assert (await ask(f"{page}/api", "POST", **LIST, **header))[:2] == (403, "LOOPBACK-ONLY")
        assert (await ask(addresses.api_url, "POST", **LIST, **header))[:2] == (403, "LOOPBACK-ONLY")
        for path in ("livez", "readyz", "metrics"):
            assert (await ask(addresses.api_url + path, **header))[0] == 200
        assert (await ask(f"{page}/admin/state"))[0] == 200
        assert (await ask(addresses.api_url, "POST", **LIST))[0] == 200


@pytest.mark.parametrize("setting", [{"allowed_hosts": "rec.example"}, {"trusted_proxies": "127.0.0.1"}])
@pytest.mark.parametrize("header", [{}, *PROXIES[:2]])
async def test_loopback_has_no_privileges_with_a_configured_proxy(
    tmp_path: Path, header: dict[str, str], setting: dict[str, str]
) -> None:
    """A proxy may forward without any header."""
    async with running(config_in(tmp_path, **setting)) as addresses:
        page = f"http://127.0.0.1:{port_of(addresses.signaling_url)}"
        for path in ("/", "/admin/state"):
            status, error_type, reason = await ask(page + path, **header)
            assert (status, error_type) == (403, "LOOPBACK-ONLY")
            assert "admin_basic_auth" in reason
        assert (await ask(f"{page}/api", "POST", **LIST, **header))[0] == 403
        status, error_type, reason = await ask(addresses.api_url, "POST", **LIST, **header)
        assert (status, error_type) == (403, "LOOPBACK-ONLY")
        assert "set a token" in reason


async def test_a_password_or_a_token_admits_forwarded_requests(tmp_path: Path) -> None:
    settings = {"allowed_hosts": "rec.example", "admin_basic_auth": "me:secret", "api_bearer_token": TOKEN}
    async with running(config_in(tmp_path, **settings)) as addresses:
        page = f"http://127.0.0.1:{port_of(addresses.signaling_url)}"
        for header in ({}, *PROXIES):
            said = {"host": "rec.example", **header}
            assert (await ask(f"{page}/admin/state", **said))[:2] == (401, "UNAUTHORIZED")
            right = f"Basic {base64.b64encode(b'me:secret').decode()}"
            assert (await ask(f"{page}/admin/state", authorization=right, **said))[0] == 200
            bearer = f"Bearer {TOKEN}"
            assert (await ask(f"{page}/admin/state", authorization=bearer, **said))[0] == 200
            assert (await ask(addresses.api_url, "POST", **LIST, **said))[0] == 401
            assert (await ask(addresses.api_url, "POST", authorization=bearer, **LIST, **said))[0] == 200
