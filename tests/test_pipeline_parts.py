"""Reported faults of split files, each simulated through the pipeline (see tests/pipeline.py)."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from rokuga.devtools.publisher.clip import Clip
from rokuga.recorder.events import Event, EventType
from rokuga.recorder.media import NS_PER_MS, NS_PER_S
from tests import readers
from tests.clips_at_times import clip, of_type, pictures, speech
from tests.pipeline import Simulation, after, simulating


def parts(events: Sequence[Event]) -> list[tuple[Path, Event]]:
    """Return the parts in their order."""
    return [
        (Path(event.document["file_path"]), event) for event in of_type(events, EventType.SPLIT_ARCHIVE_AVAILABLE)
    ]


async def split(
    simulation: Simulation, sent: Clip, seconds: float, *, every: int = 10, receives_feedback: bool = True
) -> list[Event]:
    """Record in parts alone."""
    await simulation.start(split_duration=every, split_only=True)
    await simulation.publish(sent, receives_feedback=receives_feedback, feedback_delay_ns=150 * NS_PER_MS)
    await simulation.run(simulation.now_ns + int(seconds * NS_PER_S))
    return await simulation.stop()


@pytest.mark.system
async def test_parts_are_as_long_as_asked_and_begin_with_a_key_frame(tmp_path: Path) -> None:
    """Key frames only at 0 and on request: parts of 10 s +-0.5 s, each of which decodes alone."""
    async with simulating(tmp_path) as simulation:
        events = await split(simulation, clip(speech(60), pictures(60)), 60)
    found = parts(events)
    assert [event.document["split_index"] for _, event in found] == [f"{n:04d}" for n in range(1, len(found) + 1)]
    assert len(found) in {6, 7}
    for path, _ in found[:5]:
        assert readers.duration_s(path) == pytest.approx(10, abs=0.5)
    for path, _ in found:
        stored = readers.packets(path)
        assert not stored["video"] or stored["video"][0][2]
        assert min(stored["audio"][0][1], *(time for _, time, _ in stored["video"][:1])) <= 40
        readers.decode_strictly(path)
    (end,) = of_type(events, EventType.SPLIT_ARCHIVE_END)
    assert end.document["split_last_index"] == f"{len(found):04d}"


@pytest.mark.system
async def test_video_that_ignores_requests_loses_nothing(tmp_path: Path) -> None:
    """Key frames each 7 s whatever is asked: parts go on to the next one, and all frames are in one of them."""
    sent = clip(speech(40), pictures(40, range(0, 40, 7)))
    async with simulating(tmp_path) as simulation:
        events = await split(simulation, sent, 40.2, receives_feedback=False)
    stored = [readers.packets(path) for path, _ in parts(events)]
    assert sum(len(part["video"]) for part in stored) == 1200
    assert [data for part in stored for data, _, _ in part["audio"]] == [
        unit.data for unit in sent.tracks["audio"].units
    ]
    assert all(part["video"][0][2] for part in stored if part["video"])


@pytest.mark.system
async def test_each_packet_of_audio_is_in_exactly_one_part(tmp_path: Path) -> None:
    """At a cut by a key frame, sound that comes later but is older belongs to the part before."""
    sent = clip(speech(25), pictures(25))
    async with simulating(tmp_path) as simulation:
        events = await split(simulation, sent, 25.2, every=5)
    stored = [readers.payloads(path, "audio") for path, _ in parts(events)]
    assert len(stored) >= 5
    assert [data for part in stored for data in part] == [unit.data for unit in sent.tracks["audio"].units]


async def test_audio_alone_is_cut_exactly(tmp_path: Path) -> None:
    """Parts of 10.00 s."""
    async with simulating(tmp_path) as simulation:
        events = await split(simulation, clip(speech(35)), 35)
    lengths = [len(readers.packets(path)["audio"]) for path, _ in parts(events)]
    assert all(abs(length - 500) <= 1 for length in lengths[:3])
    assert sum(lengths) == pytest.approx(1750, abs=2)


async def test_a_wall_clock_that_is_set_changes_nothing(tmp_path: Path) -> None:
    """The wall clock steps by an hour and back; parts, times and expiry go on."""
    async with simulating(tmp_path) as simulation:
        await simulation.start(split_duration=5, split_only=True)
        await simulation.publish(clip(speech(20)))
        await simulation.run(7 * NS_PER_S)
        simulation.clock.wall_step_ns = 3600 * NS_PER_S
        await simulation.run(12 * NS_PER_S)
        simulation.clock.wall_step_ns = 0
        await simulation.run(19 * NS_PER_S)
        events = await simulation.stop()
    found = parts(events)
    assert [event.document["start_time_offset"] for _, event in found] == [0, 5, 10, 15]
    assert all(readers.duration_s(path) == pytest.approx(5, abs=0.1) for path, _ in found[:3])
    assert after(0)(b"", 0) == (0,)
