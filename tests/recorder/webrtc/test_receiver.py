"""One peer's packets in, units and RTCP out, without a network."""

from base64 import b64encode
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rokuga.recorder.codecs.table import CODECS
from rokuga.recorder.media import NS_PER_MS, AccessUnit, Kind, RtpPacket
from rokuga.recorder.rtp.packet import build_rtp
from rokuga.recorder.rtp.rtcp import KeyframeRequest, Nack, Remb, RtcpMessage, build_goodbye, parse_rtcp
from rokuga.recorder.rtp.sender_report import build_sender_report
from rokuga.recorder.webrtc.receiver import (
    FORGOTTEN_NS,
    MAX_CANDIDATES,
    MAX_COMPOUND_BYTES,
    SETTLED_NS,
    SILENT_NS,
    Receiver,
)
from rokuga.recorder.webrtc.sdp import AnsweredMedia
from tests.recorder.codecs import clips, packetize

VP8, OPUS = CODECS["VP8"], CODECS["OPUS"]
VIDEO, NEXT, RTX, NEXT_RTX, AUDIO = 0x200, 0x201, 0x300, 0x301, 0x100
KEYFRAME = bytes.fromhex("10 10 00 00 9d 01 2a 40 01 b4 00") + bytes(20)
DELTA = bytes.fromhex("10 11 00 00") + bytes(20)
SOUND = b"\xfc" + bytes(30)
FRAME = 33 * NS_PER_MS

MEDIA: dict[Kind, AnsweredMedia] = {
    "audio": AnsweredMedia(OPUS, OPUS.payload_type, {}, None, (AUDIO,), {}, nack=False),
    "video": AnsweredMedia(VP8, VP8.payload_type, {}, VP8.rtx_payload_type, (VIDEO,), {RTX: VIDEO}, nack=True),
}


class Desk:
    """A receiver and what it told, in order; time passes by `now_ns`."""

    def __init__(
        self, media: dict[Kind, AnsweredMedia] | None = None, *, own_ssrc: int = 7, write_damaged: bool = False
    ) -> None:
        self.told: list[tuple[str, Kind, AccessUnit | tuple[int, int, int] | None]] = []
        self.now_ns = 10**12
        self.sequences: dict[int, int] = {}
        self.rtcp: list[RtcpMessage] = []
        self.receiver = Receiver(
            MEDIA if media is None else media,
            own_ssrc=own_ssrc,
            remb_bps=3_000_000,
            on_unit=lambda kind, unit: self.told.append(("unit", kind, unit)),
            on_sender_report=lambda kind, *report: self.told.append(("report", kind, report)),
            on_source_changed=lambda kind: self.told.append(("changed", kind, None)),
            write_damaged=write_damaged,
        )

    def packet(self, ssrc: int, payload: bytes, *, payload_type: int = VP8.payload_type) -> RtpPacket:
        """The next packet of a stream; each is a frame of its own."""
        sequence = self.sequences[ssrc] = self.sequences.get(ssrc, 99) + 1
        return RtpPacket(payload_type, True, sequence, sequence * 3000, ssrc, payload, self.now_ns)

    def send(self, *packets: RtpPacket, step_ns: int = FRAME) -> None:
        """Let packets arrive, with a tick after each."""
        for packet in packets:
            self.receiver.rtp(build_rtp(packet), self.now_ns)
            self.pass_time(step_ns)

    def pass_time(self, step_ns: int) -> bytes:
        """Let time pass, then tick; keep what is sent back."""
        self.now_ns += step_ns
        data = self.receiver.tick(self.now_ns)
        self.rtcp += parse_rtcp(data)
        return data

    def video(self, ssrc: int, *payloads: bytes) -> None:
        """Let frames of one packet each arrive."""
        for payload in payloads:
            self.send(self.packet(ssrc, payload))

    def repair(self, packet: RtpPacket, rtx_ssrc: int = RTX) -> None:
        """Retransmit a packet by RFC 4588."""
        payload = packet.sequence.to_bytes(2, "big") + packet.payload
        sequence = self.sequences[rtx_ssrc] = self.sequences.get(rtx_ssrc, 0) + 1
        self.send(
            replace(packet, payload_type=VP8.rtx_payload_type, ssrc=rtx_ssrc, sequence=sequence, payload=payload)
        )

    @property
    def words(self) -> str:
        """What was told, in short: K key frame, d delta, a audio, C source changed, R report."""
        letters = []
        for what, _, detail in self.told:
            if isinstance(detail, AccessUnit):
                letters.append("a" if len(detail.data) == len(SOUND) else "K" if detail.is_keyframe else "d")
            else:
                letters.append({"changed": "C", "report": "R"}[what])
        return "".join(letters)


def test_each_kind_is_told_apart_and_comes_out_whole() -> None:
    desk = Desk()
    desk.video(VIDEO, KEYFRAME, DELTA)
    desk.send(desk.packet(AUDIO, SOUND, payload_type=OPUS.payload_type))
    assert [(what, kind) for what, kind, _ in desk.told] == [("unit", "video"), ("unit", "video"), ("unit", "audio")]
    unit = desk.told[0][2]
    assert isinstance(unit, AccessUnit)
    assert unit.data == KEYFRAME[1:]
    assert (unit.width, unit.height) == (320, 180)


def test_parameter_sets_of_the_answer_reach_the_depacketizer() -> None:
    h264 = CODECS["H264"]
    units = {unit[0] & 31: unit for unit in packetize.nal_units(clips.encoded("H264")[0])}
    fmtp = {"sprop-parameter-sets": ",".join(b64encode(units[kind]).decode() for kind in (7, 8))}
    desk = Desk({"video": AnsweredMedia(h264, h264.payload_type, fmtp, None, (), {}, nack=True)})
    desk.send(desk.packet(VIDEO, units[5], payload_type=h264.payload_type))
    unit = desk.told[0][2]
    assert isinstance(unit, AccessUnit)
    assert unit.data == b"".join(b"\x00\x00\x00\x01" + units[kind] for kind in (7, 8, 5))
    assert (unit.width, unit.height) == (320, 180)


def test_video_begins_with_a_key_frame_which_is_asked_for() -> None:
    desk = Desk()
    desk.video(VIDEO, DELTA, DELTA)
    assert KeyframeRequest(VIDEO) in desk.rtcp
    desk.video(VIDEO, KEYFRAME, DELTA)
    assert desk.words == "Kd"


def test_an_unknown_ssrc_is_taken_by_its_payload_type() -> None:
    desk = Desk({"video": replace(MEDIA["video"], ssrcs=(), rtx_ssrcs={})})
    desk.video(NEXT, KEYFRAME)
    assert desk.words == "K"


def test_a_payload_type_that_was_not_negotiated_is_counted_and_dropped() -> None:
    desk = Desk()
    desk.video(VIDEO, KEYFRAME)
    desk.send(desk.packet(VIDEO, DELTA, payload_type=99), desk.packet(5, DELTA, payload_type=99))
    desk.send(desk.packet(VIDEO, SOUND, payload_type=OPUS.payload_type))
    assert desk.words == "K"
    assert desk.receiver.dropped_packets == 3


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
    desk.repair(RtpPacket(VP8.payload_type, True, 50, 0, VIDEO, KEYFRAME, 0))
    desk.video(VIDEO, KEYFRAME, DELTA)
    assert desk.words == "Kd"


@pytest.mark.parametrize("payload", [b"", b"\x00"])
def test_probes_on_the_rtx_stream_are_nothing(payload: bytes) -> None:
    desk = Desk()
    desk.video(VIDEO, KEYFRAME)
    for _ in range(5):
        desk.send(desk.packet(RTX, payload, payload_type=VP8.rtx_payload_type))
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
    desk.repair(RtpPacket(VP8.payload_type, True, 101, 0, NEXT, DELTA, 0), NEXT_RTX)
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


def test_the_fid_group_tells_which_of_two_sources_is_repaired() -> None:
    desk = Desk()
    desk.video(VIDEO, KEYFRAME)
    desk.video(NEXT, KEYFRAME)
    lost = desk.packet(VIDEO, DELTA)
    desk.packet(NEXT, DELTA)
    desk.video(NEXT, DELTA)
    desk.video(VIDEO, DELTA)
    desk.repair(lost, RTX)
    assert desk.words == "Kdd"


def test_rtx_that_two_sources_might_have_asked_for_repairs_none() -> None:
    desk = Desk({"video": replace(MEDIA["video"], ssrcs=(), rtx_ssrcs={})})
    desk.video(VIDEO, KEYFRAME)
    desk.video(NEXT, KEYFRAME)
    lost = desk.packet(VIDEO, DELTA)
    desk.packet(NEXT, DELTA)
    desk.video(NEXT, DELTA)
    desk.video(VIDEO, DELTA)
    desk.repair(lost)
    assert desk.words == "K"


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


def test_a_new_source_takes_over_with_its_key_frame() -> None:
    desk = Desk()
    desk.video(VIDEO, KEYFRAME, DELTA)
    desk.now_ns += SETTLED_NS
    desk.video(VIDEO, DELTA)
    desk.video(NEXT, DELTA)
    desk.video(VIDEO, DELTA)
    assert KeyframeRequest(NEXT) in desk.rtcp
    desk.video(NEXT, KEYFRAME, DELTA)
    desk.video(VIDEO, DELTA)
    desk.video(NEXT, DELTA)
    assert desk.words == "KdddCKdd", "what the old one still sends is not given out"
    assert desk.receiver.stats()["video"]["received_packets"] == 8, "both sources are counted, the tail is not"


def test_a_second_source_of_the_same_moment_waits_until_the_first_is_silent_and_for_a_key_frame() -> None:
    """Its first key frame came too early: taking over with what followed would give frames nobody can decode."""
    desk = Desk()
    desk.video(VIDEO, KEYFRAME)
    desk.video(NEXT, KEYFRAME, DELTA)
    assert desk.words == "K"
    desk.now_ns += SILENT_NS
    desk.video(NEXT, DELTA)
    assert desk.words == "K"
    desk.pass_time(200 * NS_PER_MS)
    assert KeyframeRequest(NEXT) in desk.rtcp
    desk.video(NEXT, KEYFRAME, DELTA)
    assert desk.words == "KCKd"


def test_what_the_old_source_still_holds_comes_before_the_change() -> None:
    desk = Desk()
    desk.video(VIDEO, KEYFRAME)
    desk.packet(VIDEO, DELTA)
    desk.video(VIDEO, KEYFRAME)
    assert desk.words == "K"
    desk.now_ns += SILENT_NS
    desk.video(NEXT, KEYFRAME)
    assert desk.words == "KKCK"


def test_the_present_source_may_be_silent_for_as_long_as_it_likes() -> None:
    desk = Desk()
    desk.video(VIDEO, KEYFRAME)
    for _ in range(3):
        desk.pass_time(FORGOTTEN_NS)
    desk.video(VIDEO, DELTA)
    assert desk.words == "Kd"


def test_only_the_present_source_is_flushed() -> None:
    desk = Desk()
    desk.video(VIDEO, KEYFRAME)
    desk.video(NEXT, KEYFRAME)
    desk.packet(NEXT, DELTA)
    desk.video(NEXT, KEYFRAME)
    desk.receiver.flush(desk.now_ns)
    assert desk.words == "K"


def test_audio_changes_its_source_at_once() -> None:
    desk = Desk()
    desk.send(desk.packet(AUDIO, SOUND, payload_type=OPUS.payload_type), step_ns=SETTLED_NS + 1)
    desk.send(desk.packet(5, SOUND, payload_type=OPUS.payload_type))
    assert desk.words == "aCa"


def test_the_tail_of_a_replaced_source_is_forgotten() -> None:
    desk = Desk()
    desk.video(VIDEO, KEYFRAME)
    desk.now_ns += SETTLED_NS
    desk.video(NEXT, KEYFRAME)
    desk.video(VIDEO, DELTA)
    desk.pass_time(FORGOTTEN_NS)
    assert KeyframeRequest(VIDEO) in desk.rtcp
    desk.rtcp.clear()
    for _ in range(50):
        desk.pass_time(FRAME)
    assert KeyframeRequest(VIDEO) not in desk.rtcp


def test_sources_are_bounded() -> None:
    desk = Desk()
    desk.video(VIDEO, KEYFRAME)
    for ssrc in range(1000, 1000 + 3 * MAX_CANDIDATES):
        desk.send(desk.packet(ssrc, DELTA), step_ns=NS_PER_MS)
    assert desk.receiver.dropped_packets == 2 * MAX_CANDIDATES
    desk.video(VIDEO, DELTA)
    assert desk.words == "Kd"


def test_a_new_source_takes_the_place_of_one_that_is_silent_but_never_that_of_the_present_one() -> None:
    desk = Desk()
    desk.video(VIDEO, KEYFRAME)
    desk.now_ns += SILENT_NS
    for ssrc in range(1000, 1000 + MAX_CANDIDATES):
        desk.send(desk.packet(ssrc, DELTA), step_ns=NS_PER_MS)
    desk.send(desk.packet(2000, DELTA))
    assert desk.receiver.dropped_packets == 1, "only the present one is silent"
    desk.video(VIDEO, DELTA)
    desk.send(desk.packet(2000, DELTA))
    assert desk.receiver.dropped_packets == 2, "none is silent"
    desk.now_ns += SILENT_NS
    desk.video(VIDEO, DELTA)
    desk.send(desk.packet(2000, DELTA), desk.packet(1000, DELTA))
    assert desk.receiver.dropped_packets == 2, "2000 took the place of 1000, which took that of 1001"
    desk.video(VIDEO, DELTA)
    assert desk.words == "Kddd"


def test_a_sender_report_is_given_on_with_the_unwrapped_time_of_the_present_source() -> None:
    desk = Desk()
    report = build_sender_report(VIDEO, 5 * 10**9, 102 * 3000, 1, 1)
    desk.receiver.rtcp(report, desk.now_ns)
    assert desk.words == "", "its source has not been seen: there is nothing to unwrap by"
    desk.video(VIDEO, KEYFRAME)
    desk.receiver.rtcp(report + build_goodbye((VIDEO,)), desk.now_ns)
    unit = desk.told[0][2]
    assert isinstance(unit, AccessUnit)
    assert desk.told[-1] == ("report", "video", (5 * 10**9, unit.rtp_time + 2 * 3000, desk.now_ns))
    desk.receiver.rtcp(build_sender_report(NEXT, 5 * 10**9, 0, 1, 1), desk.now_ns)
    desk.video(NEXT, KEYFRAME)
    desk.receiver.rtcp(build_sender_report(NEXT, 5 * 10**9, 0, 1, 1), desk.now_ns)
    assert desk.words == "KR"


def test_the_last_sender_report_and_its_age_are_told_to_the_sender() -> None:
    desk = Desk()
    desk.video(VIDEO, KEYFRAME)
    desk.receiver.rtcp(build_sender_report(VIDEO, 0x12345 * 10**9 + 10**9 // 2, 0, 1, 1), desk.now_ns)
    report = desk.pass_time(1000 * NS_PER_MS)
    assert report[24:32] == bytes.fromhex("2345 8000 0001 0000")


def test_bytes_that_are_no_rtcp_are_counted() -> None:
    desk = Desk()
    desk.receiver.rtcp(b"\x80\xc8", desk.now_ns)
    assert desk.receiver.dropped_packets == 1


def test_a_sender_report_that_comes_before_the_first_unit_is_of_its_cycle() -> None:
    desk = Desk()
    desk.receiver.rtp(build_rtp(replace(desk.packet(VIDEO, KEYFRAME), timestamp=0xFFFFFFF0)), desk.now_ns)
    desk.receiver.rtcp(build_sender_report(VIDEO, 5 * 10**9, 0x10, 1, 1), desk.now_ns)
    desk.pass_time(FRAME)
    (_, _, report), (_, _, unit) = desk.told
    assert isinstance(report, tuple)
    assert isinstance(unit, AccessUnit)
    assert report[1] - unit.rtp_time == 0x20


def test_remb_names_what_was_answered_until_there_is_a_source() -> None:
    desk = Desk()
    desk.pass_time(FRAME)
    desk.video(NEXT, KEYFRAME)
    desk.pass_time(1000 * NS_PER_MS)
    assert [message.ssrcs for message in desk.rtcp if isinstance(message, Remb)] == [(VIDEO,), (NEXT,)]


def test_a_peer_puts_the_key_frame_that_all_are_asked_for_off_by_a_time_of_its_own() -> None:
    desk = Desk(own_ssrc=60 * NS_PER_MS)
    desk.video(VIDEO, KEYFRAME)
    desk.rtcp.clear()
    desk.receiver.request_keyframe(desk.now_ns)
    desk.pass_time(59 * NS_PER_MS)
    assert KeyframeRequest(VIDEO) not in desk.rtcp
    desk.pass_time(NS_PER_MS)
    assert KeyframeRequest(VIDEO) in desk.rtcp


def test_damaged_video_is_given_out_if_asked_for() -> None:
    desk = Desk(write_damaged=True)
    desk.video(VIDEO, KEYFRAME)
    desk.packet(VIDEO, DELTA)
    desk.video(VIDEO, DELTA)
    desk.pass_time(1000 * NS_PER_MS)
    assert desk.words == "Kd"


def test_remb_comes_with_the_first_report_and_again_and_again() -> None:
    desk = Desk()
    desk.video(VIDEO, KEYFRAME)
    reports = []
    for _ in range(100):
        reports.append(desk.pass_time(20 * NS_PER_MS))
    due = [report for report in reports if report]
    assert any(isinstance(message, Remb) for message in desk.rtcp[:2]), "within the first frame's time"
    assert len(due) == 4, "2 s at 500 ms each"
    for report in due:
        remb = next(message for message in parse_rtcp(report) if isinstance(message, Remb))
        assert remb.ssrcs == (VIDEO,)
        assert 2_999_000 < remb.bit_rate_bps <= 3_000_000


def test_what_is_sent_at_once_stays_small_however_much_is_lost() -> None:
    """Single losses far apart, in two sources at a time, make the largest NACKs that there can be."""
    desk = Desk()
    for ssrc in (VIDEO, NEXT):
        for number in range(2900):
            packet = desk.packet(ssrc, DELTA)
            if number < 3 or number % 18:
                desk.receiver.rtp(build_rtp(packet), desk.now_ns)
    sizes = [len(desk.pass_time(20 * NS_PER_MS)) for _ in range(20)]
    assert 600 < max(sizes) <= MAX_COMPOUND_BYTES
    assert {KeyframeRequest(VIDEO), KeyframeRequest(NEXT)} <= set(desk.rtcp), "these are never crowded out"


def test_flush_gives_what_is_whole_and_packets_may_follow() -> None:
    desk = Desk()
    desk.video(VIDEO, KEYFRAME)
    desk.packet(VIDEO, DELTA)
    desk.video(VIDEO, KEYFRAME)
    assert desk.words == "K"
    desk.receiver.flush(desk.now_ns)
    desk.video(VIDEO, DELTA)
    assert desk.words == "KKd"


@given(st.lists(st.binary(max_size=60) | st.binary(max_size=40).map(lambda tail: b"\x80\xe0" + tail), max_size=20))
def test_any_bytes_are_taken_or_dropped(datagrams: list[bytes]) -> None:
    desk = Desk()
    for datagram in datagrams:
        desk.receiver.rtp(datagram, desk.now_ns)
        desk.receiver.rtcp(datagram, desk.now_ns)
        desk.pass_time(20 * NS_PER_MS)
    desk.receiver.flush(desk.now_ns)


@given(st.randoms(use_true_random=False))
def test_packets_in_any_order_give_their_units_in_order(random: Random) -> None:
    desk = Desk()
    packets = [desk.packet(VIDEO, payload) for payload in (KEYFRAME, *[DELTA] * 12)]
    first, *rest = packets
    random.shuffle(rest)
    desk.send(first, *rest, step_ns=NS_PER_MS)
    times = [detail.rtp_time for _, _, detail in desk.told if isinstance(detail, AccessUnit)]
    assert len(times) == len(packets)
    assert times == sorted(times)
