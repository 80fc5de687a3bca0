"""A daemon that reads and decrypts, and then lets every packet fall: `python -m benchmarks.floor run`.

What it costs under the same load in the same run is the floor beneath the daemon's cost. Loops of one stage in one
process show less than half of it: there the caches are warm.
"""

import sys
from collections.abc import Callable

from rokuga.cli.__main__ import main
from rokuga.recorder.webrtc.dtls.srtp import SrtpReceiver
from rokuga.recorder.webrtc.ice.ice_lite import IceLite
from rokuga.recorder.webrtc.transport.flow import Flow
from rokuga.recorder.webrtc.transport.media_port import MediaPort

open_flow = MediaPort.open


def open_floor(
    self: MediaPort,
    ice: IceLite,
    on_dtls: Callable[[bytes], None],
    on_srtp: Callable[[int, int], None],
    on_fault: Callable[[Exception], None],
) -> Flow:
    """Take in a peer whose media is decrypted, and not looked at."""
    peer = on_srtp.__self__  # type: ignore[attr-defined]  # what is compiled cannot be patched

    def decrypt(size: int, now_ns: int) -> None:
        srtp: SrtpReceiver | None = peer._srtp
        if srtp is None or 192 <= self.buffer.data[1] <= 223:
            on_srtp(size, now_ns)
        else:
            srtp.unprotect(self.buffer, size)

    return open_flow(self, ice, on_dtls, decrypt, on_fault)


if __name__ == "__main__":
    MediaPort.open = open_floor  # type: ignore[method-assign]
    sys.exit(main(sys.argv[1:]))
