"""After a loss no dependent video is passed on, and a key frame is requested until one arrives."""

from dataclasses import replace

from rokuga.recorder.codecs.table import CODECS
from rokuga.recorder.media import NS_PER_MS, NS_PER_S, AccessUnit, RtpPacket
from rokuga.recorder.rtp.feedback import KEYFRAME_RETRY_NS
from rokuga.recorder.track import PLI_DELAY_NS, Track
from tests.packets import stream, without
from tests.recorder.call import audio, data_of, frames, joined, opus, played, video, vp8

# Waiting for a key frame


def test_video_begins_with_a_requested_key_frame() -> None:
    units = frames(10, keyframes=(4,))
    track = video()
    assert data_of(track, stream(units)) == joined(units)[4:]
    assert track.stats.undecodable_units == 4
    assert track.stats.plis == 1


def test_after_a_loss_nothing_is_passed_on_until_the_next_key_frame() -> None:
    units = frames(60, keyframes=(0, 40))
    track = video()
    assert data_of(track, without(stream(units), {31})) == joined(units[:10] + units[40:])
    assert (track.stats.lost_packets, track.stats.dropped_units, track.stats.undecodable_units) == (1, 1, 29)


def test_damaged_video_may_be_written_but_never_a_part_of_a_frame() -> None:
    units = frames(60, keyframes=(0, 40))
    track = video(write_damaged=True)
    assert data_of(track, without(stream(units), {31})) == joined(units[:10] + units[11:])
    assert track.stats.undecodable_units == 0
    assert track.stats.plis >= 1, "a key frame is asked for all the same"


def test_damaged_video_begins_with_a_key_frame_all_the_same() -> None:
    units = frames(10, keyframes=(4,))
    assert data_of(video(write_damaged=True), stream(units)) == joined(units)[4:]


def test_video_waits_for_a_key_frame_after_a_malformed_payload() -> None:
    units = frames(20, keyframes=(0, 12))
    packets = stream(units)
    packets[15] = replace(packets[15], payload=b"\x90\x80")
    track = video()
    assert data_of(track, packets) == joined(units[:5] + units[12:])
    assert track.stats.malformed_payloads == 1
    assert track.stats.dropped_units == 1


class Silent:
    """A depacketizer that drops a unit without an error when it returns the complete one before it."""

    def __init__(self) -> None:
        self.dropped_units = 0
        self.is_open = self.is_awaited = False

    def push(self, packet: RtpPacket) -> AccessUnit | None:
        """Count a dropped unit if the payload says so."""
        self.dropped_units += packet.payload == b"key, then a drop"
        return AccessUnit(packet.timestamp, packet.payload, packet.payload.startswith(b"key"), packet.arrival_ns)

    def lost(self, count: int) -> None:
        """Do nothing."""

    def discontinuity(self) -> None:
        """Do nothing."""

    def expire(self, now_ns: int) -> AccessUnit | None:
        """Return None: no unit is incomplete."""
        return None

    def flush(self) -> AccessUnit | None:
        """Return None: no unit is incomplete."""
        return None


def test_after_a_unit_that_is_dropped_without_an_error_the_track_waits_for_a_key_frame() -> None:
    codec = replace(CODECS["VP8"], depacketizer=lambda *_: Silent())
    payloads = [b"key", b"1", b"key, then a drop", b"2", b"3", b"key 4", b"5"]
    track = Track("video", codec, 1)
    assert data_of(track, stream([[payload] for payload in payloads])) == [*payloads[:3], *payloads[5:]]
    assert track.stats.dropped_units == 1


def test_audio_waits_for_no_key_frame() -> None:
    packets = stream([[opus(n)] for n in range(50)], step=960, interval_ns=20 * NS_PER_MS)
    track = audio()
    assert data_of(track, without(packets, {7, 8})) == [opus(n) for n in range(50) if n not in {7, 8}]
    assert track.stats.plis == 0
    assert track.stats.lost_packets == track.stats.dropped_units == 2


# Key frame requests


def test_a_key_frame_request_is_repeated_until_it_arrives() -> None:
    units = frames(90, keyframes=(80,))
    track = video()
    played(track, stream(units))
    assert track.stats.plis == 6, "from 0 s to 2.67 s, one each 0.5 s"


def test_a_new_file_requests_a_key_frame_with_the_delay_of_the_source() -> None:
    track = video(spread_ns=70 * NS_PER_MS)
    played(track, stream(frames(10)), flush=False)
    track.request_keyframe(5 * NS_PER_S)
    asked = [ms for ms in range(0, 1000, 10) if track.is_pli_due(5 * NS_PER_S + ms * NS_PER_MS)]
    assert asked == [70, 70 + KEYFRAME_RETRY_NS // NS_PER_MS]


def test_no_key_frame_is_requested_for_audio() -> None:
    track = audio()
    track.request_keyframe(5)
    assert not track.is_pli_due(5)


def test_a_key_frame_is_requested_while_the_missing_packet_is_still_expected() -> None:
    track = video()
    played(track, stream(frames(10)), flush=False)
    (packet,) = stream([vp8(10, is_keyframe=False)[:1]], first_sequence=1031, start_ns=2 * NS_PER_S)
    track.receive(packet)
    track.tick(2 * NS_PER_S + PLI_DELAY_NS - 1)
    assert not track.is_pli_due(2 * NS_PER_S + PLI_DELAY_NS - 1)
    track.tick(2 * NS_PER_S + PLI_DELAY_NS)
    assert track.is_pli_due(2 * NS_PER_S + PLI_DELAY_NS)
