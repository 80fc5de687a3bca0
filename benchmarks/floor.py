"""A daemon that reads and decrypts, and then lets every packet fall: `python -m benchmarks.floor run`.

What it costs under the same load in the same run is the floor beneath the daemon's cost. Loops of one stage in one
process show less than half of it: there the caches are warm.
"""

import sys

from rokuga.api.__main__ import main
from rokuga.recorder.rtp.packet import Bytes
from rokuga.recorder.webrtc.receiver import Receiver


def fall(self: Receiver, data: Bytes, now_ns: int) -> None:
    """Let a packet fall."""


if __name__ == "__main__":
    Receiver.rtp = fall  # type: ignore[method-assign]
    sys.exit(main(sys.argv[1:]))
