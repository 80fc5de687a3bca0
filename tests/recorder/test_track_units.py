"""A track returns exactly the complete units, in order, for any markers, loss and duplicates."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rokuga.recorder.codecs.table import CODECS
from rokuga.recorder.media import NS_PER_MS, AccessUnit, RtpPacket
from rokuga.recorder.track import Track
from tests.packets import doubled, shuffled, stream
from tests.recorder.call import played
from tests.recorder.codecs.test_round_trip import every_form, units_of


def arrived(form: str, bits: Sequence[bool]) -> tuple[Track, list[RtpPacket], list[bytes], list[int]]:
    """A track that writes what is damaged, packets with these marker bits, the units, and the unit of each packet.

    The first unit comes in order, with markers on all of its packets and nothing missing. It is the key frame.
    """
    name, units, expected = units_of(form)
    packets = stream([[each.payload for each in unit] for unit in units])
    owners = [number for number, unit in enumerate(units) for _ in unit]
    for place, packet in enumerate(packets):
        packet.marker = bits[place] if owners[place] else True
    packets[-1].marker = True
    return Track("video", CODECS[name], 1, write_damaged=True), packets, expected, owners


def bits_for(form: str, data: st.DataObject) -> list[bool]:
    count = sum(map(len, units_of(form)[1]))
    return data.draw(st.lists(st.booleans(), min_size=count, max_size=count))


@every_form
@given(data=st.data(), seed=st.integers(0, 1 << 30), reach_ms=st.integers(1, 300), twice_ms=st.integers(0, 400))
@settings(max_examples=12)
def test_all_units_are_returned_whatever_the_order_however_often_and_wherever_the_markers(
    form: str, data: st.DataObject, seed: int, reach_ms: int, twice_ms: int
) -> None:
    track, packets, expected, owners = arrived(form, bits_for(form, data))
    begin = owners.count(0)
    rest = shuffled(packets[begin:], Random(seed), reach_ms * NS_PER_MS)
    sent = doubled([*packets[:begin], *rest], twice_ms * NS_PER_MS)
    units = played(track, sorted(sent, key=lambda packet: packet.arrival_ns))
    assert [unit.data for unit in units] == expected
    assert track.stats.lost_packets == track.stats.dropped_units == 0


@every_form
@given(data=st.data(), seed=st.integers(0, 1 << 30), reach_ms=st.integers(1, 60))
@settings(max_examples=12)
def test_of_what_is_lost_nothing_is_returned_incomplete_and_only_neighbours_are_missing(
    form: str, data: st.DataObject, seed: int, reach_ms: int
) -> None:
    track, packets, expected, owners = arrived(form, bits_for(form, data))
    begin = owners.count(0)
    lost = data.draw(st.sets(st.integers(owners.index(2), len(packets) - 2), max_size=12))
    kept = [packet for place, packet in enumerate(packets) if place not in lost and place >= begin]
    sent = [*packets[:begin], *shuffled(kept, Random(seed), reach_ms * NS_PER_MS)]
    out = [unit.data for unit in ended(track, sent)]
    touched = {owners[place] for place in lost}
    whole = [each for number, each in enumerate(expected) if number not in touched]
    assert [each for each in whole if each in out] == out
    for number, each in enumerate(expected):
        if not touched & {number - 1, number, number + 1}:
            assert each in out


@every_form
@given(data=st.data(), seed=st.integers(0, 1 << 30), reach_ms=st.integers(1, 60))
@settings(max_examples=12)
def test_of_a_sender_that_ends_its_units_by_markers_exactly_those_are_returned_of_which_all_arrived(
    form: str, data: st.DataObject, seed: int, reach_ms: int
) -> None:
    track, packets, expected, owners = arrived(form, [False] * sum(map(len, units_of(form)[1])))
    for place, packet in enumerate(packets):
        packet.marker = place + 1 == len(packets) or owners[place] != owners[place + 1]
    begin = owners.count(0)
    lost = data.draw(st.sets(st.integers(begin, len(packets) - 2), max_size=12))
    kept = [packet for place, packet in enumerate(packets) if place not in lost and place >= begin]
    sent = [*packets[:begin], *shuffled(kept, Random(seed), reach_ms * NS_PER_MS)]
    touched = {owners[place] for place in lost}
    assert [unit.data for unit in ended(track, sent)] == [
        each for number, each in enumerate(expected) if number not in touched
    ]


def ended(track: Track, sent: Sequence[RtpPacket]) -> list[AccessUnit]:
    """Receive packets, then nothing for so long that all missing packets are given up."""
    units = played(track, [replace(packet) for packet in sent], flush=False)
    end_ns = sent[-1].arrival_ns
    for passed_ms in range(0, 3000, 20):
        units += track.tick(end_ns + passed_ms * NS_PER_MS)
    return [*units, *track.flush(end_ns + 3000 * NS_PER_MS)]


@pytest.mark.parametrize("silence_ms", [60, 400])
def test_the_last_unit_of_a_sender_with_markers_is_returned_before_the_next_one_begins(silence_ms: int) -> None:
    name, units, expected = units_of("VP8")
    track = Track("video", CODECS[name], 1)
    packets = stream([[each.payload for each in unit] for unit in units[:2]])
    out = played(track, packets, flush=False)
    end_ns = packets[-1].arrival_ns
    for passed_ms in range(20, 20 + silence_ms + 1, 20):
        out += track.tick(end_ns + passed_ms * NS_PER_MS)
    assert [unit.data for unit in out] == expected[:2]
