"""Real encoded clips, packetized and put together again, of every video row of the table."""

from collections.abc import Callable
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rokuga.recorder.codecs.table import CODECS
from rokuga.recorder.media import RtpPacket
from tests.recorder.codecs import clips, packetize
from tests.recorder.codecs.feed import fed

START_CODE = b"\x00\x00\x00\x01"
Packetizer = Callable[[bytes], list[bytes]]


def as_annex_b(unit: bytes) -> bytes:
    return START_CODE + START_CODE.join(packetize.nal_units(unit))


def without_delimiters(unit: bytes) -> bytes:
    return b"".join(obu for obu in packetize.obus(unit) if obu[0] >> 3 & 15 != 2)


def as_is(unit: bytes) -> bytes:
    return unit


FORMS: dict[str, tuple[str, Packetizer, Callable[[bytes], bytes]]] = {
    "VP8": ("VP8", packetize.vp8, as_is),
    "VP8 with all extensions": ("VP8", lambda u: packetize.vp8(u, extension=b"\xf0\x81\x23\x07\x45"), as_is),
    "VP9": ("VP9", packetize.vp9, as_is),
    "VP9 with one layer named": ("VP9", lambda u: packetize.vp9_layers([u], is_key=not u[0] & 4), as_is),
    "AV1": ("AV1", packetize.av1, without_delimiters),
    "AV1 with sizes kept": ("AV1", lambda u: packetize.av1(u, keep_sizes=True), without_delimiters),
    "AV1 with every element's length": ("AV1", lambda u: packetize.av1(u, counted=False), without_delimiters),
    "AV1 in small packets": ("AV1", lambda u: packetize.av1(u, size=40), without_delimiters),
    "H264": ("H264", lambda u: packetize.h264(packetize.nal_units(u)), as_annex_b),
    "H264 mode 0": (
        "H264",
        lambda u: packetize.h264(packetize.nal_units(u), size=1 << 20, aggregate=False),
        as_annex_b,
    ),
}
every_form = pytest.mark.parametrize("form", FORMS)


def units_of(form: str, *, marker: bool = True) -> tuple[str, list[list[RtpPacket]], list[bytes]]:
    """The codec's name, packets by unit, and the bytes that must come out."""
    name, packetizer, stored = FORMS[form]
    clip = clips.encoded(name)
    return name, packetize.packets([packetizer(unit) for unit in clip], marker=marker), [stored(u) for u in clip]


def flat(units: list[list[RtpPacket]]) -> list[RtpPacket]:
    return list(chain.from_iterable(units))


@every_form
def test_what_an_encoder_made_is_returned_byte_for_byte_with_key_frames_and_sizes(form: str) -> None:
    name, units, expected = units_of(form)
    depacketizer = CODECS[name].depacketizer({})
    out = fed(depacketizer, flat(units), flush=False)
    assert [unit.data for unit in out] == expected
    assert [(i, u.width, u.height) for i, u in enumerate(out) if u.is_keyframe] == [(0, 320, 180), (12, 320, 180)]
    assert [unit.rtp_time for unit in out] == [3000 * i for i in range(24)]
    assert [unit.arrival_ns for unit in out] == [unit[0].arrival_ns for unit in units]
    assert depacketizer.dropped_units == 0
    assert depacketizer.flush() is None


@pytest.mark.parametrize("name", ["VP8", "VP9", "AV1", "H264"])
def test_what_is_returned_decodes_to_every_picture(name: str) -> None:
    _, units, _ = units_of(name)
    frames = clips.decoded(name, [unit.data for unit in fed(CODECS[name].depacketizer({}), flat(units))])
    assert [(frame.width, frame.height) for frame in frames] == [(320, 180)] * 24
    assert clips.differs(frames)


@every_form
def test_without_markers_the_next_time_ends_a_unit_and_flush_gives_the_last(form: str) -> None:
    name, units, expected = units_of(form, marker=False)
    depacketizer = CODECS[name].depacketizer({})
    out = fed(depacketizer, flat(units), flush=False)
    if form == "VP9":  # whose last packet says that it is the last
        assert [unit.data for unit in out] == expected
    else:
        assert [unit.data for unit in out] == expected[:-1]
        last = depacketizer.flush()
        assert last is not None
        assert last.data == expected[-1]
    assert depacketizer.flush() is None
    assert depacketizer.dropped_units == 0


@every_form
@given(data=st.data())
@settings(max_examples=15)
def test_one_lost_packet_costs_exactly_its_unit(form: str, data: st.DataObject) -> None:
    name, units, expected = units_of(form)
    lost = data.draw(st.integers(0, sum(map(len, units)) - 1))
    packets: list[RtpPacket | None] = list(flat(units))
    touched = next(i for i, unit in enumerate(units) if unit[0].sequence <= lost <= unit[-1].sequence)
    packets[lost] = None
    depacketizer = CODECS[name].depacketizer({})
    out = fed(depacketizer, packets)
    assert [unit.data for unit in out] == expected[:touched] + expected[touched + 1 :]
    single = len(units[touched]) == 1  # such a unit leaves no trace of itself
    assert depacketizer.dropped_units == (0 if single else 1)


@every_form
@given(data=st.data())
@settings(max_examples=15)
def test_any_loss_costs_no_untouched_unit_and_lets_no_touched_one_out(form: str, data: st.DataObject) -> None:
    name, units, expected = units_of(form)
    lost = data.draw(st.sets(st.integers(0, sum(map(len, units)) - 1), max_size=20))
    whole = [data for data, unit in zip(expected, units, strict=True) if not lost & {p.sequence for p in unit}]
    packets = [None if packet.sequence in lost else packet for packet in flat(units)]
    out = [unit.data for unit in fed(CODECS[name].depacketizer({}), packets)]
    assert out == whole


@every_form
def test_a_unit_cut_off_by_the_end_is_not_returned(form: str) -> None:
    name, units, expected = units_of(form)
    if len(units[12]) == 1:
        return
    depacketizer = CODECS[name].depacketizer({})
    out = fed(depacketizer, flat(units[:12]) + units[12][:-1])
    assert [unit.data for unit in out] == expected[:12]
    assert depacketizer.dropped_units == 1


@every_form
def test_joined_in_the_middle_of_a_unit_it_begins_with_the_next(form: str) -> None:
    name, units, expected = units_of(form)
    if len(units[0]) == 1:
        return
    out = fed(CODECS[name].depacketizer({}), flat(units)[1:])
    assert [unit.data for unit in out] == expected[1:]


@every_form
def test_a_unit_of_any_number_of_packets_is_complete(form: str) -> None:
    """Key frames of 85 to 300 packets and more come out byte for byte."""
    name, packetizer, stored = FORMS[form]
    if form == "H264 mode 0":
        return
    clip = clips.encoded(name, 1280, 720, 3, (0,))
    units = packetize.packets([packetizer(unit) for unit in clip])
    assert len(units[0]) > 85
    out = fed(CODECS[name].depacketizer({}), flat(units))
    assert [unit.data for unit in out] == [stored(unit) for unit in clip]


@pytest.mark.parametrize("name", ["VP8", "VP9", "H264"])
def test_padding_between_units_is_not_lost(name: str) -> None:
    """P0-P2 of one picture, P3-P4 padding only with its time, P5-P6 of the next."""
    _, units, expected = units_of(name)
    first, second = units[0], units[1]
    padding = [RtpPacket(96, False, first[-1].sequence + 1 + i, 0, 1, b"", 0) for i in range(2)]
    depacketizer = CODECS[name].depacketizer({})
    out = fed(depacketizer, first + padding + second)
    assert [unit.data for unit in out] == expected[:2]
    assert depacketizer.dropped_units == 0


@pytest.mark.parametrize("name", ["VP8", "VP9"])
def test_sizes_follow_the_bitstream(name: str) -> None:
    """640x480, 480x360, 320x240 and back, each told by its key frame."""
    sizes = [(640, 480), (480, 360), (320, 240), (640, 480)]
    clip = [unit for w, h in sizes for unit in clips.encoded(name, w, h, 3, (0,))]
    packetizer = FORMS[name][1]
    out = fed(CODECS[name].depacketizer({}), flat(packetize.packets([packetizer(unit) for unit in clip])))
    assert [unit.data for unit in out] == clip
    assert [(unit.width, unit.height) for unit in out if unit.is_keyframe] == sizes
    frames = clips.decoded(name, [unit.data for unit in out])
    assert [(frame.width, frame.height) for frame in frames] == [size for size in sizes for _ in range(3)]
