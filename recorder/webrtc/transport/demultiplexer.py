"""Passes each datagram to its peer, by the first byte (RFC 7983) and the transport path, whatever carried it.

No content of a datagram raises out of here: what belongs to no peer is counted and dropped, and an exception in a
peer's handler, which is an internal error, ends that peer only.
"""

from collections.abc import Callable
from typing import Final

from rokuga.recorder.webrtc.dtls.queue import DtlsQueue
from rokuga.recorder.webrtc.dtls.srtp import DatagramBuffer
from rokuga.recorder.webrtc.ice.connectivity_checks import ConnectivityChecks
from rokuga.recorder.webrtc.ice.ice_lite import MAGIC_COOKIE, Address, TransportPath
from rokuga.recorder.webrtc.transport.first_byte import DTLS, PROTOCOL_OF, SRTP, STUN
from rokuga.recorder.webrtc.transport.flow import Flow, PortCounters

MAX_DATAGRAM_BYTES: Final = 2048


class Demultiplexer:
    """Dispatches datagrams that were read into its one `buffer`."""

    def __init__(self, send: Callable[[bytes, TransportPath], None]) -> None:
        """`send` sends the answers to connectivity checks."""
        self.buffer = DatagramBuffer(MAX_DATAGRAM_BYTES + 1)
        self.counters = PortCounters()
        self.checks = ConnectivityChecks(self.counters, send)
        self._data = self.buffer.data
        self._dtls = DtlsQueue(self.fail)

    def receive(self, size: int, flows: dict[Address, Flow], socket: int, address: Address, now_ns: int) -> None:
        """Dispatch the first `size` bytes of the buffer, which `address` sent to our socket of index `socket`.

        `flows` are the validated peers of that socket, `checks.flows_of(socket)`.
        """
        counters = self.counters
        if not 0 < size <= MAX_DATAGRAM_BYTES:
            counters.bad_size += 1
            return
        protocol = PROTOCOL_OF[self._data[0]]
        if protocol == SRTP:
            flow = flows.get(address)
            if flow is None:
                counters.unauthenticated += 1
                return
            counters.srtp += 1
            counters.srtp_bytes += size
            try:
                flow.receive_srtp(size, now_ns)
            except Exception as error:  # an internal error: the peer logs it and ends
                self.fail(flow, error)
        elif protocol == STUN:
            self._receive_stun(size, socket, address, now_ns)
        elif protocol == DTLS:
            self._receive_dtls(size, flows.get(address), now_ns)
        else:
            counters.bad_first_byte += 1

    def _receive_stun(self, size: int, socket: int, address: Address, now_ns: int) -> None:
        if self._data[4:8] != MAGIC_COOKIE:  # found here for a tenth of what an exception costs
            self.counters.bad_stun += 1
        else:
            self.checks.receive(bytes(self.buffer.view[:size]), socket, address, now_ns)

    def _receive_dtls(self, size: int, flow: Flow | None, now_ns: int) -> None:
        if flow is None:
            self.counters.unauthenticated += 1
        elif self._dtls.admit(flow, now_ns):
            self._dtls.put(flow, bytes(self.buffer.view[:size]))
        else:
            self.counters.dtls_overflow += 1

    def fail(self, flow: Flow, error: Exception) -> None:
        """End a peer whose handler raised an exception."""
        self.counters.faults += 1
        self.checks.remove(flow)
        flow.handler.fail(error)

    def close(self) -> None:
        """Remove all peers and drop what is queued for them."""
        self.checks.clear()
        self._dtls.clear()
