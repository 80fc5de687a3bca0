"""Drives a sender by the clock: connects, then hands the peer what is due every few milliseconds."""

import asyncio
import time
from typing import Final

from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.publisher.sender import Sender
from rokuga.recorder.webrtc.dtls import Certificate
from rokuga.recorder.webrtc.outgoing import OutgoingPeer, PublishError
from rokuga.recorder.webrtc.outgoing_sdp import RemoteOffer

TICK_S: Final = 0.005


class Pace:
    """One sender and the peer that it sends by. What is due depends on the clock alone, so nothing drifts."""

    def __init__(self, sender: Sender, offer: RemoteOffer, certificate: Certificate) -> None:
        self.peer = OutgoingPeer(offer, certificate, self._take)
        self._sender = sender
        self._started_ns = 0

    async def run(self, seconds: float | None, sending: asyncio.Event) -> None:
        """Connect, set `sending`, send for `seconds` or to the end of the clip. Raises PublishError."""
        await self.peer.connect()
        self._started_ns = time.monotonic_ns()
        sending.set()
        limit_ns = None if seconds is None else int(seconds * NS_PER_S)
        while not self.peer.ended.done():
            media_ns = time.monotonic_ns() - self._started_ns
            if limit_ns is not None and media_ns >= limit_ns:
                return
            for packet in self._sender.packets(media_ns):
                self.peer.send_rtp(packet)
            for report in self._sender.reports(media_ns, time.time_ns()):
                self.peer.send_rtcp(report)
            if self._sender.is_over(media_ns):
                return
            await asyncio.sleep(TICK_S)
        raise PublishError(self.peer.ended.result())

    def _take(self, rtcp: bytes) -> None:
        """Answer what the recorder asks for."""
        for packet in self._sender.feedback(rtcp, time.monotonic_ns() - self._started_ns):
            self.peer.send_rtp(packet)
