"""What comes from the network is told apart by its first byte (RFC 7983), whatever carried it.

Nothing that a datagram holds can raise out of here: what is no packet of a peer is counted and dropped, and a fault
of our own in a peer's call ends that peer only.
"""

from collections.abc import Callable
from typing import Final

from rokuga.recorder.webrtc.dtls.queue import DtlsQueue
from rokuga.recorder.webrtc.dtls.srtp import DatagramBuffer
from rokuga.recorder.webrtc.ice.connectivity_checks import ConnectivityChecks
from rokuga.recorder.webrtc.ice.ice_lite import MAGIC_COOKIE, Address, TransportPath
from rokuga.recorder.webrtc.transport.flow import Flow, PortCounters

MAX_DATAGRAM_BYTES: Final = 2048


class Demultiplexer:
    """Datagrams in by `take` from the one `buffer`, to the peer that they are of."""

    def __init__(self, send: Callable[[bytes, TransportPath], None]) -> None:
        """`send` is for answers to checks."""
        self.buffer = DatagramBuffer(MAX_DATAGRAM_BYTES + 1)
        self.counters = PortCounters()
        self.checks = ConnectivityChecks(self.counters, send)
        self._dtls = DtlsQueue(self.fault)

    def take(self, size: int, socket: int, address: Address, now_ns: int) -> None:
        """Take the datagram of `size` bytes at the buffer's start that came from an address to a socket of ours."""
        counters, data = self.counters, self.buffer.data
        if not 0 < size <= MAX_DATAGRAM_BYTES:
            counters.bad_size += 1
            return
        first = data[0]
        if first < 4:
            if data[4:8] != MAGIC_COOKIE:  # noise, told for a tenth of what an exception costs
                counters.bad_stun += 1
                return
            self.checks.take(bytes(self.buffer.view[:size]), socket, address, now_ns)
            return
        if not (19 < first < 64 or 127 < first < 192):
            counters.bad_first_byte += 1
            return
        flow = self.checks.at(socket).get(address)
        if flow is None:
            counters.from_strangers += 1
        elif first > 127:
            counters.srtp += 1
            counters.srtp_bytes += size
            self.take_srtp(flow, size, now_ns)
        elif self._dtls.takes(flow, now_ns):
            self._dtls.put(flow, bytes(self.buffer.view[:size]))
        else:
            counters.dtls_overflow += 1

    def take_srtp(self, flow: Flow, size: int, now_ns: int) -> None:
        """Hand a packet to its peer."""
        try:
            flow.on_srtp(size, now_ns)
        except Exception as error:  # our fault, told to the peer that it ends
            self.fault(flow, error)

    def fault(self, flow: Flow, error: Exception) -> None:
        """End a peer by a fault of ours."""
        self.counters.faults += 1
        self.checks.forget(flow)
        flow.on_fault(error)

    def close(self) -> None:
        """Forget all peers and what waits for them."""
        self.checks.clear()
        self._dtls.clear()
