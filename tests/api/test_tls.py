"""The real daemon with TLS."""

import asyncio
import contextlib
import ssl
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
import websockets

from rokuga.api.config.loader import ConfigError, DaemonConfig, load_config
from rokuga.api.daemon import running
from tests.api.serving import config_in
from tests.webhooks.certificates import Authority


def _config(folder: Path, certificate: Path, key: Path) -> DaemonConfig:
    return config_in(folder, tls_certificate=str(certificate), tls_key=str(key))


async def test_api_and_signalling_accept_only_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    config = _config(tmp_path, *authority.issue("localhost"))
    trust = ssl.create_default_context(cafile=authority.ca_file)
    async with running(config) as addresses, aiohttp.ClientSession() as session:
        api, signaling = (
            url.replace("127.0.0.1", "localhost") for url in (addresses.api_url, addresses.signaling_url)
        )
        assert (api[:8], signaling[:6]) == ("https://", "wss://")
        async with session.get(f"{api}livez", ssl=trust) as response:
            assert response.status == 200
        async with websockets.connect(signaling, ssl=trust):
            pass
        with pytest.raises(aiohttp.ClientError):
            await session.get(f"{api}livez".replace("https", "http"))


async def test_both_ports_use_a_renewed_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rokuga.api.http.certificates.CHECK_INTERVAL_S", 0.01)
    authority = Authority(tmp_path)
    config = _config(tmp_path, *authority.issue("localhost"))
    trust = ssl.create_default_context(cafile=authority.ca_file)

    async def shown(url: str) -> object:
        port = int(url.split("/")[2].rpartition(":")[2])
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust, server_hostname="localhost")
        certificate = writer.get_extra_info("peercert")
        writer.close()
        return certificate["serialNumber"]

    async with running(config) as addresses:
        urls = (addresses.api_url, addresses.signaling_url)
        before = [await shown(url) for url in urls]
        assert before[0] == before[1]
        authority.issue("localhost")
        for url, old in zip(urls, before, strict=True):
            while await shown(url) == old:
                pass


async def test_an_unfinished_tls_handshake_times_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rokuga.api.http.acceptor.HANDSHAKE_TIMEOUT_S", 0.2)
    config = _config(tmp_path, *Authority(tmp_path).issue("localhost"))
    async with running(config) as addresses:
        for url in (addresses.api_url, addresses.signaling_url):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.split("/")[2].rpartition(":")[2]))
            writer.write(b"\x16\x03\x01")  # the first bytes of a ClientHello: the handshake begins
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()


async def test_a_key_of_another_certificate_prevents_the_start(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("localhost")
    _, other = authority.issue("other")
    config = _config(tmp_path, certificate, key)
    for wrong in (other, tmp_path / "none.key"):
        with pytest.raises(OSError, match=str(wrong)):
            async with running(replace(config, tls_key=wrong)):
                pass


def test_a_certificate_needs_its_key() -> None:
    with pytest.raises(ConfigError, match="tls_certificate and tls_key need each other"):
        load_config(None, {"ROKUGA_TLS_CERTIFICATE": "/etc/rokuga/chain.pem"})
