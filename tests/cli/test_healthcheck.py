"""The health check of the container, against a real daemon."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from rokuga.api.daemon import running
from rokuga.cli.healthcheck import check
from tests.api.serving import config_in
from tests.webhooks.certificates import Authority


@pytest.mark.parametrize("is_secure", [False, True])
async def test_a_ready_daemon_is_healthy(tmp_path: Path, is_secure: bool) -> None:
    """Also with TLS; the API token is not needed."""
    config, environment = config_in(tmp_path, api_bearer_token="correct-horse-battery-staple"), {}
    if is_secure:
        certificate, key = Authority(tmp_path).issue("rokuga.example")
        config = replace(config, tls_certificate=certificate, tls_key=key)
        environment = {"ROKUGA_TLS_CERTIFICATE": str(certificate), "ROKUGA_TLS_KEY": str(key)}
    async with running(config) as addresses:
        environment["ROKUGA_API_PORT"] = addresses.api_url.rstrip("/").rpartition(":")[2]
        assert await asyncio.to_thread(check, environment) == (True, '{"status":"ok","faults":{}}')
    is_ready, reason = await asyncio.to_thread(check, environment)
    assert not is_ready
    assert "does not answer" in reason


async def test_a_daemon_that_is_not_ready_is_not_healthy(tmp_path: Path) -> None:
    config = config_in(tmp_path, api_bearer_token="correct-horse-battery-staple")
    config = replace(config, recorder=replace(config.recorder, archive_min_free_bytes=1 << 62))
    async with running(config) as addresses:
        environment = {"ROKUGA_API_PORT": addresses.api_url.rstrip("/").rpartition(":")[2]}
        is_ready, faults = True, ""
        while "bytes free" not in faults:  # until the disk was measured
            is_ready, faults = await asyncio.to_thread(check, environment)
    assert not is_ready


def test_an_invalid_configuration_is_reported() -> None:
    is_ready, reason = check({"ROKUGA_API_PORT": "high"})
    assert not is_ready
    assert "api_port" in reason
