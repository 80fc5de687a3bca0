"""Targets of STUN, TCP framing, SDP and signalling."""

import asyncio
import hmac

import msgspec
from aioice import stun as aioice_stun
from aiortc.sdp import SessionDescription

from rokuga.api.signaling.client_messages import MAX_FIELD_BYTES
from rokuga.api.signaling.conversation import Conversation, Open, Phase
from rokuga.api.whip.problem import Problem
from rokuga.api.whip.translation import read_fragment
from rokuga.recorder.negotiation import TrackConfig
from rokuga.recorder.webrtc.ice.ice_lite import MAGIC_COOKIE, IceLite, StunError, TransportPath, read_binding_request
from rokuga.recorder.webrtc.outgoing.sdp import read_offer as read_remote_offer
from rokuga.recorder.webrtc.outgoing.sdp import write_answer as write_client_answer
from rokuga.recorder.webrtc.sdp.answer import read_answer
from rokuga.recorder.webrtc.sdp.offer_and_answer import (
    Candidate,
    LocalTransport,
    MediaOffer,
    SdpError,
)
from rokuga.recorder.webrtc.sdp.session_description import (
    MAX_CREDENTIAL_CHARACTERS,
    MAX_PARAMETERS,
    MAX_SOURCES,
    parse_description,
)
from rokuga.recorder.webrtc.sdp.whip_offer import agree, read_offer, write_answer
from rokuga.recorder.webrtc.transport.demultiplexer import MAX_DATAGRAM_BYTES, Demultiplexer
from rokuga.recorder.webrtc.transport.flow import Flow
from rokuga.recorder.webrtc.transport.tcp_port import (
    MAX_FRAMES,
    MAX_UNAUTHENTICATED_DATAGRAMS,
    TcpConnection,
    TcpListener,
    TcpPort,
)
from tests.fuzz.records import records
from tests.recorder.webrtc.udp_client import check

PASSWORD, ADDRESS = "0123456789abcdef0123456789abcdef", ("192.0.2.1", 5000)


CHECK = check("peer", PASSWORD)


TRANSPORT = LocalTransport("ufrag", "p" * 32, "AB:" * 31 + "CD", (Candidate("192.0.2.1", 5004),))


ANSWERED = MediaOffer(TrackConfig("OPUS"), TrackConfig("VP9"))


def stun(data: bytes) -> None:
    """A response that aioice parses, or StunError; nothing is validated without the password.

    Of the first byte, 1 signs the rest as attributes of a binding request, 2 appends a fingerprint.
    """
    signs, body = bool(data[:1] and data[0] & 1), data[1:]
    ice, path = IceLite("peer", PASSWORD if signs else PASSWORD[::-1]), TransportPath(0, ADDRESS)
    message = body
    if signs:
        head = b"\x00\x01" + (len(body) + 24).to_bytes(2, "big") + MAGIC_COOKIE + bytes(12)
        signed = hmac.digest(PASSWORD.encode(), head + body, "sha1")
        message = head + body + b"\x00\x08\x00\x14" + signed
        if data[0] & 2:
            message = message[:2] + (len(body) + 32).to_bytes(2, "big") + message[4:]
            message += b"\x80\x28\x00\x04" + aioice_stun.message_fingerprint(message).to_bytes(4, "big")
    ice.is_signed(message)
    try:
        reply = ice.answer(message, read_binding_request(message), path, 5)
    except StunError:
        assert ice.path is None
        return
    response = aioice_stun.parse_message(reply.data)
    assert response.transaction_id == message[8:20]
    assert len(reply.data) <= len(message) + 100
    is_success = response.message_class == aioice_stun.Class.RESPONSE
    assert is_success == reply.authenticated == (ice.path == path)
    assert signs or not reply.authenticated


class Transport(asyncio.Transport):
    """A TCP connection whose bytes come from the target."""

    def __init__(self) -> None:
        super().__init__({"peername": ADDRESS})
        self.is_aborted = False

    def pause_reading(self) -> None:
        """Ignore it: the target decides when it reads."""

    def resume_reading(self) -> None:
        """Ignore it, too."""

    def is_closing(self) -> bool:
        """Whether the connection was aborted."""
        return self.is_aborted

    def abort(self) -> None:
        """Note it."""
        self.is_aborted = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Drop what is sent."""

    def get_write_buffer_size(self) -> int:
        """Return the bytes that wait to be sent: none."""
        return 0


class SrtpList:
    """A peer that keeps its datagrams of SRTP."""

    def __init__(self, demultiplexer: Demultiplexer) -> None:
        self.media: list[bytes] = []
        self._buffer = demultiplexer.buffer

    def receive_srtp(self, size: int, now_ns: int) -> None:
        """Keep a datagram."""
        self.media.append(bytes(self._buffer.view[:size]))

    def receive_dtls(self, data: bytes) -> None:
        """Ignore a datagram."""

    def fail(self, error: Exception) -> None:
        """Fail the target."""
        raise error


def framed(data: bytes) -> list[bytes] | None:
    """Parse a stream of frames as RFC 4571 has it; None for one that ends the connection."""
    datagrams: list[bytes] = []
    while len(data) > 1:
        size = int.from_bytes(data[:2], "big")
        if not 0 < size <= MAX_DATAGRAM_BYTES:
            return None
        if len(data) < 2 + size:
            break
        datagrams.append(data[2 : 2 + size])
        data = data[2 + size :]
    return datagrams


def tcp(data: bytes) -> None:
    """The same datagrams however the stream is divided into reads; an unauthenticated one passes nothing.

    The records are reads. The first byte of the input says whether the connection is validated before them.
    """

    async def connected() -> None:
        demultiplexer = Demultiplexer(lambda *_: None)
        peer, checks = SrtpList(demultiplexer), demultiplexer.checks
        is_validated = bool(data[:1] and data[0] & 1)
        ice = IceLite("peer", PASSWORD if is_validated else PASSWORD[::-1])
        checks.add(Flow(ice, peer, send=lambda *_: None, remove=checks.remove))
        port, transport = TcpPort(demultiplexer, lambda: 5), Transport()
        connection = TcpConnection(TcpListener(port, 0))
        connection.connection_made(transport)
        reads = [payload for _, payload in records(data[1:])]
        if is_validated:
            reads.insert(0, len(CHECK).to_bytes(2, "big") + CHECK)
        for read in reads:
            if transport.is_aborted:
                break
            connection.get_buffer(-1)[: len(read)] = read
            connection.buffer_updated(len(read))
        stream = framed(b"".join(reads))
        if stream is not None and is_validated and len(stream) < MAX_FRAMES:
            assert not transport.is_aborted
            assert peer.media == [datagram for datagram in stream if 127 < datagram[0] < 192]
        if not is_validated:
            assert not peer.media
            assert transport.is_aborted or stream is None or len(stream) <= MAX_UNAUTHENTICATED_DATAGRAMS
        connection.connection_lost(None)
        assert port.admission.unauthenticated == 0

    asyncio.run(connected())


def offer(data: bytes) -> None:
    """An answer or SdpError; whatever was offered, the answer has no injected lines and can be parsed (WHIP)."""
    try:
        offered = read_offer(data.decode("latin-1"))
        tracks = {kind: TrackConfig(names[0]) for kind, names in offered.codec_types.items()}
        wanted = MediaOffer(tracks.get("audio"), tracks.get("video"))
        answer = write_answer(offered, agree(offered, wanted), wanted, TRANSPORT, 1)
    except SdpError:
        return
    assert answer.split("\r\n") == [*answer.splitlines(), ""]
    SessionDescription.parse(answer)


def answer(data: bytes) -> None:
    """An answer to our offer or SdpError; what it holds has limits."""
    try:
        read = read_answer(data.decode("latin-1"), ANSWERED)
    except SdpError:
        return
    assert read.media
    assert len(read.ice_ufrag) + len(read.ice_password) <= 2 * MAX_CREDENTIAL_CHARACTERS
    for media in read.media.values():
        assert len(media.ssrcs) + len(media.rtx_ssrcs) <= 2 * MAX_SOURCES
        assert len(media.format_parameters) <= MAX_PARAMETERS


def client_offer(data: bytes) -> None:
    """A recorder's offer as publishers parse it, or SdpError; the answer has no injected lines and can be parsed."""
    try:
        remote = read_remote_offer(data.decode("latin-1"), {"audio": "OPUS", "video": "VP9"})
    except SdpError:
        return
    text = write_client_answer(remote, TRANSPORT, dict.fromkeys(remote.tracks, (1, 2)), "cname")
    assert text.split("\r\n") == [*text.splitlines(), ""]
    parse_description(text, "answer")


def signaling(data: bytes) -> None:
    """Signalling JSON in any phase: actions and no exception; a request is small and can be written as JSON."""
    for phase in Phase:
        conversation = Conversation(0)
        conversation.phase = phase
        for action in conversation.receive(data, 1):
            if isinstance(action, Open):
                written = msgspec.json.encode((action.request, action.notify_metadata))
                assert len(written) <= 2 * MAX_FIELD_BYTES["signaling_notify_metadata"]


def fragment(data: bytes) -> None:
    """The credentials of a PATCH, or Problem."""
    try:
        read = read_fragment(data.decode("latin-1"))
    except Problem:
        return
    assert read.ice_ufrag
    assert read.ice_password
