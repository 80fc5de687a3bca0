"""One peer: ICE, DTLS and SRTP of the other end, from its offer or ours to the end of its life.

A datagram of media goes synchronously from the port through `_on_srtp` into the receiver; tasks exist for the
handshake alone.
"""

import asyncio
import secrets
from collections.abc import Callable, Collection, Mapping
from typing import Final

import structlog

from rokuga.recorder.clock import Clock
from rokuga.recorder.config import RecorderConfig
from rokuga.recorder.media import NS_PER_MS, AccessUnit, Kind
from rokuga.recorder.webrtc.dtls.srtp import SrtpReceiver
from rokuga.recorder.webrtc.dtls.transport import Certificate, DatagramPipe, DtlsTransport
from rokuga.recorder.webrtc.ice.ice_lite import IceLite
from rokuga.recorder.webrtc.receiver import Receiver
from rokuga.recorder.webrtc.sdp.answer import read_answer
from rokuga.recorder.webrtc.sdp.offer_and_answer import Answer, LocalTransport, MediaOffer, write_offer
from rokuga.recorder.webrtc.sdp.whip_offer import agree, read_offer, write_answer
from rokuga.recorder.webrtc.transport.media_port import MediaPort

log = structlog.get_logger()

MAX_EARLY_DATAGRAMS: Final = 256
"""Media that overtakes the end of the handshake is kept: a peer may send with its last flight."""

IDLE_NS: Final = 100 * NS_PER_MS
"""A peer that lacks nothing is looked at this often: its reports and its timeout have time."""

EVICTED: Final = "TOO-MANY-PENDING"
CLOSED_BY_PEER: Final = "CLOSED-BY-PEER"
HANDSHAKE_FAILED: Final = "DTLS-HANDSHAKE-FAILED"
INTERNAL_ERROR: Final = "INTERNAL-ERROR"
MEDIA_TIMEOUT: Final = "MEDIA-TIMEOUT"


class Peer:
    """The other end. `connected` is set when DTLS is up; `run` returns why it ended.

    The hooks are called synchronously from the read of the socket or from `tick`; see `Receiver`.
    """

    def __init__(
        self,
        port: MediaPort,
        certificate: Certificate,
        offer: MediaOffer,
        *,
        on_connected: Callable[[], None],
        on_unit: Callable[[Kind, AccessUnit], None],
        on_sender_report: Callable[[Kind, int, int, int], None],
        on_source_changed: Callable[[Kind], None],
        clock: Clock,
        config: RecorderConfig,
        on_evicted: Callable[[], None] | None = None,
        client_address: str = "",
    ) -> None:
        """`on_evicted` is called where too many peers are not connected; without it, the peer closes.

        `client_address` is where it signals from.
        """
        self.connected = asyncio.Event()
        self._buffer, self._counters = port.buffer, port.counters
        self._read_port = port.read
        self._offer = offer
        self._clock = clock
        self._config = config
        self._on_connected = on_connected
        self._on_unit, self._on_sender_report, self._on_source_changed = on_unit, on_sender_report, on_source_changed
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._answer: Answer | None = None
        self._receiver: Receiver | None = None
        self._srtp: SrtpReceiver | None = None
        self._early: list[bytes] = []
        self._accepted_ns = 0
        self._heard_ns = 0
        self._due_ns = 0
        self._runs = False
        ufrag, password = secrets.token_hex(4), secrets.token_hex(16)
        self._transport = LocalTransport(ufrag, password, certificate.fingerprint, port.candidates)
        self._offer_sdp = write_offer(offer, self._transport, session_id=secrets.randbits(62))
        self._ice = IceLite(ufrag, password)
        self._flow = port.open(self._ice, self._on_dtls, self._on_srtp, self._on_fault)
        self._pipe = DatagramPipe(self._flow.send)
        self._dtls = DtlsTransport(self._pipe, certificate)
        self._end_pending = port.pending.add(client_address, on_evicted or self._evicted)

    @property
    def mids(self) -> Mapping[Kind, str]:
        """The mid of each kind that is offered."""
        return self._offer.mids

    def offer(self) -> str:
        """Give the SDP offer."""
        return self._offer_sdp

    def accept(self, answer: str) -> Collection[Kind]:
        """Take the SDP answer, before `run`; give the kinds that the peer did not reject. Raises SdpError."""
        return self._begin(read_answer(answer, self._offer))

    def answer(self, offer: str) -> str:
        """Take the peer's own SDP offer instead, before `run`; give our answer. Raises SdpError."""
        offered = read_offer(offer)
        agreed = agree(offered, self._offer)
        text = write_answer(offered, agreed, self._offer, self._transport, session_id=secrets.randbits(62))
        self._begin(agreed)
        return text

    def _begin(self, answer: Answer) -> Collection[Kind]:
        self._answer = answer
        self._ice.remote_ufrag = answer.ice_ufrag.encode()
        self._accepted_ns = self._heard_ns = self._clock.monotonic_ns()
        self._receiver = Receiver(
            answer.media,
            own_ssrc=secrets.randbits(32),
            remb_bps=self._offer.receive_limit_bps,
            on_unit=self._on_unit,
            on_sender_report=self._on_sender_report,
            on_source_changed=self._on_source_changed,
            write_damaged=self._config.recording_write_damaged,
        )
        return answer.media.keys()

    async def run(self) -> str:
        """Handshake and live until the end; give its reason. To be called once, after `accept` or `answer`."""
        if self._answer is None:
            raise RuntimeError("a peer runs after it accepted an answer or gave one")
        self._runs = True
        handshake = asyncio.create_task(self._handshake(self._answer), name="dtls handshake")
        try:
            return await self._ended
        finally:
            handshake.cancel()
            await asyncio.gather(handshake, return_exceptions=True)
            await self._dtls.stop()
            self._dtls.remove_all_listeners()
            self._flow.close()

    def tick(self, now_ns: int) -> None:
        """Do what is due: give up on late packets, send RTCP, end a peer that is silent."""
        receiver = self._receiver
        if receiver is None or (now_ns < self._due_ns and receiver.is_idle()) or self._ended.done():
            return
        self._due_ns = now_ns + IDLE_NS
        timeout_ns = self._config.media_timeout_ns
        if now_ns - max(self._heard_ns, self._ice.last_check_ns) > timeout_ns:
            self.close(MEDIA_TIMEOUT)
        elif self._srtp is None:
            if now_ns - self._accepted_ns > timeout_ns:
                self.close(HANDSHAKE_FAILED)
        else:
            try:
                feedback = receiver.tick(now_ns)
                if feedback:
                    self._flow.send(self._dtls.sending.protect_rtcp(feedback))
            except Exception as error:  # our fault ends this peer, not the tick of all others
                self._on_fault(error)

    def waiting(self) -> Collection[Kind]:
        """Give the kinds whose packets are held back for a missing one."""
        return self._receiver.waiting() if self._receiver is not None else ()

    def request_keyframe(self) -> None:
        """Ask the sender for a key frame with the next tick."""
        if self._receiver is not None:
            self._receiver.request_keyframe(self._clock.monotonic_ns())

    def flush(self) -> None:
        """Give out every unit that is whole, as at the end of the stream, with what still waits to be read."""
        self._read_port()
        if self._receiver is not None:
            self._receiver.flush(self._clock.monotonic_ns())

    def stats(self) -> Mapping[Kind, Mapping[str, int]]:
        """Give the counters of each kind since the connection's start."""
        return self._receiver.stats() if self._receiver is not None else {}

    def close(self, reason: str) -> None:
        """End it; `run` returns the reason of the first close. Safe to repeat, and without `run`."""
        self._end_pending()
        if not self._ended.done():
            self._ended.set_result(reason)
        if not self._runs:
            self._flow.close()

    async def _handshake(self, answer: Answer) -> None:
        try:
            await self._connect(answer)
        except Exception as error:  # our fault, or aiortc's: it ends this peer
            self._on_fault(error)

    async def _connect(self, answer: Answer) -> None:
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
            self._on_srtp(len(datagram), self._clock.monotonic_ns())

    def _evicted(self) -> None:
        self.close(EVICTED)

    def _on_dtls(self, data: bytes) -> None:
        self._pipe.put(data)

    def _on_dtls_state(self) -> None:
        if self._dtls.state == "closed":
            self.close(CLOSED_BY_PEER)

    def _on_srtp(self, size: int, now_ns: int) -> None:
        srtp, receiver, buffer = self._srtp, self._receiver, self._buffer
        if srtp is None or receiver is None:
            if len(self._early) < MAX_EARLY_DATAGRAMS and not self._ended.done():
                self._early.append(bytes(buffer.view[:size]))
            return
        is_rtcp = 192 <= buffer.data[1] <= 223  # RFC 5761 section 4
        plain = srtp.unprotect_rtcp(buffer, size) if is_rtcp else srtp.unprotect(buffer, size)
        if not plain:
            return
        self._heard_ns = now_ns
        counters = self._counters
        counters.decrypted += 1
        counters.decrypted_bytes += len(plain)
        if is_rtcp:
            receiver.rtcp(plain, now_ns)
        else:
            receiver.rtp(plain, now_ns)

    def _on_fault(self, error: Exception) -> None:
        log.error("a peer ends by a fault of ours", exc_info=error)
        self.close(INTERNAL_ERROR)
