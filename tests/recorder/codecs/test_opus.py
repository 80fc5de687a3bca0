"""Opus payloads (RFC 7587) and the bytes at their beginning (RFC 6716 section 3)."""

import av
import pytest

from rokuga.recorder.codecs import opus
from rokuga.recorder.codecs.depacketizer import PayloadError
from tests.recorder.codecs.feed import packet


@pytest.mark.parametrize(
    ("config", "frame_us"),
    [
        *((config, us) for base in (0, 4, 8) for config, us in enumerate((10_000, 20_000, 40_000, 60_000), base)),
        *((config, us) for base in (12, 14) for config, us in enumerate((10_000, 20_000), base)),
        *(
            (config, us)
            for base in (16, 20, 24, 28)
            for config, us in enumerate((2_500, 5_000, 10_000, 20_000), base)
        ),
    ],
)
def test_the_toc_byte_tells_the_duration(config: int, frame_us: int) -> None:
    """RFC 6716 table 2, with frame counts 0, 1, 2 (two frames) and 3 (counted)."""
    assert opus.packet_duration_ns(bytes((config << 3,))) == frame_us * 1000
    assert opus.packet_duration_ns(bytes((config << 3 | 1,))) == 2 * frame_us * 1000
    assert opus.packet_duration_ns(bytes((config << 3 | 2,))) == 2 * frame_us * 1000
    most = 120_000 // frame_us
    assert opus.packet_duration_ns(bytes((config << 3 | 3, 0xC0 | most))) == most * frame_us * 1000
    for count in (0, most + 1):
        with pytest.raises(PayloadError):
            opus.packet_duration_ns(bytes((config << 3 | 3, count)))


@pytest.mark.parametrize("data", [b"", b"\x03"])
def test_a_packet_that_ends_before_its_count_is_an_error(data: bytes) -> None:
    with pytest.raises(PayloadError):
        opus.packet_duration_ns(data)


@pytest.mark.parametrize("data", [b"\x78", b"\x7c\x01", b"\x78" + bytes(80), b"\x7b\x02ab"])
def test_every_packet_is_a_unit_as_it_is_dtx_too(data: bytes) -> None:
    unit = opus.OpusDepacketizer().push(packet(data, 960))
    assert unit is not None
    assert (unit.data, unit.rtp_time, unit.is_keyframe) == (data, 960, True)


def test_an_empty_payload_is_ignored_and_a_broken_one_is_an_error_that_is_counted() -> None:
    """A padding-only Opus packet is no block."""
    depacketizer = opus.OpusDepacketizer()
    assert depacketizer.push(packet(b"")) is None
    assert depacketizer.dropped_units == 0
    with pytest.raises(PayloadError):
        depacketizer.push(packet(b"\x03"))
    depacketizer.lost(2)
    assert depacketizer.dropped_units == 3
    assert depacketizer.flush() is None


@pytest.mark.parametrize("layout", ["mono", "stereo"])
@pytest.mark.parametrize("milliseconds", ["2.5", "10", "20", "60"])
def test_an_encoders_packets_tell_their_duration(layout: str, milliseconds: str) -> None:
    codec = av.CodecContext.create("libopus", "w")
    assert isinstance(codec, av.AudioCodecContext)
    codec.sample_rate, codec.layout, codec.format = 48_000, layout, "s16"
    codec.options = {"frame_duration": milliseconds}
    codec.open()
    frame = av.AudioFrame("s16", layout, codec.frame_size)
    frame.sample_rate = 48_000
    data = b"".join(bytes(found) for found in [*codec.encode(frame), *codec.encode(None)][:1])
    assert opus.packet_duration_ns(data) == round(float(milliseconds) * 1_000_000)


def test_opus_head_is_as_in_soras_files() -> None:
    """19 bytes: version 1, 2 channels, pre-skip 0, 48000 Hz, gain 0, family 0."""
    assert opus.opus_head() == bytes.fromhex("4f7075734865616401020000 80bb0000 0000 00")
    assert opus.opus_head(1)[9] == 1
