"""Starts, stops, splits and ends in one moment, case by case: each archive ends once, and no orphan is left."""

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from rokuga.recorder.errors import RecordingAlreadyStarted, RecordingNotStarted
from rokuga.recorder.media import NS_PER_MS, NS_PER_S
from rokuga.recorder.models import RecordingState
from tests.recorder.house import AVAILABLE, FAILED, PARTS_END, STARTED, HandClock, House

ROUNDS = 60


@pytest.mark.parametrize("seed", range(3))
async def test_d30_stop_close_and_split_in_any_order_end_each_file_once(house: House, seed: int) -> None:
    """All three at once: one end for each archive, one report, no part twice."""
    dice = random.Random(seed)
    for _ in range(ROUNDS):
        await house.start(split_duration=1)
        client = await house.enter(video=None)
        house.hand.now_ns += dice.randrange(990, 1010) * NS_PER_MS
        client.send("audio", 0, b"\xfc.")
        house.hand.now_ns += 1_700 * NS_PER_MS
        client.send("audio", 1700, b"\xfc.")

        async def split(client: Any = client) -> None:
            client.connection.tick(house.hand.now_ns)

        works = [house.recorder.stop_recording("sora"), client.leave(), split()]
        dice.shuffle(works)
        await asyncio.gather(*works)
    for event in await house.events("recording.started"):
        await house.reported(event.document["recording_id"])
    events = await house.events()
    counts = Counter(str(event.type) for event in events)
    assert counts[AVAILABLE] + counts[FAILED] == counts[STARTED] == ROUNDS
    assert counts[FAILED] == 0
    assert counts[PARTS_END] == ROUNDS
    assert len({event.id for event in events}) == len(events)
    assert not house.recorder.recordings()
    assert not list(house.folder.glob("archive/*/.*"))


async def test_d31_start_and_stop_in_quick_succession_leave_no_orphan(house: House) -> None:
    """Start, Stop, Start, Stop while files take long to close; twice the same answers defined."""
    client = await house.enter()
    ids = []
    for _ in range(2):
        ids.append((await house.start()).recording_id)
        with pytest.raises(RecordingAlreadyStarted):
            await house.start()
        await client.play(60)
        house.recorder.context.writer.submit(lambda: None)
        await house.recorder.stop_recording("sora")
        with pytest.raises(RecordingNotStarted):
            await house.recorder.stop_recording("sora")
    for recording_id in ids:
        await house.reported(recording_id)
    assert len(set(ids)) == 2
    assert not house.recorder.recordings()
    assert not house.recorder.archives()
    with pytest.raises(RecordingNotStarted):
        house.recorder.recording("sora")


async def test_two_starts_at_once_give_one_recording(house: House) -> None:
    """The other one is told, and leaves no folder."""
    results = await asyncio.gather(*(house.start() for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(result, RecordingState) for result in results) == 1
    assert sum(isinstance(result, RecordingAlreadyStarted) for result in results) == 4
    assert len(list((house.folder / "archive").iterdir())) == 1


async def test_an_expiry_does_not_end_the_recording_that_came_after(house: House) -> None:
    """A recording that was stopped at its last moment and started anew goes on."""
    hand: HandClock = house.hand
    await house.start(expire_time=1)
    old = house.recorder.channels.recordings()[0]
    await house.stop()
    state = await house.start(expire_time=100)
    hand.now_ns += NS_PER_S
    await house.recorder.all_recordings.expire(old)
    assert house.recorder.recording("sora").recording_id == state.recording_id
