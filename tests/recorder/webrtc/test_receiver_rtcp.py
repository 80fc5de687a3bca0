"""RTCP of the receiver: reports, bandwidth, key frames."""

from dataclasses import replace

from rokuga.recorder.media import NS_PER_MS, AccessUnit
from rokuga.recorder.rtp.packet import build_rtp
from rokuga.recorder.rtp.rtcp import KeyframeRequest, Remb, build_goodbye, parse_rtcp
from rokuga.recorder.rtp.sender_report import build_sender_report
from rokuga.recorder.webrtc.rtcp_feedback import MAX_COMPOUND_BYTES
from tests.recorder.webrtc.receiver_harness import DELTA, FRAME, KEYFRAME, NEXT, VIDEO, ReceiverHarness


def test_a_sender_report_of_the_active_source_is_passed_on_with_unwrapped_time() -> None:
    harness = ReceiverHarness()
    report = build_sender_report(VIDEO, 5 * 10**9, 102 * 3000, 1, 1)
    harness.receiver.rtcp(report, harness.now_ns)
    assert harness.summary == "", "its source has not been seen: there is nothing to unwrap by"
    harness.video(VIDEO, KEYFRAME)
    harness.receiver.rtcp(report + build_goodbye((VIDEO,)), harness.now_ns)
    unit = harness.received[0][2]
    assert isinstance(unit, AccessUnit)
    assert harness.received[-1] == ("report", "video", (5 * 10**9, unit.rtp_time + 2 * 3000, harness.now_ns))
    harness.receiver.rtcp(build_sender_report(NEXT, 5 * 10**9, 0, 1, 1), harness.now_ns)
    harness.video(NEXT, KEYFRAME)
    harness.receiver.rtcp(build_sender_report(NEXT, 5 * 10**9, 0, 1, 1), harness.now_ns)
    assert harness.summary == "KR"


def test_a_report_block_has_the_last_sender_report_and_its_age() -> None:
    harness = ReceiverHarness()
    harness.video(VIDEO, KEYFRAME)
    harness.receiver.rtcp(build_sender_report(VIDEO, 0x12345 * 10**9 + 10**9 // 2, 0, 1, 1), harness.now_ns)
    report = harness.pass_time(1000 * NS_PER_MS)
    assert report[24:32] == bytes.fromhex("2345 8000 0001 0000")


def test_invalid_rtcp_is_counted() -> None:
    harness = ReceiverHarness()
    harness.receiver.rtcp(b"\x80\xc8", harness.now_ns)
    assert harness.receiver.dropped_packets == 1


def test_a_sender_report_before_the_first_unit_is_unwrapped_to_its_cycle() -> None:
    harness = ReceiverHarness()
    harness.receiver.rtp(build_rtp(replace(harness.packet(VIDEO, KEYFRAME), timestamp=0xFFFFFFF0)), harness.now_ns)
    harness.receiver.rtcp(build_sender_report(VIDEO, 5 * 10**9, 0x10, 1, 1), harness.now_ns)
    harness.pass_time(FRAME)
    (_, _, report), (_, _, unit) = harness.received
    assert isinstance(report, tuple)
    assert isinstance(unit, AccessUnit)
    assert report[1] - unit.rtp_time == 0x20


def test_remb_names_the_answered_ssrcs_until_there_is_a_source() -> None:
    harness = ReceiverHarness()
    harness.pass_time(FRAME)
    harness.video(NEXT, KEYFRAME)
    harness.pass_time(1000 * NS_PER_MS)
    assert [message.ssrcs for message in harness.rtcp if isinstance(message, Remb)] == [(VIDEO,), (NEXT,)]


def test_a_requested_key_frame_is_delayed_by_a_time_that_depends_on_the_peer() -> None:
    harness = ReceiverHarness(own_ssrc=60 * NS_PER_MS)
    harness.video(VIDEO, KEYFRAME)
    harness.rtcp.clear()
    harness.receiver.request_keyframe(harness.now_ns)
    harness.pass_time(59 * NS_PER_MS)
    assert KeyframeRequest(VIDEO) not in harness.rtcp
    harness.pass_time(NS_PER_MS)
    assert KeyframeRequest(VIDEO) in harness.rtcp


def test_remb_is_sent_with_every_report() -> None:
    harness = ReceiverHarness()
    harness.video(VIDEO, KEYFRAME)
    reports = []
    for _ in range(100):
        reports.append(harness.pass_time(20 * NS_PER_MS))
    due = [report for report in reports if report]
    assert any(isinstance(message, Remb) for message in harness.rtcp[:2]), "within the first frame's time"
    assert len(due) == 4, "2 s at 500 ms each"
    for report in due:
        remb = next(message for message in parse_rtcp(report) if isinstance(message, Remb))
        assert remb.ssrcs == (VIDEO,)
        assert 2_999_000 < remb.bit_rate_bps <= 3_000_000


def test_a_compound_stays_within_its_limit_however_much_is_lost() -> None:
    """Single losses far apart make the largest possible NACK."""
    harness = ReceiverHarness()
    for ssrc in (VIDEO, NEXT):
        for number in range(2900):
            packet = harness.packet(ssrc, DELTA)
            if number < 3 or number % 18:
                harness.receiver.rtp(build_rtp(packet), harness.now_ns)
    sizes = [len(harness.pass_time(20 * NS_PER_MS)) for _ in range(20)]
    assert 600 < max(sizes) <= MAX_COMPOUND_BYTES
    assert KeyframeRequest(VIDEO) in harness.rtcp, "it is never crowded out"
    assert not any(getattr(message, "media_ssrc", None) == NEXT for message in harness.rtcp), "it is not recorded"
