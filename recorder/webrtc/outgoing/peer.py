"""The publishing end of a peer connection: answers the offer of an ICE-lite recorder and sends to it.

A controlling ICE agent with one path (RFC 8445): the first candidate of the offer that answers a check is used. Every
check nominates, and checks are repeated until the end: they renew consent in both directions (RFC 7675).
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
from rokuga.recorder.webrtc.dtls.transport import Certificate, DtlsTransport, IceTransportAdapter
from rokuga.recorder.webrtc.outgoing.path import OutgoingPath
from rokuga.recorder.webrtc.outgoing.sdp import RemoteOffer, write_answer
from rokuga.recorder.webrtc.sdp.offer_and_answer import Candidate, LocalTransport
from rokuga.recorder.webrtc.transport.first_byte import DTLS, PROTOCOL_OF, SRTP, STUN, UNSUPPORTED

CHECK_PAUSE_S: Final = 0.05
CHECKS: Final = 40
CONNECT_S: Final = CHECKS * CHECK_PAUSE_S
"""Limit of a TCP handshake: as long as the checks by UDP take."""
CONSENT_S: Final = 2.5
MAX_UNANSWERED: Final = 12
"""Unanswered checks that end the connection, 30 s (RFC 7675 section 5.1)."""

HOST_PRIORITY: Final = (126 << 24) + (65535 << 8) + 255
"""RFC 8445 section 5.1.2.1."""

HANDSHAKE_S: Final = 10.0


class PublishError(Exception):
    """The recorder cannot be reached, or refuses what is published."""


class OutgoingPeer:
    """The publisher: call `answer`, then `connect`, then `send_rtp` and `send_rtcp` until `close`.

    `ended` has the reason once the recorder has ended the connection or does not answer. `on_rtcp` receives decrypted
    compounds. `loses` decides for each datagram, in both directions, whether it is dropped, to simulate loss.
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
        self._adapter = IceTransportAdapter(self._send)
        self._dtls = DtlsTransport(self._adapter, certificate)
        self._is_connected = False
        self._consent: asyncio.Task[None] | None = None

    def answer(self, ssrcs: Mapping[Kind, tuple[int, int]], cname: str) -> str:
        """Return the answer; `ssrcs` are the SSRCs of media and of RTX for each kind that is sent."""
        own = LocalTransport(self._ufrag, self._password, self._certificate.fingerprint, ())
        return write_answer(self._offer, own, ssrcs, cname)

    async def connect(self) -> None:
        """Find a path and do the handshake. Raises PublishError."""
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
        """Encrypt and send an RTP packet."""
        self._send(self._dtls.sending.protect(packet))

    def send_rtcp(self, packet: bytes) -> None:
        """Encrypt and send a compound RTCP packet."""
        self._send(self._dtls.sending.protect_rtcp(packet))

    async def close(self) -> None:
        """Send close_notify and close the path. Safe at any time, and to repeat."""
        try:
            if self._consent is not None:
                self._consent.cancel()
                await asyncio.gather(self._consent, return_exceptions=True)
            await self._dtls.stop()
        finally:
            if self._path is not None:
                self._path.close()

    async def _check(self, candidate: Candidate) -> OutgoingPath | None:
        """Send checks to a candidate; return its path once one is answered, None if none is."""
        path = OutgoingPath(self._receive, self._loses)
        try:
            async with asyncio.timeout(CONNECT_S):
                await path.open(candidate)
            for _ in range(CHECKS):
                path.send(self._binding_request())
                done, _ = await asyncio.wait([path.answered], timeout=CHECK_PAUSE_S)
                if done:
                    break
        except OSError:  # no route to the address, or TCP is refused or blocked
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
            self._adapter.put(data)
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
            path.check_answered(is_success=True)

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
