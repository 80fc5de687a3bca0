"""One source: wrapping numbers, both forms of retransmission, sender reports."""

import pytest

from rokuga.devtools.publisher.source import NTP_EPOCH_NS, RING_PACKETS, OutgoingSource, SourceNumbers
from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.rtp.packet import parse_rtp, unwrap_rtx
from rokuga.recorder.rtp.rtcp import parse_rtcp
from rokuga.recorder.rtp.sender_report import SenderReport

NUMBERS = SourceNumbers(ssrc=11, rtx_ssrc=12, sequence=0xFFFE, timestamp=0xFFFFFF00)


def source(rtx_payload_type: int | None = 97) -> OutgoingSource:
    return OutgoingSource(NUMBERS, 90_000, 96, rtx_payload_type)


def test_packets_of_a_unit_share_their_time_and_the_last_has_the_marker() -> None:
    """Sequence numbers and RTP times wrap as on the wire."""
    packets = [parse_rtp(data, 0) for data in source().packetize([b"a", b"b", b"c"], NS_PER_S // 100)]
    assert [(p.sequence, p.marker, p.payload) for p in packets] == [
        (0xFFFF, False, b"a"),
        (0, False, b"b"),
        (1, True, b"c"),
    ]
    assert {(p.timestamp, p.ssrc, p.payload_type) for p in packets} == {(900 - 0x100, 11, 96)}


def test_rtx_wraps_the_packet_with_its_sequence_number() -> None:
    """RFC 4588 section 4, on its own SSRC, payload type and sequence numbers."""
    ours = source()
    (sent,) = ours.packetize([b"payload"], 0)
    first, again = (ours.retransmit(0xFFFF) for _ in range(2))
    assert first is not None
    assert again is not None
    packet = parse_rtp(first, 0)
    assert (packet.ssrc, packet.payload_type) == (12, 97)
    assert parse_rtp(again, 0).sequence == (packet.sequence + 1) & 0xFFFF
    assert unwrap_rtx(packet, 96, 11) == parse_rtp(sent, 0)


def test_without_rtx_the_packet_is_resent_unchanged() -> None:
    ours = source(None)
    (sent,) = ours.packetize([b"payload"], 0)
    assert ours.retransmit(0xFFFF) == sent


@pytest.mark.parametrize("sequence", [0, 0xFFFE, 0xFFFF - RING_PACKETS])
def test_a_packet_that_was_never_sent_is_not_resent(sequence: int) -> None:
    ours = source()
    ours.packetize([b"payload"], 0)
    assert ours.retransmit(sequence) is None


def test_only_recent_packets_are_kept() -> None:
    """The ring buffer has a fixed size."""
    ours = source()
    for _ in range(RING_PACKETS + 1):
        ours.packetize([b"payload"], 0)
    assert ours.retransmit(0xFFFF) is None
    assert ours.retransmit(0) is not None


def test_a_sender_report_maps_rtp_time_to_wall_time() -> None:
    """With the counts of packets and octets, and the CNAME."""
    ours = source()
    ours.packetize([b"abc", b"de"], 0)
    data = ours.report(2 * NS_PER_S, 5 * NS_PER_S, "name")
    (report,) = parse_rtcp(data)
    assert isinstance(report, SenderReport)
    assert report.ntp_ns == NTP_EPOCH_NS + 5 * NS_PER_S
    assert report.rtp_time == (0xFFFFFF00 + 180_000) & 0xFFFFFFFF
    assert (report.ssrc, report.packets, report.octets) == (11, 2, 5)
    assert b"\x01\x04name" in data
