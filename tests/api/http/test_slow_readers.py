"""Buffers of connections that do not read."""

import asyncio
from pathlib import Path

import pytest

from rokuga.api.daemon import running
from rokuga.api.http.slow_readers import SlowReaders
from tests.api.serving import config_in
from tests.api.streams import all_of, connected, port_of, start_reading, stop_reading


class Kept(asyncio.Transport):
    """A transport with so much in its buffer."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__()
        self.size_bytes = size_bytes
        self.is_aborted = False

    def get_write_buffer_size(self) -> int:
        """Give the size."""
        return self.size_bytes

    def abort(self) -> None:
        """Note it."""
        self.is_aborted = True


def test_the_longest_of_too_many_is_aborted() -> None:
    readers = SlowReaders(max_connections=2, max_bytes=100)
    transports = [Kept(10) for _ in range(4)]
    for transport in transports:
        readers.add(transport)
    assert [each.is_aborted for each in transports] == [True, True, False, False]


def test_the_longest_are_aborted_until_little_enough_is_kept() -> None:
    readers = SlowReaders(max_connections=10, max_bytes=100)
    transports = [Kept(40) for _ in range(3)]
    readers.add(transports[0])
    readers.add(transports[1])
    readers.remove(transports[0])
    readers.add(transports[2])
    assert not any(each.is_aborted for each in transports)
    readers.add(Kept(60))
    assert [each.is_aborted for each in transports] == [False, True, False]
    readers.add(Kept(1000))
    assert len(readers) == 0


async def test_who_asks_and_does_not_read_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for much a thousand times, and reads nothing of it."""
    monkeypatch.setattr("rokuga.api.http.slow_readers.SlowReaders.__init__", _strict)
    async with running(config_in(tmp_path)) as addresses:
        async with connected(port_of(addresses.api_url)) as first, connected(port_of(addresses.api_url)) as second:
            for stream in (first, second):
                stop_reading(stream)
                stream[1].write(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000)
            start_reading(first)
            assert len(await all_of(first[0])) < 100_000_000
            second[1].transport.abort()


def _strict(readers: SlowReaders) -> None:
    readers._max_connections, readers._max_bytes, readers._transports = 1, 1 << 30, {}
