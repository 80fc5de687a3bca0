"""Our own publisher's end against our own recorder's: paths that work and that do not, and every end."""

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
    """Answer the offer, with both ends closed at the end; the recorder's runs."""
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
    """Give up after 0.25 s of checks instead of 2."""
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
    """Encrypted both ways: a picture arrives whole, its feedback is heard."""
    heard: list[bytes] = []
    ours = OutgoingPeer(only(transport, recorder.offer()), Certificate.make(), heard.append)
    recorder.peer.accept(ours.answer(SSRCS, "cname"))
    running = asyncio.create_task(recorder.peer.run())
    await ours.connect()
    await recorder.peer.connected.wait()
    for sequence in range(5):
        ours.send_rtp(build_rtp(picture(sequence)))
    while len(recorder.units) < 5 or not heard:
        recorder.peer.tick(time.monotonic_ns())
        await asyncio.sleep(0.005)
    assert {(kind, unit.data) for kind, unit in recorder.units} == {("video", KEYFRAME[1:])}
    assert any(isinstance(message, Remb) for data in heard for message in parse_rtcp(data))
    await ours.close()
    assert await running == CLOSED_BY_PEER
    await ours.close()


async def test_what_has_come_and_was_not_read_yet_is_given_out_at_the_end(recorder: RecorderEnd) -> None:
    """A client may say goodbye on another connection right after its last picture."""
    async with publishing(recorder, only("udp", recorder.offer())) as ours:
        await ours.connect()
        await recorder.peer.connected.wait()
        for sequence in range(3):
            ours.send_rtp(build_rtp(picture(sequence)))
        recorder.peer.flush()
        assert len(recorder.units) == 3


async def test_candidates_that_are_of_no_use_are_passed_over(recorder: RecorderEnd) -> None:
    """A port where nobody is, an address that cannot be sent to, one that keeps silent: then the one that answers."""
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


async def test_tcp_that_nobody_answers_is_passed_over(recorder: RecorderEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither who takes no connections, as behind a firewall that drops them, nor who takes one and keeps silent."""
    monkeypatch.setattr(outgoing, "CONNECT_S", 0.25)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.create_server(("127.0.0.1", 0)) as silent:
        with socket.create_connection(full.getsockname()):
            offer = recorder.offer()
            useless = [candidate_of(each, "tcp") for each in (full, full, silent)]
            async with publishing(recorder, replace(offer, candidates=[*useless, *offer.candidates])) as ours:
                await ours.connect()


@pytest.mark.parametrize("change", [{"candidates": []}, {"ice_password": "x" * 32}, {"ice_ufrag": "somebody"}])
async def test_without_a_path_it_is_said(recorder: RecorderEnd, change: dict[str, object]) -> None:
    """No candidate at all; answers that are refusals, or not signed with the password of the offer."""
    async with publishing(recorder, replace(recorder.offer(), **change)) as ours:  # type: ignore[arg-type]  # by name
        with pytest.raises(PublishError, match="no candidate of the offer answers"):
            await ours.connect()


async def test_a_port_where_nobody_is_costs_no_time(recorder: RecorderEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel says so at once; ten thousand checks would take minutes."""
    monkeypatch.setattr(outgoing, "CHECKS", 10_000)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        offer = recorder.offer()
        async with publishing(recorder, replace(offer, candidates=[candidate_of(unused), *offer.candidates])) as ours:
            await ours.connect()


async def test_an_answer_that_nobody_signed_is_none(recorder: RecorderEnd) -> None:
    """Anybody on the way could have sent it (RFC 8489 section 9.1.4)."""
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


async def test_another_certificate_than_the_offers_is_refused(recorder: RecorderEnd) -> None:
    """Who answers with another key is not whom we signalled with."""
    other = (("sha-256", Certificate.make().fingerprint),)
    async with publishing(recorder, replace(recorder.offer(), fingerprints=other)) as ours:
        with pytest.raises(PublishError, match="handshake failed"):
            await ours.connect()


async def test_the_recorders_goodbye_ends_it(recorder: RecorderEnd) -> None:
    async with publishing(recorder) as ours:
        await ours.connect()
        await recorder.peer.connected.wait()
        recorder.peer.close("DISCONNECTED-API")
        assert await ours.ended == "the recorder ended the DTLS connection"


async def test_a_recorder_that_does_not_answer_any_more_ends_it(
    recorder: RecorderEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Consent: checks go on, and so must the answers (RFC 7675)."""
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


async def test_a_connection_that_breaks_ends_it_without_waiting_for_answers(
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
async def test_nonsense_from_the_recorders_address_is_dropped(recorder: RecorderEnd, data: bytes) -> None:
    async with publishing(recorder) as ours:
        await ours.connect()
        path = ours._path
        assert path is not None
        path.receive(data)
        assert not ours.ended.done()


async def test_it_can_be_closed_while_it_connects(recorder: RecorderEnd) -> None:
    """Also a publisher that was interrupted leaves no socket and no task behind."""
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
