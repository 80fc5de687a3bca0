"""The container's health check against the real daemon."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from rokuga.api.config import DaemonConfig
from rokuga.api.daemon import running
from rokuga.api.healthcheck import check
from rokuga.recorder.config import RecorderConfig
from rokuga.webhooks.config import WebhookConfig
from tests.webhooks.certificates import Authority


def _config(folder: Path) -> DaemonConfig:
    return DaemonConfig(
        recorder=RecorderConfig(archive_dir=folder / "archive", media_port=0),
        webhooks=WebhookConfig(log_dir=folder / "log"),
        data_dir=folder / "data",
        api_port=0,
        signaling_host="127.0.0.1",
        signaling_port=0,
        api_bearer_token="correct-horse-battery-staple",
    )


@pytest.mark.parametrize("is_secure", [False, True])
async def test_a_daemon_that_can_work_is_healthy(tmp_path: Path, is_secure: bool) -> None:
    """With TLS, too, and without the token."""
    config, environment = _config(tmp_path), {}
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


async def test_a_daemon_that_cannot_work_is_not(tmp_path: Path) -> None:
    config = _config(tmp_path)
    config = replace(config, recorder=replace(config.recorder, archive_min_free_bytes=1 << 62))
    async with running(config) as addresses:
        environment = {"ROKUGA_API_PORT": addresses.api_url.rstrip("/").rpartition(":")[2]}
        is_ready, faults = True, ""
        while "bytes free" not in faults:  # until it was measured, what it says is about other things
            is_ready, faults = await asyncio.to_thread(check, environment)
    assert not is_ready


def test_a_configuration_that_is_wrong_is_told() -> None:
    is_ready, reason = check({"ROKUGA_API_PORT": "high"})
    assert not is_ready
    assert "api_port" in reason
