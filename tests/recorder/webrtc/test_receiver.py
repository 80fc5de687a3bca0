"""Packets of one peer in, access units out, without a network."""

from base64 import b64encode
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rokuga.recorder.codecs.table import CODECS
from rokuga.recorder.media import NS_PER_MS, AccessUnit
from rokuga.recorder.rtp.packet import build_rtp
from rokuga.recorder.rtp.rtcp import KeyframeRequest
from rokuga.recorder.webrtc.sdp.offer_and_answer import AnsweredMedia
from tests.recorder.codecs import clips, packetize
from tests.recorder.webrtc.receiver_harness import (
    AUDIO,
    DELTA,
    FRAME,
    KEYFRAME,
    MEDIA,
    NEXT,
    OPUS,
    SOUND,
    VIDEO,
    ReceiverHarness,
)


def test_units_of_each_kind_are_passed_on() -> None:
    harness = ReceiverHarness()
    harness.video(VIDEO, KEYFRAME, DELTA)
    harness.send(harness.packet(AUDIO, SOUND, payload_type=OPUS.payload_type))
    assert [(what, kind) for what, kind, _ in harness.received] == [
        ("unit", "video"),
        ("unit", "video"),
        ("unit", "audio"),
    ]
    unit = harness.received[0][2]
    assert isinstance(unit, AccessUnit)
    assert unit.data == KEYFRAME[1:]
    assert (unit.width, unit.height) == (320, 180)


def test_parameter_sets_of_the_answer_reach_the_depacketizer() -> None:
    h264 = CODECS["H264"]
    units = {unit[0] & 31: unit for unit in packetize.nal_units(clips.encoded("H264")[0])}
    fmtp = {"sprop-parameter-sets": ",".join(b64encode(units[kind]).decode() for kind in (7, 8))}
    harness = ReceiverHarness({"video": AnsweredMedia(h264, h264.payload_type, fmtp, None, (), {}, nack=True)})
    harness.send(harness.packet(VIDEO, units[5], payload_type=h264.payload_type))
    harness.receiver.flush(harness.now_ns)
    unit = harness.received[0][2]
    assert isinstance(unit, AccessUnit)
    assert unit.data == b"".join(b"\x00\x00\x00\x01" + units[kind] for kind in (7, 8, 5))
    assert (unit.width, unit.height) == (320, 180)


def test_video_begins_with_a_key_frame_which_is_requested() -> None:
    harness = ReceiverHarness()
    harness.video(VIDEO, DELTA, DELTA)
    assert KeyframeRequest(VIDEO) in harness.rtcp
    harness.video(VIDEO, KEYFRAME, DELTA)
    assert harness.summary == "Kd"


def test_an_unknown_ssrc_is_assigned_by_its_payload_type() -> None:
    harness = ReceiverHarness({"video": replace(MEDIA["video"], ssrcs=(), rtx_ssrcs={})})
    harness.video(NEXT, KEYFRAME)
    assert harness.summary == "K"


def test_a_payload_type_that_was_not_negotiated_is_counted_and_dropped() -> None:
    harness = ReceiverHarness()
    harness.video(VIDEO, KEYFRAME)
    harness.send(harness.packet(VIDEO, DELTA, payload_type=99), harness.packet(5, DELTA, payload_type=99))
    harness.send(harness.packet(VIDEO, SOUND, payload_type=OPUS.payload_type))
    assert harness.summary == "K"
    assert harness.receiver.dropped_packets == 3


def test_a_picture_that_may_be_incomplete_is_waited_for_for_a_limited_time() -> None:
    """Later audio must not be written before it. VP8 does not mark the end of a picture."""
    vp8 = CODECS["VP8"]
    harness = ReceiverHarness({"video": AnsweredMedia(vp8, vp8.payload_type, {}, None, (), {}, nack=True)})
    for unit in clips.encoded("VP8")[:4]:
        (payload,) = packetize.vp8(unit, size=1 << 20)
        harness.send(harness.packet(VIDEO, payload, payload_type=vp8.payload_type))
    waited = [list(harness.receiver.waiting())]
    for _ in range(200):
        harness.pass_time(20 * NS_PER_MS)
    waited.append(list(harness.receiver.waiting()))
    assert waited == [["video"], []]


@pytest.mark.parametrize("extension", ["bede0001 d0010000", "10000001 0d010100"])
def test_a_video_orientation_extension_that_was_not_agreed_changes_no_picture(extension: str) -> None:
    """https://github.com/ant-media/Ant-Media-Server/issues/4024: `urn:3gpp:video-orientation`, in both forms."""
    harness = ReceiverHarness()
    for payload in (KEYFRAME, DELTA, DELTA):
        packet = build_rtp(harness.packet(VIDEO, payload))
        data = bytes((packet[0] | 0x10,)) + packet[1:12] + bytes.fromhex(extension) + packet[12:]
        harness.receiver.rtp(data, harness.now_ns)
        harness.pass_time(FRAME)
    assert [unit.data for _, _, unit in harness.received if isinstance(unit, AccessUnit)] == [
        KEYFRAME[1:],
        *[DELTA[1:]] * 2,
    ]
    assert harness.receiver.stats()["video"]["malformed_payloads"] == harness.receiver.dropped_packets == 0


def test_damaged_video_is_passed_on_if_configured() -> None:
    harness = ReceiverHarness(write_damaged=True)
    harness.video(VIDEO, KEYFRAME)
    harness.packet(VIDEO, DELTA)
    harness.video(VIDEO, DELTA)
    harness.pass_time(1000 * NS_PER_MS)
    assert harness.summary == "Kd"


def test_a_flush_passes_on_complete_units_and_packets_may_follow() -> None:
    harness = ReceiverHarness()
    harness.video(VIDEO, KEYFRAME)
    harness.packet(VIDEO, DELTA)
    harness.video(VIDEO, KEYFRAME)
    assert harness.summary == "K"
    harness.receiver.flush(harness.now_ns)
    harness.video(VIDEO, DELTA)
    assert harness.summary == "KKd"


@given(st.lists(st.binary(max_size=60) | st.binary(max_size=40).map(lambda tail: b"\x80\xe0" + tail), max_size=20))
def test_any_bytes_are_received_or_dropped(datagrams: list[bytes]) -> None:
    harness = ReceiverHarness()
    for datagram in datagrams:
        harness.receiver.rtp(datagram, harness.now_ns)
        harness.receiver.rtcp(datagram, harness.now_ns)
        harness.pass_time(20 * NS_PER_MS)
    harness.receiver.flush(harness.now_ns)


@given(st.randoms(use_true_random=False))
def test_reordered_packets_give_units_in_order(random: Random) -> None:
    harness = ReceiverHarness()
    packets = [harness.packet(VIDEO, payload) for payload in (KEYFRAME, *[DELTA] * 12)]
    first, *rest = packets
    random.shuffle(rest)
    harness.send(first, *rest, step_ns=NS_PER_MS)
    times = [detail.rtp_time for _, _, detail in harness.received if isinstance(detail, AccessUnit)]
    assert len(times) == len(packets)
    assert times == sorted(times)
