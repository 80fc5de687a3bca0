"""The remote end of one connection: its ICE, DTLS and SRTP, from the offer to the end.

A datagram of media passes synchronously from the port through `receive_srtp` into the receiver; tasks exist only for
the handshake.
"""

import asyncio
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from rokuga.recorder.clock import Clock
from rokuga.recorder.config import RecorderConfig
from rokuga.recorder.media import NS_PER_MS, Kind
from rokuga.recorder.peer import PeerHooks
from rokuga.recorder.webrtc.dtls.srtp import SrtpReceiver
from rokuga.recorder.webrtc.dtls.transport import Certificates, DtlsTransport, IceTransportAdapter
from rokuga.recorder.webrtc.ice.ice_lite import IceLite
from rokuga.recorder.webrtc.receiver import Receiver
from rokuga.recorder.webrtc.sdp.answer import read_answer
from rokuga.recorder.webrtc.sdp.offer_and_answer import LocalTransport, MediaOffer, NegotiatedSession, write_offer
from rokuga.recorder.webrtc.sdp.whip_offer import agree, read_offer, write_answer
from rokuga.recorder.webrtc.transport.media_port import MediaPort

log = structlog.get_logger()

MAX_EARLY_DATAGRAMS: Final = 256
"""Media that arrives before the end of the handshake is kept: a peer may send it with its last flight."""

IDLE_NS: Final = 100 * NS_PER_MS
"""Interval at which an idle peer is ticked, for its reports and its timeout."""

CLOSED_BY_PEER: Final = "CLOSED-BY-PEER"
HANDSHAKE_FAILED: Final = "DTLS-HANDSHAKE-FAILED"
INTERNAL_ERROR: Final = "INTERNAL-ERROR"
MEDIA_TIMEOUT: Final = "MEDIA-TIMEOUT"


@dataclass(frozen=True, slots=True)
class PeerContext:
    """What all peers of a daemon share."""

    port: MediaPort
    certificates: Certificates
    config: RecorderConfig
    clock: Clock


class WebRtcPeer:
    """A `Peer` of the recorder, and the handler of its datagrams."""

    def __init__(
        self, context: PeerContext, offer: MediaOffer, hooks: PeerHooks, *, client_address: str = ""
    ) -> None:
        """`client_address` is the IP address that the client signals from."""
        self.connected = asyncio.Event()
        port, self._clock, self._config = context.port, context.clock, context.config
        self._buffer, self._counters = port.buffer, port.counters
        self._read_port = port.read
        self._offer = offer
        self._sink = hooks.sink
        self._on_connected = hooks.on_connected
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._answer: NegotiatedSession | None = None
        self._receiver: Receiver | None = None
        self._srtp: SrtpReceiver | None = None
        self._early: list[bytes] = []
        self._accepted_ns = 0
        self._last_packet_ns = 0
        self._tick_due_ns = 0
        self._is_running = False
        certificate = context.certificates.current(self._clock.wall_ns())
        ufrag, password = secrets.token_hex(4), secrets.token_hex(16)
        self._transport = LocalTransport(ufrag, password, certificate.fingerprint, port.candidates)
        self._offer_sdp = write_offer(offer, self._transport, session_id=secrets.randbits(62))
        self._ice = IceLite(ufrag, password)
        self._flow = port.open(self._ice, self)
        self._adapter = IceTransportAdapter(self._flow.send)
        self._dtls = DtlsTransport(self._adapter, certificate)
        self._end_pending = port.pending.add(client_address, hooks.on_evicted)

    @property
    def mids(self) -> Mapping[Kind, str]:
        """The mid of each kind that is offered."""
        return self._offer.mids

    def offer(self) -> str:
        """Return the SDP offer."""
        return self._offer_sdp

    def accept(self, answer: str) -> Collection[Kind]:
        """Read the SDP answer, before `run`; return the kinds that it does not reject. Raises SdpError."""
        return self._begin(read_answer(answer, self._offer))

    def answer(self, offer: str) -> str:
        """Read an SDP offer of the peer's instead, before `run`; return our answer. Raises SdpError."""
        offered = read_offer(offer)
        agreed = agree(offered, self._offer)
        text = write_answer(offered, agreed, self._offer, self._transport, session_id=secrets.randbits(62))
        self._begin(agreed)
        return text

    def _begin(self, answer: NegotiatedSession) -> Collection[Kind]:
        self._answer = answer
        self._ice.remote_ufrag = answer.ice_ufrag.encode()
        self._accepted_ns = self._last_packet_ns = self._clock.monotonic_ns()
        self._receiver = Receiver(
            answer.media,
            self._sink,
            own_ssrc=secrets.randbits(32),
            remb_bps=self._offer.receive_limit_bps,
            write_damaged=self._config.recording_write_damaged,
        )
        return answer.media.keys()

    async def run(self) -> str:
        """Do the handshake and run until the end; return its reason. Call once, after `accept` or `answer`."""
        if self._answer is None:
            raise RuntimeError("a peer runs after it accepted an answer or gave one")
        self._is_running = True
        handshake = asyncio.create_task(self._handshake(self._answer), name="dtls handshake")
        try:
            return await self._ended
        finally:
            handshake.cancel()
            await asyncio.gather(handshake, return_exceptions=True)
            await self._dtls.stop()
            self._dtls.remove_all_listeners()
            self._flow.close()
            self._on_connected = _ignore  # what it refers to would keep the peer, in a cycle, until a collection

    def tick(self, now_ns: int) -> None:
        """Do what is due: give up late packets, send RTCP, end after a timeout."""
        receiver = self._receiver
        if receiver is None or (now_ns < self._tick_due_ns and receiver.is_idle()) or self._ended.done():
            return
        self._tick_due_ns = now_ns + IDLE_NS
        timeout_ns = self._config.media_timeout_ns
        if now_ns - max(self._last_packet_ns, self._ice.last_check_ns) > timeout_ns:
            self.close(MEDIA_TIMEOUT)
        elif self._srtp is None:
            if now_ns - self._accepted_ns > timeout_ns:
                self.close(HANDSHAKE_FAILED)
        else:
            try:
                feedback = receiver.tick(now_ns)
                if feedback:
                    self._flow.send(self._dtls.sending.protect_rtcp(feedback))
            except Exception as error:  # an internal error ends this peer, not the tick of all others
                self.fail(error)

    def waiting(self) -> Collection[Kind]:
        """Return the kinds that hold packets back for a missing one."""
        return self._receiver.waiting() if self._receiver is not None else ()

    def request_keyframe(self) -> None:
        """Request a key frame from the sender with the next tick."""
        if self._receiver is not None:
            self._receiver.request_keyframe(self._clock.monotonic_ns())

    def flush(self) -> None:
        """Read what has arrived; pass on every complete unit, as at the end of the stream."""
        self._read_port()
        if self._receiver is not None:
            self._receiver.flush(self._clock.monotonic_ns())

    def stats(self) -> Mapping[Kind, Mapping[str, int]]:
        """Return the counters of each kind since the connection's start."""
        return self._receiver.stats() if self._receiver is not None else {}

    def close(self, reason: str) -> None:
        """End the peer; `run` returns the reason of the first close. Safe to repeat, and without `run`."""
        self._end_pending()
        if not self._ended.done():
            self._ended.set_result(reason)
        if not self._is_running:
            self._flow.close()

    async def _handshake(self, answer: NegotiatedSession) -> None:
        try:
            await self._connect(answer)
        except Exception as error:  # an error of ours or of aiortc's ends this peer
            self.fail(error)

    async def _connect(self, answer: NegotiatedSession) -> None:
        await self._flow.reachable.wait()
        if not await self._dtls.handshake(answer.fingerprints, is_client=answer.setup == "passive"):
            self.close(HANDSHAKE_FAILED)
            return
        self._dtls.on("statechange", self._on_dtls_state)
        self._srtp = SrtpReceiver(self._dtls.receiving)
        self._end_pending()
        self.connected.set()
        self._on_connected()
        early, self._early = self._early, []
        for datagram in early:
            self._buffer.data[: len(datagram)] = datagram
            self.receive_srtp(len(datagram), self._clock.monotonic_ns())

    def _on_dtls_state(self) -> None:
        if self._dtls.state == "closed":
            self.close(CLOSED_BY_PEER)

    def receive_dtls(self, data: bytes) -> None:
        """Receive a datagram of DTLS from the port."""
        self._adapter.put(data)

    def receive_srtp(self, size: int, now_ns: int) -> None:
        """Receive a datagram of SRTP or SRTCP: the first `size` bytes of the port's buffer."""
        srtp, receiver, buffer = self._srtp, self._receiver, self._buffer
        if srtp is None or receiver is None:
            if len(self._early) < MAX_EARLY_DATAGRAMS and not self._ended.done():
                self._early.append(bytes(buffer.view[:size]))
            return
        is_rtcp = 192 <= buffer.data[1] <= 223  # RFC 5761 section 4
        plain = srtp.unprotect_rtcp(buffer, size) if is_rtcp else srtp.unprotect(buffer, size)
        if not plain:
            return
        self._last_packet_ns = now_ns
        counters = self._counters
        counters.decrypted += 1
        counters.decrypted_bytes += len(plain)
        if is_rtcp:
            receiver.rtcp(plain, now_ns)
        else:
            receiver.rtp(plain, now_ns)

    def fail(self, error: Exception) -> None:
        """Log an internal error and end the peer."""
        log.error("internal error, peer closed", exc_info=error)
        self.close(INTERNAL_ERROR)


def _ignore() -> None:
    """Replace the hook of a peer that has ended."""
