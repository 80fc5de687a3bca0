"""Starts, stops, splits and ends at the same moment: each archive ends once, and nothing is left open."""

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from rokuga.recorder.errors import RecordingAlreadyStarted, RecordingNotStarted
from rokuga.recorder.media import NS_PER_MS, NS_PER_S
from rokuga.recorder.models import RecordingState
from tests.support.clock import FakeClock
from tests.support.recorder import AVAILABLE, FAILED, PARTS_END, STARTED, RecorderHarness

ROUNDS = 60


@pytest.mark.parametrize("seed", range(3))
async def test_stop_close_and_split_in_any_order_end_each_file_once(harness: RecorderHarness, seed: int) -> None:
    """All three at once: one end for each archive, one report, no part twice."""
    dice = random.Random(seed)
    for _ in range(ROUNDS):
        await harness.start(split_duration=1)
        client = await harness.connect(video=None)
        harness.clock.now_ns += dice.randrange(990, 1010) * NS_PER_MS
        client.send("audio", 0, b"\xfc.")
        harness.clock.now_ns += 1_700 * NS_PER_MS
        client.send("audio", 1700, b"\xfc.")

        async def split(client: Any = client) -> None:
            client.connection.tick(harness.clock.now_ns)

        works = [harness.recorder.stop_recording("sora"), client.leave(), split()]
        dice.shuffle(works)
        await asyncio.gather(*works)
    for event in await harness.events("recording.started"):
        await harness.reported(event.document["recording_id"])
    events = await harness.events()
    counts = Counter(str(event.type) for event in events)
    assert counts[AVAILABLE] + counts[FAILED] == counts[STARTED] == ROUNDS
    assert counts[FAILED] == 0
    assert counts[PARTS_END] == ROUNDS
    assert len({event.id for event in events}) == len(events)
    assert not harness.recorder.recordings()
    assert not list(harness.folder.glob("archive/*/.*"))


async def test_start_and_stop_in_quick_succession_leave_nothing_open(harness: RecorderHarness) -> None:
    """Start, stop, start, stop while files take long to close, with the documented answers."""
    client = await harness.connect()
    ids = []
    for _ in range(2):
        ids.append((await harness.start()).recording_id)
        with pytest.raises(RecordingAlreadyStarted):
            await harness.start()
        await client.play(60)
        harness.recorder.context.writer.submit(lambda: None)
        await harness.recorder.stop_recording("sora")
        with pytest.raises(RecordingNotStarted):
            await harness.recorder.stop_recording("sora")
    for recording_id in ids:
        await harness.reported(recording_id)
    assert len(set(ids)) == 2
    assert not harness.recorder.recordings()
    assert not harness.recorder.archives()
    with pytest.raises(RecordingNotStarted):
        harness.recorder.recording("sora")


async def test_two_starts_at_once_give_one_recording(harness: RecorderHarness) -> None:
    """The others are refused and leave no folder."""
    results = await asyncio.gather(*(harness.start() for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(result, RecordingState) for result in results) == 1
    assert sum(isinstance(result, RecordingAlreadyStarted) for result in results) == 4
    assert len(list((harness.folder / "archive").iterdir())) == 1


async def test_an_expiry_does_not_end_the_next_recording_of_the_channel(harness: RecorderHarness) -> None:
    """A recording that was started just before the previous one would have expired continues."""
    clock: FakeClock = harness.clock
    await harness.start(expire_time=1)
    old = harness.recorder.channels.recordings()[0]
    await harness.stop()
    state = await harness.start(expire_time=100)
    clock.now_ns += NS_PER_S
    await harness.recorder.all_recordings.expire(old)
    assert harness.recorder.recording("sora").recording_id == state.recording_id
