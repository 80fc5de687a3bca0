"""The publishing end of a peer connection: answers an offer of an ICE-lite recorder and sends to it.

Controlling ICE agent of one path (RFC 8445): the first candidate of the offer that answers a check is used. Every
check nominates, and checks go on to the end: they are the recorder's proof that we are there, and its answers are
ours that it is (RFC 7675).
"""

import asyncio
import secrets
import struct
from collections.abc import Callable, Mapping
from typing import Final

import pylibsrtp
from aioice import stun

from rokuga.recorder.media import Kind
from rokuga.recorder.rtp.packet import is_rtcp
from rokuga.recorder.webrtc.dtls.transport import Certificate, DatagramPipe, DtlsTransport
from rokuga.recorder.webrtc.outgoing.path import OutgoingPath
from rokuga.recorder.webrtc.outgoing.sdp import RemoteOffer, write_answer
from rokuga.recorder.webrtc.sdp.offer_and_answer import Candidate, LocalTransport
from rokuga.recorder.webrtc.transport.first_byte import DTLS, PROTOCOL_OF, SRTP, STUN, UNSUPPORTED

CHECK_PAUSE_S: Final = 0.05
CHECKS: Final = 40
CONNECT_S: Final = CHECKS * CHECK_PAUSE_S
"""TCP's handshake may take as long as checks by UDP."""
CONSENT_S: Final = 2.5
MAX_UNANSWERED: Final = 12
"""So many checks, 30 s of them, without an answer end the connection (RFC 7675 section 5.1)."""

HOST_PRIORITY: Final = (126 << 24) + (65535 << 8) + 255
"""RFC 8445 section 5.1.2.1."""

HANDSHAKE_S: Final = 10.0


class PublishError(Exception):
    """The recorder cannot be reached, or does not take what is published."""


class OutgoingPeer:
    """Our end: `answer` first, then `connect`, then `send_rtp` and `send_rtcp` until `close`.

    `ended` has the reason once the recorder ended the connection, or is gone. `on_rtcp` gets decrypted compounds.
    `loses` decides for each datagram, of whatever kind and direction, whether the network loses it.
    """

    def __init__(
        self,
        offer: RemoteOffer,
        certificate: Certificate,
        on_rtcp: Callable[[bytes], None],
        loses: Callable[[], bool] | None = None,
    ) -> None:
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._offer = offer
        self._certificate = certificate
        self._on_rtcp = on_rtcp
        self._loses = loses
        self._ufrag = secrets.token_hex(4)
        self._password = secrets.token_hex(16)
        self._tie_breaker = secrets.randbits(64)
        self._path: OutgoingPath | None = None
        self._pipe = DatagramPipe(self._send)
        self._dtls = DtlsTransport(self._pipe, certificate)
        self._is_connected = False
        self._consent: asyncio.Task[None] | None = None

    def answer(self, ssrcs: Mapping[Kind, tuple[int, int]], cname: str) -> str:
        """Write the answer; `ssrcs` has for each kind that is sent the media's and the retransmissions' SSRC."""
        own = LocalTransport(self._ufrag, self._password, self._certificate.fingerprint, ())
        return write_answer(self._offer, own, ssrcs, cname)

    async def connect(self) -> None:
        """Find a path and shake hands. Raises PublishError."""
        for candidate in self._offer.candidates:
            self._path = await self._check(candidate)
            if self._path is not None:
                break
        else:
            raise PublishError("no candidate of the offer answers")
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                self._is_connected = await self._dtls.handshake(self._offer.fingerprints, is_client=True)
        except TimeoutError:
            pass
        if not self._is_connected:
            raise PublishError("the DTLS handshake failed")
        self._dtls.on("statechange", self._on_dtls_state)
        self._consent = asyncio.create_task(self._keep_consent(self._path), name="ice consent")

    def send_rtp(self, packet: bytes) -> None:
        """Encrypt and send."""
        self._send(self._dtls.sending.protect(packet))

    def send_rtcp(self, packet: bytes) -> None:
        """Encrypt and send."""
        self._send(self._dtls.sending.protect_rtcp(packet))

    async def close(self) -> None:
        """Say goodbye and forget the path. May be called at any time, and twice."""
        try:
            if self._consent is not None:
                self._consent.cancel()
                await asyncio.gather(self._consent, return_exceptions=True)
            await self._dtls.stop()
        finally:
            if self._path is not None:
                self._path.close()

    async def _check(self, candidate: Candidate) -> OutgoingPath | None:
        """Send checks to a candidate until one is answered; None if none is."""
        path = OutgoingPath(self._receive, self._loses)
        try:
            async with asyncio.timeout(CONNECT_S):
                await path.open(candidate)
            for _ in range(CHECKS):
                path.send(self._binding_request())
                done, _ = await asyncio.wait([path.answered], timeout=CHECK_PAUSE_S)
                if done:
                    break
        except OSError:  # an address of a family or a network that we do not have, or TCP that is refused or blocked
            return None
        except BaseException:
            path.close()
            raise
        if path.answered.done() and path.answered.result():
            return path
        path.close()
        return None

    def _receive(self, path: OutgoingPath, data: bytes) -> None:
        protocol = PROTOCOL_OF[data[0]] if data else UNSUPPORTED
        if protocol == STUN:
            self._receive_stun(path, data)
        elif protocol == DTLS:
            self._pipe.put(data)
        elif protocol == SRTP and self._is_connected and is_rtcp(data):
            try:
                plain = self._dtls.receiving.unprotect_rtcp(data)
            except pylibsrtp.Error:  # not of this session
                return
            self._on_rtcp(plain)

    def _receive_stun(self, path: OutgoingPath, data: bytes) -> None:
        try:
            message = stun.parse_message(data)
        except (ValueError, struct.error):
            return
        signed = message.check_message_integrity(self._offer.ice_password.encode())
        if signed and message.message_class == stun.Class.RESPONSE:
            path.answer(works=True)

    def _binding_request(self) -> bytes:
        message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        message.attributes["USERNAME"] = f"{self._offer.ice_ufrag}:{self._ufrag}"
        message.attributes["PRIORITY"] = HOST_PRIORITY
        message.attributes["ICE-CONTROLLING"] = self._tie_breaker
        message.attributes["USE-CANDIDATE"] = None
        message.add_message_integrity(self._offer.ice_password.encode())  # and FINGERPRINT
        return bytes(message)

    async def _keep_consent(self, path: OutgoingPath) -> None:
        while path.unanswered < MAX_UNANSWERED and path.is_open:
            await asyncio.sleep(CONSENT_S)
            path.unanswered += 1
            path.send(self._binding_request())
        self._end("the recorder does not answer any more")

    def _on_dtls_state(self) -> None:
        if self._dtls.state == "closed":
            self._end("the recorder ended the DTLS connection")

    def _end(self, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_result(reason)

    def _send(self, data: bytes) -> None:
        if self._path is not None:
            self._path.send(data)
