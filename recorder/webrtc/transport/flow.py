"""One peer as the media port sees it, and what the port counts."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from rokuga.recorder.webrtc.ice.ice_lite import IceLite, TransportPath


@dataclass(slots=True)
class PortCounters:
    """What happened to datagrams since the start. `received` counts all of them.

    `srtp` and `srtp_bytes` are those from where a peer is; what of them was genuine is in `decrypted`
    and `decrypted_bytes`. `connections` are those of TCP that were taken, `refused` those that were one too many.
    """

    received: int = 0
    srtp: int = 0
    srtp_bytes: int = 0
    decrypted: int = 0
    decrypted_bytes: int = 0
    from_strangers: int = 0
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


def _nobody(*_told: object) -> None:
    """Hear what comes for a peer that is gone."""


class Flow:
    """One peer: where it is, and whom to call with what comes from there.

    `on_srtp` gets the size of the datagram in the port's buffer and the time; `on_dtls` gets a copy. Both are called
    from the read of the socket. `reachable` is set once the peer has proved an address.
    """

    def __init__(
        self,
        ice: IceLite,
        on_dtls: Callable[[bytes], None],
        on_srtp: Callable[[int, int], None],
        on_fault: Callable[[Exception], None],
        *,
        send: Callable[[bytes, TransportPath], None],
        forget: Callable[["Flow"], None],
    ) -> None:
        self.ice = ice
        self.on_dtls = on_dtls
        self.on_srtp = on_srtp
        self.on_fault = on_fault
        self.reachable = asyncio.Event()
        self.paths: dict[TransportPath, None] = {}
        self.dtls_second = self.dtls_count = 0
        self._send = send
        self._forget = forget

    def send(self, data: bytes) -> None:
        """Send to where the peer is; without a known path, or where the network refuses, it is lost."""
        if self.ice.path is not None:
            self._send(data, self.ice.path)

    def close(self) -> None:
        """Forget the peer, both ways; what still comes from it comes from a stranger. Safe to repeat."""
        self._forget(self)
        self.on_dtls = self.on_srtp = self.on_fault = _nobody
