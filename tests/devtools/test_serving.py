"""A web application on a free port, at the address that is returned."""

import aiohttp
import pytest
from aiohttp import web

from rokuga.devtools.serving import serving
from rokuga.recorder.webrtc.transport.addresses import is_local
from tests.machine import lacks


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_it_is_reachable_at_its_address_until_the_end(host: str) -> None:
    if not is_local(host):
        lacks("this host has no IPv6")

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text="here")

    app = web.Application()
    app.router.add_get("/", answer)
    async with aiohttp.ClientSession() as session:
        async with serving(app, host) as address, session.get(f"http://{address}/") as response:
            assert await response.text() == "here"
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"http://{address}/")


async def test_a_used_port_is_an_error() -> None:
    async with serving(web.Application()) as address:
        port = int(address.rpartition(":")[2])
        with pytest.raises(OSError, match="address already in use"):
            async with serving(web.Application(), port=port):
                pass
