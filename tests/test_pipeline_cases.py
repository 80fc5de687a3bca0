"""Public complaints about other recorders, each played through the whole pipeline (see tests/pipeline.py)."""

import functools
import math
import random
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from rokuga.recorder.events import Event, EventType
from rokuga.recorder.media import NS_PER_MS, NS_PER_S, Kind
from rokuga.recorder.publisher.clip import Clip, ClipTrack, ClipUnit, read_clip
from rokuga.recorder.rtp.rtcp import build_pli
from tests import readers
from tests.pipeline import Deliver, Publisher, Simulation, after, simulating

CLIP = read_clip(Path(__file__).parent.parent / "media-samples" / "vp9-opus.webm")
FRAME_NS = NS_PER_S // 30
OPUS_NS = 20 * NS_PER_MS
LIP_SYNC_MS = 40


def opus(times_ns: Sequence[int]) -> ClipTrack:
    """Opus packets of the clip at these times, each with its number in its padding (RFC 6716 section 3.2.5)."""
    spoken = [unit.data for unit in CLIP.tracks["audio"].units]
    units = []
    for place, time_ns in enumerate(times_ns):
        frame = spoken[place % len(spoken)]
        assert frame[0] & 3 == 0, "one frame a packet"
        data = bytes((frame[0] | 3, 0x41, 4)) + frame[1:] + place.to_bytes(4, "big")
        units.append(ClipUnit(data, time_ns, True))
    return ClipTrack("OPUS", units)


def speech(seconds: float, begin_ns: int = 0) -> ClipTrack:
    """Opus each 20 ms."""
    return opus([begin_ns + place * OPUS_NS for place in range(int(seconds * 50))])


def pictures(seconds: float, keyframes_s: Sequence[float] = (0,), begin_ns: int = 0) -> ClipTrack:
    """VP9 at 30 frames a second, with key frames at these times and nowhere else."""
    track = _encoded(math.ceil(seconds), tuple(keyframes_s))
    units = track.units[: int(seconds * 30)]
    return replace(
        track, units=[replace(unit, time_ns=begin_ns + place * FRAME_NS) for place, unit in enumerate(units)]
    )


@functools.cache
def _encoded(seconds: int, keyframes_s: tuple[float, ...]) -> ClipTrack:
    """Encode FFmpeg's moving pattern, small enough for an hour of tests."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pictures.webm"
        keyframes = ",".join(map(str, keyframes_s))
        source = ["-f", "lavfi", "-i", "testsrc2=size=160x90:rate=30", "-t", str(seconds)]
        encoder = ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "150k"]
        order = ["-lag-in-frames", "0", "-auto-alt-ref", "0", "-g", "100000", "-force_key_frames", keyframes]
        subprocess.run(["ffmpeg", "-v", "error", *source, *encoder, *order, str(path)], check=True)
        track = read_clip(path).tracks["video"]
    shown = [place for place, unit in enumerate(track.units) if unit.is_keyframe]
    assert shown == [round(second * 30) for second in keyframes_s], shown
    return track


def clip(audio: ClipTrack | None = None, video: ClipTrack | None = None) -> Clip:
    """Put tracks together."""
    tracks: dict[Kind, ClipTrack] = {}
    if audio is not None:
        tracks["audio"] = audio
    if video is not None:
        tracks["video"] = video
    return Clip(tracks, max(track.units[-1].time_ns for track in tracks.values()) + FRAME_NS)


def of_type(events: Sequence[Event], event_type: EventType) -> list[Event]:
    """Give the events of a type."""
    return [event for event in events if event.type is event_type]


def whole_file(events: Sequence[Event]) -> tuple[Path, Event]:
    """Give the only whole file and its event."""
    (event,) = of_type(events, EventType.ARCHIVE_AVAILABLE)
    return Path(event.document["file_path"]), event


def times_ms(path: Path, kind: Kind) -> list[int]:
    """Give the times of a kind's packets."""
    return [time for _, time, _ in readers.packets(path)[kind]]


async def record(
    simulation: Simulation, publisher_clip: Clip, seconds: float, network: Deliver | None = None
) -> Publisher:
    """Start a recording, publish, let it run."""
    await simulation.start()
    publisher = await simulation.publish(publisher_clip, network)
    await simulation.run(simulation.now_ns + int(seconds * NS_PER_S))
    return publisher


async def test_d04_the_last_frame_and_the_last_packet_are_stored(tmp_path: Path) -> None:
    """Stop 0 ms after the last packet; and a packet lost for good costs its frame, not the file."""
    async with simulating(tmp_path) as simulation:
        sent = clip(speech(10), pictures(10, (0, 4)))
        await record(simulation, sent, 10.02)
        path, _ = whole_file(await simulation.stop())
    stored = readers.packets(path)
    assert stored["audio"][-1][0] == sent.tracks["audio"].units[-1].data
    assert len(stored["video"]) == 300
    assert readers.duration_s(path) == pytest.approx(10, abs=0.05)


async def test_d05_muted_speech_with_dtx_keeps_its_length(tmp_path: Path) -> None:
    """10 s of speech, 30 s of one packet a second, 10 s of speech: it resumes at 40 s."""
    spoken = [n * OPUS_NS for n in range(500)] + [10 * NS_PER_S + n * NS_PER_S for n in range(30)]
    spoken += [40 * NS_PER_S + n * OPUS_NS for n in range(500)]
    async with simulating(tmp_path) as simulation:
        publisher = await record(simulation, clip(opus(spoken)), 50.1)
        path, event = whole_file(await simulation.stop())
    times = times_ms(path, "audio")
    assert len(times) == len(spoken)
    assert times[530] == pytest.approx(40_000, abs=20)
    assert times[-1] == pytest.approx(49_980, abs=20)
    assert event.document["stats"]["audio"]["lost_packets"] == 0
    assert publisher.sender.counts.retransmissions == 0


async def test_d06_a_camera_that_is_switched_on_later_is_in_sync(tmp_path: Path) -> None:
    """Audio from 0, video from 7.3 s: the first picture is there, and stays in sync to the end."""
    begin_ns = 7_300 * NS_PER_MS
    async with simulating(tmp_path) as simulation:
        await record(simulation, clip(speech(30), pictures(22, begin_ns=begin_ns)), 30)
        path, _ = whole_file(await simulation.stop())
    assert times_ms(path, "video")[0] == pytest.approx(7_300, abs=LIP_SYNC_MS)
    for kind, begin in (("audio", 0), ("video", 7_300)):
        kind_times = times_ms(path, kind)  # type: ignore[arg-type]  # the literals
        step = 20 if kind == "audio" else 1000 / 30
        assert all(abs(time - begin - place * step) <= LIP_SYNC_MS for place, time in enumerate(kind_times))


async def test_d07_a_recording_begins_with_its_start(tmp_path: Path) -> None:
    """Video since 0 s, audio since 10 s, start at 20 s, stop at 40 s: 20 s, and nothing older."""
    async with simulating(tmp_path) as simulation:
        await simulation.publish(clip(speech(40, 10 * NS_PER_S), pictures(45, (0,))))
        await simulation.run(20 * NS_PER_S)
        await simulation.start()
        await simulation.run(40 * NS_PER_S)
        path, event = whole_file(await simulation.stop())
    assert readers.duration_s(path) == pytest.approx(20, abs=0.1)
    assert times_ms(path, "audio")[0] <= 40
    assert readers.packets(path)["video"][0][2]
    assert event.document["stop_time_offset"] - event.document["start_time_offset"] == 20


async def test_d10_start_in_the_middle_of_a_group_of_pictures(tmp_path: Path) -> None:
    """A key frame is asked for at once and stored at its true offset; audio is there from 0."""
    async with simulating(tmp_path) as simulation:
        await simulation.publish(clip(speech(10), pictures(10, (0, 4.6))), feedback_delay_ns=280 * NS_PER_MS)
        await simulation.run(3 * NS_PER_S)
        await simulation.start()
        await simulation.run(8 * NS_PER_S)
        path, _ = whole_file(await simulation.stop())
    assert times_ms(path, "audio")[0] <= 40
    first = readers.packets(path)["video"][0]
    assert first[2]
    assert 200 <= first[1] <= 500
    readers.decode_strictly(path)


async def test_d10_when_the_request_for_a_key_frame_is_ignored(tmp_path: Path) -> None:
    """The next natural one begins the video, at its true offset."""
    async with simulating(tmp_path) as simulation:
        await simulation.publish(clip(speech(10), pictures(10, (0, 4.6))), hears_feedback=False)
        await simulation.run(3 * NS_PER_S)
        await simulation.start()
        await simulation.run(8 * NS_PER_S)
        path, _ = whole_file(await simulation.stop())
    assert times_ms(path, "audio")[0] <= 40
    assert times_ms(path, "video")[0] == pytest.approx(1600, abs=60)


async def test_d13_one_lost_audio_packet_is_one_gap(tmp_path: Path) -> None:
    """500 packets, the 50th never arrives: 499 are stored, the last one among them."""
    seen = iter(range(1_000_000))

    def network(packet: bytes, _now_ns: int) -> Sequence[int]:
        is_audio = packet[1] & 0x7F == 109
        return () if is_audio and next(seen) == 50 else (20 * NS_PER_MS,)

    async with simulating(tmp_path) as simulation:
        sent = clip(speech(10))
        await simulation.start()
        await simulation.publish(sent, network, hears_feedback=False)
        await simulation.run(10_030 * NS_PER_MS)
        path, event = whole_file(await simulation.stop())
    stored = readers.payloads(path, "audio")
    assert stored == [unit.data for place, unit in enumerate(sent.tracks["audio"].units) if place != 50]
    gaps = [(after_ms - before_ms) for before_ms, after_ms in pairwise(times_ms(path, "audio"))]
    assert [gap for gap in gaps if gap > 25] == [pytest.approx(40, abs=1)]
    assert event.document["stats"]["audio"]["lost_packets"] == 1


@pytest.mark.parametrize("lost_requests", [0, 2])
async def test_d14_a_lost_packet_damages_a_second_not_minutes(tmp_path: Path, lost_requests: int) -> None:
    """A packet of a frame at 5 s is lost for good: the next key frame is asked for until it comes."""
    seen = iter(range(1_000_000))
    victim = 5 * 30

    def network(packet: bytes, _now_ns: int) -> Sequence[int]:
        is_video = packet[1] & 0x7F == 122
        return () if is_video and next(seen) == victim else (20 * NS_PER_MS,)

    async with simulating(tmp_path) as simulation:
        await simulation.start()
        publisher = await simulation.publish(clip(speech(20), pictures(20, (0, 19))), network, rtx=False)
        publisher.sender.feedback = _deaf_at_first(publisher, lost_requests)  # type: ignore[assignment,method-assign]  # the network of the way back
        await simulation.run(15 * NS_PER_S)
        path, event = whole_file(await simulation.stop())
    gap = max(after_ms - before_ms for before_ms, after_ms in pairwise(times_ms(path, "video")))
    assert gap <= (3000 if lost_requests else 1000)
    assert event.document["stats"]["video"]["lost_packets"] == 1
    readers.decode_strictly(path)


def _deaf_at_first(publisher: Publisher, requests: int) -> Callable[[bytes, int], Iterator[bytes]]:
    """Lose every NACK, and the first requests for a key frame."""
    real = publisher.sender.feedback
    left = iter(range(requests))

    def feedback(data: bytes, media_ns: int) -> Iterator[bytes]:
        asked = build_pli(0, 0)[:4] in data
        if asked and next(left, None) is None:
            list(real(build_pli(0, publisher.sender.ssrcs[-1]), media_ns))
        return iter(())

    return feedback


@pytest.mark.parametrize("share", [0.02, 0.10])
async def test_random_loss_is_repaired(tmp_path: Path, share: float) -> None:
    """2 % and 10 % of all packets are lost, 60 ms there and back: every picture is repaired, or nearly.

    Not the very first ones: nobody can miss what came before the first packet.
    """
    generator = random.Random(2)

    def network(_packet: bytes, now_ns: int) -> Sequence[int]:
        return (
            ()
            if now_ns > NS_PER_S // 10 and generator.random() < share
            else (30 * NS_PER_MS + generator.randrange(5 * NS_PER_MS),)
        )

    async with simulating(tmp_path) as simulation:
        await simulation.start()
        await simulation.publish(clip(speech(20), pictures(20, range(0, 20, 5))), network)
        await simulation.run(21 * NS_PER_S)
        path, event = whole_file(await simulation.stop())
    stored = readers.packets(path)
    assert len(stored["video"]) >= (600 if share < 0.05 else 594)
    assert len(stored["audio"]) >= 990
    assert event.document["stats"]["video"]["repaired_packets"] > 0


@pytest.mark.parametrize("negotiated", [["audio"], ["audio", "video"]])
async def test_d23_sound_without_pictures_is_recorded(tmp_path: Path, negotiated: list[Kind]) -> None:
    """No video in the description, or none that ever comes: 8 s of sound from 0."""
    async with simulating(tmp_path) as simulation:
        await simulation.start()
        await simulation.publish(clip(speech(8)), negotiated=negotiated)
        await simulation.run(8_050 * NS_PER_MS)
        path, event = whole_file(await simulation.stop())
    assert len(readers.packets(path)["audio"]) == 400
    assert (event.document["audio"], event.document["video"]) == (True, False)
    readers.identify(path)


async def test_d23_video_without_a_key_frame_costs_no_sound(tmp_path: Path) -> None:
    """Delta frames alone are not written; the sound is."""
    deltas = replace(pictures(8), units=pictures(8).units[1:])
    async with simulating(tmp_path) as simulation:
        await simulation.start()
        await simulation.publish(clip(speech(8), deltas), hears_feedback=False)
        await simulation.run(8_050 * NS_PER_MS)
        path, event = whole_file(await simulation.stop())
    assert len(readers.packets(path)["audio"]) == 400
    assert event.document["video"] is False


def parts(events: Sequence[Event]) -> list[tuple[Path, Event]]:
    """Give the parts in their order."""
    return [
        (Path(event.document["file_path"]), event) for event in of_type(events, EventType.SPLIT_ARCHIVE_AVAILABLE)
    ]


async def split(
    simulation: Simulation, sent: Clip, seconds: float, *, every: int = 10, hears_feedback: bool = True
) -> list[Event]:
    """Record in parts alone."""
    await simulation.start(split_duration=every, split_only=True)
    await simulation.publish(sent, hears_feedback=hears_feedback, feedback_delay_ns=150 * NS_PER_MS)
    await simulation.run(simulation.now_ns + int(seconds * NS_PER_S))
    return await simulation.stop()


async def test_d34_parts_are_as_long_as_asked_and_begin_with_a_key_frame(tmp_path: Path) -> None:
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


async def test_d34_video_that_ignores_requests_loses_nothing(tmp_path: Path) -> None:
    """Key frames each 7 s whatever is asked: parts go on to the next one, and all frames are in one of them."""
    sent = clip(speech(40), pictures(40, range(0, 40, 7)))
    async with simulating(tmp_path) as simulation:
        events = await split(simulation, sent, 40.2, hears_feedback=False)
    stored = [readers.packets(path) for path, _ in parts(events)]
    assert sum(len(part["video"]) for part in stored) == 1200
    assert [data for part in stored for data, _, _ in part["audio"]] == [
        unit.data for unit in sent.tracks["audio"].units
    ]
    assert all(part["video"][0][2] for part in stored if part["video"])


async def test_d32_each_packet_of_sound_is_in_exactly_one_part(tmp_path: Path) -> None:
    """At a cut by a key frame, sound that comes later but is older belongs to the part before."""
    sent = clip(speech(25), pictures(25))
    async with simulating(tmp_path) as simulation:
        events = await split(simulation, sent, 25.2, every=5)
    stored = [readers.payloads(path, "audio") for path, _ in parts(events)]
    assert len(stored) >= 5
    assert [data for part in stored for data in part] == [unit.data for unit in sent.tracks["audio"].units]


async def test_d34_sound_alone_is_cut_exactly(tmp_path: Path) -> None:
    """Parts of 10.00 s."""
    async with simulating(tmp_path) as simulation:
        events = await split(simulation, clip(speech(35)), 35)
    lengths = [len(readers.packets(path)["audio"]) for path, _ in parts(events)]
    assert all(abs(length - 500) <= 1 for length in lengths[:3])
    assert sum(lengths) == pytest.approx(1750, abs=2)


async def test_d02_a_long_group_of_pictures_and_a_long_silence(tmp_path: Path) -> None:
    """One key frame, 20 s of media, 40 s of nothing, 30 s more: times hold, nothing is 32 s from its cluster."""
    halves = [n * OPUS_NS for n in range(1000)] + [60 * NS_PER_S + n * OPUS_NS for n in range(1500)]
    video = pictures(90)
    kept = [unit for unit in video.units if not 20 * NS_PER_S <= unit.time_ns < 60 * NS_PER_S]
    async with simulating(tmp_path) as simulation:
        await record(simulation, clip(opus(halves), replace(video, units=kept)), 90.1)
        path, event = whole_file(await simulation.stop())
    for kind, last in (("audio", 89_980), ("video", 89_966)):
        times = times_ms(path, kind)  # type: ignore[arg-type]  # the literals
        assert times == sorted(times)
        assert times[-1] == pytest.approx(last, abs=60)
    assert event.document["stats"]["audio"]["gaps"] >= 1
    assert event.document["stats"]["audio"]["gaps_longest"][0]["duration_ms"] == pytest.approx(40_000, abs=60)
    readers.decode_strictly(path)


async def test_d35_a_wall_clock_that_is_set_changes_nothing(tmp_path: Path) -> None:
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
