"""Sends a clip in real time: connects a peer, and passes it the packets that are due every few milliseconds."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from rokuga.devtools.publisher.sender import ClipSender
from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.webrtc.dtls.transport import Certificate
from rokuga.recorder.webrtc.outgoing.peer import OutgoingPeer, PublishError
from rokuga.recorder.webrtc.outgoing.sdp import RemoteOffer

TICK_S: Final = 0.005


class Pacer:
    """One sender and its peer. Which packets are due depends on the clock alone, so that nothing drifts."""

    def __init__(
        self,
        sender: ClipSender,
        offer: RemoteOffer,
        certificate: Certificate,
        loses: Callable[[], bool] | None = None,
    ) -> None:
        self.peer = OutgoingPeer(offer, certificate, self._receive_rtcp, loses)
        self._sender = sender
        self._started_ns = 0
        self._started_wall_ns = 0

    async def run(self, seconds: float | None, on_start: Callable[[], None]) -> None:
        """Connect, call `on_start`, send for `seconds` or to the end of the clip. Raises PublishError."""
        await self.peer.connect()
        self._started_ns, self._started_wall_ns = time.monotonic_ns(), time.time_ns()
        on_start()
        limit_ns = None if seconds is None else int(seconds * NS_PER_S)
        while not self.peer.ended.done():
            media_ns = time.monotonic_ns() - self._started_ns
            if limit_ns is not None and media_ns >= limit_ns:
                return
            for packet in self._sender.packets(media_ns):
                self.peer.send_rtp(packet)
            # Not the present wall time: it may be later by the time that sending took, and RTP time is not.
            for report in self._sender.reports(media_ns, self._started_wall_ns + media_ns):
                self.peer.send_rtcp(report)
            if self._sender.is_over(media_ns):
                return
            await asyncio.sleep(TICK_S)
        raise PublishError(self.peer.ended.result())

    def _receive_rtcp(self, rtcp: bytes) -> None:
        """Resend what the recorder requests."""
        for packet in self._sender.feedback(rtcp, time.monotonic_ns() - self._started_ns):
            self.peer.send_rtp(packet)
