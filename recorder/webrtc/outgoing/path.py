"""The transport path of a publisher: a UDP socket, or a TCP connection with frames (RFC 4571)."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from rokuga.recorder.webrtc.sdp.offer_and_answer import Candidate

MAX_UNSENT_BYTES: Final = 256 * 1024
"""Bytes buffered for a network that is slower than the media; further datagrams are lost, and requested again."""

_LENGTH_BYTES: Final = 2


class OutgoingPath:
    """A path to one candidate. `answered` has the result of the first check: False if it is refused.

    `on_datagram` receives the path and each datagram. `loses` decides for each datagram, in both directions, whether
    it is dropped, to simulate loss.
    """

    def __init__(
        self, on_datagram: Callable[["OutgoingPath", bytes], None], loses: Callable[[], bool] | None = None
    ) -> None:
        self.answered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.unanswered = 0
        self.transport: asyncio.DatagramTransport | asyncio.Transport | None = None
        self._write: Callable[[bytes], None]
        self._on_datagram = on_datagram
        self._loses = loses

    async def open(self, candidate: Candidate) -> None:
        """Connect to a candidate. Raises OSError."""
        loop, address = asyncio.get_running_loop(), (candidate.host, candidate.port)
        if candidate.transport == "tcp":
            connection, _ = await loop.create_connection(lambda: _Frames(self), *address)
            self.transport, self._write = connection, _frame_writer(connection)
        else:
            datagrams, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), remote_addr=address)
            self.transport, self._write = datagrams, datagrams.sendto

    @property
    def is_open(self) -> bool:
        """Whether something can be sent."""
        return self.transport is not None and not self.transport.is_closing()

    def receive(self, data: bytes) -> None:
        """Receive a datagram from the network."""
        if self._loses is None or not self._loses():
            self._on_datagram(self, data)

    def check_answered(self, *, is_success: bool) -> None:
        """Note the answer to a check, or that the path is refused."""
        self.unanswered = 0
        if not self.answered.done():
            self.answered.set_result(is_success)

    def send(self, data: bytes) -> None:
        """Send a datagram; it is lost where the path is closed."""
        if self.is_open and (self._loses is None or not self._loses()):
            self._write(data)

    def close(self) -> None:
        """Close the path; what was sent before still arrives. Safe to repeat."""
        if self.transport is not None:
            self.transport.close()


def _frame_writer(connection: asyncio.Transport) -> Callable[[bytes], None]:
    def write(data: bytes) -> None:
        if connection.get_write_buffer_size() < MAX_UNSENT_BYTES:
            connection.write(len(data).to_bytes(_LENGTH_BYTES, "big") + data)

    return write


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, path: OutgoingPath) -> None:
        self._path = path

    def datagram_received(self, data: bytes, _address: Any) -> None:
        self._path.receive(data)

    def error_received(self, _error: Exception) -> None:
        """The port is closed (ICMP). Later, unanswered checks show it as well."""
        self._path.check_answered(is_success=False)


class _Frames(asyncio.Protocol):
    def __init__(self, path: OutgoingPath) -> None:
        self._path = path
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        data, offset = self._rest + data, 0
        while len(data) - offset >= _LENGTH_BYTES:
            begin = offset + _LENGTH_BYTES
            end = begin + int.from_bytes(data[offset:begin], "big")
            if end > len(data):
                break
            self._path.receive(data[begin:end])
            offset = end
        self._rest = data[offset:]

    def connection_lost(self, _error: Exception | None) -> None:
        self._path.check_answered(is_success=False)
