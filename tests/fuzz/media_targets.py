"""Targets of RTP, RTCP, payload formats and the receiver."""

from collections.abc import Callable, Mapping

from rokuga.recorder.codecs.depacketizer import Depacketizer, PayloadError
from rokuga.recorder.codecs.h264 import parameter_sets
from rokuga.recorder.codecs.table import CODECS
from rokuga.recorder.media import NS_PER_MS, AccessUnit, Kind, RtpPacket
from rokuga.recorder.rtp.packet import RtpError, build_rtp, is_rtcp, parse_rtp, unwrap_rtx
from rokuga.recorder.rtp.rtcp import (
    Nack,
    RtcpError,
    build_nack,
    parse_rtcp,
)
from rokuga.recorder.webrtc.receiver import Receiver
from rokuga.recorder.webrtc.sdp.offer_and_answer import (
    AnsweredMedia,
)
from tests.fuzz.records import Target, records
from tests.recorder.codecs import clips, packetize

AUDIO, VIDEO, RTX = 1, 2, 3
VP8, OPUS = CODECS["VP8"], CODECS["OPUS"]
SOUND = b"\xfc" + bytes(20)
MEDIA: Mapping[Kind, AnsweredMedia] = {
    "audio": AnsweredMedia(OPUS, OPUS.payload_type, {}, None, (), {}, nack=True),
    "video": AnsweredMedia(VP8, VP8.payload_type, {}, VP8.rtx_payload_type, (), {RTX: VIDEO}, nack=True),
}


def rtp(data: bytes) -> None:
    """A packet or RtpError; one that is written and parsed again is the same, and so is what it carries as RTX."""
    try:
        packet = parse_rtp(data, 5)
        assert len(packet.payload) <= len(data) - 12
        assert parse_rtp(build_rtp(packet), 5) == packet
        assert parse_rtp(build_rtp(packet, data[:7]), 5) == packet
        original = unwrap_rtx(packet, 100, 9)
    except RtpError:
        return
    if packet.payload:
        assert (original.payload_type, original.ssrc, original.payload) == (100, 9, packet.payload[2:])


def rtcp(data: bytes) -> None:
    """Messages or RtcpError, at most one for each 4 bytes; a NACK that is written and parsed again is the same."""
    try:
        messages = parse_rtcp(data)
    except RtcpError:
        return
    assert len(messages) <= len(data) // 4
    for message in messages:
        if isinstance(message, Nack) and message.sequences:
            (again,) = parse_rtcp(build_nack(1, message.media_ssrc, message.sequences[:100]))
            assert isinstance(again, Nack)
            assert set(again.sequences) == set(message.sequences[:100])


def sprop(data: bytes) -> None:
    """H.264 parameter sets of an SDP, and a depacketizer that begins with them."""
    fmtp = {"sprop-parameter-sets": data.decode("latin-1")}
    assert all(parameter_sets(fmtp))
    through(CODECS["H264"].depacketizer(fmtp), data)


def through(depacketizer: Depacketizer, data: bytes) -> None:
    """Units or PayloadError; dropped units are counted.

    Bits of a record: 1 marker, 2 new unit, 4 and 8 lost, 16 a second without a packet.
    """
    time = dropped = now_ns = 0
    for what, payload in records(data):
        time += 3000 * (what >> 1 & 1)
        if what & 12:
            depacketizer.lost(what >> 2 & 3)
        try:
            unit = depacketizer.push(RtpPacket(96, bool(what & 1), 0, time, 1, payload, 0))
        except PayloadError as error:
            unit = error.unit
            assert depacketizer.dropped_units
        assert unit is None or (unit.data and unit.rtp_time <= time)
        if what & 16:
            now_ns += 1000 * NS_PER_MS
            depacketizer.expire(now_ns)
        assert depacketizer.is_open or not depacketizer.is_awaited
        assert depacketizer.dropped_units >= dropped
        dropped = depacketizer.dropped_units
    depacketizer.flush()


def depacketizer_of(name: str) -> Target:
    """Return a target: after any input, the second of two complete key frames is returned at the latest."""

    def target(data: bytes) -> None:
        depacketizer = CODECS[name].depacketizer({})
        through(depacketizer, data)
        depacketizer.lost(1000)
        out: list[AccessUnit] = []
        for number, packets in enumerate(packetize.packets([payloads(name)[0]] * 2)):
            for packet in packets:
                packet.timestamp += 1 << 40
                try:
                    unit = depacketizer.push(packet)
                except PayloadError:
                    assert number == 0 or packet is packets[0], "the second one reports what is wrong with the first"
                else:
                    out += [unit] if unit is not None else []
        last = depacketizer.flush()
        out += [last] if last is not None else []
        assert out, "no key frame is returned any more"
        assert out[-1].is_keyframe
        assert out[-1].rtp_time == (1 << 40) + 3000

    return target


def payloads(name: str) -> list[list[bytes]]:
    """Return the payloads of a few real units; the first one and the fourth are key frames."""
    if name == "OPUS":
        return [[SOUND], [b"\x03\x83" + bytes(9)], [b"\x78"], [SOUND]]
    units = clips.encoded(name, 96, 64, 6, (0, 3))
    parted: dict[str, Callable[[bytes], list[bytes]]] = {
        "VP8": packetize.vp8,
        "VP9": packetize.vp9,
        "AV1": packetize.av1,
        "H264": lambda unit: packetize.h264(packetize.nal_units(unit)),
    }
    return [parted[name](unit) for unit in units]


class UnitList:
    """Keeps the units of the newest sources."""

    def __init__(self) -> None:
        self.units: list[AccessUnit] = []

    def unit(self, kind: Kind, unit: AccessUnit) -> None:
        """Keep a unit."""
        self.units.append(unit)

    def sender_report(self, kind: Kind, ntp_ns: int, rtp_time: int, arrival_ns: int) -> None:
        """Ignore a sender report."""

    def source_changed(self, kind: Kind) -> None:
        """Drop the units of the source before."""
        self.units.clear()


def receiver(data: bytes) -> None:
    """Any packets in any order are received or dropped.

    Bits of a record: 1 passes it as RTCP, the others are the time that passes before, in 4 ms.
    """
    sink = UnitList()
    peer = Receiver(MEDIA, sink, own_ssrc=7, remb_bps=1_000_000)
    now_ns = 10**12
    received = 0
    for what, datagram in records(data):
        now_ns += (what >> 1) * 4 * NS_PER_MS
        receive = peer.rtcp if what & 1 or is_rtcp(datagram) else peer.rtp
        receive(datagram, now_ns)
        received += 1
        parse_rtcp(peer.tick(now_ns))
    peer.flush(now_ns)
    parse_rtcp(peer.tick(now_ns + 2000 * NS_PER_MS))
    assert peer.dropped_packets <= received
    assert len(sink.units) <= received
