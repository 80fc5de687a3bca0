"""DTLS of one peer on aiortc's transport: the only file that touches aiortc's private names.

They are listed in `check_aiortc`, which the daemon calls at its start: a release that moved one of them is refused
with its name instead of failing with the first publisher. Any other release is taken, so that one that closes a
security hole can be installed on the day that it comes.
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
"""The oldest release that was tested (pyproject.toml)."""
RENEW_BEFORE_S: Final = 10 * 24 * 3600
MAX_QUEUED_DATAGRAMS: Final = 32
EXPORTER_LABEL: Final = b"EXTRACTOR-dtls_srtp"

CIPHERS: Final = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:"
    b"ECDHE-RSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    b"ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA:ECDHE-RSA-AES256-SHA"
)
"""aiortc's own list is ECDSA only; GStreamer shows an RSA certificate when it is the DTLS server."""


class AiortcError(RuntimeError):
    """The installed aiortc or pylibsrtp is not one that this room was written for."""


def check_aiortc() -> None:
    """Refuse an aiortc or pylibsrtp whose private names are not where this room uses them. Raises AiortcError."""
    transport = RTCDtlsTransport(DatagramPipe(lambda data: None), [RTCCertificate.generateCertificate()])  # type: ignore[arg-type]  # by shape
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
    """Our certificate (ECDSA P-256), for all peers."""

    _context: SSL.Context | None = None

    @classmethod
    def make(cls) -> Self:
        """Draw a key and sign it."""
        return cls.generateCertificate()

    @property
    def fingerprint(self) -> str:
        """The SHA-256, as an `a=fingerprint` line writes it."""
        return next(print_.value for print_ in self.getFingerprints() if print_.algorithm == "sha-256")

    def _create_ssl_context(self, srtp_profiles: list[aiortc_dtls.SRTPProtectionProfile]) -> SSL.Context:
        """Make the context once: it takes 0.6 ms, a third of a handshake's CPU."""
        if self._context is None:
            self._context = super()._create_ssl_context(srtp_profiles)
            self._context.set_cipher_list(CIPHERS)
            self._context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        return self._context


class Certificates:
    """The certificate for peers that come now. aiortc's are valid for 30 days, and a daemon runs for longer."""

    def __init__(self) -> None:
        self._current = Certificate.make()

    def current(self, wall_ns: int) -> Certificate:
        """Return it; another one RENEW_BEFORE_S before it expires. Peers that are there keep theirs."""
        if self._current.expires.timestamp() - wall_ns / NS_PER_S < RENEW_BEFORE_S:
            self._current = Certificate.make()
        return self._current


class DatagramPipe:
    """What aiortc takes for an ICE transport: DTLS datagrams in by `put`, out by `send`."""

    role = "controlled"
    state = "completed"

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send_now = send
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(MAX_QUEUED_DATAGRAMS)

    def put(self, data: bytes) -> None:
        """Hand over a datagram; one too many is lost, as datagrams may be."""
        if not self._queue.full():
            self._queue.put_nowait(data)

    async def _recv(self) -> bytes:
        return await self._queue.get()

    async def _send(self, data: bytes) -> None:
        self._send_now(data)


class DtlsTransport(RTCDtlsTransport):
    """aiortc's transport with our replay window, told its role by the SDP."""

    def __init__(self, pipe: DatagramPipe, certificate: Certificate) -> None:
        super().__init__(pipe, [certificate])  # type: ignore[arg-type]  # aiortc needs the four names of a pipe only

    async def handshake(self, fingerprints: tuple[tuple[str, str], ...], *, is_client: bool) -> bool:
        """Shake hands; False if it fails or the peer's certificate is not one of these. Lasts as long as it takes."""
        self._set_role("client" if is_client else "server")
        prints = [RTCDtlsFingerprint(algorithm=algorithm, value=value) for algorithm, value in fingerprints]
        await self.start(RTCDtlsParameters(fingerprints=prints))
        return self._state == State.CONNECTED

    @property
    def receiving(self) -> Session:
        """The SRTP session of what the peer sends, once the handshake is done."""
        return self._rx_srtp

    @property
    def sending(self) -> Session:
        """The SRTP session of what we send, once the handshake is done."""
        return self._tx_srtp

    def _setup_srtp(self) -> None:
        """RFC 5764 section 4.2: the keys of the DTLS client come first."""
        assert self._ssl is not None
        chosen = self._ssl.get_selected_srtp_profile()
        profile = next((known for known in self._srtp_profiles if known.openssl_profile == chosen), None)
        if profile is None:
            self._set_state(State.FAILED)
            return
        material = self._ssl.export_keying_material(EXPORTER_LABEL, 2 * (profile.key_length + profile.salt_length))
        of_client, of_server = (profile.get_key_and_salt(material, index) for index in (0, 1))
        inbound, outbound = (of_client, of_server) if self._role == "server" else (of_server, of_client)
        self._rx_srtp = srtp_session(inbound, Policy.SSRC_ANY_INBOUND, profile.libsrtp_profile)
        self._tx_srtp = srtp_session(outbound, Policy.SSRC_ANY_OUTBOUND, profile.libsrtp_profile)
