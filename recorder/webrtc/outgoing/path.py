"""A way from a publisher to a candidate of the recorder: a UDP socket, or a TCP connection with frames (RFC 4571)."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from rokuga.recorder.webrtc.sdp.offer_and_answer import Candidate

MAX_UNSENT_BYTES: Final = 256 * 1024
"""What waits for a network that is slower than the media; what comes on top is lost, and asked for again."""

_LENGTH_BYTES: Final = 2


class OutgoingPath:
    """A path, once it is open. `answered` is set by the first answer to a check, or False if it is refused.

    `take` gets the path and each datagram that comes. `loses` decides for each, both ways, whether it is lost.
    """

    def __init__(
        self, take: Callable[["OutgoingPath", bytes], None], loses: Callable[[], bool] | None = None
    ) -> None:
        self.answered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.unanswered = 0
        self.transport: asyncio.DatagramTransport | asyncio.Transport | None = None
        self._put: Callable[[bytes], None]
        self._take = take
        self._loses = loses

    async def open(self, candidate: Candidate) -> None:
        """Connect to a candidate. Raises OSError."""
        loop, to = asyncio.get_running_loop(), (candidate.host, candidate.port)
        if candidate.transport == "tcp":
            connection, _ = await loop.create_connection(lambda: _Frames(self), *to)
            self.transport, self._put = connection, _framing(connection)
        else:
            datagrams, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), remote_addr=to)
            self.transport, self._put = datagrams, datagrams.sendto

    @property
    def is_open(self) -> bool:
        """Whether something can be sent."""
        return self.transport is not None and not self.transport.is_closing()

    def received(self, data: bytes) -> None:
        """Take a datagram from the network."""
        if self._loses is None or not self._loses():
            self._take(self, data)

    def answer(self, *, works: bool) -> None:
        """Say that a check was answered, or that nobody is there."""
        self.unanswered = 0
        if not self.answered.done():
            self.answered.set_result(works)

    def send(self, data: bytes) -> None:
        """Send a datagram; it is lost where there is no way."""
        if self.is_open and (self._loses is None or not self._loses()):
            self._put(data)

    def close(self) -> None:
        """Give it up; what is already on its way still arrives. Safe to repeat."""
        if self.transport is not None:
            self.transport.close()


def _framing(connection: asyncio.Transport) -> Callable[[bytes], None]:
    def put(data: bytes) -> None:
        if connection.get_write_buffer_size() < MAX_UNSENT_BYTES:
            connection.write(len(data).to_bytes(_LENGTH_BYTES, "big") + data)

    return put


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, path: OutgoingPath) -> None:
        self._path = path

    def datagram_received(self, data: bytes, _address: Any) -> None:
        self._path.received(data)

    def error_received(self, _error: Exception) -> None:
        """Nobody is there (ICMP). Later, checks without answers say the same."""
        self._path.answer(works=False)


class _Frames(asyncio.Protocol):
    def __init__(self, path: OutgoingPath) -> None:
        self._path = path
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        data, place = self._rest + data, 0
        while len(data) - place >= _LENGTH_BYTES:
            begin = place + _LENGTH_BYTES
            end = begin + int.from_bytes(data[place:begin], "big")
            if end > len(data):
                break
            self._path.received(data[begin:end])
            place = end
        self._rest = data[place:]

    def connection_lost(self, _error: Exception | None) -> None:
        self._path.answer(works=False)
