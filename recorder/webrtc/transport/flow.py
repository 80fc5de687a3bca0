"""One peer as the media port sees it, and the port's counters."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from rokuga.recorder.webrtc.ice.ice_lite import IceLite, TransportPath


@dataclass(slots=True)
class PortCounters:
    """Counters of the media port since its start.

    `received` counts all datagrams; `srtp` and `srtp_bytes` those of SRTP and SRTCP from validated addresses;
    `decrypted` and `decrypted_bytes` those of them that libsrtp authenticated. `connections` are accepted TCP
    connections, `refused` those beyond a limit. The others count datagrams that were dropped.
    """

    received: int = 0
    srtp: int = 0
    srtp_bytes: int = 0
    decrypted: int = 0
    decrypted_bytes: int = 0
    unauthenticated: int = 0
    bad_size: int = 0
    bad_first_byte: int = 0
    bad_stun: int = 0
    contested: int = 0
    dtls_overflow: int = 0
    receive_errors: int = 0
    connections: int = 0
    refused: int = 0
    send_errors: int = 0
    faults: int = 0


class DatagramHandler(Protocol):
    """Receives the datagrams of one peer, called synchronously."""

    def receive_srtp(self, size: int, now_ns: int) -> None:
        """Receive a datagram of SRTP or SRTCP: the first `size` bytes of the port's buffer, valid during the call."""
        ...

    def receive_dtls(self, data: bytes) -> None:
        """Receive a copy of a datagram of DTLS."""
        ...

    def fail(self, error: Exception) -> None:
        """End the peer: one of the calls above raised `error`."""
        ...


class _ClosedHandler:
    """Drops what arrives for a peer that has ended."""

    def receive_srtp(self, size: int, now_ns: int) -> None: ...

    def receive_dtls(self, data: bytes) -> None: ...

    def fail(self, error: Exception) -> None: ...


_CLOSED: Final = _ClosedHandler()


class Flow:
    """The transport paths of one peer, and the handler of what arrives by them.

    `reachable` is set once the peer has validated a path.
    """

    def __init__(
        self,
        ice: IceLite,
        handler: DatagramHandler,
        *,
        send: Callable[[bytes, TransportPath], None],
        remove: Callable[["Flow"], None],
    ) -> None:
        self.ice = ice
        self.handler: DatagramHandler = handler
        self.receive_srtp: Callable[[int, int], None] = (
            handler.receive_srtp
        )  # bound once: it is called for each packet
        self.reachable = asyncio.Event()
        self.paths: dict[TransportPath, None] = {}
        self.dtls_second = self.dtls_count = 0
        self._send = send
        self._remove = remove

    def send(self, data: bytes) -> None:
        """Send a datagram by the selected path; it is lost without one, or where the network refuses it."""
        if self.ice.path is not None:
            self._send(data, self.ice.path)

    def close(self) -> None:
        """Remove the peer from the port and drop the handler. Safe to repeat."""
        self._remove(self)
        self.handler = _CLOSED
        self.receive_srtp = _CLOSED.receive_srtp
