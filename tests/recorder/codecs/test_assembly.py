"""When a unit begins, is whole, or is lost: shown with VP8, whose payloads are the simplest."""

import pytest

from rokuga.recorder.codecs import h264, vp8
from rokuga.recorder.codecs.assembly import MAX_UNIT_BYTES
from rokuga.recorder.codecs.depacketizer import PayloadError
from tests.recorder.codecs.feed import ended, fed, packet

BEGIN, GO_ON = b"\x10", b"\x00"
INTER = b"\x01"  # a frame tag with P set; the rest is of no matter here


def test_a_unit_without_marker_is_complete_at_the_next_time_and_both_are_returned_in_order() -> None:
    depacketizer = vp8.depacketizer({})
    assert depacketizer.push(packet(BEGIN + INTER + b"a", 0)) is None
    first = depacketizer.push(packet(BEGIN + INTER + b"b", 3000, marker=True))
    assert first is not None
    assert first.data == INTER + b"a"
    second = depacketizer.push(packet(BEGIN + INTER + b"c", 6000, marker=True))
    assert second is not None
    assert second.data == INTER + b"b"
    third = depacketizer.flush()
    assert third is not None
    assert third.data == INTER + b"c"
    assert depacketizer.dropped_units == 0


def test_a_unit_that_waits_is_given_although_the_next_packet_is_bad() -> None:
    depacketizer = vp8.depacketizer({})
    depacketizer.push(packet(BEGIN + INTER + b"a", 0))
    with pytest.raises(PayloadError) as raised:
        depacketizer.push(packet(b"\x80", 3000, marker=True))
    assert raised.value.unit is not None
    assert raised.value.unit.data == INTER + b"a"
    out = fed(depacketizer, [packet(BEGIN + INTER + b"c", 6000, marker=True)])
    assert [unit.data for unit in out] == [INTER + b"c"]
    assert depacketizer.dropped_units == 1


def test_a_bad_packet_costs_its_unit_only() -> None:
    depacketizer = vp8.depacketizer({})
    out = fed(
        depacketizer,
        [
            packet(BEGIN + INTER + b"a", 0, marker=True),
            packet(BEGIN + INTER + b"b", 3000),
            packet(b"\x80", 3000),
            packet(GO_ON + b"b", 3000, marker=True),
            packet(BEGIN + INTER + b"c", 6000, marker=True),
        ],
    )
    assert [unit.data for unit in out] == [INTER + b"a", INTER + b"c"]
    assert depacketizer.dropped_units == 1


def test_a_unit_larger_than_the_limit_is_dropped_with_an_error() -> None:
    depacketizer = vp8.depacketizer({})
    depacketizer.push(packet(BEGIN + INTER, 0))
    part = packet(GO_ON + bytes(MAX_UNIT_BYTES // 8), 0)
    for _ in range(7):
        assert depacketizer.push(part) is None
    assert depacketizer.push(packet(GO_ON + bytes(MAX_UNIT_BYTES // 8 - 1), 0)) is None
    with pytest.raises(PayloadError, match="more than"):
        depacketizer.push(packet(GO_ON + b"x", 0))
    assert depacketizer.push(packet(GO_ON + b"x", 0, marker=True)) is None
    assert ended(depacketizer, packet(BEGIN + INTER, 3000, marker=True)) is not None
    assert depacketizer.dropped_units == 1


def test_a_unit_that_never_began_is_an_error_without_loss_and_silence_after_one() -> None:
    depacketizer = vp8.depacketizer({})
    depacketizer.push(packet(BEGIN + INTER, 0, marker=True))
    with pytest.raises(PayloadError, match="beginning"):
        depacketizer.push(packet(GO_ON + b"x", 3000, marker=True))
    depacketizer.lost(1)
    assert depacketizer.push(packet(GO_ON + b"x", 6000, marker=True)) is None
    assert depacketizer.dropped_units == 2


def test_an_empty_payload_is_ignored() -> None:
    depacketizer = vp8.depacketizer({})
    depacketizer.push(packet(BEGIN + INTER + b"a", 0))
    assert depacketizer.push(packet(b"", 0)) is None
    unit = ended(depacketizer, packet(GO_ON + b"b", 0, marker=True))
    assert unit is not None
    assert unit.data == INTER + b"ab"


def test_flush_keeps_back_a_unit_whose_marker_never_came() -> None:
    depacketizer = vp8.depacketizer({})
    depacketizer.push(packet(BEGIN + INTER, 0, marker=True))
    depacketizer.push(packet(BEGIN + INTER, 3000))
    assert depacketizer.flush() is None
    assert depacketizer.dropped_units == 1


def test_after_a_flush_the_next_unit_is_not_mixed_with_the_old_one() -> None:
    depacketizer = vp8.depacketizer({})
    depacketizer.push(packet(BEGIN + INTER + b"a", 0))
    assert depacketizer.flush() is not None
    assert fed(depacketizer, [packet(BEGIN + INTER + b"b", 0, marker=True)])[0].data == INTER + b"b"


def test_a_single_lost_packet_that_was_the_units_last_does_not_cost_the_next_unit() -> None:
    """A PPS says nothing of where a unit begins; that just one packet is missing does."""
    idle = b"\x41\x9a"
    pps = b"\x68\xce\x38\x80"
    depacketizer = h264.depacketizer({})
    fed(depacketizer, [packet(idle, 0, marker=True)], flush=False)
    begun = [packet(idle, 3000), None]
    out = fed(depacketizer, [*begun, packet(pps, 6000), packet(idle, 6000, marker=True)], flush=False)
    assert [unit.rtp_time for unit in out] == [6000]
    begun = [packet(idle, 9000), None, None]
    assert fed(depacketizer, [*begun, packet(pps, 12000), packet(idle, 12000, marker=True)], flush=False) == []


def test_two_losses_in_a_row_are_more_than_one_packet() -> None:
    depacketizer = h264.depacketizer({})
    fed(depacketizer, [packet(b"\x41\x9a", 0, marker=True), packet(b"\x41\x9a", 3000)], flush=False)
    depacketizer.lost(1)
    depacketizer.lost(1)
    assert fed(depacketizer, [packet(b"\x68\xce\x38\x80", 6000), packet(b"\x41\x9a", 6000, marker=True)]) == []


def test_a_fragment_cannot_be_left_open_or_taken_up_from_nowhere() -> None:
    start, middle = packet(b"\x7c\x81\x9a", 0), packet(b"\x7c\x01\x9a", 3000)
    depacketizer = h264.depacketizer({})
    depacketizer.push(start)
    with pytest.raises(PayloadError, match="fragment"):
        depacketizer.push(packet(b"\x41\x9a", 0))
    depacketizer = h264.depacketizer({})
    depacketizer.push(packet(b"\x41\x9a", 3000))
    with pytest.raises(PayloadError, match="fragment"):
        depacketizer.push(middle)
    depacketizer = h264.depacketizer({})
    with pytest.raises(PayloadError, match="fragment"):
        ended(depacketizer, packet(b"\x7c\x81\x9a", 6000, marker=True))
    assert depacketizer.dropped_units == 1


def test_what_is_first_of_all_may_be_from_the_middle_of_a_unit() -> None:
    assert fed(h264.depacketizer({}), [packet(b"\x68\xce\x38\x80"), packet(b"\x41\x9a", marker=True)]) == []


def test_the_end_of_a_lost_unit_shows_where_the_next_one_begins() -> None:
    """Two packets are lost within a unit; its last one came, so the next unit's first one is known."""
    idle, pps = b"\x41\x9a", b"\x68\xce\x38\x80"
    lossy = [packet(idle, 0), None, None, packet(idle, 0, marker=True)]
    out = fed(h264.depacketizer({}), [*lossy, packet(pps, 3000), packet(idle, 3000, marker=True)])
    assert [unit.rtp_time for unit in out] == [3000]
    without_marker = [packet(idle, 0), None, None, packet(idle, 0)]
    out = fed(h264.depacketizer({}), [*without_marker, packet(pps, 3000), packet(idle, 3000, marker=True)])
    assert [unit.rtp_time for unit in out] == [3000]


def test_a_unit_ends_by_its_marker_although_that_packet_is_bad() -> None:
    """So a packet that is lost then is of the next unit."""
    idle, pps = b"\x41\x9a", b"\x68\xce\x38\x80"
    before = packet(idle, 0, marker=True)
    packets = [before, packet(idle, 3000), packet(b"\x00", 3000, marker=True), None, packet(pps, 6000)]
    out = fed(h264.depacketizer({}), [*packets, packet(idle, 6000, marker=True)])
    assert [unit.rtp_time for unit in out] == [0]


def test_a_unit_arrives_with_its_earliest_packet() -> None:
    """One whose first packet was repaired is placed by those that came in time."""
    depacketizer = vp8.depacketizer({})
    repaired, prompt = packet(BEGIN + INTER + b"a"), packet(GO_ON + b"b", marker=True)
    repaired.arrival_ns, prompt.arrival_ns = 60, 1
    depacketizer.push(repaired)
    unit = ended(depacketizer, prompt)
    assert unit is not None
    assert unit.arrival_ns == 1
