"""aiortc's own full ICE agent, DTLS and SRTP, which answer our offer."""

import datetime
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import aioice.ice
import pytest
from aiortc import RTCCertificate, RTCDtlsTransport, RTCIceGatherer, RTCIceTransport
from aiortc.rtcdtlstransport import RTCDtlsParameters, SRTPProtectionProfile
from aiortc.sdp import SessionDescription
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from OpenSSL import SSL

SSRCS = {"audio": 1111, "video": 2222}
RTX_SSRC = 3333


class RsaCertificate(RTCCertificate):
    """An RSA certificate with its ciphers, as GStreamer has."""

    def _create_ssl_context(self, srtp_profiles: list[SRTPProtectionProfile]) -> SSL.Context:
        context = super()._create_ssl_context(srtp_profiles)
        context.set_cipher_list(b"ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256")
        return context


def rsa_certificate() -> RTCCertificate:
    """Return an RSA certificate."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "foreign")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    return RsaCertificate(key, builder.sign(key, hashes.SHA256()))  # type: ignore[arg-type]  # any key is accepted


class AiortcPeer:
    """An async context manager, connected inside once `connect` returned."""

    def __init__(self, offer: str, *, setup: str = "active", certificate: RTCCertificate | None = None) -> None:
        self.offer = SessionDescription.parse(offer)
        self.setup = setup
        self.certificate = certificate or RTCCertificate.generateCertificate()
        self.gatherer = RTCIceGatherer([])
        self.ice = RTCIceTransport(self.gatherer)
        self.dtls = RTCDtlsTransport(self.ice, [self.certificate])
        self.rtcp: list[bytes] = []
        self.dtls._handle_rtcp_data = self._keep_rtcp  # type: ignore[method-assign]  # what our side sends, unparsed

    async def __aenter__(self) -> Self:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(aioice.ice, "get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])
            await self.gatherer.gather()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.dtls.stop()
        await self.ice.stop()

    def answer(self, *, rejected: Sequence[str] = ()) -> str:
        """Return the answer that libwebrtc would send: our payload types, SSRCs, FID."""
        ice = self.gatherer.getLocalParameters()
        lines = ["v=0", "o=- 1 2 IN IP4 127.0.0.1", "s=-", "t=0 0"]
        for media in self.offer.media:
            payload_types = [codec.payloadType for codec in media.rtp.codecs]
            port = 0 if media.kind in rejected else 9
            lines.append(f"m={media.kind} {port} UDP/TLS/RTP/SAVPF {' '.join(map(str, payload_types))}")
            lines += ["c=IN IP4 0.0.0.0", f"a=mid:{media.rtp.muxId}", "a=rtcp-mux", "a=sendonly"]
            lines += [f"a=ice-ufrag:{ice.usernameFragment}", f"a=ice-pwd:{ice.password}", f"a=setup:{self.setup}"]
            lines.append(f"a=fingerprint:sha-256 {self.certificate.getFingerprints()[0].value}")
            lines += [f"a=rtpmap:{codec.payloadType} {codec}" for codec in media.rtp.codecs]
            if media.kind == "video":
                lines.append(f"a=rtcp-fb:{payload_types[0]} nack")
                lines.append(f"a=fmtp:{payload_types[1]} apt={payload_types[0]}")
                lines.append(f"a=ssrc-group:FID {SSRCS['video']} {RTX_SSRC}")
                lines.append(f"a=ssrc:{RTX_SSRC} cname:foreign")
            lines.append(f"a=ssrc:{SSRCS[media.kind]} cname:foreign")
        return "\r\n".join(lines) + "\r\n"

    async def connect(self) -> str:
        """Do ICE and DTLS with the offer; return the state of DTLS."""
        remote = self.offer.media[0]
        assert remote.ice is not None
        assert remote.dtls is not None
        remote.ice.iceLite = True
        for candidate in remote.ice_candidates:
            await self.ice.addRemoteCandidate(candidate)
        await self.ice.addRemoteCandidate(None)
        await self.ice.start(remote.ice)
        self.dtls._set_role("client" if self.setup == "active" else "server")
        await self.dtls.start(RTCDtlsParameters(fingerprints=remote.dtls.fingerprints))
        return self.dtls.state

    async def send(self, packet: bytes) -> None:
        """Send an RTP or RTCP packet, encrypted."""
        await self.dtls._send_rtp(packet)

    async def send_raw(self, datagram: bytes) -> None:
        """Send a datagram unencrypted from the validated address."""
        await self.ice._send(datagram)

    async def _keep_rtcp(self, data: bytes) -> None:
        self.rtcp.append(data)
