"""The publisher's end with the recorder's: paths that work or not, and every way to end."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aioice.stun import Class, Message, Method, parse_message

from rokuga.recorder.codecs.table import CODECS
from rokuga.recorder.media import Kind, RtpPacket
from rokuga.recorder.rtp.packet import build_rtp
from rokuga.recorder.rtp.rtcp import Remb, parse_rtcp
from rokuga.recorder.webrtc.dtls.transport import Certificate, Certificates
from rokuga.recorder.webrtc.outgoing import peer as outgoing
from rokuga.recorder.webrtc.outgoing.peer import OutgoingPeer, PublishError
from rokuga.recorder.webrtc.outgoing.sdp import RemoteOffer, read_offer
from rokuga.recorder.webrtc.peer import CLOSED_BY_PEER
from rokuga.recorder.webrtc.sdp.offer_and_answer import TRANSPORTS, Candidate, Transport
from rokuga.recorder.webrtc.transport.media_port import MediaPort
from tests.recorder.webrtc.peer_harness import PeerHarness
from tests.recorder.webrtc.udp_client import until

CODEC_TYPES: dict[Kind, str] = {"audio": "OPUS", "video": "VP9"}
SSRCS: dict[Kind, tuple[int, int]] = {"audio": (1, 2), "video": (3, 4)}
KEYFRAME = bytes.fromhex("0c 82 49 83 42 20 13 f0 0b 30") + bytes(900)  # of VP9: it ends without a marker bit


class RecorderEnd(PeerHarness):
    """The recorder's end."""

    def offer(self) -> RemoteOffer:
        """Read its offer."""
        return read_offer(self.peer.offer(), CODEC_TYPES)


@pytest.fixture
async def recorder() -> AsyncIterator[RecorderEnd]:
    """A recorder's peer on a port of 127.0.0.1."""
    async with MediaPort(0, ("127.0.0.1",), with_tcp=True) as port:
        end = RecorderEnd(port, Certificates())
        yield end
        end.peer.close("END-OF-TEST")


@asynccontextmanager
async def publishing(recorder: RecorderEnd, offer: RemoteOffer | None = None) -> AsyncIterator[OutgoingPeer]:
    """Answer the offer and run the recorder's end; both are closed at the end."""
    rtcp: list[bytes] = []
    ours = OutgoingPeer(offer or recorder.offer(), Certificate.make(), rtcp.append)
    recorder.peer.accept(ours.answer(SSRCS, "cname"))
    running = asyncio.create_task(recorder.peer.run())
    try:
        yield ours
    finally:
        await ours.close()
        recorder.peer.close("END-OF-TEST")
        await running


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit checks to 0.25 s instead of 2 s."""
    monkeypatch.setattr(outgoing, "CHECKS", 5)


def picture(sequence: int) -> RtpPacket:
    return RtpPacket(CODECS["VP9"].payload_type, True, sequence, sequence * 3000, SSRCS["video"][0], KEYFRAME, 0)


def candidate_of(bound: socket.socket, transport: Transport = "udp") -> Candidate:
    host, port = bound.getsockname()
    return Candidate(host, port, transport)


def only(transport: Transport, offer: RemoteOffer) -> RemoteOffer:
    return replace(offer, candidates=[each for each in offer.candidates if each.transport == transport])


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_media_flows_and_feedback_comes_back(recorder: RecorderEnd, transport: Transport) -> None:
    """Encrypted in both directions."""
    rtcp: list[bytes] = []
    ours = OutgoingPeer(only(transport, recorder.offer()), Certificate.make(), rtcp.append)
    recorder.peer.accept(ours.answer(SSRCS, "cname"))
    running = asyncio.create_task(recorder.peer.run())
    await ours.connect()
    await recorder.peer.connected.wait()
    for sequence in range(5):
        ours.send_rtp(build_rtp(picture(sequence)))
    while len(recorder.units) < 5 or not rtcp:
        recorder.peer.tick(time.monotonic_ns())
        await asyncio.sleep(0.005)
    assert {(kind, unit.data) for kind, unit in recorder.units} == {("video", KEYFRAME[1:])}
    assert any(isinstance(message, Remb) for data in rtcp for message in parse_rtcp(data))
    await ours.close()
    assert await running == CLOSED_BY_PEER
    await ours.close()


async def test_a_flush_reads_datagrams_that_have_arrived(recorder: RecorderEnd) -> None:
    """A client may disconnect by signalling right after its last picture."""
    async with publishing(recorder, only("udp", recorder.offer())) as ours:
        await ours.connect()
        await recorder.peer.connected.wait()
        for sequence in range(3):
            ours.send_rtp(build_rtp(picture(sequence)))
        recorder.peer.flush()
        assert len(recorder.units) == 3


async def test_unreachable_candidates_are_skipped(recorder: RecorderEnd) -> None:
    """A closed port, an invalid address, a socket that does not answer; then one that does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent, socket.socket() as unused:
        silent.bind(("127.0.0.1", 0))
        unused.bind(("127.0.0.1", 0))
        offer = recorder.offer()
        useless = [
            *(candidate_of(unused, transport) for transport in TRANSPORTS),
            Candidate("256.0.0.1", 9),
            candidate_of(silent),
        ]
        async with publishing(recorder, replace(offer, candidates=[*useless, *offer.candidates])) as ours:
            await ours.connect()
            assert not ours.ended.done()


async def test_unanswered_tcp_candidates_are_skipped(recorder: RecorderEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a firewall that drops connections, nor a listener that does not answer."""
    monkeypatch.setattr(outgoing, "CONNECT_S", 0.25)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.create_server(("127.0.0.1", 0)) as silent:
        with socket.create_connection(full.getsockname()):
            offer = recorder.offer()
            useless = [candidate_of(each, "tcp") for each in (full, full, silent)]
            async with publishing(recorder, replace(offer, candidates=[*useless, *offer.candidates])) as ours:
                await ours.connect()


@pytest.mark.parametrize("change", [{"candidates": []}, {"ice_password": "x" * 32}, {"ice_ufrag": "somebody"}])
async def test_without_a_path_connecting_raises_a_publish_error(
    recorder: RecorderEnd, change: dict[str, object]
) -> None:
    """No candidate; error responses; responses that are not signed with the offer's password."""
    async with publishing(recorder, replace(recorder.offer(), **change)) as ours:  # type: ignore[arg-type]  # by name
        with pytest.raises(PublishError, match="no candidate of the offer answers"):
            await ours.connect()


async def test_a_closed_port_is_skipped_at_once(recorder: RecorderEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    """ICMP reports it; ten thousand checks would take minutes."""
    monkeypatch.setattr(outgoing, "CHECKS", 10_000)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        offer = recorder.offer()
        async with publishing(recorder, replace(offer, candidates=[candidate_of(unused), *offer.candidates])) as ours:
            await ours.connect()


async def test_an_unsigned_answer_is_ignored(recorder: RecorderEnd) -> None:
    """It may be forged (RFC 8489 section 9.1.4)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as impostor:
        impostor.bind(("127.0.0.1", 0))
        impostor.setblocking(False)
        async with publishing(recorder, replace(recorder.offer(), candidates=[candidate_of(impostor)])) as ours:
            connecting = asyncio.create_task(ours.connect())
            data, address = await asyncio.get_running_loop().sock_recvfrom(impostor, 2048)
            check = parse_message(data)
            impostor.sendto(bytes(Message(Method.BINDING, Class.RESPONSE, check.transaction_id)), address)
            with pytest.raises(PublishError, match="no candidate of the offer answers"):
                await connecting


async def test_another_certificate_than_that_of_the_offer_is_refused(recorder: RecorderEnd) -> None:
    """It may be an attacker's."""
    other = (("sha-256", Certificate.make().fingerprint),)
    async with publishing(recorder, replace(recorder.offer(), fingerprints=other)) as ours:
        with pytest.raises(PublishError, match="handshake failed"):
            await ours.connect()


async def test_close_notify_of_the_recorder_ends_the_publisher(recorder: RecorderEnd) -> None:
    async with publishing(recorder) as ours:
        await ours.connect()
        await recorder.peer.connected.wait()
        recorder.peer.close("DISCONNECTED-API")
        assert await ours.ended == "the recorder ended the DTLS connection"


async def test_unanswered_checks_end_the_publisher(recorder: RecorderEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    """Consent needs answers to checks until the end (RFC 7675)."""
    monkeypatch.setattr(outgoing, "CONSENT_S", 0.01)
    receive_stun = OutgoingPeer._receive_stun
    answers = 0

    def counted(*given: Any) -> None:
        nonlocal answers
        answers += 1
        receive_stun(*given)

    monkeypatch.setattr(OutgoingPeer, "_receive_stun", counted)
    async with publishing(recorder) as ours:
        await ours.connect()
        await until(lambda: answers > 2 * outgoing.MAX_UNANSWERED)
        assert not ours.ended.done()
        monkeypatch.setattr(OutgoingPeer, "_receive_stun", lambda *_: None)
        assert await ours.ended == "the recorder does not answer any more"


async def test_a_broken_tcp_connection_ends_the_publisher_at_once(
    recorder: RecorderEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "CONSENT_S", 0.01)
    monkeypatch.setattr(outgoing, "MAX_UNANSWERED", 1_000_000)
    async with publishing(recorder, only("tcp", recorder.offer())) as ours:
        await ours.connect()
        (connection,) = recorder.port._tcp.connections
        connection.abort()
        assert await ours.ended == "the recorder does not answer any more"


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x01\x01" + bytes(30), b"\x16", b"\x80\xc8" + bytes(40), b"\xff"])
async def test_invalid_datagrams_from_the_recorder_are_dropped(recorder: RecorderEnd, data: bytes) -> None:
    async with publishing(recorder) as ours:
        await ours.connect()
        path = ours._path
        assert path is not None
        path.receive(data)
        assert not ours.ended.done()


async def test_a_publisher_can_be_closed_while_it_connects(recorder: RecorderEnd) -> None:
    """No socket and no task is left."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        async with publishing(recorder, replace(recorder.offer(), candidates=[candidate_of(silent)])) as ours:
            connecting = asyncio.create_task(ours.connect())
            await asyncio.get_running_loop().sock_recv(non_blocking(silent), 2048)
            connecting.cancel()
            await asyncio.gather(connecting, return_exceptions=True)
            assert connecting.cancelled()


def non_blocking(of: socket.socket) -> socket.socket:
    of.setblocking(False)
    return of
