"""What was lost is asked for, and comes again by RTX: whose packet it is, with one source and with several."""

from dataclasses import replace

import pytest

from rokuga.recorder.media import NS_PER_MS, RtpPacket
from rokuga.recorder.rtp.rtcp import Nack
from rokuga.recorder.webrtc.sources import SETTLED_NS
from tests.recorder.webrtc.desk import DELTA, KEYFRAME, MEDIA, NEXT, NEXT_RTX, RTX, VIDEO, VP9, Desk


def test_a_loss_is_asked_for_and_repaired_by_rtx() -> None:
    desk = Desk()
    desk.video(VIDEO, KEYFRAME)
    lost = desk.packet(VIDEO, DELTA)
    desk.video(VIDEO, DELTA)
    desk.pass_time(100 * NS_PER_MS)
    assert Nack(VIDEO, (lost.sequence,)) in desk.rtcp
    assert list(desk.receiver.waiting()) == ["video"]
    desk.repair(lost)
    assert desk.words == "Kdd"
    assert not desk.receiver.waiting()
    assert desk.receiver.stats()["video"]["repaired_packets"] == 1


def test_a_peer_that_did_not_negotiate_nack_is_not_sent_any() -> None:
    desk = Desk({"video": replace(MEDIA["video"], nack=False)})
    desk.video(VIDEO, KEYFRAME)
    desk.packet(VIDEO, DELTA)
    desk.video(VIDEO, DELTA)
    desk.pass_time(100 * NS_PER_MS)
    assert not any(isinstance(message, Nack) for message in desk.rtcp)


def test_rtx_that_comes_before_its_source_binds_nothing() -> None:
    desk = Desk()
    desk.repair(RtpPacket(VP9.payload_type, True, 50, 0, VIDEO, KEYFRAME, 0))
    desk.video(VIDEO, KEYFRAME, DELTA)
    assert desk.words == "Kd"


@pytest.mark.parametrize("payload", [b"", b"\x00"])
def test_probes_on_the_rtx_stream_are_nothing(payload: bytes) -> None:
    desk = Desk()
    desk.video(VIDEO, KEYFRAME)
    for _ in range(5):
        desk.send(desk.packet(RTX, payload, payload_type=VP9.rtx_payload_type))
    desk.video(VIDEO, DELTA)
    assert desk.words == "Kd"
    assert desk.receiver.stats()["video"]["received_packets"] == 2


def test_rtx_without_an_fid_group_repairs_the_only_source() -> None:
    desk = Desk({"video": replace(MEDIA["video"], ssrcs=(), rtx_ssrcs={})})
    desk.video(VIDEO, KEYFRAME)
    lost = desk.packet(VIDEO, DELTA)
    desk.video(VIDEO, DELTA)
    desk.repair(lost)
    assert desk.words == "Kdd"


def test_rtx_of_a_coming_source_never_reaches_the_present_one() -> None:
    desk = Desk({"video": replace(MEDIA["video"], ssrcs=(), rtx_ssrcs={})})
    desk.video(VIDEO, KEYFRAME)
    desk.video(NEXT, DELTA)
    before = desk.receiver.stats()
    desk.repair(RtpPacket(VP9.payload_type, True, 101, 0, NEXT, DELTA, 0), NEXT_RTX)
    assert desk.receiver.stats() == before


def test_rtx_of_two_sources_without_an_fid_group_repairs_the_one_that_misses_it() -> None:
    desk = Desk({"video": replace(MEDIA["video"], ssrcs=(), rtx_ssrcs={})})
    desk.video(VIDEO, KEYFRAME)
    desk.video(NEXT, KEYFRAME)
    lost = desk.packet(VIDEO, DELTA)
    desk.video(NEXT, DELTA)
    desk.video(VIDEO, DELTA)
    desk.repair(lost)
    assert desk.words == "Kdd"


def lose_one_packet_of_each(desk: Desk) -> RtpPacket:
    """Have two sources miss the packet of the same number; give that of the present one."""
    desk.video(VIDEO, KEYFRAME)
    desk.video(NEXT, KEYFRAME)
    lost = desk.packet(VIDEO, DELTA)
    desk.packet(NEXT, DELTA)
    desk.video(NEXT, DELTA)
    desk.video(VIDEO, DELTA)
    return lost


def test_the_fid_group_tells_which_of_two_sources_is_repaired() -> None:
    desk = Desk()
    desk.repair(lose_one_packet_of_each(desk), RTX)
    assert desk.words == "Kdd"


def test_rtx_that_two_sources_miss_repairs_the_one_that_is_recorded_as_nothing_else_was_asked_for() -> None:
    desk = Desk({"video": replace(MEDIA["video"], ssrcs=(), rtx_ssrcs={})})
    desk.repair(lose_one_packet_of_each(desk))
    assert desk.words == "Kdd"


def test_rtx_of_a_source_that_was_replaced_repairs_its_successor() -> None:
    desk = Desk()
    desk.video(VIDEO, KEYFRAME)
    desk.now_ns += SETTLED_NS
    desk.video(NEXT, KEYFRAME)
    lost = desk.packet(NEXT, DELTA)
    desk.video(NEXT, DELTA)
    desk.repair(lost, RTX)
    assert desk.words == "KCKdd"


def test_a_track_may_be_replaced_any_number_of_times_and_is_repaired_each_time() -> None:
    desk = Desk({"video": replace(MEDIA["video"], ssrcs=(), rtx_ssrcs={})})
    for number in range(40):
        desk.video(1000 + number, KEYFRAME)
        lost = desk.packet(1000 + number, DELTA)
        desk.video(1000 + number, DELTA)
        desk.repair(lost, 5000 + number)
        desk.now_ns += SETTLED_NS
    assert desk.words == "C".join(["Kdd"] * 40)


def test_what_came_by_rtx_was_lost_to_the_receiver_report() -> None:
    desk = Desk()
    desk.video(VIDEO, KEYFRAME, DELTA)
    lost = desk.packet(VIDEO, DELTA)
    desk.video(VIDEO, DELTA)
    desk.repair(lost)
    report = desk.pass_time(1000 * NS_PER_MS)
    assert report[8:12] == VIDEO.to_bytes(4, "big")
    assert (report[12], int.from_bytes(report[13:16], "big")) == (85, 1), "1 of the 3 since the first report"
