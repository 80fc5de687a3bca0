"""A peer of the recorder in tests: what its sink received, and its clock."""

import asyncio
import time
from collections.abc import Callable

from rokuga.recorder.clock import Clock
from rokuga.recorder.config import RecorderConfig
from rokuga.recorder.connection import TOO_MANY_PENDING
from rokuga.recorder.media import AccessUnit, Kind
from rokuga.recorder.negotiation import TrackConfig
from rokuga.recorder.peer import PeerHooks
from rokuga.recorder.webrtc.dtls.transport import Certificates
from rokuga.recorder.webrtc.peer import PeerContext, WebRtcPeer
from rokuga.recorder.webrtc.sdp.offer_and_answer import MediaOffer
from rokuga.recorder.webrtc.transport.media_port import MediaPort

OFFER = MediaOffer(TrackConfig("OPUS"), TrackConfig("VP9"), mid_suffix="3C5HZX")


class PeerHarness:
    """Our peer, what its sink received, and a clock that can be put forward."""

    def __init__(self, port: MediaPort, certificates: Certificates) -> None:
        self.port = port
        self.units: list[tuple[Kind, AccessUnit]] = []
        self.reports: list[tuple[int, ...]] = []
        self.ahead_ns = 0
        self.breaks = False
        context = PeerContext(port, certificates, RecorderConfig(), Clock(monotonic_ns=self.now_ns))
        hooks = PeerHooks(self, lambda: None, lambda: self.peer.close(TOO_MANY_PENDING))
        self.peer = WebRtcPeer(context, OFFER, hooks)

    def now_ns(self) -> int:
        """Return the time, put forward by `ahead_ns`."""
        return time.monotonic_ns() + self.ahead_ns

    def unit(self, kind: Kind, unit: AccessUnit) -> None:
        """Keep a unit, or raise as an internal error would."""
        if self.breaks:
            raise ZeroDivisionError
        self.units.append((kind, unit))

    def sender_report(self, _kind: Kind, ntp_ns: int, rtp_time: int, arrival_ns: int) -> None:
        """Keep a sender report."""
        self.reports.append((ntp_ns, rtp_time, arrival_ns))

    def source_changed(self, _kind: Kind) -> None:
        """Ignore a change of source."""

    async def ticked_until(self, condition: Callable[[], object]) -> None:
        """Tick until a condition holds."""
        while not condition():
            self.peer.tick(self.now_ns())
            await asyncio.sleep(0.005)
