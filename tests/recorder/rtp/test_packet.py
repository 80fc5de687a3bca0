"""RTP packets from and to the wire."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rokuga.recorder.media import RtpPacket
from rokuga.recorder.rtp.packet import RtpError, build_rtp, is_rtcp, parse_rtp, unwrap_rtx

HEADER = bytes.fromhex("80 e0 1234 89abcdef 01020304")
PACKET = RtpPacket(96, True, 0x1234, 0x89ABCDEF, 0x01020304, b"media", 7)

PACKETS = st.builds(
    RtpPacket,
    payload_type=st.integers(0, 127),
    marker=st.booleans(),
    sequence=st.integers(0, 0xFFFF),
    timestamp=st.integers(0, 0xFFFFFFFF),
    ssrc=st.integers(0, 0xFFFFFFFF),
    payload=st.binary(max_size=50),
    arrival_ns=st.integers(0, 2**63),
)


def with_first(first: int, rest: bytes) -> bytes:
    return bytes((first,)) + HEADER[1:] + rest


def test_the_fixed_header_is_read() -> None:
    assert parse_rtp(HEADER + b"media", 7) == PACKET


def test_sources_that_a_mixer_named_are_left_out() -> None:
    assert parse_rtp(with_first(0x82, bytes(8) + b"media"), 7) == PACKET


@pytest.mark.parametrize("profile", ["bede", "1000"], ids=["one-byte headers", "two-byte headers"])
def test_a_header_extension_of_any_profile_is_left_out(profile: str) -> None:
    assert parse_rtp(with_first(0x90, bytes.fromhex(profile + "0002") + bytes(8) + b"media"), 7) == PACKET


def test_an_extension_of_more_than_255_words_is_left_out() -> None:
    assert parse_rtp(with_first(0x90, bytes.fromhex("bede0101") + bytes(4 * 257) + b"media"), 7) == PACKET


def test_padding_is_removed() -> None:
    assert parse_rtp(with_first(0xA0, b"media\0\0\x03"), 7) == PACKET


def test_sources_extension_and_padding_come_together() -> None:
    data = with_first(0xB1, bytes(4) + bytes.fromhex("bede0001 10000000") + b"media" + bytes(19) + b"\x14")
    assert parse_rtp(data, 7) == PACKET


@pytest.mark.parametrize("size", [1, 20, 255])
def test_a_packet_of_padding_alone_has_an_empty_payload(size: int) -> None:
    assert parse_rtp(with_first(0xA0, bytes(size - 1) + bytes((size,))), 7) == replace(PACKET, payload=b"")


def test_a_packet_without_payload_is_a_packet() -> None:
    assert parse_rtp(HEADER, 7).payload == b""


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(HEADER[:11], id="a header cut short"),
        pytest.param(with_first(0x00, b"media"), id="version 0"),
        pytest.param(with_first(0x40, b"media"), id="version 1"),
        pytest.param(with_first(0xC0, b"media"), id="version 3"),
        pytest.param(with_first(0x8F, bytes(59)), id="15 sources cut short"),
        pytest.param(with_first(0x90, bytes.fromhex("bede00")), id="the extension's header cut short"),
        pytest.param(with_first(0x90, bytes.fromhex("bede0002") + bytes(7)), id="the extension cut short"),
        pytest.param(with_first(0x90, bytes.fromhex("bedeffff") + bytes(900)), id="an extension of 256 KiB"),
        pytest.param(with_first(0xA0, b""), id="padding in nothing"),
        pytest.param(with_first(0xA0, b"media\0"), id="padding of 0 bytes"),
        pytest.param(with_first(0xA0, b"media\x07"), id="padding that begins in the header"),
        pytest.param(with_first(0xB0, bytes.fromhex("bede0001 00000004")), id="padding in the extension"),
    ],
)
def test_what_is_no_packet_is_refused(data: bytes) -> None:
    with pytest.raises(RtpError):
        parse_rtp(data, 0)


@given(PACKETS, st.none() | st.binary(max_size=40))
def test_what_was_written_is_read(packet: RtpPacket, extensions: bytes | None) -> None:
    assert parse_rtp(build_rtp(packet, extensions), packet.arrival_ns) == packet


def test_unwrapped_numbers_are_written_at_the_width_of_the_wire() -> None:
    packet = replace(PACKET, sequence=PACKET.sequence + (3 << 16), timestamp=PACKET.timestamp + (1 << 32))
    assert build_rtp(packet) == HEADER + b"media"


@given(
    st.binary(max_size=80)
    | st.tuples(st.integers(0x80, 0xBF), st.binary(min_size=11, max_size=80)).map(
        lambda parts: bytes((parts[0],)) + parts[1]
    )
)
def test_any_bytes_are_a_packet_or_an_error(data: bytes) -> None:
    try:
        packet = parse_rtp(data, 0)
    except RtpError:
        return
    assert packet.payload in data
    assert len(packet.payload) <= len(data) - 12


@pytest.mark.parametrize(
    ("second", "is_control"),
    [(96, False), (127, False), (191, False), (192, True), (200, True), (206, True), (223, True), (224, False)],
)
def test_rtcp_is_recognised_by_its_second_byte(second: int, *, is_control: bool) -> None:
    assert is_rtcp(bytes((0x80, second, 0, 0))) is is_control


@pytest.mark.parametrize("data", [b"", b"\x80"])
def test_too_few_bytes_are_not_rtcp(data: bytes) -> None:
    assert not is_rtcp(data)


def test_a_retransmission_is_the_packet_that_it_carries() -> None:
    rtx = replace(PACKET, payload_type=97, ssrc=9, sequence=5, payload=b"\x12\x34media")
    assert unwrap_rtx(rtx, 96, 0x01020304) == PACKET


def test_the_retransmission_of_a_packet_without_payload_has_its_number() -> None:
    rtx = replace(PACKET, payload_type=97, ssrc=9, sequence=5, payload=b"\x12\x34")
    assert unwrap_rtx(rtx, 96, 0x01020304) == replace(PACKET, payload=b"")


def test_a_probe_carries_no_packet_and_stays_of_the_rtx_stream() -> None:
    probe = replace(PACKET, payload_type=97, ssrc=9, payload=b"")
    assert unwrap_rtx(probe, 96, 0x01020304) == probe


def test_a_retransmission_without_its_number_is_refused() -> None:
    with pytest.raises(RtpError):
        unwrap_rtx(replace(PACKET, payload=b"\x12"), 96, 1)
