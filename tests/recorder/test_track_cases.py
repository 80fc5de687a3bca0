"""Loss, order, mute and ends as reported by users of other recorders, as far as one track is responsible."""

from collections.abc import Callable
from itertools import pairwise
from random import Random

import pytest

from rokuga.recorder.codecs.table import CODECS
from rokuga.recorder.media import NS_PER_MS, NS_PER_S, AccessUnit, RtpPacket
from rokuga.recorder.rtp.packet import parse_rtp
from rokuga.recorder.rtp.reorder import FIRST_HOLD_NS
from rokuga.recorder.track import Track
from tests.packets import stream, without
from tests.recorder.call import TICK_NS, Call, audio, opus, played, video, vp8
from tests.recorder.codecs import clips, packetize

OPUS_STEP = {"step": 960, "interval_ns": 20 * NS_PER_MS}
PACKETIZERS: dict[str, Callable[[bytes], list[bytes]]] = {
    "VP8": packetize.vp8,
    "VP9": packetize.vp9,
    "H264": lambda frame: packetize.h264(packetize.nal_units(frame)),
}
WAIT_NS = 100 * NS_PER_MS
"""A key frame arrives with the first frame after its delay, half a round trip and a tick."""


def bodies(units: list[list[bytes]]) -> list[bytes]:
    """The frames of VP8 payloads."""
    return [b"".join(payload[1:] for payload in unit) for unit in units]


def test_the_last_frame_and_the_last_opus_packet_are_written_at_a_sudden_end() -> None:
    frames = [vp8(number, is_keyframe=not number) for number in range(300)]
    sound = [opus(number) for number in range(500)]
    assert [unit.data for unit in played(video(), stream(frames))] == bodies(frames)
    assert [unit.data for unit in played(audio(), stream([[data] for data in sound], **OPUS_STEP))] == sound


def test_a_lost_packet_removes_its_frame_and_the_frames_that_depend_on_it() -> None:
    call = Call(loses=lambda sequence, _: sequence == 451)
    numbers = call.run(10)
    assert 150 not in numbers
    back = next(number for number in numbers if number > 150)
    assert numbers == [*range(150), *range(back, 300)]
    assert call.frames[back][0] & 1 == 0, "a key frame"
    assert len(call.plis_ns) == 1


@pytest.mark.parametrize("pause_ms", [400, 1000])
def test_muted_opus_of_few_packets_is_neither_lost_nor_late(pause_ms: int) -> None:
    """Sequence numbers continue, timestamps jump: silence is no loss, and no packet waits for the next one."""
    payloads = [[opus(number)] for number in range(1000 + 30_000 // pause_ms)]
    sent = stream(payloads, **OPUS_STEP)
    passed_ms = 0
    for place, packet in enumerate(sent):
        packet.arrival_ns = NS_PER_S + passed_ms * NS_PER_MS
        packet.timestamp = 48 * passed_ms
        passed_ms += pause_ms if 500 <= place < len(sent) - 500 else 20
    assert passed_ms == 50_000
    track = audio()
    units = [unit.data for packet in sent for unit in (*track.tick(packet.arrival_ns), *track.receive(packet))]
    assert units == [data for (data,) in payloads]
    stats = track.stats
    assert stats.lost_packets == stats.nacks == stats.late_packets == 0


def test_a_stream_that_begins_within_a_gop_requests_a_key_frame_and_begins_with_it() -> None:
    call = Call(first=1, keyframes=(48,))
    numbers = call.run(4)
    assert call.plis_ns[0] <= 100 * NS_PER_MS
    began_ns = call.units[0].arrival_ns
    assert began_ns - call.plis_ns[0] <= call.keyframe_delay_ns + WAIT_NS  # type: ignore[operator]  # it is set
    assert call.units[0].is_keyframe
    assert numbers == list(range(numbers[0], 121))


def test_a_sender_that_ignores_pli_begins_with_its_own_key_frame() -> None:
    call = Call(first=1, keyframes=(48,), keyframe_delay_ns=None)
    assert call.run(4) == list(range(48, 121))
    assert len(call.plis_ns) == 4, "0.5 s each, until 1.6 s"


def test_a_key_frame_over_the_wrap_with_a_late_packet_is_complete() -> None:
    frames = [vp8(number, is_keyframe=number in {0, 11}, packets=12 if number == 11 else 3) for number in range(40)]
    packets = stream(frames, first_sequence=65_500)
    assert packets[35].sequence == 65_535
    assert packets[33].timestamp == packets[44].timestamp, "the key frame"
    packets.insert(35 + 9, packets.pop(35))
    track = video()
    assert [unit.data for unit in played(track, packets)] == bodies(frames)
    assert track.stats.plis == track.stats.lost_packets == 0


def test_audio_over_the_wrap_has_no_gap() -> None:
    units = played(audio(), stream([[opus(n)] for n in range(100)], first_sequence=65_530, **OPUS_STEP))
    times = [unit.rtp_time for unit in units]
    assert times == list(range(times[0], times[0] + 100 * 960, 960))


@pytest.mark.parametrize("size", [85, 127, 128, 129, 150, 300, 3000])
def test_large_key_frames_are_complete(size: int) -> None:
    frames = [vp8(n, is_keyframe=n % 10 == 0, packets=size if n % 10 == 0 else 3) for n in range(30)]
    track = video()
    assert [unit.data for unit in played(track, stream(frames))] == bodies(frames)
    assert track.stats.plis == 0


def test_a_large_key_frame_whose_first_packet_arrives_last_is_complete() -> None:
    frames = [vp8(n, is_keyframe=n in {0, 5}, packets=300 if n == 5 else 3) for n in range(10)]
    packets = stream(frames)
    packets.insert(15 + 299, packets.pop(15))
    assert [unit.data for unit in played(video(), packets)] == bodies(frames)


def test_one_lost_opus_packet_is_one_gap_and_no_delay() -> None:
    packets = without(stream([[opus(number)] for number in range(500)], **OPUS_STEP), {50})
    track = audio()
    waits: list[int] = []
    units: list[AccessUnit] = []
    tick_ns = NS_PER_S
    for packet in packets:
        while tick_ns < packet.arrival_ns:
            given = track.tick(tick_ns)
            waits += [tick_ns - unit.arrival_ns for unit in given]
            units += given
            tick_ns += TICK_NS
        given = track.receive(packet)
        waits += [packet.arrival_ns - unit.arrival_ns for unit in given]
        units += given
    units += track.flush(tick_ns)
    assert [unit.data for unit in units] == [opus(number) for number in range(500) if number != 50]
    gaps = [b.rtp_time - a.rtp_time for a, b in pairwise(units)]
    assert (gaps.count(960), gaps.count(1920)) == (497, 1)
    assert max(waits) <= 200 * NS_PER_MS
    assert sum(wait > 0 for wait in waits) <= 12, "those behind the gap; the delay does not stay"
    assert waits[-1] == 0


def test_an_unrepaired_loss_damages_less_than_a_second() -> None:
    call = Call(loses=lambda sequence, _: sequence == 451)
    numbers = call.run(60)
    back = next(number for number in numbers if number > 150)
    assert (back - 150) / 30 <= 1.0
    assert numbers == [*range(150), *range(back, 1800)]
    assert len(call.plis_ns) == 1


def test_a_pli_is_repeated_after_two_lost_ones() -> None:
    call = Call(loses=lambda sequence, _: sequence == 451, plis_lost=2)
    numbers = call.run(60)
    back = next(number for number in numbers if number > 150)
    assert (back - 150) / 30 <= 3.0
    assert numbers == [*range(150), *range(back, 1800)]
    assert [round((b - a) / NS_PER_MS) for a, b in pairwise(call.plis_ns)] == [500, 500]


@pytest.mark.parametrize("name", ["VP8", "VP9", "H264"])
def test_padding_between_frames_is_not_counted_as_loss(name: str) -> None:
    key, delta = clips.encoded(name)[:2]
    cut = PACKETIZERS[name]
    packets = stream([cut(key), [b"", b""], cut(delta)])
    for packet in packets:  # the padding in between has the first frame's time, and no marker
        packet.marker = packet.marker and bool(packet.payload)
        packet.timestamp = 90_000 if packet.timestamp <= 93_000 else 93_000
    track = Track("video", CODECS[name], 1)
    straight = played(Track("video", CODECS[name], 1), stream([cut(key), cut(delta)]))
    units = played(track, packets)
    assert [(unit.data, unit.rtp_time) for unit in units] == [(unit.data, unit.rtp_time) for unit in straight]
    assert len(units) == 2
    assert (track.stats.padding_packets, track.stats.lost_packets, track.stats.plis) == (2, 0, 0)


def test_padding_bytes_never_reach_a_file() -> None:
    payloads = vp8(0, is_keyframe=True)
    track = video()
    units: list[AccessUnit] = []
    for packet in stream([payloads]):
        header = bytes((0xA0, packet.marker << 7 | 96)) + packet.sequence.to_bytes(2, "big")
        data = header + packet.timestamp.to_bytes(4, "big") + bytes(4) + packet.payload + bytes(19) + b"\x14"
        units += track.receive(parse_rtp(data, 0))
    units += track.flush(0)
    assert [unit.data for unit in units] == bodies([payloads])


def test_padding_is_not_an_opus_packet() -> None:
    packets = stream([[opus(0)], [opus(1)], [b""], [opus(2)]], **OPUS_STEP)
    track = audio()
    assert [unit.data for unit in played(track, packets)] == [opus(0), opus(1), opus(2)]
    assert track.stats.lost_packets == 0


def test_the_lower_simulcast_layer_begins_with_the_requested_key_frame() -> None:
    """Its track passes on nothing before; the receiver decides which SSRC is recorded."""
    call = Call(first=1, keyframes=(), keyframe_delay_ns=700 * NS_PER_MS)
    numbers = call.run(3)
    assert call.units[0].is_keyframe
    assert call.units[0].arrival_ns <= NS_PER_S
    assert numbers == list(range(numbers[0], 91))


def test_video_without_a_key_frame_is_not_written_and_requests_continue() -> None:
    call = Call(first=1, keyframes=(), keyframe_delay_ns=None)
    assert call.run(8) == []
    assert len(call.plis_ns) == 18, "twice a second, for 9 s"


@pytest.mark.parametrize(("loss", "least"), [(0.02, 1.0), (0.10, 0.99)])
@pytest.mark.parametrize("round_trip_ms", [10, 80, 250])
def test_frames_are_repaired_where_media_and_retransmissions_are_lost(
    loss: float, least: float, round_trip_ms: int
) -> None:
    random = Random(round_trip_ms)
    call = Call(loses=lambda *_: random.random() < loss, round_trip_ns=round_trip_ms * NS_PER_MS, packets=5)
    numbers = call.run(20)
    missing = set(range(599)) - set(numbers)
    assert len(missing) <= 599 * (1 - least), "of the very last frame nobody can tell"
    assert numbers == sorted(set(numbers))


def test_nothing_is_requested_on_a_network_without_loss() -> None:
    call = Call()
    assert call.run(10) == list(range(300))
    assert call.nacked == call.plis_ns == []


def test_audio_that_begins_with_one_packet_is_delayed_for_a_moment_only() -> None:
    track = audio()
    assert not track.receive(RtpPacket(109, True, 5, 0, 1, opus(0), NS_PER_S))
    assert [unit.data for unit in track.tick(NS_PER_S + FIRST_HOLD_NS)] == [opus(0)]
