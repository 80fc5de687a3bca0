"""Payloads: exact descriptors, and the depacketizers of the recorder restore the units."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rokuga.devtools.publisher.clip import ClipTrack, ClipUnit, read_clip
from rokuga.devtools.publisher.packetizer import MAX_PAYLOAD_BYTES, PACKETIZERS
from rokuga.recorder.codecs.table import CODECS
from rokuga.recorder.media import RtpPacket

CLIPS = Path(__file__).parent.parent.parent.parent / "media-samples"
TRACK = ClipTrack("VP9", [], 640, 360)
MAX_DESCRIPTOR_BYTES = 8


@pytest.mark.parametrize(
    ("unit", "number", "descriptors"),
    [
        (ClipUnit(bytes(2500), 0, True), 0, ["9b 80 00 10 02 80 01 68", "91 80 00", "95 80 00"]),
        (ClipUnit(bytes(2500), 0, False), 0x7FFF, ["d9 ff ff 02", "d1 ff ff 02", "d5 ff ff 02"]),
        (ClipUnit(bytes(10), 0, True), 1, ["9f 80 01 10 02 80 01 68"]),
        (ClipUnit(bytes(10), 0, False), 0x8000, ["dd 80 00 02"]),
    ],
)
def test_vp9_descriptors_are_those_of_libwebrtc(unit: ClipUnit, number: int, descriptors: list[str]) -> None:
    """RFC 9628 section 4.2: I, F and Z always; P, B, E, V where they belong; the picture number wraps at 15 bits."""
    payloads = PACKETIZERS["VP9"](TRACK, unit, number)
    expected = [bytes.fromhex(descriptor) for descriptor in descriptors]
    assert [payload[: len(head)] for payload, head in zip(payloads, expected, strict=True)] == expected


@pytest.mark.parametrize(
    ("size", "number", "descriptors"),
    [(2500, 5, ["90 80 80 05", "80 80 80 05", "80 80 80 05"]), (10, 0x8001, ["90 80 80 01"])],
)
def test_vp8_descriptors(size: int, number: int, descriptors: list[str]) -> None:
    """RFC 7741 section 4.2: X and I, S on the first."""
    payloads = PACKETIZERS["VP8"](TRACK, ClipUnit(bytes(size), 0, False), number)
    expected = [bytes.fromhex(descriptor) for descriptor in descriptors]
    assert [payload[: len(head)] for payload, head in zip(payloads, expected, strict=True)] == expected


@given(size=st.integers(1, 20_000), is_keyframe=st.booleans(), codec_type=st.sampled_from(["VP8", "VP9"]))
def test_pieces_fit_a_datagram_and_are_about_even(size: int, is_keyframe: bool, codec_type: str) -> None:
    """No piece is too large or empty, and there are no more than necessary."""
    payloads = PACKETIZERS[codec_type](TRACK, ClipUnit(bytes(size), 0, is_keyframe), 0)
    assert all(len(p) > MAX_DESCRIPTOR_BYTES or size < MAX_DESCRIPTOR_BYTES for p in payloads[:-1])
    assert max(map(len, payloads)) <= MAX_PAYLOAD_BYTES + MAX_DESCRIPTOR_BYTES
    assert len(payloads) == -(-size // MAX_PAYLOAD_BYTES)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("vp9-opus.webm", "video"), ("vp8-opus.webm", "video"), ("vp9.webm", "video"), ("opus.webm", "audio")],
)
def test_the_depacketizers_restore_the_clip(name: str, kind: str) -> None:
    """Every unit, byte for byte, with its key flag and its size."""
    track = read_clip(CLIPS / name).tracks["audio" if kind == "audio" else "video"]
    depacketizer = CODECS[track.codec_type].depacketizer({})
    units = []
    sequence = 0
    for number, unit in enumerate(track.units):
        payloads = PACKETIZERS[track.codec_type](track, unit, number)
        for place, payload in enumerate(payloads):
            packet = RtpPacket(96, place == len(payloads) - 1, sequence, number * 3000, 1, payload, 0)
            sequence += 1
            units += [found for found in [depacketizer.push(packet)] if found is not None]
    units += [found for found in [depacketizer.flush()] if found is not None]
    assert [unit.data for unit in units] == [unit.data for unit in track.units]
    assert [unit.is_keyframe for unit in units] == [unit.is_keyframe for unit in track.units]
    assert {(unit.width, unit.height) for unit in units if unit.is_keyframe and unit.width} <= {(640, 360)}
    assert depacketizer.dropped_units == 0
