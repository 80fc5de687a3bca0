"""The TCP listeners of the media port, for peers whose UDP is blocked: passive candidates of RFC 6544.

A connection carries the same datagrams as UDP, each in a frame (RFC 4571), through the same demultiplexer. TCP
addresses cannot be forged, so a connection is limited more strictly than an address of UDP: until one of its checks
is authenticated it may send nothing but STUN, and it has VALIDATION_S for that. Reading pauses after each read, so
that a connection causes at most fifty wake-ups a second.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Self, cast

from rokuga.recorder.webrtc.ice.ice_lite import Address, TransportPath
from rokuga.recorder.webrtc.transport.addresses import network_of
from rokuga.recorder.webrtc.transport.demultiplexer import MAX_DATAGRAM_BYTES, Demultiplexer
from rokuga.recorder.webrtc.transport.first_byte import PROTOCOL_OF, STUN
from rokuga.recorder.webrtc.transport.tcp_admission import TcpAdmission

READ_BYTES: Final = 64 * 1024
"""Bytes of one read: with the pause between reads, 26 Mbit/s of one connection."""
PAUSE_S: Final = 0.02
VALIDATION_S: Final = 10.0
"""A connection is closed after so long without a peer: before its first valid check, or after its peer's end."""
MAX_UNAUTHENTICATED_DATAGRAMS: Final = 32
"""Datagrams accepted from an unauthenticated connection: a client repeats its check until it is answered."""
MAX_FRAMES: Final = 2048
"""Frames of one read. Tiny ones, which no real client sends, could be 20,000, and delay all other peers."""
MAX_UNSENT_BYTES: Final = 64 * 1024
"""Bytes buffered for a peer that reads slowly; further datagrams are lost, as with UDP."""

_LENGTH_BYTES: Final = 2


class TcpPort:
    """The listeners, by their index in a transport path; served while the context is open, and closed at its end."""

    def __init__(self, demultiplexer: Demultiplexer, monotonic_ns: Callable[[], int]) -> None:
        self.buffer = bytearray(_LENGTH_BYTES + MAX_DATAGRAM_BYTES + READ_BYTES)
        self.view = memoryview(self.buffer)
        self.demultiplexer = demultiplexer
        self.monotonic_ns = monotonic_ns
        self.admission = TcpAdmission()
        self._listeners: dict[int, TcpListener] = {}
        self._paused: list[TcpConnection] = []

    @property
    def connections(self) -> Sequence["TcpConnection"]:
        """All open connections."""
        return [each for listener in self._listeners.values() for each in listener.connections.values()]

    async def add(self, listening: socket.socket, index: int) -> Callable[[bytes, Address], None]:
        """Serve one more listener; return the function that sends a datagram to an address, which raises OSError."""
        listener = self._listeners[index] = TcpListener(self, index)
        await listener.open(listening)
        return listener.send

    async def remove(self, index: int) -> None:
        """Close a listener and its connections."""
        await self._listeners.pop(index).close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for index in list(self._listeners):
            await self.remove(index)

    def pause(self, connection: "TcpConnection") -> None:
        """Stop reading a connection for PAUSE_S; one timer serves all connections."""
        if not self._paused:
            asyncio.get_running_loop().call_later(PAUSE_S, self._resume)
        self._paused.append(connection)

    def _resume(self) -> None:
        paused, self._paused = self._paused, []
        for connection in paused:
            connection.resume()


class TcpListener:
    """One listening socket and its connections, by remote address."""

    def __init__(self, port: TcpPort, index: int) -> None:
        self.port = port
        self.index = index
        self.connections: dict[Address, TcpConnection] = {}
        self.flows = port.demultiplexer.checks.flows_of(index)
        self._server: asyncio.Server | None = None

    async def open(self, listening: socket.socket) -> None:
        """Accept connections."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: TcpConnection(self), sock=listening)

    async def close(self) -> None:
        """Close the socket and all connections."""
        for connection in list(self.connections.values()):
            connection.abort()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def send(self, data: bytes, address: Address) -> None:
        """Send a datagram to an address. Raises OSError where it is not connected or reads too slowly."""
        connection = self.connections.get(address)
        if connection is None:
            raise ConnectionResetError("the connection is closed")
        connection.send(data)

    def remove_path(self, address: Address) -> None:
        """Remove the transport path of a connection that has ended."""
        self.port.demultiplexer.checks.remove_path(TransportPath(self.index, address))


class TcpConnection(asyncio.BufferedProtocol):
    """One TCP connection: frames in and out. `_rest` is the beginning of an incomplete frame."""

    def __init__(self, listener: TcpListener) -> None:
        self._listener = listener
        self._port = listener.port
        self._rest = b""
        self._unauthenticated_datagrams = 0
        self._unauthenticated_network: bytes | None = None
        """The network that it is counted for as unauthenticated."""
        self._expiry: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept the connection, or close it at once."""
        self._transport = cast(asyncio.Transport, transport)
        self._address: Address | None = transport.get_extra_info("peername")
        counters, admission = self._port.demultiplexer.counters, self._port.admission
        network = b"" if self._address is None else network_of(self._address[0])
        if self._address is None or not admission.admit(network, self._port.monotonic_ns()):
            counters.refused += 1
            self.abort()
            return
        counters.connections += 1
        self._unauthenticated_network = network
        before = self._listener.connections.pop(self._address, None)
        if before is not None:  # its end has not been read yet: an address has one connection at a time
            before.abort()
            self._listener.remove_path(self._address)
        self._listener.connections[self._address] = self
        self._expiry = asyncio.get_running_loop().call_later(VALIDATION_S, self._expire)

    def connection_lost(self, _error: Exception | None) -> None:
        """Remove the connection and its path."""
        if self._unauthenticated_network is not None:
            self._port.admission.end(self._unauthenticated_network)
        if self._expiry is not None:
            self._expiry.cancel()
        if self._address is not None and self._listener.connections.get(self._address) is self:
            del self._listener.connections[self._address]
            self._listener.remove_path(self._address)

    def get_buffer(self, _size: int) -> memoryview:
        """Read behind the rest of the last read, into the shared buffer, parsed before anything else is read."""
        self._port.buffer[: len(self._rest)] = self._rest
        return self._port.view[len(self._rest) :]

    def buffer_updated(self, size: int) -> None:
        """Dispatch the complete frames, then pause reading."""
        if self._address is None:
            return
        end = len(self._rest) + size
        parsed = self._receive_frames(end, self._address)
        self._rest = bytes(self._port.view[parsed:end])
        if not self._transport.is_closing():
            self._transport.pause_reading()
            self._port.pause(self)

    def resume(self) -> None:
        """Read again."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    @property
    def unsent_bytes(self) -> int:
        """Bytes that the peer has not read yet."""
        return self._transport.get_write_buffer_size()

    def send(self, data: bytes) -> None:
        """Send a datagram in a frame. Raises BlockingIOError where the peer reads too slowly."""
        if self.unsent_bytes + _LENGTH_BYTES + len(data) > MAX_UNSENT_BYTES:
            raise BlockingIOError("the peer reads too slowly")
        self._transport.write(len(data).to_bytes(_LENGTH_BYTES, "big") + data)

    def abort(self) -> None:
        """Close the connection at once."""
        self._transport.abort()

    def _receive_frames(self, end: int, address: Address) -> int:
        """Dispatch every complete frame before offset `end`; return the offset after the last."""
        demultiplexer, read = self._port.demultiplexer, self._port.view
        flows, index = self._listener.flows, self._listener.index
        offset = frames = 0
        while end - offset >= _LENGTH_BYTES and not self._transport.is_closing():
            size = read[offset] << 8 | read[offset + 1]
            frames += 1
            if not 0 < size <= MAX_DATAGRAM_BYTES or frames > MAX_FRAMES:
                demultiplexer.counters.bad_size += 1
                self.abort()
                break
            begin = offset + _LENGTH_BYTES
            if begin + size > end:
                break
            offset = begin + size
            if self._unauthenticated_network is not None and not self._may_send(read[begin]):
                demultiplexer.counters.unauthenticated += 1
                self.abort()
                break
            demultiplexer.buffer.data[:size] = read[begin:offset]
            demultiplexer.counters.received += 1
            demultiplexer.receive(size, flows, index, address, self._port.monotonic_ns())
            if self._unauthenticated_network is not None and address in flows:
                self._port.admission.validate(self._unauthenticated_network)
                self._unauthenticated_network = None
        return offset

    def _may_send(self, first: int) -> bool:
        """Whether a datagram with this first byte is accepted before the connection is validated."""
        self._unauthenticated_datagrams += 1
        return PROTOCOL_OF[first] == STUN and self._unauthenticated_datagrams <= MAX_UNAUTHENTICATED_DATAGRAMS

    def _expire(self) -> None:
        if self._address in self._listener.flows:
            self._expiry = asyncio.get_running_loop().call_later(VALIDATION_S, self._expire)
        else:
            self.abort()
