"""After an error a connection that still sends is recorded again."""

import asyncio
import contextlib
import errno
import os
import shutil
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from rokuga.recorder.archive.backoff import MAX_INTERNAL_ERRORS
from rokuga.recorder.archive.media_file import MediaFile
from rokuga.recorder.archive.output import TOO_SLOW
from rokuga.recorder.events import Event
from rokuga.recorder.media import NS_PER_S
from rokuga.webhooks.schemas import check_file
from rokuga.webhooks.sequence import RecordingSequences
from tests import machine, readers
from tests.support.recorder import (
    AVAILABLE,
    FAILED,
    PART,
    PARTS_END,
    REPORT,
    STARTED,
    Client,
    RecorderHarness,
    running_recorder,
)

DISK_BYTES = 4 << 20


class Disk:
    """A disk that the test fills. A full one accepts what fits into the blocks that a file has."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_full = False
        self._sizes: dict[int, int] = {}
        self._write = os.pwrite
        monkeypatch.setattr(os, "pwrite", self._pwrite)

    def _pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        inode, end = os.fstat(descriptor).st_ino, offset + len(data)
        if self.is_full and end > self._sizes.get(inode, 0):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._sizes[inode] = max(self._sizes.get(inode, 0), end)
        return self._write(descriptor, data, offset)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """A disk that the test fills."""
    return Disk(monkeypatch)


async def play(harness: RecorderHarness, client: Client, seconds: int, **options: Any) -> None:
    """Play; the disk keeps up, and periodic work is done each second."""
    for _ in range(seconds):
        for _ in range(5):
            await client.play(200, **options)
            await harness.drain()
        await ended(harness)
        await harness.recorder.resumption.resume(harness.clock.now_ns)


async def ended(harness: RecorderHarness) -> None:
    """Wait until the archives that an error ended are closed."""
    for recording in harness.recorder.channels.recordings():
        for series in recording._series.values():
            archiver = series._archiver
            while archiver is not None and not archiver.is_writing and not archiver.has_ended:
                await harness.drain()


async def story(harness: RecorderHarness) -> list[Event]:
    """Return the events so far after checking them."""
    events = await harness.events()
    check(events)
    return events


def check(events: list[Event]) -> None:
    """Every event is in order, once, and its file can be read."""
    told = RecordingSequences()
    for event in events:
        if not event.type.startswith("connection."):
            assert not told.add(event.type, dict(event.document)), event
        if event.type in {AVAILABLE, PART}:
            path = Path(event.document["metadata_file_path"])
            check_file(path.name, path.read_bytes())
            assert readers.packets(Path(event.document["file_path"]))
    assert len({event.id for event in events}) == len(events)


async def test_after_a_full_disk_another_archive_of_the_same_connection_begins(
    harness: RecorderHarness, disk: Disk
) -> None:
    """ENOSPC for 20 s: one failed archive and no other while it lasts; then `_2`, which a key frame was asked for."""
    state = await harness.start()
    client = await harness.connect()
    await play(harness, client, 5)
    disk.is_full = True
    await play(harness, client, 20)
    assert [str(event.type) for event in await harness.events(STARTED, FAILED, AVAILABLE)] == [STARTED, FAILED]
    assert not harness.recorder.archives()
    disk.is_full = False
    asked = client.peer.keyframe_requests
    await play(harness, client, 5)
    assert client.peer.keyframe_requests > asked
    assert len(harness.recorder.archives()) == 1
    await harness.stop()
    events = await story(harness)
    (failed,) = [event.document for event in events if event.type == FAILED]
    assert (failed["reason"], failed["errno"]) == (os.strerror(errno.ENOSPC), errno.ENOSPC)
    (available,) = [event.document for event in events if event.type == AVAILABLE]
    connection_id = client.connection.identity.connection_id
    assert available["filename"] == f"{state.recording_id}/archive-{connection_id}_2.webm"
    assert available["metadata_filename"] == f"{state.recording_id}/archive-{connection_id}_2.json"
    assert available["start_time_offset"] in {25, 26}
    assert len(readers.packets(Path(available["file_path"]))["audio"]) >= 190
    assert len(readers.packets(Path(failed["file_path"]))["audio"]) >= 230
    report = events[-1].document
    assert [entry["filename"] for entry in report["archives"]] == [available["filename"]]
    assert [entry["connection_id"] for entry in report["failed_archives"]] == [connection_id]


async def test_parts_continue_after_an_error_without_a_gap_and_end_once(harness: RecorderHarness, disk: Disk) -> None:
    """The part that was open when the disk was full is announced when there is room; the next number follows."""
    state = await harness.start(split_duration=2, split_only=True)
    client = await harness.connect()
    await play(harness, client, 5)
    disk.is_full = True
    await play(harness, client, 5)
    disk.is_full = False
    await play(harness, client, 5)
    await client.leave()
    await harness.stop()
    events = await story(harness)
    parts = [event.document for event in events if event.type == PART]
    assert [part["split_index"] for part in parts] == [f"{index + 1:04d}" for index in range(len(parts))]
    assert len(parts) >= 5
    (end,) = [event.document for event in events if event.type == PARTS_END]
    assert end["split_last_index"] == parts[-1]["split_index"]
    assert end["start_timestamp"] == parts[0]["start_timestamp"]
    (entry,) = events[-1].document["archives"]
    assert entry["split_last_index"] == end["split_last_index"]
    assert entry["start_timestamp"] == end["start_timestamp"]
    assert len(events[-1].document["failed_archives"]) == 1
    stored = [data for part in parts for data in readers.payloads(Path(part["file_path"]), "audio")]
    assert len(stored) == len(set(stored)) > 430
    for part, following in pairwise(parts):
        assert part["stop_timestamp"] <= following["start_timestamp"]
    assert not [name for name in harness.files(state.recording_id) if name.startswith(".")]


@pytest.fixture
def low(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Values of "little space is free": the last one counts."""
    values = [False]
    monkeypatch.setattr("rokuga.recorder.disk_space.has_less_free", lambda _path, _limit: values[-1])
    return values


@pytest.mark.parametrize("parameters", [{}, {"split_duration": 2}, {"split_duration": 2, "split_only": True}])
async def test_archives_that_low_space_closed_contain_the_reason_and_are_followed(
    harness: RecorderHarness, low: list[bool], parameters: dict[str, Any]
) -> None:
    """Space is low for 10 s; a client that connects meanwhile is recorded afterwards, too."""
    state = await harness.start(**parameters)
    first = await harness.connect()
    await play(harness, first, 5)
    low.append(True)
    await harness.recorder.check_disk_space()
    second = await harness.connect()
    for _ in range(10):
        await play(harness, first, 1)
        second.send("audio", harness.clock.now_ns // 1_000_000, b"\xfc.")
    assert not harness.recorder.archives()
    low.append(False)
    await harness.recorder.check_disk_space()
    await play(harness, first, 5)
    assert len(harness.recorder.archives()) == 2
    await second.leave()
    await harness.stop()
    events = await story(harness)
    about_first = [event for event in events if event.connection == first.connection.identity]
    closed = [event for event in about_first if event.document.get("reason")]
    assert "archive_min_free_bytes" in closed[0].document["reason"]
    whole = [event.document["filename"] for event in about_first if event.type == AVAILABLE]
    connection_id = first.connection.identity.connection_id
    names = [f"{state.recording_id}/archive-{connection_id}{suffix}.webm" for suffix in ("", "_2")]
    assert whole == ([] if "split_only" in parameters else names)
    assert sum(event.type == PARTS_END for event in about_first) == ("split_duration" in parameters)


async def test_space_that_is_free_now_and_then_makes_few_archives(harness: RecorderHarness, low: list[bool]) -> None:
    """Two minutes in which every other second is low: pauses grow."""
    await harness.start()
    client = await harness.connect()
    for second in range(120):
        low.append(second % 2 == 0)
        await harness.recorder.check_disk_space()
        await play(harness, client, 1)
    low.append(False)
    await harness.recorder.check_disk_space()
    await play(harness, client, 65)
    assert len(harness.recorder.archives()) == 1
    await harness.stop()
    events = await story(harness)
    assert sum(event.type == STARTED for event in events) <= 9


@contextlib.contextmanager
def stalled(harness: RecorderHarness) -> Iterator[None]:
    """Stall the writer thread."""
    event = threading.Event()
    harness.recorder.context.writer.submit(event.wait)
    try:
        yield
    finally:
        event.set()


async def test_after_a_stall_the_connection_is_recorded_again(harness: RecorderHarness) -> None:
    """Queued sound is in the file that failed, all later sound in the next one."""
    harness.recorder.context.writer._max_queued_bytes = 60_000
    await harness.start()
    client = await harness.connect()
    await play(harness, client, 2)
    with stalled(harness):
        while not await harness.events(FAILED):
            await client.play(200)
        await client.play(5000)
    await harness.drain()
    await play(harness, client, 3)
    await play(harness, client, 3)
    await harness.stop()
    events = await story(harness)
    assert [event.document["reason"] for event in events if event.type == FAILED] == [TOO_SLOW]
    (available,) = [event.document for event in events if event.type == AVAILABLE]
    assert len(readers.packets(Path(available["file_path"]))["audio"]) >= 150


@pytest.mark.parametrize("way", ["deleted", "renamed"])
async def test_a_folder_that_is_deleted_costs_only_the_files_that_were_open(
    harness: RecorderHarness, way: str
) -> None:
    """The missing file is noticed when it is synced; the next archive creates the folder again."""
    state = await harness.start()
    client = await harness.connect()
    await play(harness, client, 3)
    folder = harness.folder / "archive" / state.recording_id
    if way == "deleted":
        shutil.rmtree(folder)
    else:
        folder.rename(harness.folder / "elsewhere")
    await play(harness, client, 6)
    assert len(harness.recorder.archives()) == 1
    await harness.stop()
    events = await story(harness)
    assert [event.document["errno"] for event in events if event.type == FAILED] == [errno.ENOENT]
    (available,) = [event.document for event in events if event.type == AVAILABLE]
    assert available["filename"].endswith("_2.webm")
    assert events[-1].document["file_written"] is True
    assert len(readers.packets(Path(available["file_path"]))["audio"]) >= 100


async def test_an_internal_error_of_the_muxer_is_retried_a_few_times(
    harness: RecorderHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An internal error in every file: five archives, then an error in the log; the connection stays."""

    def broken(*_arguments: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(MediaFile, "write_at", broken)
    await harness.start()
    client = await harness.connect()
    for _ in range(10):
        await play(harness, client, 20)
    assert len(await harness.events(FAILED)) == MAX_INTERNAL_ERRORS
    assert all("a bug" in event.document["reason"] for event in await harness.events(FAILED))
    assert not client.connection.closed.is_set()
    await harness.stop()
    assert len((await story(harness))[-1].document["failed_archives"]) == MAX_INTERNAL_ERRORS


async def test_no_archive_begins_for_a_connection_that_sends_nothing(harness: RecorderHarness, disk: Disk) -> None:
    """A connection that sends nothing has nothing to record; what it sends later is recorded."""
    await harness.start()
    client = await harness.connect()
    await play(harness, client, 2)
    disk.is_full = True
    await client.play(200)
    await harness.drain()
    await harness.event(FAILED)
    disk.is_full = False
    for _ in range(5):
        harness.clock.now_ns += NS_PER_S
        await harness.recorder.resumption.resume(harness.clock.now_ns)
    assert len(await harness.events(STARTED)) == 1
    await play(harness, client, 3)
    assert len(await harness.events(STARTED)) == 2
    await harness.stop()
    await story(harness)


@pytest.mark.parametrize("end", ["stop", "expiry", "leave"])
async def test_a_recording_that_ends_while_the_disk_is_full_is_reported(
    harness: RecorderHarness, disk: Disk, end: str
) -> None:
    """The parts have their end, then comes the report; nothing begins again."""
    state = await harness.start(split_duration=1, expire_time=10)
    client = await harness.connect()
    await play(harness, client, 3)
    disk.is_full = True
    await play(harness, client, 3)
    assert [str(event.type) for event in await harness.events(PARTS_END, FAILED)] == [FAILED]
    disk.is_full = False
    if end == "expiry":
        harness.clock.now_ns += 10 * NS_PER_S
    elif end == "leave":
        await client.leave()
        assert await harness.events(PARTS_END)
    if end != "expiry":
        await harness.recorder.stop_recording("sora")
    await harness.reported(state.recording_id)
    events = await story(harness)
    assert [str(event.type) for event in events if event.type in {PARTS_END, FAILED, REPORT}] == [
        FAILED,
        PARTS_END,
        REPORT,
    ]


@pytest.mark.parametrize("when", ["it waits for room", "the next archive is written"])
async def test_a_crash_after_an_error_announces_everything_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Stored events stay; the next start ends the parts, finishes `_2`, and reports."""
    folder = tmp_path / "alive"
    folder.mkdir()
    disk = Disk(monkeypatch)
    async with running_recorder(folder) as harness:
        await harness.start(split_duration=2)
        client = await harness.connect()
        await play(harness, client, 5)
        disk.is_full = True
        await play(harness, client, 3)
        disk.is_full = False
        if when != "it waits for room":
            await play(harness, client, 6)
        await harness.drain()
        clock = harness.clock
        shutil.copytree(folder, tmp_path / "left")
        await harness.stop()
    shutil.rmtree(folder)
    (tmp_path / "left").rename(folder)
    for _ in range(2):
        async with running_recorder(folder, clock) as harness:
            for recording in harness.recorder.recordings():
                await harness.stop(recording.parameters.channel_id)
            events = await harness.events()
            await asyncio.gather(
                *(harness.reported(recording.recording_id) for recording in harness.recorder.recordings())
            )
            events = await story(harness)
    counted = [str(event.type) for event in events]
    assert counted.count(PARTS_END) == counted.count(REPORT) == counted.count(FAILED) == 1
    assert counted.count(AVAILABLE) == (when != "it waits for room")
    parts = [event.document["split_index"] for event in events if event.type == PART]
    assert parts == [f"{index + 1:04d}" for index in range(len(parts))]
    assert not list(folder.glob("archive/*/.*"))


@pytest.mark.system
async def test_a_real_disk_that_is_full_for_a_while(tmp_path: Path) -> None:
    """4 MiB: it fills up, somebody removes what fills it, and the connection is recorded again."""
    with machine.small_disk(tmp_path / "archive", DISK_BYTES):
        async with running_recorder(tmp_path) as harness:
            await harness.start()
            client = await harness.connect()
            ballast = tmp_path / "archive" / "ballast"
            with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while file.tell() < DISK_BYTES * 7 // 8:
                    file.write(bytes(4096))
            await play(harness, client, 20, size_bytes=4000)
            assert len(await harness.events(FAILED)) == 1
            ballast.unlink()
            await play(harness, client, 5, size_bytes=4000)
            await harness.stop()
            events = await story(harness)
            assert [str(event.type) for event in events if event.type in {FAILED, AVAILABLE}] == [FAILED, AVAILABLE]
