"""aiortc's own ICE, DTLS and SRTP publish to our peer; then everything that must not end it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from random import Random

import pytest
from aiortc import RTCCertificate

from rokuga.recorder.codecs.table import CODECS
from rokuga.recorder.config import RecorderConfig
from rokuga.recorder.connection import TOO_MANY_PENDING
from rokuga.recorder.media import NS_PER_S, RtpPacket
from rokuga.recorder.peer import Peer
from rokuga.recorder.rtp.packet import build_rtp
from rokuga.recorder.rtp.rtcp import Remb, parse_rtcp
from rokuga.recorder.rtp.sender_report import build_sender_report
from rokuga.recorder.webrtc import peer as peer_module
from rokuga.recorder.webrtc.dtls.transport import Certificates
from rokuga.recorder.webrtc.peer import (
    CLOSED_BY_PEER,
    HANDSHAKE_FAILED,
    INTERNAL_ERROR,
    MEDIA_TIMEOUT,
)
from rokuga.recorder.webrtc.pending_peers import PendingPeers
from rokuga.recorder.webrtc.sdp.offer_and_answer import SdpError
from rokuga.recorder.webrtc.transport.media_port import MediaPort
from tests.recorder.webrtc.aiortc_peer import SSRCS, AiortcPeer, rsa_certificate
from tests.recorder.webrtc.peer_harness import PeerHarness
from tests.recorder.webrtc.udp_client import DTLS, SRTP, UdpClient, until

VP9 = CODECS["VP9"]
KEYFRAME = bytes.fromhex("0c 82 49 83 42 20 13 f0 0b 30") + bytes(900)  # of VP9: it ends without a marker bit
DELTA = bytes.fromhex("4c 86 00 00") + bytes(900)


class VideoSender:
    """Sends numbered frames of one packet each."""

    def __init__(self, remote: AiortcPeer) -> None:
        self.remote = remote
        self.sequence = 65530

    async def video(self, *payloads: bytes) -> None:
        """Send frames of one packet each."""
        for payload in payloads:
            self.sequence += 1
            packet = RtpPacket(
                VP9.payload_type, True, self.sequence, self.sequence * 3000, SSRCS["video"], payload, 0
            )
            await self.remote.send(build_rtp(packet))


class ConnectedPeers:
    """Both ends, connected."""

    def __init__(self, ours: PeerHarness, remote: AiortcPeer, running: asyncio.Task[str]) -> None:
        self.ours = ours
        self.remote = remote
        self.running = running
        self.publisher = VideoSender(remote)

    async def ended(self) -> str:
        """Return the reason of the end."""
        return await self.running


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    return Certificates()


@asynccontextmanager
async def connected(
    port: MediaPort, certificates: Certificates, *, setup: str = "active", remote: RTCCertificate | None = None
) -> AsyncIterator[ConnectedPeers]:
    """Connect an aiortc peer that answers our offer."""
    ours = PeerHarness(port, certificates)
    async with AiortcPeer(ours.peer.offer(), setup=setup, certificate=remote) as other:
        assert set(ours.peer.accept(other.answer())) == {"audio", "video"}
        running = asyncio.create_task(ours.peer.run())
        assert await other.connect() == "connected"
        await ours.peer.connected.wait()
        yield ConnectedPeers(ours, other, running)
        ours.peer.close("END-OF-TEST")
        await running


@pytest.mark.parametrize("setup", ["active", "passive"])
@pytest.mark.parametrize("make_certificate", [RTCCertificate.generateCertificate, rsa_certificate])
async def test_media_and_feedback_flow_in_both_dtls_roles_with_ecdsa_and_rsa(
    port: MediaPort, certificates: Certificates, setup: str, make_certificate: Callable[[], RTCCertificate]
) -> None:
    async with connected(port, certificates, setup=setup, remote=make_certificate()) as session:
        await session.publisher.video(KEYFRAME, *[DELTA] * 9)
        await until(lambda: len(session.ours.units) == 10)
        assert [unit.data for _, unit in session.ours.units] == [KEYFRAME[1:], *[DELTA[1:]] * 9]
        await session.remote.send(build_sender_report(SSRCS["video"], 9 * NS_PER_S, 0, 1, 1))
        await until(lambda: session.ours.reports)
        await session.ours.ticked_until(lambda: session.remote.rtcp)
        remb = next(message for message in parse_rtcp(session.remote.rtcp[0]) if isinstance(message, Remb))
        assert remb.bit_rate_bps > 2_500_000


async def test_it_implements_the_peer_protocol(port: MediaPort, certificates: Certificates) -> None:
    asked_for: Peer = PeerHarness(port, certificates).peer  # checked by mypy
    assert asked_for.mids == {"audio": "audio_3C5HZX", "video": "video_3C5HZX"}


async def test_one_pending_peer_too_many_evicts_the_oldest(port: MediaPort, certificates: Certificates) -> None:
    """Connected peers stay."""
    port.pending = PendingPeers(most=1)
    async with connected(port, certificates) as session:
        assert len(port.pending) == 0
        waiting = PeerHarness(port, certificates)
        async with AiortcPeer(waiting.peer.offer()) as remote:
            waiting.peer.accept(remote.answer())
            running = asyncio.create_task(waiting.peer.run())
            newest = PeerHarness(port, certificates)
            assert await running == TOO_MANY_PENDING
        assert len(port.pending) == 1
        newest.peer.close("END-OF-TEST")
        assert len(port.pending) == 0
        assert not session.running.done()
        totals = await port.totals()
        assert (totals["peers_pending"], totals["peers_evicted"]) == (0, 1)


async def test_close_notify_of_the_client_ends_the_peer(port: MediaPort, certificates: Certificates) -> None:
    async with connected(port, certificates) as session:
        await session.remote.dtls.stop()
        assert await session.ended() == CLOSED_BY_PEER


async def test_closing_notifies_the_client_and_removes_the_peer_from_the_port(
    port: MediaPort, certificates: Certificates
) -> None:
    async with connected(port, certificates) as session:
        session.ours.peer.close("OUR-REASON")
        session.ours.peer.close("ANOTHER")
        assert await session.ended() == "OUR-REASON"
        await until(lambda: session.remote.dtls.state == "closed")
        before = port.counters.unauthenticated
        await session.remote.send_raw(SRTP)
        await until(lambda: port.counters.unauthenticated > before)


async def test_a_silent_peer_ends_after_the_media_timeout(port: MediaPort, certificates: Certificates) -> None:
    async with connected(port, certificates) as session:
        ours = session.ours
        ours.ahead_ns = RecorderConfig().media_timeout_ns - NS_PER_S
        ours.peer.tick(ours.now_ns())
        assert not session.running.done()
        ours.ahead_ns += 2 * NS_PER_S
        ours.peer.tick(ours.now_ns())
        assert await session.ended() == MEDIA_TIMEOUT


async def test_invalid_datagrams_from_any_address_end_nothing(port: MediaPort, certificates: Certificates) -> None:
    """Empty and oversized datagrams end a session of aiortc's own transport."""
    random = Random(5)
    garbage = [
        b"",
        b"\x80",
        b"\x80" + bytes(1599),
        b"\x80" * 5000,
        SRTP,
        b"\x80\xc8" + bytes(40),
        DTLS,
        b"\x16",
        b"\x00",
    ]
    garbage += [
        bytes([first]) + random.randbytes(random.randrange(1400)) for first in (0, 1, 22, 128) for _ in range(100)
    ]
    async with connected(port, certificates) as session:
        await session.publisher.video(KEYFRAME)
        with UdpClient(("127.0.0.1", port.port)) as unauthenticated:
            for number, datagram in enumerate(garbage):
                unauthenticated.send(datagram)
                await session.remote.send_raw(datagram)
                if number % 50 == 0:
                    await session.publisher.video(DELTA)
        await session.publisher.video(DELTA)
        await until(lambda: len(session.ours.units) == 11)
        assert not session.running.done()
        assert session.remote.dtls.state == "connected"
        assert port.counters.faults == 0


async def test_a_replayed_or_changed_packet_is_dropped(port: MediaPort, certificates: Certificates) -> None:
    async with connected(port, certificates) as session:
        seen: list[bytes] = []
        send = session.remote.ice._send

        async def tapped(data: bytes) -> None:
            seen.append(data)
            await send(data)

        session.remote.ice._send = tapped
        await session.publisher.video(KEYFRAME, DELTA)
        for datagram in list(seen):
            await send(datagram)
            await send(datagram[:-1] + bytes([datagram[-1] ^ 1]))
        await session.publisher.video(DELTA)
        await until(lambda: len(session.ours.units) == 3)
        assert session.ours.peer.stats()["video"]["received_packets"] == 3


async def test_an_internal_error_ends_this_peer_and_is_logged(
    port: MediaPort, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[BaseException] = []

    class Log:
        def error(self, _event: str, exc_info: BaseException) -> None:
            logged.append(exc_info)

    monkeypatch.setattr(peer_module, "log", Log())
    async with connected(port, certificates) as broken, connected(port, certificates) as whole:
        broken.ours.breaks = True
        await broken.publisher.video(*[KEYFRAME] * 4)
        assert await broken.ended() == INTERNAL_ERROR
        await whole.publisher.video(*[KEYFRAME] * 4)
        await until(lambda: len(whole.ours.units) == 4)
    assert [type(error) for error in logged] == [ZeroDivisionError]


async def test_another_certificate_than_that_of_the_answer_is_refused(
    port: MediaPort, certificates: Certificates
) -> None:
    ours = PeerHarness(port, certificates)
    async with AiortcPeer(ours.peer.offer()) as remote:
        answer = remote.answer()
        mark = "a=fingerprint:sha-256 "
        ours.peer.accept(answer.replace(mark + answer.partition(mark)[2][:2], mark + "00"))
        running = asyncio.create_task(ours.peer.run())
        await remote.connect()
        assert await running == HANDSHAKE_FAILED
        assert not ours.peer.connected.is_set()


async def test_a_client_without_a_handshake_times_out_although_its_checks_continue(
    port: MediaPort, certificates: Certificates
) -> None:
    ours = PeerHarness(port, certificates)
    async with AiortcPeer(ours.peer.offer()) as remote:
        ours.peer.accept(remote.answer())
        running = asyncio.create_task(ours.peer.run())
        connecting = asyncio.create_task(remote.connect())
        await until(lambda: port.counters.received > 2)
        connecting.cancel()
        with suppress(asyncio.CancelledError):
            await connecting
        ours.ahead_ns = RecorderConfig().media_timeout_ns + NS_PER_S
        ours.peer.tick(ours.now_ns())
        assert await running in {HANDSHAKE_FAILED, MEDIA_TIMEOUT}


async def test_media_that_arrives_before_the_end_of_the_handshake_is_not_lost(
    port: MediaPort, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The peer is the DTLS server: it may send as soon as it has sent its last flight."""
    ours = PeerHarness(port, certificates)
    async with AiortcPeer(ours.peer.offer(), setup="passive") as remote:
        ours.peer.accept(remote.answer())
        running = asyncio.create_task(ours.peer.run())
        setup_srtp = remote.dtls._setup_srtp
        early: list[bytes] = []

        def media_first() -> None:
            setup_srtp()
            for number in range(4):
                packet = RtpPacket(VP9.payload_type, True, number, number * 3000, SSRCS["video"], KEYFRAME, 0)
                early.append(remote.dtls._tx_srtp.protect(build_rtp(packet)))

        remote.dtls._setup_srtp = media_first  # type: ignore[method-assign]  # packets before the last flight arrives
        held: list[bytes] = []
        put = ours.peer._adapter.put

        def last_flight_late(data: bytes) -> None:
            (held.append if early else put)(data)

        monkeypatch.setattr(ours.peer._adapter, "put", last_flight_late)
        await remote.connect()
        for datagram in early:
            await remote.send_raw(datagram)
        await until(lambda: held and len(ours.peer._early) == 4)
        for datagram in held:
            put(datagram)
        await until(lambda: len(ours.units) == 4)
        ours.peer.close("END-OF-TEST")
        await running


async def test_a_peer_whose_offer_is_never_answered_is_removed_from_the_port(
    port: MediaPort, certificates: Certificates
) -> None:
    ours = PeerHarness(port, certificates)
    with pytest.raises(SdpError):
        ours.peer.accept("nonsense")
    with pytest.raises(RuntimeError):
        await ours.peer.run()
    ours.peer.close("NO-ANSWER")
    assert port.peers == 0
