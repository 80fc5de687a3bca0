"""Faults that users of other recorders have reported, each simulated through the pipeline (see tests/pipeline.py)."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from rokuga.devtools.publisher.clip import Clip
from rokuga.recorder.media import NS_PER_MS, NS_PER_S, Kind
from rokuga.recorder.rtp.rtcp import build_pli
from tests import readers
from tests.clips_at_times import OPUS_NS, clip, opus, pictures, speech, times_ms, whole_file
from tests.pipeline import Deliver, Publisher, Simulation, simulating

LIP_SYNC_MS = 40


async def record(
    simulation: Simulation, publisher_clip: Clip, seconds: float, network: Deliver | None = None
) -> Publisher:
    """Start a recording, publish, let it run."""
    await simulation.start()
    publisher = await simulation.publish(publisher_clip, network)
    await simulation.run(simulation.now_ns + int(seconds * NS_PER_S))
    return publisher


@pytest.mark.system
async def test_the_last_frame_and_the_last_packet_are_stored(tmp_path: Path) -> None:
    """Stop 0 ms after the last packet; and a packet lost for good costs its frame, not the file."""
    async with simulating(tmp_path) as simulation:
        sent = clip(speech(10), pictures(10, (0, 4)))
        await record(simulation, sent, 10.02)
        path, _ = whole_file(await simulation.stop())
    stored = readers.packets(path)
    assert stored["audio"][-1][0] == sent.tracks["audio"].units[-1].data
    assert len(stored["video"]) == 300
    assert readers.duration_s(path) == pytest.approx(10, abs=0.05)


async def test_muted_speech_with_dtx_keeps_its_length(tmp_path: Path) -> None:
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


@pytest.mark.system
async def test_a_camera_that_is_switched_on_later_is_in_sync(tmp_path: Path) -> None:
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


@pytest.mark.system
async def test_a_recording_begins_with_its_start(tmp_path: Path) -> None:
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


@pytest.mark.system
async def test_a_start_within_a_group_of_pictures_requests_a_key_frame(tmp_path: Path) -> None:
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


@pytest.mark.system
async def test_when_key_frame_requests_are_ignored_video_begins_with_the_next_key_frame(tmp_path: Path) -> None:
    """The next natural one begins the video, at its true offset."""
    async with simulating(tmp_path) as simulation:
        await simulation.publish(clip(speech(10), pictures(10, (0, 4.6))), receives_feedback=False)
        await simulation.run(3 * NS_PER_S)
        await simulation.start()
        await simulation.run(8 * NS_PER_S)
        path, _ = whole_file(await simulation.stop())
    assert times_ms(path, "audio")[0] <= 40
    assert times_ms(path, "video")[0] == pytest.approx(1600, abs=60)


async def test_one_lost_audio_packet_is_one_gap(tmp_path: Path) -> None:
    """500 packets, the 50th never arrives: 499 are stored, the last one among them."""
    seen = iter(range(1_000_000))

    def network(packet: bytes, _now_ns: int) -> Sequence[int]:
        is_audio = packet[1] & 0x7F == 109
        return () if is_audio and next(seen) == 50 else (20 * NS_PER_MS,)

    async with simulating(tmp_path) as simulation:
        sent = clip(speech(10))
        await simulation.start()
        await simulation.publish(sent, network, receives_feedback=False)
        await simulation.run(10_030 * NS_PER_MS)
        path, event = whole_file(await simulation.stop())
    stored = readers.payloads(path, "audio")
    assert stored == [unit.data for place, unit in enumerate(sent.tracks["audio"].units) if place != 50]
    gaps = [(after_ms - before_ms) for before_ms, after_ms in pairwise(times_ms(path, "audio"))]
    assert [gap for gap in gaps if gap > 25] == [pytest.approx(40, abs=1)]
    assert event.document["stats"]["audio"]["lost_packets"] == 1


@pytest.mark.system
@pytest.mark.parametrize("lost_requests", [0, 2])
async def test_a_lost_packet_damages_a_second_not_minutes(tmp_path: Path, lost_requests: int) -> None:
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


@pytest.mark.system
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


@pytest.mark.system
@pytest.mark.parametrize("negotiated", [["audio"], ["audio", "video"]])
async def test_audio_without_pictures_is_recorded(tmp_path: Path, negotiated: list[Kind]) -> None:
    """No video in the description, or none that ever comes: 8 s of sound from 0."""
    async with simulating(tmp_path) as simulation:
        await simulation.start()
        await simulation.publish(clip(speech(8)), negotiated=negotiated)
        await simulation.run(8_050 * NS_PER_MS)
        path, event = whole_file(await simulation.stop())
    assert len(readers.packets(path)["audio"]) == 400
    assert (event.document["audio"], event.document["video"]) == (True, False)
    readers.identify(path)


@pytest.mark.system
async def test_video_without_a_key_frame_costs_no_audio(tmp_path: Path) -> None:
    """Delta frames alone are not written; the sound is."""
    deltas = replace(pictures(8), units=pictures(8).units[1:])
    async with simulating(tmp_path) as simulation:
        await simulation.start()
        await simulation.publish(clip(speech(8), deltas), receives_feedback=False)
        await simulation.run(8_050 * NS_PER_MS)
        path, event = whole_file(await simulation.stop())
    assert len(readers.packets(path)["audio"]) == 400
    assert event.document["video"] is False


@pytest.mark.system
async def test_a_long_group_of_pictures_and_a_long_silence_keep_their_times(tmp_path: Path) -> None:
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
