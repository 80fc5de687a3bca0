"""A disk that stalls: what waits for it is in memory, and in the file later; after too long it is given up."""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rokuga.recorder.archive.output import TOO_SLOW
from rokuga.recorder.errors import RecordingAlreadyStarted
from rokuga.recorder.media import NS_PER_MS, Kind
from rokuga.recorder.publisher.clip import Clip, read_clip
from tests import readers
from tests.recorder.archive.test_faults import AVAILABLE, FAILED, play, works_again
from tests.recorder.house import Client, House

TICK_MS = 20
KINDS: tuple[Kind, ...] = ("audio", "video")


@contextlib.contextmanager
def stalled(house: House) -> Iterator[None]:
    """Let the disk hang meanwhile."""
    event = threading.Event()
    house.recorder._writer.submit(event.wait)
    try:
        yield
    finally:
        event.set()


class Player:
    """Plays a real clip in a loop, to several clients at once; the clock runs with it."""

    def __init__(self, clip: Clip, clients: list[Client]) -> None:
        self.sent: dict[Kind, list[bytes]] = {"audio": [], "video": []}
        self._clip = clip
        self._clients = clients
        self._began_ns = clients[0].hand.now_ns
        self._units = {kind: self._looped(kind) for kind in KINDS}
        self._next = {kind: next(self._units[kind]) for kind in KINDS}

    def _looped(self, kind: Kind) -> Iterator[tuple[int, bytes, bool]]:
        """Give time in ms, data and key flag of one unit after the other."""
        lap = 0
        while True:
            for unit in self._clip.tracks[kind].units:
                yield (lap * self._clip.duration_ns + unit.time_ns) // NS_PER_MS, unit.data, unit.is_keyframe
            lap += 1

    async def play(self, duration_ms: int) -> None:
        """Go on for so long."""
        hand = self._clients[0].hand
        for _ in range(duration_ms // TICK_MS):
            now_ms = (hand.now_ns - self._began_ns) // NS_PER_MS
            for kind in KINDS:
                while self._next[kind][0] <= now_ms:
                    time_ms, data, is_keyframe = self._next[kind]
                    self.sent[kind].append(data)
                    for client in self._clients:
                        client.send(kind, time_ms, data, is_keyframe)
                    self._next[kind] = next(self._units[kind])
            for client in self._clients:
                await client.tick()
            hand.now_ns += TICK_MS * NS_PER_MS


async def test_a_disk_that_stalls_for_5_s_in_every_10_loses_nothing(house: House) -> None:
    """30 s of a real clip from four clients: every unit that was sent is in the file, byte for byte."""
    await house.start()
    clip = read_clip(readers.ROOT / "media-samples" / "vp9-opus.webm")
    track = clip.tracks["video"]
    clients = [await house.enter(video="VP9") for _ in range(4)]
    for client in clients:
        client.size = track.width, track.height
    player = Player(clip, clients)
    most_bytes = 0
    for _ in range(3):
        await player.play(5000)
        await house.disk()
        with stalled(house):
            await player.play(5000)
            most_bytes = max(most_bytes, house.recorder._writer.queued_bytes)
        await house.disk()
    await house.stop()
    assert most_bytes > 4 * 4 * 40_000, "4 s of four clients waited in memory"
    assert not await house.events(FAILED)
    for client in clients:
        available = await house.event(AVAILABLE, client.connection.identity)
        for kind in KINDS:
            stored = readers.payloads(Path(available.document["file_path"]), kind)
            assert stored == player.sent[kind]
    assert len(player.sent["video"]) > 890


async def test_a_disk_that_stalls_for_longer_ends_the_archive_while_it_still_does(house: House) -> None:
    """After 10 s archive.failed is told without waiting for the disk; what came before it is a whole file later."""
    await house.start()
    client = await house.enter()
    await play(house, client, 2)
    with stalled(house):
        await client.play(9900)
        assert not await house.events(FAILED)
        await client.play(800)
        failed = await house.event(FAILED)
        assert failed.document["reason"] == TOO_SLOW
        assert not house.recorder.archives()
        await client.play(1000)
    await house.stop()
    path = Path(failed.document["file_path"])
    assert len(readers.packets(path)["audio"]) >= 590
    assert readers.duration_s(path) > 11.7
    await client.leave()
    await works_again(house)


async def test_what_waits_for_the_disk_is_bounded_in_bytes(house: House) -> None:
    """Over all archives; the archive that finds no room fails."""
    house.recorder._writer._max_queued_bytes = 100_000
    await house.start()
    client = await house.enter()
    with stalled(house):
        await client.play(1000, size_bytes=5000)
        assert (await house.event(FAILED)).document["reason"] == TOO_SLOW


async def test_a_start_does_not_wait_for_what_is_being_written(house: House) -> None:
    """A recording is started, and one that cannot be is refused, while the writer is at something else."""
    await house.start()
    with stalled(house):
        state = await house.start("other")
        assert (house.folder / "archive" / state.recording_id).is_dir()
        with pytest.raises(RecordingAlreadyStarted):
            await house.start("other")
        await house.recorder.stop_recording("other")
        await house.start("other")


@pytest.mark.parametrize("split_duration", [None, 1])
async def test_others_are_written_while_many_files_end(
    house: House, monkeypatch: pytest.MonkeyPatch, split_duration: int | None
) -> None:
    """Their media waits for one of the files that a recording ends, or of its parts, not for all: each has syncs."""
    state = await house.start(split_duration=split_duration)
    other = await house.start("other")
    clients = [await house.enter() for _ in range(40)]
    stays = await house.enter("other")
    may_sync, sizes = threading.Event(), []
    for client in [*clients, stays]:
        await client.play(200, is_keyframe=lambda _ms: True)
    await house.disk()
    sync = os.fsync
    (file,) = (house.folder / "archive" / other.recording_id).glob(".*")
    before = file.stat().st_size

    def watched(descriptor: int) -> None:
        may_sync.wait()
        if threading.current_thread().name == "writer":
            sizes.append(file.stat().st_size)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    if split_duration is None:
        await house.recorder.stop_recording("sora")
    house.hand.now_ns += 2_000_000_000
    for client in clients:
        await client.play(20, is_keyframe=lambda _ms: True)
    await stays.play(1000)
    may_sync.set()
    if split_duration is not None:
        await house.recorder.stop_recording("sora")
    await house.reported(state.recording_id)
    assert len(sizes) >= 4 * len(clients)
    assert sum(size == before for size in sizes) <= 4
