"""Lost packets are requested, and retransmissions assigned to their source."""

from dataclasses import replace

import pytest

from rokuga.recorder.media import NS_PER_MS, RtpPacket
from rokuga.recorder.rtp.rtcp import Nack
from rokuga.recorder.webrtc.sources import SETTLED_NS
from tests.recorder.webrtc.receiver_harness import (
    DELTA,
    KEYFRAME,
    MEDIA,
    NEXT,
    NEXT_RTX,
    RTX,
    VIDEO,
    VP9,
    ReceiverHarness,
)


def test_a_lost_packet_is_requested_and_repaired_by_rtx() -> None:
    harness = ReceiverHarness()
    harness.video(VIDEO, KEYFRAME)
    lost = harness.packet(VIDEO, DELTA)
    harness.video(VIDEO, DELTA)
    harness.pass_time(100 * NS_PER_MS)
    assert Nack(VIDEO, (lost.sequence,)) in harness.rtcp
    assert list(harness.receiver.waiting()) == ["video"]
    harness.repair(lost)
    assert harness.summary == "Kdd"
    assert not harness.receiver.waiting()
    assert harness.receiver.stats()["video"]["repaired_packets"] == 1


def test_a_peer_without_nack_receives_none() -> None:
    harness = ReceiverHarness({"video": replace(MEDIA["video"], nack=False)})
    harness.video(VIDEO, KEYFRAME)
    harness.packet(VIDEO, DELTA)
    harness.video(VIDEO, DELTA)
    harness.pass_time(100 * NS_PER_MS)
    assert not any(isinstance(message, Nack) for message in harness.rtcp)


def test_rtx_before_its_source_is_ignored() -> None:
    harness = ReceiverHarness()
    harness.repair(RtpPacket(VP9.payload_type, True, 50, 0, VIDEO, KEYFRAME, 0))
    harness.video(VIDEO, KEYFRAME, DELTA)
    assert harness.summary == "Kd"


@pytest.mark.parametrize("payload", [b"", b"\x00"])
def test_probes_on_the_rtx_stream_are_ignored(payload: bytes) -> None:
    harness = ReceiverHarness()
    harness.video(VIDEO, KEYFRAME)
    for _ in range(5):
        harness.send(harness.packet(RTX, payload, payload_type=VP9.rtx_payload_type))
    harness.video(VIDEO, DELTA)
    assert harness.summary == "Kd"
    assert harness.receiver.stats()["video"]["received_packets"] == 2


def test_rtx_without_an_fid_group_repairs_the_only_source() -> None:
    harness = ReceiverHarness({"video": replace(MEDIA["video"], ssrcs=(), rtx_ssrcs={})})
    harness.video(VIDEO, KEYFRAME)
    lost = harness.packet(VIDEO, DELTA)
    harness.video(VIDEO, DELTA)
    harness.repair(lost)
    assert harness.summary == "Kdd"


def test_rtx_of_an_alternative_does_not_repair_the_active_source() -> None:
    harness = ReceiverHarness({"video": replace(MEDIA["video"], ssrcs=(), rtx_ssrcs={})})
    harness.video(VIDEO, KEYFRAME)
    harness.video(NEXT, DELTA)
    before = harness.receiver.stats()
    harness.repair(RtpPacket(VP9.payload_type, True, 101, 0, NEXT, DELTA, 0), NEXT_RTX)
    assert harness.receiver.stats() == before


def test_rtx_without_an_fid_group_repairs_the_source_that_misses_the_packet() -> None:
    harness = ReceiverHarness({"video": replace(MEDIA["video"], ssrcs=(), rtx_ssrcs={})})
    harness.video(VIDEO, KEYFRAME)
    harness.video(NEXT, KEYFRAME)
    lost = harness.packet(VIDEO, DELTA)
    harness.video(NEXT, DELTA)
    harness.video(VIDEO, DELTA)
    harness.repair(lost)
    assert harness.summary == "Kdd"


def lose_one_packet_of_each(harness: ReceiverHarness) -> RtpPacket:
    """Lose the packet of one number of two sources; return that of the active one."""
    harness.video(VIDEO, KEYFRAME)
    harness.video(NEXT, KEYFRAME)
    lost = harness.packet(VIDEO, DELTA)
    harness.packet(NEXT, DELTA)
    harness.video(NEXT, DELTA)
    harness.video(VIDEO, DELTA)
    return lost


def test_the_fid_group_names_the_source_that_is_repaired() -> None:
    harness = ReceiverHarness()
    harness.repair(lose_one_packet_of_each(harness), RTX)
    assert harness.summary == "Kdd"


def test_rtx_that_two_sources_miss_repairs_the_active_one() -> None:
    harness = ReceiverHarness({"video": replace(MEDIA["video"], ssrcs=(), rtx_ssrcs={})})
    harness.repair(lose_one_packet_of_each(harness))
    assert harness.summary == "Kdd"


def test_rtx_of_a_source_that_was_replaced_repairs_its_successor() -> None:
    harness = ReceiverHarness()
    harness.video(VIDEO, KEYFRAME)
    harness.now_ns += SETTLED_NS
    harness.video(NEXT, KEYFRAME)
    lost = harness.packet(NEXT, DELTA)
    harness.video(NEXT, DELTA)
    harness.repair(lost, RTX)
    assert harness.summary == "KCKdd"


def test_a_track_may_be_replaced_any_number_of_times_and_is_repaired_each_time() -> None:
    harness = ReceiverHarness({"video": replace(MEDIA["video"], ssrcs=(), rtx_ssrcs={})})
    for number in range(40):
        harness.video(1000 + number, KEYFRAME)
        lost = harness.packet(1000 + number, DELTA)
        harness.video(1000 + number, DELTA)
        harness.repair(lost, 5000 + number)
        harness.now_ns += SETTLED_NS
    assert harness.summary == "C".join(["Kdd"] * 40)


def test_the_receiver_report_counts_packets_repaired_by_rtx_as_lost() -> None:
    harness = ReceiverHarness()
    harness.video(VIDEO, KEYFRAME, DELTA)
    lost = harness.packet(VIDEO, DELTA)
    harness.video(VIDEO, DELTA)
    harness.repair(lost)
    report = harness.pass_time(1000 * NS_PER_MS)
    assert report[8:12] == VIDEO.to_bytes(4, "big")
    assert (report[12], int.from_bytes(report[13:16], "big")) == (85, 1), "1 of the 3 since the first report"
