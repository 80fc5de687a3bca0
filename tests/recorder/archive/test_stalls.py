"""A disk that stalls: queued media is written later; an archive whose media does not fit into the queue fails."""

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
from tests.support.recorder import PART, Client, RecorderHarness

TICK_MS = 20
KINDS: tuple[Kind, ...] = ("audio", "video")


@contextlib.contextmanager
def stalled(harness: RecorderHarness) -> Iterator[None]:
    """Stall the writer thread."""
    event = threading.Event()
    harness.recorder.context.writer.submit(event.wait)
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
        self._began_ns = clients[0].clock.now_ns
        self._units = {kind: self._looped(kind) for kind in KINDS}
        self._next = {kind: next(self._units[kind]) for kind in KINDS}

    def _looped(self, kind: Kind) -> Iterator[tuple[int, bytes, bool]]:
        """Yield time in ms, data and key flag of each unit."""
        lap = 0
        while True:
            for unit in self._clip.tracks[kind].units:
                yield (lap * self._clip.duration_ns + unit.time_ns) // NS_PER_MS, unit.data, unit.is_keyframe
            lap += 1

    async def play(self, duration_ms: int) -> None:
        """Play for so long."""
        clock = self._clients[0].clock
        for _ in range(duration_ms // TICK_MS):
            now_ms = (clock.now_ns - self._began_ns) // NS_PER_MS
            for kind in KINDS:
                while self._next[kind][0] <= now_ms:
                    time_ms, data, is_keyframe = self._next[kind]
                    self.sent[kind].append(data)
                    for client in self._clients:
                        client.send(kind, time_ms, data, is_keyframe)
                    self._next[kind] = next(self._units[kind])
            for client in self._clients:
                await client.tick()
            clock.now_ns += TICK_MS * NS_PER_MS


async def test_a_disk_that_stalls_for_5_s_in_every_10_loses_nothing(harness: RecorderHarness) -> None:
    """30 s of a real clip from four clients: every unit that was sent is in the file, byte for byte."""
    await harness.start()
    clip = read_clip(readers.ROOT / "media-samples" / "vp9-opus.webm")
    track = clip.tracks["video"]
    clients = [await harness.connect(video="VP9") for _ in range(4)]
    for client in clients:
        client.size = track.width, track.height
    player = Player(clip, clients)
    most_bytes = 0
    for _ in range(3):
        await player.play(5000)
        await harness.drain()
        with stalled(harness):
            await player.play(5000)
            most_bytes = max(most_bytes, harness.recorder.context.writer.queued_bytes)
        await harness.drain()
    await harness.stop()
    assert most_bytes > 4 * 4 * 40_000, "4 s of four clients waited in memory"
    assert not await harness.events(FAILED)
    for client in clients:
        available = await harness.event(AVAILABLE, client.connection.identity)
        for kind in KINDS:
            stored = readers.payloads(Path(available.document["file_path"]), kind)
            assert stored == player.sent[kind]
    assert len(player.sent["video"]) > 890


async def test_a_disk_that_stalls_too_long_ends_the_archive_before_it_recovers(harness: RecorderHarness) -> None:
    """archive.failed is stored without waiting for the disk; the media before it can be played later."""
    await harness.start()
    client = await harness.connect()
    await play(harness, client, 2)
    with stalled(harness):
        await client.play(60_000)
        assert not await harness.events(FAILED)
        harness.recorder.context.writer._max_queued_bytes = harness.recorder.context.writer.queued_bytes
        await client.play(800)
        failed = await harness.event(FAILED)
        assert failed.document["reason"] == TOO_SLOW
        assert not harness.recorder.archives()
        await client.play(1000)
    await harness.stop()
    path = Path(failed.document["file_path"])
    assert len(readers.packets(path)["audio"]) >= 3090
    assert readers.duration_s(path) > 61.7
    await client.leave()
    await works_again(harness)


async def test_what_waits_for_the_disk_is_bounded_in_bytes(harness: RecorderHarness) -> None:
    """Over all archives; the archive whose batch does not fit fails."""
    harness.recorder.context.writer._max_queued_bytes = 100_000
    await harness.start()
    client = await harness.connect()
    with stalled(harness):
        await client.play(1000, size_bytes=5000)
        assert (await harness.event(FAILED)).document["reason"] == TOO_SLOW


async def test_a_start_does_not_wait_for_what_is_being_written(harness: RecorderHarness) -> None:
    """A recording is started, and one that cannot be is refused, while the writer is busy."""
    await harness.start()
    with stalled(harness):
        state = await harness.start("other")
        assert (harness.folder / "archive" / state.recording_id).is_dir()
        with pytest.raises(RecordingAlreadyStarted):
            await harness.start("other")
        await harness.recorder.stop_recording("other")
        await harness.start("other")


class SlowSyncs:
    """Blocks fsync and fdatasync of all files but those that the test releases; writes are not blocked."""

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
async def test_media_is_written_while_all_syncs_of_finishing_files_hang(
    harness: RecorderHarness, monkeypatch: pytest.MonkeyPatch, split_duration: int | None
) -> None:
    """40 files of one recording, or their parts, end on a disk that syncs nothing; the file of another one grows."""
    state = await harness.start(split_duration=split_duration)
    other = await harness.start("other")
    clients = [await harness.connect() for _ in range(40)]
    stays = await harness.connect("other")
    for client in [*clients, stays]:
        await client.play(200, is_keyframe=lambda _ms: True)
    await harness.drain()
    syncs = SlowSyncs(monkeypatch)
    (file,) = (harness.folder / "archive" / other.recording_id).glob(".*")
    before = file.stat().st_size
    if split_duration is None:
        await harness.recorder.stop_recording("sora")
    harness.clock.now_ns += 2_000_000_000
    for client in clients:
        await client.play(20, is_keyframe=lambda _ms: True)
    await stays.play(1000)
    await harness.recorder.free_bytes()
    assert file.stat().st_size > before + 100 * 20, "the writer waits for no sync"
    assert await harness.start("third"), "no answer of the API waits for one"
    syncs.goes_on.set()
    if split_duration is not None:
        await harness.recorder.stop_recording("sora")
    report = await harness.reported(state.recording_id)
    assert len(report.document["archives"]) == len(clients)
    assert not await harness.events(FAILED)


async def test_a_file_whose_sync_hangs_delays_no_other_file(
    harness: RecorderHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two clients leave; the file that is synced is finished, with its document, while the other hangs."""
    state = await harness.start()
    first, second = [await harness.connect() for _ in range(2)]
    for client in (first, second):
        await client.play(400)
    await harness.drain()
    slow = first.connection.identity.connection_id
    syncs = SlowSyncs(monkeypatch, lambda path: slow not in path)
    first.peer.close("TYPE-DISCONNECT")
    assert await first.connection.wait_ended() == "TYPE-DISCONNECT", "a client's end waits for no disk"
    second.peer.close("TYPE-DISCONNECT")
    await second.connection.wait_ended()
    expected = f"archive-{second.connection.identity.connection_id}.json"
    while expected not in harness.files(state.recording_id):
        await harness.recorder.free_bytes()
    assert not await harness.events(AVAILABLE), "events are told in the order in which the ends were decided"
    syncs.goes_on.set()
    await harness.stop()
    ended = [event.connection for event in await harness.events(AVAILABLE)]
    assert ended == [first.connection.identity, second.connection.identity]


@pytest.mark.parametrize("seed", range(3))
async def test_events_are_stored_in_the_order_of_decision_whatever_file_is_finished_first(
    harness: RecorderHarness, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Syncs last a random time; 20 clients with parts of a second leave one after the other."""
    dice, sync = random.Random(seed), os.fsync

    def slow(descriptor: int) -> None:
        threading.Event().wait(dice.random() / 200)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    await harness.start(split_duration=1)
    clients = [await harness.connect(video=None) for _ in range(20)]
    begin_ns = harness.clock.now_ns
    for second in range(4):
        for client in clients:
            harness.clock.now_ns = begin_ns + second * NS_PER_S
            await client.play(1000, kinds=KINDS[:1])
    for client in clients:
        client.peer.close("TYPE-DISCONNECT")
    await asyncio.gather(*(client.connection.wait_closed() for client in clients))
    await harness.stop()
    told = await harness.events(PART, AVAILABLE)
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
    assert not await harness.events(FAILED)
