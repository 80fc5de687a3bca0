"""VP8 payloads (RFC 7741)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rokuga.recorder.codecs import vp8
from rokuga.recorder.codecs.assembly import START
from rokuga.recorder.codecs.depacketizer import PayloadError
from tests.recorder.codecs.feed import ended, packet

KEY = b"\x10\x02\x00\x9d\x01\x2a\x80\x02\xe0\x01rest"  # 640x480, RFC 6386 section 9.1


def descriptors() -> st.SearchStrategy[bytes]:
    """Every form of RFC 7741 section 4.2."""
    short_id = st.integers(0, 127).map(lambda n: bytes((n,)))
    long_id = st.integers(0, 32767).map(lambda n: bytes((0x80 | n >> 8, n & 255)))

    def build(first: int, extended: bool, picture_id: bytes, tl0: bytes, key: bytes, tk: int) -> bytes:
        if not extended:
            return bytes((first & 0x7F,))
        flags = (0x80 if picture_id else 0) | (0x40 if tl0 else 0) | (tk if key else 0)
        return bytes((first | 0x80, flags)) + picture_id + tl0 + key

    byte = st.one_of(st.just(b""), st.binary(min_size=1, max_size=1))
    return st.builds(
        build,
        st.integers(0, 0x37),
        st.booleans(),
        st.one_of(st.just(b""), short_id, long_id),
        byte,
        byte,
        st.sampled_from([0x20, 0x10, 0x30]),
    )


@given(descriptor=descriptors(), data=st.binary(min_size=1, max_size=20))
def test_what_follows_any_descriptor_is_the_frame(descriptor: bytes, data: bytes) -> None:
    assert vp8.parse_payload(descriptor + data)[1] == data


@given(descriptor=descriptors())
def test_a_descriptor_cut_at_any_byte_is_an_error(descriptor: bytes) -> None:
    for length in range(len(descriptor) + 1):
        with pytest.raises(PayloadError):
            vp8.parse_payload(descriptor[:length])


@pytest.mark.parametrize(
    ("first", "begins"), [(0x10, True), (0x30, True), (0x11, False), (0x00, False), (0x17, False), (0x01, False)]
)
def test_only_the_start_of_partition_0_begins_a_frame(first: int, begins: bool) -> None:
    assert bool(vp8.parse_payload(bytes((first, 1)))[0] & START) is begins


def test_a_key_frame_and_its_size_are_read_from_the_frame_tag_without_scaling_bits() -> None:
    unit = ended(vp8.depacketizer({}), packet(b"\x10" + KEY[:6] + b"\x80\x42\xe0\xc1rest", marker=True))
    assert unit is not None
    assert (unit.is_keyframe, unit.width, unit.height) == (True, 640, 480)


@pytest.mark.parametrize("length", range(1, 10))
def test_a_key_frame_cut_within_its_header_is_an_error(length: int) -> None:
    with pytest.raises(PayloadError):
        ended(vp8.depacketizer({}), packet(b"\x10" + KEY[:length], marker=True))


@pytest.mark.parametrize("frame", [KEY.replace(b"\x9d", b"\x9c"), KEY.replace(b"\x80\x02", b"\x00\xc0")])
def test_a_key_frame_without_start_code_or_size_is_an_error(frame: bytes) -> None:
    with pytest.raises(PayloadError):
        ended(vp8.depacketizer({}), packet(b"\x10" + frame, marker=True))


def test_two_frames_at_one_time_are_an_error() -> None:
    depacketizer = vp8.depacketizer({})
    depacketizer.push(packet(b"\x10" + KEY))
    with pytest.raises(PayloadError, match="two"):
        ended(depacketizer, packet(b"\x10" + KEY, marker=True))
