"""DTLS of one peer, on aiortc's transport. Only this file and `srtp.py` use private names of aiortc and pylibsrtp.

`check_aiortc` lists them, and the daemon calls it at its start: a release without one of them is refused by name,
instead of failing with the first publisher. Any other release is accepted, so that a security fix can be installed at
once.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Final, Self

import aioice
import aiortc
import aiortc.rtcdtlstransport as aiortc_dtls
import pylibsrtp
from aioice import stun
from aiortc.rtcdtlstransport import RTCCertificate, RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport, State
from OpenSSL import SSL
from pylibsrtp import Policy, Session

from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.webrtc.dtls.srtp import srtp_session

OLDEST_AIORTC: Final = (1, 15)
"""The oldest supported release (pyproject.toml)."""
RENEW_BEFORE_S: Final = 10 * 24 * 3600
"""A certificate is replaced so long before it expires."""
MAX_QUEUED_DATAGRAMS: Final = 32
EXPORTER_LABEL: Final = b"EXTRACTOR-dtls_srtp"

CIPHERS: Final = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:"
    b"ECDHE-RSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    b"ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA:ECDHE-RSA-AES256-SHA"
)
"""aiortc's own list has ECDSA only; GStreamer as the DTLS server has an RSA certificate."""


class AiortcError(RuntimeError):
    """The installed aiortc or pylibsrtp is not supported."""


def check_aiortc() -> None:
    """Check the version of aiortc and all private names that are used. Raises AiortcError."""
    transport = RTCDtlsTransport(IceTransportAdapter(lambda data: None), [RTCCertificate.generateCertificate()])  # type: ignore[arg-type]  # by shape
    needed: list[tuple[object, str]] = [
        *((transport, name) for name in ("_role", "_rx_srtp", "_tx_srtp", "_ssl", "_srtp_profiles", "_transport")),
        *((transport, name) for name in ("_set_role", "_set_state", "_setup_srtp", "_recv_next", "_write_ssl")),
        *(
            (RTCCertificate, name)
            for name in ("_create_ssl_context", "generateCertificate", "getFingerprints", "expires")
        ),
        *((State, name) for name in ("CONNECTED", "CLOSED", "FAILED")),
        *(
            (aiortc_dtls.SRTP_PROFILES[0], name)
            for name in ("openssl_profile", "libsrtp_profile", "get_key_and_salt")
        ),
        *((stun, name) for name in ("COOKIE", "Class", "Method", "message_fingerprint", "pack_xor_address")),
        (Session(), "_srtp"),
        *((pylibsrtp._binding.lib, name) for name in ("srtp_unprotect", "srtp_unprotect_rtcp")),
    ]
    missing = [
        f"{getattr(owner, '__name__', type(owner).__name__)}.{name}"
        for owner, name in needed
        if not hasattr(owner, name)
    ]
    if missing or _release(aiortc.__version__) < OLDEST_AIORTC:
        found = f"aiortc {aiortc.__version__}, aioice {aioice.__version__} and pylibsrtp {pylibsrtp.__version__}"
        lost = f"; missing: {', '.join(missing)}" if missing else ""
        oldest = ".".join(map(str, OLDEST_AIORTC))
        raise AiortcError(f"{found} are installed, Rokuga needs aiortc {oldest} or later{lost}")


def _release(version: str) -> tuple[int, ...]:
    """Return the first two numbers of a version."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


class Certificate(RTCCertificate):
    """A certificate (ECDSA P-256) and its OpenSSL context."""

    _context: SSL.Context | None = None

    @classmethod
    def make(cls) -> Self:
        """Create a key and its certificate."""
        return cls.generateCertificate()

    @property
    def fingerprint(self) -> str:
        """The SHA-256 fingerprint in the form of SDP (RFC 8122)."""
        return next(each.value for each in self.getFingerprints() if each.algorithm == "sha-256")

    def _create_ssl_context(self, srtp_profiles: list[aiortc_dtls.SRTPProtectionProfile]) -> SSL.Context:
        """Return one context for all handshakes: creating it takes a third of a handshake's CPU."""
        if self._context is None:
            self._context = super()._create_ssl_context(srtp_profiles)
            self._context.set_cipher_list(CIPHERS)
            self._context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        return self._context


class Certificates:
    """The certificate of new peers, renewed in time: aiortc's are valid for 30 days."""

    def __init__(self) -> None:
        self._current = Certificate.make()

    def current(self, wall_ns: int) -> Certificate:
        """Return the certificate, a new one RENEW_BEFORE_S before it expires. Connected peers keep theirs."""
        if self._current.expires.timestamp() - wall_ns / NS_PER_S < RENEW_BEFORE_S:
            self._current = Certificate.make()
        return self._current


class IceTransportAdapter:
    """Has the methods of aiortc's ICE transport that its DTLS uses: datagrams in by `put`, out by `send`."""

    role = "controlled"
    state = "completed"

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send_now = send
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(MAX_QUEUED_DATAGRAMS)

    def put(self, data: bytes) -> None:
        """Queue a datagram for the handshake; it is lost where the queue is full."""
        if not self._queue.full():
            self._queue.put_nowait(data)

    async def _recv(self) -> bytes:
        return await self._queue.get()

    async def _send(self, data: bytes) -> None:
        self._send_now(data)


class DtlsTransport(RTCDtlsTransport):
    """aiortc's transport with the role that the SDP agreed on, and our SRTP sessions."""

    def __init__(self, adapter: IceTransportAdapter, certificate: Certificate) -> None:
        super().__init__(adapter, [certificate])  # type: ignore[arg-type]  # it uses four attributes only

    async def handshake(self, fingerprints: tuple[tuple[str, str], ...], *, is_client: bool) -> bool:
        """Do the handshake, without a time limit; False if it fails or the certificate is not one of these."""
        self._set_role("client" if is_client else "server")
        prints = [RTCDtlsFingerprint(algorithm=algorithm, value=value) for algorithm, value in fingerprints]
        await self.start(RTCDtlsParameters(fingerprints=prints))
        return self._state == State.CONNECTED

    @property
    def receiving(self) -> Session:
        """The SRTP session of the peer's packets, after the handshake."""
        return self._rx_srtp

    @property
    def sending(self) -> Session:
        """The SRTP session of our packets, after the handshake."""
        return self._tx_srtp

    def _setup_srtp(self) -> None:
        """Create the sessions; the keys of the DTLS client come first (RFC 5764 section 4.2)."""
        assert self._ssl is not None
        chosen = self._ssl.get_selected_srtp_profile()
        profile = next((known for known in self._srtp_profiles if known.openssl_profile == chosen), None)
        if profile is None:
            self._set_state(State.FAILED)
            return
        material = self._ssl.export_keying_material(EXPORTER_LABEL, 2 * (profile.key_length + profile.salt_length))
        client, server = (profile.get_key_and_salt(material, index) for index in (0, 1))
        inbound, outbound = (client, server) if self._role == "server" else (server, client)
        self._rx_srtp = srtp_session(inbound, Policy.SSRC_ANY_INBOUND, profile.libsrtp_profile)
        self._tx_srtp = srtp_session(outbound, Policy.SSRC_ANY_OUTBOUND, profile.libsrtp_profile)
