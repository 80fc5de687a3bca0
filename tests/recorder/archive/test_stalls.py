"""A disk that stalls: what waits for it is in memory, and in the file later; what finds no room is given up."""

import asyncio
import contextlib
import os
import random
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from rokuga.devtools.publisher.clip import Clip, read_clip
from rokuga.recorder.archive.output import TOO_SLOW
from rokuga.recorder.errors import RecordingAlreadyStarted
from rokuga.recorder.media import NS_PER_MS, NS_PER_S, Kind
from tests import readers
from tests.recorder.archive.test_faults import AVAILABLE, FAILED, play, works_again
from tests.recorder.house import PART, Client, House

TICK_MS = 20
KINDS: tuple[Kind, ...] = ("audio", "video")


@contextlib.contextmanager
def stalled(house: House) -> Iterator[None]:
    """Let the disk hang meanwhile."""
    event = threading.Event()
    house.recorder.context.writer.submit(event.wait)
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
            most_bytes = max(most_bytes, house.recorder.context.writer.queued_bytes)
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
    """archive.failed is told without waiting for the disk; what came before it is a whole file later."""
    await house.start()
    client = await house.enter()
    await play(house, client, 2)
    with stalled(house):
        await client.play(60_000)
        assert not await house.events(FAILED)
        house.recorder.context.writer._max_queued_bytes = house.recorder.context.writer.queued_bytes
        await client.play(800)
        failed = await house.event(FAILED)
        assert failed.document["reason"] == TOO_SLOW
        assert not house.recorder.archives()
        await client.play(1000)
    await house.stop()
    path = Path(failed.document["file_path"])
    assert len(readers.packets(path)["audio"]) >= 3090
    assert readers.duration_s(path) > 61.7
    await client.leave()
    await works_again(house)


async def test_what_waits_for_the_disk_is_bounded_in_bytes(house: House) -> None:
    """Over all archives; the archive that finds no room fails."""
    house.recorder.context.writer._max_queued_bytes = 100_000
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


class SlowSyncs:
    """Holds fsync and fdatasync of all files but those that the test lets through; writes go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, passes: Callable[[str], bool] = lambda _path: False) -> None:
        self.goes_on = threading.Event()
        self.held = 0
        self._passes = passes
        self._calls = {name: getattr(os, name) for name in ("fsync", "fdatasync")}
        for name in self._calls:
            monkeypatch.setattr(os, name, partial(self._sync, name))

    def _sync(self, name: str, descriptor: int) -> None:
        path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        if "archive" in path and not self._passes(path):
            self.held += 1
            assert self.goes_on.wait(60)
        self._calls[name](descriptor)


@pytest.mark.parametrize("split_duration", [None, 1])
async def test_media_is_written_while_every_sync_of_files_that_end_hangs(
    house: House, monkeypatch: pytest.MonkeyPatch, split_duration: int | None
) -> None:
    """40 files of one recording, or their parts, end on a disk that syncs nothing: that of another one grows."""
    state = await house.start(split_duration=split_duration)
    other = await house.start("other")
    clients = [await house.enter() for _ in range(40)]
    stays = await house.enter("other")
    for client in [*clients, stays]:
        await client.play(200, is_keyframe=lambda _ms: True)
    await house.disk()
    syncs = SlowSyncs(monkeypatch)
    (file,) = (house.folder / "archive" / other.recording_id).glob(".*")
    before = file.stat().st_size
    if split_duration is None:
        await house.recorder.stop_recording("sora")
    house.hand.now_ns += 2_000_000_000
    for client in clients:
        await client.play(20, is_keyframe=lambda _ms: True)
    await stays.play(1000)
    await house.recorder.free_bytes()
    assert file.stat().st_size > before + 100 * 20, "the writer waits for no sync"
    assert await house.start("third"), "no answer of the API waits for one"
    syncs.goes_on.set()
    if split_duration is not None:
        await house.recorder.stop_recording("sora")
    report = await house.reported(state.recording_id)
    assert len(report.document["archives"]) == len(clients)
    assert not await house.events(FAILED)


async def test_a_file_whose_sync_hangs_holds_up_no_other_file(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two leave; the one whose file is synced is whole, with its document, while the other hangs."""
    state = await house.start()
    first, second = [await house.enter() for _ in range(2)]
    for client in (first, second):
        await client.play(400)
    await house.disk()
    slow = first.connection.identity.connection_id
    syncs = SlowSyncs(monkeypatch, lambda path: slow not in path)
    first.peer.close("TYPE-DISCONNECT")
    assert await first.connection.wait_ended() == "TYPE-DISCONNECT", "a client's end waits for no disk"
    second.peer.close("TYPE-DISCONNECT")
    await second.connection.wait_ended()
    expected = f"archive-{second.connection.identity.connection_id}.json"
    while expected not in house.files(state.recording_id):
        await house.recorder.free_bytes()
    assert not await house.events(AVAILABLE), "events are told in the order in which the ends were decided"
    syncs.goes_on.set()
    await house.stop()
    ended = [event.connection for event in await house.events(AVAILABLE)]
    assert ended == [first.connection.identity, second.connection.identity]


@pytest.mark.parametrize("seed", range(3))
async def test_events_come_in_the_order_of_decision_whatever_the_disk_ends_first(
    house: House, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Syncs take more or less long by chance; 20 clients with parts of a second leave one after the other."""
    dice, sync = random.Random(seed), os.fsync

    def slow(descriptor: int) -> None:
        threading.Event().wait(dice.random() / 200)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    await house.start(split_duration=1)
    clients = [await house.enter(video=None) for _ in range(20)]
    begin_ns = house.hand.now_ns
    for second in range(4):
        for client in clients:
            house.hand.now_ns = begin_ns + second * NS_PER_S
            await client.play(1000, kinds=KINDS[:1])
    for client in clients:
        client.peer.close("TYPE-DISCONNECT")
    await asyncio.gather(*(client.connection.wait_closed() for client in clients))
    await house.stop()
    told = await house.events(PART, AVAILABLE)
    order = {client.connection.identity: place for place, client in enumerate(clients)}
    ends = [order[event.connection] for event in told if event.type == AVAILABLE and event.connection is not None]
    assert ends == list(range(len(clients)))
    for client in clients:
        parts = [
            event.document["split_index"]
            for event in told
            if event.connection == client.connection.identity and event.type == PART
        ]
        assert parts == [f"{index + 1:04d}" for index in range(len(parts))]
    assert not await house.events(FAILED)
