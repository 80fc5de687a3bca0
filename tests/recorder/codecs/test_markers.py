"""A unit is what shares an RTP time, wherever the marker bits stand: of every video format, under loss as well."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rokuga.recorder.codecs import h264, vp8, vp9
from rokuga.recorder.codecs.assembly import MARKED_NS, UNMARKED_NS, UnitAssembler
from rokuga.recorder.codecs.depacketizer import PayloadError
from rokuga.recorder.codecs.table import CODECS
from rokuga.recorder.media import NS_PER_S, RtpPacket
from tests.recorder.codecs import clips, packetize
from tests.recorder.codecs.feed import fed, packet
from tests.recorder.codecs.test_round_trip import FORMS, as_annex_b, every_form, flat, units_of

SLICE, LATER_SLICE, SPS_BYTE = b"\x41\x9a", b"\x41\x3a", 0x67
PLACES: dict[str, Callable[[int, int], bool]] = {
    "never": lambda place, count: False,
    "on every packet": lambda place, count: True,
    "on the first packet": lambda place, count: not place,
    "on all but the last packet": lambda place, count: place < count - 1,
}


def marked(units: list[list[RtpPacket]], is_marked: Callable[[int, int], bool]) -> list[list[RtpPacket]]:
    """Put the marker bits where a function of the place in the unit and the unit's packets says."""
    return [[replace(each, marker=is_marked(i, len(unit))) for i, each in enumerate(unit)] for unit in units]


@every_form
@pytest.mark.parametrize("place", PLACES)
def test_units_are_complete_wherever_the_marker_bit_stands(form: str, place: str) -> None:
    name, units, expected = units_of(form)
    depacketizer = CODECS[name].depacketizer({})
    out = fed(depacketizer, flat(marked(units, PLACES[place])))
    assert [unit.data for unit in out] == expected
    assert [unit.rtp_time for unit in out] == [3000 * i for i in range(24)]
    assert depacketizer.dropped_units == 0


@pytest.mark.parametrize("slices", [4, 7])
@pytest.mark.parametrize("kinds", [{1, 5}, {1, 5, 6, 7, 8}, set()], ids=["slice", "NAL unit", "nothing"])
def test_pictures_of_several_slices_are_one_unit_each_if_the_marker_ends_each(slices: int, kinds: set[int]) -> None:
    """https://github.com/pikvm/ustreamer/pull/119: the marker bit at the end of each slice, not of each picture."""
    clip = clips.encoded_slices(slices)
    packets: list[RtpPacket] = []
    for number, unit in enumerate(clip):
        for nal_unit in packetize.nal_units(unit):
            payloads = packetize.h264([nal_unit], size=300, aggregate=False)
            for place, payload in enumerate(payloads, 1):
                marker = place == len(payloads) and nal_unit[0] & 31 in kinds
                packets.append(RtpPacket(96, marker, len(packets), number * 3000, 1, payload, 0))
    out = fed(h264.depacketizer({}), packets)
    assert [unit.data for unit in out] == [as_annex_b(unit) for unit in clip]
    assert [sum(each[0] & 31 in {1, 5} for each in packetize.nal_units(unit.data)) for unit in out] == [slices] * 24
    assert [place for place, unit in enumerate(out) if unit.is_keyframe] == [0, 12]
    assert len(clips.decoded("H264", [unit.data for unit in out])) == 24


@every_form
@given(data=st.data())
@settings(max_examples=20)
def test_any_marker_bits_change_nothing(form: str, data: st.DataObject) -> None:
    name, units, expected = units_of(form)
    count = sum(map(len, units))
    bits = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    packets = [replace(each, marker=bits[each.sequence]) for each in flat(units)]
    packets[-1].marker = True  # without it, the last unit might as well have been cut off
    assert [unit.data for unit in fed(CODECS[name].depacketizer({}), packets)] == expected


@every_form
@given(data=st.data())
@settings(max_examples=30)
def test_any_marker_bits_and_any_loss_let_no_touched_unit_out_and_cost_only_neighbours(
    form: str, data: st.DataObject
) -> None:
    """The first unit came whole, with markers that showed what its sender's are worth."""
    name, units, expected = units_of(form)
    count = sum(map(len, units))
    begin = len(units[0])
    bits = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    lost = data.draw(st.sets(st.integers(begin, count - 1), max_size=20))
    packets: list[RtpPacket | None] = [
        None if each.sequence in lost else replace(each, marker=each.sequence < begin or bits[each.sequence])
        for each in flat(units)
    ]
    touched = [bool(lost & {each.sequence for each in unit}) for unit in units]
    out = [unit.data for unit in fed(CODECS[name].depacketizer({}), packets)]
    whole = [each for each, is_touched in zip(expected, touched, strict=True) if not is_touched]
    assert [each for each in whole if each in out] == out, "nothing torn, and all in order"
    for number, each in enumerate(expected):
        if not any(touched[max(number - 1, 0) : number + 2]):
            assert each in out


@pytest.mark.parametrize("form", [form for form in FORMS if FORMS[form][0] in {"VP8", "H264"}])
def test_a_unit_with_early_markers_that_is_torn_in_the_middle_is_not_returned_though_it_is_the_first(
    form: str,
) -> None:
    name, units, expected = units_of(form)
    packets: list[RtpPacket | None] = list(flat(marked(units, PLACES["on every packet"])))
    if len(units[0]) < 3:
        return
    packets[1] = None
    assert [unit.data for unit in fed(CODECS[name].depacketizer({}), packets)] == expected[1:]


# When nothing follows


def test_a_unit_with_its_marker_is_complete_when_nothing_has_followed_for_a_moment() -> None:
    depacketizer = h264.depacketizer({})
    fed(depacketizer, [packet(SLICE, 0), packet(SLICE, 3000)])
    depacketizer.push(packet(SLICE, 6000, marker=True))
    now_ns = NS_PER_S
    assert depacketizer.expire(now_ns) is None
    assert depacketizer.expire(now_ns + MARKED_NS - 1) is None
    depacketizer.push(packet(LATER_SLICE, 6000, marker=True))
    assert depacketizer.expire(now_ns + MARKED_NS) is None, "it has grown"
    assert depacketizer.expire(now_ns + MARKED_NS + UNMARKED_NS - 1) is None, "its markers say nothing"
    unit = depacketizer.expire(now_ns + MARKED_NS + UNMARKED_NS)
    assert unit is not None
    assert unit.data.count(b"\x00\x00\x00\x01") == 2
    with pytest.raises(PayloadError, match="out"):
        depacketizer.push(packet(LATER_SLICE, 6000, marker=True))
    assert depacketizer.dropped_units == 1


def test_a_unit_of_a_sender_without_markers_is_complete_when_nothing_has_followed_for_long() -> None:
    depacketizer = vp8.depacketizer({})
    depacketizer.push(packet(b"\x10\x01a", 0))
    assert depacketizer.expire(0) is None
    assert depacketizer.expire(UNMARKED_NS - 1) is None
    unit = depacketizer.expire(UNMARKED_NS)
    assert unit is not None
    assert unit.data == b"\x01a"
    assert not depacketizer.is_open


def is_awaited(depacketizer: UnitAssembler) -> bool:
    """Ask anew: a type checker takes a property for something that stays."""
    return depacketizer.is_awaited


def test_a_unit_without_the_marker_that_its_sender_sets_is_awaited_no_longer_but_may_be_completed() -> None:
    depacketizer = vp8.depacketizer({})
    depacketizer.push(packet(b"\x10\x01a", 0, marker=True))
    depacketizer.push(packet(b"\x10\x01b", 3000))
    states = []
    for now_ns in (0, UNMARKED_NS - 1, UNMARKED_NS):
        assert depacketizer.expire(now_ns) is None
        states.append((depacketizer.is_open, depacketizer.is_awaited))
    depacketizer.push(packet(b"\x00c", 3000, marker=True))
    states.append((depacketizer.is_open, depacketizer.is_awaited))
    assert states == [(True, True), (True, True), (True, False), (True, True)]
    unit = depacketizer.flush()
    assert unit is not None
    assert unit.data == b"\x01bc"


def test_what_settles_without_being_a_unit_is_counted() -> None:
    depacketizer = vp8.depacketizer({})
    depacketizer.push(packet(b"\x10\x00short", 0, marker=True))
    assert depacketizer.expire(0) is None
    assert depacketizer.expire(MARKED_NS) is None
    assert not depacketizer.is_open
    assert depacketizer.dropped_units == 1


# What the payload format says itself


def test_vp9_ends_a_picture_of_one_layer_by_its_e_bit_at_once_and_before_any_loss() -> None:
    depacketizer = vp9.depacketizer({})
    key, *rest = clips.encoded("VP9")
    (payload,) = packetize.vp9(key, size=1 << 20)
    unit = depacketizer.push(packet(payload, 0))
    assert unit is not None
    assert unit.data == key
    depacketizer.lost(5)
    (payload,) = packetize.vp9(rest[0], size=1 << 20)
    assert depacketizer.push(packet(payload, 3000)) is not None
    assert depacketizer.dropped_units == 0


@pytest.mark.parametrize("name", ["VP8", "VP9", "H264"])
def test_two_pictures_of_one_time_are_two_units_if_the_first_one_ended_by_its_marker(name: str) -> None:
    """As senders whose time stands still have them; their picture's beginning is told by the payload format."""
    _, units, expected = units_of(name)
    pictures = [[replace(each, timestamp=0) for each in unit] for unit in units[1:6]]
    packets = [*units[0], *[replace(each, timestamp=0) for each in flat(pictures)]]
    assert [unit.data for unit in fed(CODECS[name].depacketizer({}), packets)] == expected[:6]
