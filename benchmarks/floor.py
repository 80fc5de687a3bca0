"""A daemon that reads and decrypts, and drops every packet then: `python -m benchmarks.floor run`.

What it costs under the same load in the same run is the floor beneath the daemon's cost. Loops of one stage in one
process show less than half of it: there the caches are warm.
"""

import sys

from rokuga.cli.__main__ import main
from rokuga.recorder.webrtc.dtls.srtp import SrtpReceiver
from rokuga.recorder.webrtc.ice.ice_lite import IceLite
from rokuga.recorder.webrtc.transport.flow import DatagramHandler, Flow
from rokuga.recorder.webrtc.transport.media_port import MediaPort

open_flow = MediaPort.open


class DecryptOnly:
    """The handler of a peer whose media is decrypted and dropped."""

    def __init__(self, port: MediaPort, peer: DatagramHandler) -> None:
        self._buffer = port.buffer
        self._peer = peer
        self.receive_dtls = peer.receive_dtls
        self.fail = peer.fail

    def receive_srtp(self, size: int, now_ns: int) -> None:
        """Decrypt a packet; pass what is not media to the peer."""
        srtp: SrtpReceiver | None = self._peer._srtp  # type: ignore[attr-defined]  # of WebRtcPeer
        if srtp is None or 192 <= self._buffer.data[1] <= 223:
            self._peer.receive_srtp(size, now_ns)
        else:
            srtp.unprotect(self._buffer, size)


def open_floor(self: MediaPort, ice: IceLite, handler: DatagramHandler) -> Flow:
    """Add a peer whose media is dropped."""
    return open_flow(self, ice, DecryptOnly(self, handler))


if __name__ == "__main__":
    MediaPort.open = open_floor  # type: ignore[method-assign]
    sys.exit(main(sys.argv[1:]))
