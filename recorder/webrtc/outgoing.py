"""The publishing end of a peer connection: answers an offer of an ICE-lite recorder and sends to it.

Controlling ICE agent of one path (RFC 8445): the first candidate of the offer that answers a check is used.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from aioice import stun
from aiortc.sdp import SessionDescription

from rokuga.recorder.codecs.table import CODECS
from rokuga.recorder.media import Kind
from rokuga.recorder.webrtc.dtls import Certificate, DatagramPipe, DtlsTransport
from rokuga.recorder.webrtc.sdp import SdpError

CHECK_PAUSE_S: Final = 0.05
CHECKS: Final = 40
CONSENT_S: Final = 2.5
"""Checks go on at this pause: they are the recorder's proof that we are there (RFC 7675)."""

HANDSHAKE_S: Final = 10.0


class PublishError(Exception):
    """The recorder cannot be reached, or does not take what is published."""


@dataclass(frozen=True, slots=True)
class OfferedTrack:
    """One kind of the offer, as we answer it."""

    kind: Kind
    mid: str
    codec_type: str
    payload_type: int
    rtx_payload_type: int | None


@dataclass(frozen=True, slots=True)
class RemoteOffer:
    """What is needed of an offer to answer it and to connect."""

    ice_ufrag: str
    ice_password: str
    fingerprints: tuple[tuple[str, str], ...]
    candidates: Sequence[tuple[str, int]]
    order: Sequence[Kind]
    mids: Mapping[Kind, str]
    tracks: Mapping[Kind, OfferedTrack]


def read_offer(text: str, codec_types: Mapping[Kind, str]) -> RemoteOffer:
    """Read an offer, looking for these codecs. Raises SdpError."""
    try:
        description = SessionDescription.parse(text)
        sections = description.media
        ice, dtls = sections[0].ice, sections[0].dtls
        assert ice is not None
        assert dtls is not None
        tracks = {}
        for section in sections:
            kind: Kind = "audio" if section.kind == "audio" else "video"
            track = _offered(kind, section, codec_types.get(kind))
            if track is not None:
                tracks[kind] = track
        return RemoteOffer(
            ice_ufrag=ice.usernameFragment or "",
            ice_password=ice.password or "",
            fingerprints=tuple((p.algorithm.lower(), p.value) for p in dtls.fingerprints),
            candidates=[(c.ip, c.port) for c in sections[0].ice_candidates if c.protocol == "udp"],
            order=["audio" if section.kind == "audio" else "video" for section in sections],
            mids={"audio" if s.kind == "audio" else "video": s.rtp.muxId for s in sections},
            tracks=tracks,
        )
    except Exception as error:  # aiortc's parser asserts, indexes and unpacks; all of it means the same
        raise SdpError(f"the offer cannot be read: {error}") from error


def _offered(kind: Kind, section: Any, codec_type: str | None) -> OfferedTrack | None:
    if codec_type is None:
        return None
    encoding = CODECS[codec_type].encoding.lower()
    codec = next((codec for codec in section.rtp.codecs if codec.name.lower() == encoding), None)
    if codec is None:
        return None
    rtx = (
        other.payloadType
        for other in section.rtp.codecs
        if other.name.lower() == "rtx" and other.parameters.get("apt") == codec.payloadType
    )
    return OfferedTrack(kind, section.rtp.muxId, codec_type, codec.payloadType, next(rtx, None))


class OutgoingPeer(asyncio.DatagramProtocol):
    """Our end: `answer` first, then `connect`, then `send_rtp` and `send_rtcp` until `close`."""

    def __init__(self, offer: RemoteOffer, certificate: Certificate, on_rtcp: Callable[[bytes], None]) -> None:
        self.closed = asyncio.Event()
        self._offer = offer
        self._certificate = certificate
        self._on_rtcp = on_rtcp
        self._ufrag = secrets.token_hex(4)
        self._password = secrets.token_hex(16)
        self._tie_breaker = secrets.randbits(64)
        self._answered = asyncio.Event()
        self._transport: asyncio.DatagramTransport | None = None
        self._pipe = DatagramPipe(self._send)
        self._dtls = DtlsTransport(self._pipe, certificate)
        self._consent: asyncio.Task[None] | None = None

    def answer(self, ssrcs: Mapping[Kind, tuple[int, int]], cname: str) -> str:
        """Write the answer; `ssrcs` has for each kind that is sent the media's and the retransmissions' SSRC."""
        accepted = [self._offer.mids[kind] for kind in self._offer.order if kind in ssrcs]
        lines = ["v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0", f"a=group:BUNDLE {' '.join(accepted)}"]
        for kind in self._offer.order:
            lines += self._media_lines(kind, ssrcs.get(kind), cname)
        return "\r\n".join(lines) + "\r\n"

    async def connect(self) -> None:
        """Find a path and shake hands. Raises PublishError."""
        for host, port in self._offer.candidates:
            if await self._check(host, port):
                break
        else:
            raise PublishError("no candidate of the offer answers")
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                connected = await self._dtls.handshake(self._offer.fingerprints, is_client=True)
        except TimeoutError:
            connected = False
        if not connected:
            raise PublishError("the DTLS handshake failed")
        self._dtls.on("statechange", self._on_dtls_state)
        self._consent = asyncio.create_task(self._keep_consent())

    def send_rtp(self, packet: bytes) -> None:
        """Encrypt and send."""
        self._send(self._dtls.sending.protect(packet))

    def send_rtcp(self, packet: bytes) -> None:
        """Encrypt and send."""
        self._send(self._dtls.sending.protect_rtcp(packet))

    async def close(self) -> None:
        """Say goodbye and forget the path."""
        if self._consent is not None:
            self._consent.cancel()
        await self._dtls.stop()
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket; see asyncio.DatagramProtocol, as the three below."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, _address: Any) -> None:
        """Tell STUN, DTLS and SRTCP apart (RFC 7983)."""
        if not data:
            return
        if data[0] < 4:
            self._answered.set()
        elif data[0] < 64:
            self._pipe.put(data)
        elif len(data) > 1 and 192 <= data[1] <= 223 and self._consent is not None:
            try:
                plain = self._dtls.receiving.unprotect_rtcp(data)
            except Exception:  # pylibsrtp raises bare errors for what is not of this session
                return
            self._on_rtcp(plain)

    def error_received(self, _error: Exception) -> None:
        """Ignore what the network refuses: checks go on, or end it."""

    def connection_lost(self, _error: Exception | None) -> None:
        """The socket is closed."""
        self.closed.set()

    def _media_lines(self, kind: Kind, ssrcs: tuple[int, int] | None, cname: str) -> list[str]:
        track = self._offer.tracks.get(kind)
        if ssrcs is None or track is None:
            return [
                f"m={kind} 0 UDP/TLS/RTP/SAVPF 0",
                "c=IN IP4 0.0.0.0",
                f"a=mid:{self._offer.mids[kind]}",
                "a=inactive",
            ]
        codec = CODECS[track.codec_type]
        ssrc, rtx_ssrc = ssrcs
        types = [track.payload_type] + ([track.rtx_payload_type] if track.rtx_payload_type else [])
        channels = f"/{codec.channels}" if codec.channels else ""
        lines = [
            f"m={kind} 9 UDP/TLS/RTP/SAVPF {' '.join(map(str, types))}",
            "c=IN IP4 0.0.0.0",
            f"a=ice-ufrag:{self._ufrag}",
            f"a=ice-pwd:{self._password}",
            f"a=fingerprint:sha-256 {self._certificate.fingerprint}",
            "a=setup:active",
            f"a=mid:{track.mid}",
            "a=sendonly",
            "a=rtcp-mux",
            f"a=rtpmap:{track.payload_type} {codec.encoding}/{codec.clock_rate_hz}{channels}",
            f"a=rtcp-fb:{track.payload_type} nack",
        ]
        if kind == "video":
            lines.append(f"a=rtcp-fb:{track.payload_type} nack pli")
        if track.rtx_payload_type:
            lines += [
                f"a=rtpmap:{track.rtx_payload_type} rtx/{codec.clock_rate_hz}",
                f"a=fmtp:{track.rtx_payload_type} apt={track.payload_type}",
                f"a=ssrc-group:FID {ssrc} {rtx_ssrc}",
                f"a=ssrc:{rtx_ssrc} cname:{cname}",
            ]
        return [*lines, f"a=ssrc:{ssrc} cname:{cname}"]

    async def _check(self, host: str, port: int) -> bool:
        """Send checks to a candidate until one is answered."""
        loop = asyncio.get_running_loop()
        try:
            await loop.create_datagram_endpoint(lambda: self, remote_addr=(host, port))
        except OSError:
            return False
        for _ in range(CHECKS):
            self._send(self._binding_request())
            try:
                async with asyncio.timeout(CHECK_PAUSE_S):
                    await self._answered.wait()
            except TimeoutError:
                continue
            return True
        if self._transport is not None:
            self._transport.close()
        return False

    def _binding_request(self) -> bytes:
        message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        message.attributes["USERNAME"] = f"{self._offer.ice_ufrag}:{self._ufrag}"
        message.attributes["PRIORITY"] = 1_853_824_767
        message.attributes["ICE-CONTROLLING"] = self._tie_breaker
        message.attributes["USE-CANDIDATE"] = None
        message.add_message_integrity(self._offer.ice_password.encode())  # and FINGERPRINT
        return bytes(message)

    async def _keep_consent(self) -> None:
        while True:
            await asyncio.sleep(CONSENT_S)
            self._send(self._binding_request())

    def _on_dtls_state(self) -> None:
        if self._dtls.state == "closed":
            self.closed.set()

    def _send(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(data)
