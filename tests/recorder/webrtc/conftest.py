"""A media port for each test."""

from collections.abc import AsyncIterator

import pytest

from rokuga.recorder.webrtc.transport.media_port import MediaPort


@pytest.fixture
async def port(request: pytest.FixtureRequest) -> AsyncIterator[MediaPort]:
    """A media port on loopback, with TCP in modules that define WITH_TCP."""
    with_tcp = getattr(request.module, "WITH_TCP", False)
    async with MediaPort(0, ("127.0.0.1",), with_tcp=with_tcp) as opened:
        yield opened
