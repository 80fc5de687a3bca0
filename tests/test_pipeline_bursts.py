"""Media that comes faster than time: a queue that is flushed at the start, one kind that is held up."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from rokuga.recorder.events import EventType
from rokuga.recorder.media import NS_PER_MS, NS_PER_S, Kind
from tests import readers
from tests.clips_at_times import OPUS_NS, clip, of_type, pictures, speech, times_ms, whole_file
from tests.pipeline import Deliver, simulating

pytestmark = pytest.mark.system

LIP_SYNC_MS = 40
STEP_MS: dict[Kind, float] = {"audio": OPUS_NS / NS_PER_MS, "video": 1000 / 30}
PAYLOAD_TYPES: dict[Kind, int] = {"audio": 109, "video": 122}
KINDS: tuple[Kind, ...] = ("audio", "video")


def kind_of(packet: bytes) -> Kind | None:
    """Tell an RTP packet's kind; None for RTCP and retransmissions."""
    return next((kind for kind, number in PAYLOAD_TYPES.items() if packet[1] & 0x7F == number), None)


def held_up(kinds: Sequence[Kind], from_ns: int, until_ns: int, flush_ns: int = 100 * NS_PER_MS) -> Deliver:
    """Keep packets of these kinds back for a while, then deliver what waits within `flush_ns`."""

    def network(packet: bytes, now_ns: int) -> Sequence[int]:
        if kind_of(packet) not in kinds or not from_ns <= now_ns < until_ns:
            return (20 * NS_PER_MS,)
        place_ns = (now_ns - from_ns) * flush_ns // (until_ns - from_ns)
        return (max(until_ns + place_ns - now_ns, 20 * NS_PER_MS),)

    return network


def assert_evenly_spaced(times: Sequence[int], kind: Kind) -> None:
    """Each block is as far from the one before as they were captured, but for a correction of 1/32."""
    step_ms = STEP_MS[kind]
    assert all(abs(after - before - step_ms) <= 2 + step_ms / 32 for before, after in pairwise(times)), times


@pytest.mark.parametrize(("queue_ms", "flush_ms"), [(1500, 100), (5000, 300), (5000, 1800)])
async def test_a_queue_that_is_flushed_at_the_start_keeps_its_spacing(
    tmp_path: Path, queue_ms: int, flush_ms: int
) -> None:
    """GStreamer's webrtcbin sends what it captured while it connected in a tenth of a second; others longer."""
    network = held_up(KINDS, 0, queue_ms * NS_PER_MS, flush_ms * NS_PER_MS)
    async with simulating(tmp_path) as simulation:
        await simulation.start()
        await simulation.publish(clip(speech(12), pictures(12)), network)
        await simulation.run(12_050 * NS_PER_MS)
        path, _ = whole_file(await simulation.stop())
    for kind, count in (("audio", 600), ("video", 360)):
        times = times_ms(path, kind)  # type: ignore[arg-type]  # the literals
        assert len(times) == count
        assert_evenly_spaced(times, kind)  # type: ignore[arg-type]
        assert times[0] <= LIP_SYNC_MS
    readers.decode_strictly(path)


async def test_what_was_captured_before_the_recording_began_is_left_out(tmp_path: Path) -> None:
    """A queue of 4.5 s is flushed when the recording is 0.4 s old: sound from then on; pictures need others."""
    begin_ns = 4_100 * NS_PER_MS
    network = held_up(KINDS, 0, 4_500 * NS_PER_MS)
    async with simulating(tmp_path) as simulation:
        await simulation.publish(clip(speech(12), pictures(12, (0, 3.8))), network, receives_feedback=False)
        await simulation.run(begin_ns)
        await simulation.start()
        await simulation.run(12_050 * NS_PER_MS)
        path, _ = whole_file(await simulation.stop())
    sound, shown = times_ms(path, "audio"), readers.packets(path)["video"]
    assert len(sound) == pytest.approx(600 - 205, abs=2)
    assert_evenly_spaced(sound, "audio")
    assert sound[0] <= LIP_SYNC_MS
    assert shown[0][1:] == (0, True)
    decoded_only = [time for _, time, _ in shown if time < 10]
    assert len(decoded_only) == pytest.approx(9, abs=1), "the pictures from 3.8 s on, of which the later ones depend"
    times = [time for _, time, _ in shown if time >= 50]
    assert_evenly_spaced(times, "video")
    assert len(shown) == 360 - 114
    readers.decode_strictly(path)


async def test_a_recording_that_is_shorter_than_the_look_ahead_is_complete(tmp_path: Path) -> None:
    async with simulating(tmp_path) as simulation:
        await simulation.start()
        await simulation.publish(clip(speech(2), pictures(2)))
        await simulation.run(400 * NS_PER_MS)
        path, _ = whole_file(await simulation.stop())
    for kind in KINDS:
        times = times_ms(path, kind)
        assert len(times) == pytest.approx(380 / STEP_MS[kind], abs=2)
        assert_evenly_spaced(times, kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seconds", [1, 4, 8, 14])
async def test_a_kind_that_is_delayed_while_the_other_flows_catches_up_in_its_place(
    tmp_path: Path, kind: Kind, seconds: int
) -> None:
    """From 6 s on nothing of one kind for seconds, then all of it in 0.1 s."""
    network = held_up([kind], 6 * NS_PER_S, (6 + seconds) * NS_PER_S)
    async with simulating(tmp_path) as simulation:
        await simulation.start()
        sent = clip(speech(30), pictures(30))
        await simulation.publish(sent, network)
        await simulation.run(30_050 * NS_PER_MS)
        path, event = whole_file(await simulation.stop())
    for each in KINDS:
        assert readers.payloads(path, each) == [unit.data for unit in sent.tracks[each].units]
        assert_evenly_spaced(times_ms(path, each), each)
        assert times_ms(path, each)[0] <= LIP_SYNC_MS
    assert event.document["stats"][kind]["gaps"] == 0


@pytest.mark.parametrize("kind", KINDS)
async def test_a_kind_that_is_delayed_over_a_split_belongs_to_the_part_of_its_time(
    tmp_path: Path, kind: Kind
) -> None:
    """From 8 s to 12 s nothing of one kind, with a boundary at 10 s: each unit is in one part, in its place."""
    network = held_up([kind], 8 * NS_PER_S, 12 * NS_PER_S)
    async with simulating(tmp_path) as simulation:
        await simulation.start(split_duration=10)
        sent = clip(speech(25), pictures(25, range(25)))
        await simulation.publish(sent, network, receives_feedback=False)
        await simulation.run(25_050 * NS_PER_MS)
        events = await simulation.stop()
    found = of_type(events, EventType.SPLIT_ARCHIVE_AVAILABLE)
    parts = [
        Path(event.document["file_path"]) for event in sorted(found, key=lambda e: str(e.document["split_index"]))
    ]
    for each in KINDS:
        joined = [data for part in parts for data in readers.payloads(part, each)]
        assert joined == [unit.data for unit in sent.tracks[each].units]
        for part in parts:
            assert_evenly_spaced(times_ms(part, each), each)
    for part in parts:
        readers.decode_strictly(part)
