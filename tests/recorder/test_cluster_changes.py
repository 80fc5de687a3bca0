"""What the recorder does when other nodes, which the test simulates, start and stop recordings."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rokuga.recorder.context import Timeouts
from rokuga.recorder.errors import RecordingNotStarted
from rokuga.recorder.identifiers import new_id
from rokuga.recorder.models import (
    ArchiveState,
    ArchiveStatus,
    Change,
    RecordingParameters,
    RecordingState,
    RecordingStatus,
)
from rokuga.recorder.negotiation import ConnectionIdentity
from rokuga.recorder.store.sqlite import SqliteStore
from tests.support.clock import START_WALL_NS
from tests.support.recorder import RecorderHarness, running_recorder


class SharedStore(SqliteStore):
    """A store that receives the changes of other nodes from the test."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.news: asyncio.Queue[Sequence[Change]] = asyncio.Queue()
        self.others: list[ArchiveState] | None = []
        self.others_ended = asyncio.Event()
        self.others_ended.set()

    async def changes(self) -> AsyncGenerator[Sequence[Change], None]:
        """Yield the changes of the test."""
        while True:
            yield await self.news.get()
            self.news.task_done()

    async def apply(self, *changes: Change) -> None:
        """Return when these changes are applied."""
        self.news.put_nowait(changes)
        await self.news.join()

    async def claim_report(self, recording_id: str) -> Sequence[ArchiveState] | None:
        """Return the archives of all nodes, or None if another node reports."""
        await self.others_ended.wait()
        return None if self.others is None else [*await self.archives(recording_id), *self.others]

    async def finish_recording(self, recording_id: str, events: Sequence[Any]) -> bool:
        """Publish the report also of a recording that this node did not store."""
        await self.append(events)
        return await super().finish_recording(recording_id, events)


def started(is_start_owned: bool = False) -> Change:
    return Change(RecordingState(new_id(), RecordingParameters("sora", 0), START_WALL_NS), is_start_owned)


def ended(change: Change, status: RecordingStatus = RecordingStatus.STOPPING) -> Change:
    return replace(change, recording=replace(change.recording, status=status, stop_wall_ns=START_WALL_NS + 5))


def lost_archive(change: Change) -> ArchiveState:
    identity = ConnectionIdentity("sora", "SESSION", "CLIENT", "BUNDLE", new_id())
    return ArchiveState(
        change.recording.recording_id,
        identity,
        None,
        None,
        START_WALL_NS,
        status=ArchiveStatus.FAILED,
        node_name="node-2",
    )


async def recorded(harness: RecorderHarness, store: SharedStore) -> Change:
    """Connect a client that is recorded because another node started the recording."""
    client = await harness.connect()
    change = started()
    await store.apply(change)
    await client.play(500)
    return change


async def test_a_recording_of_another_node_is_recorded_and_ends_with_it(tmp_path: Path) -> None:
    """Files are announced by this node, recording.started by the other one."""
    async with (
        SharedStore(tmp_path / "s.sqlite3") as store,
        running_recorder(tmp_path, store=store, node_name="n1") as harness,
    ):
        change = await recorded(harness, store)
        assert harness.recorder.recording("sora") == change.recording
        await (await harness.connect()).play(500)
        store.others = [lost_archive(change)]
        await store.apply(ended(change))
        with pytest.raises(RecordingNotStarted):
            harness.recorder.recording("sora")
        report = await harness.reported(change.recording.recording_id)
        assert [entry["node_name"] for entry in report.document["archives"]] == ["n1", "n1"]
        assert [entry["node_name"] for entry in report.document["failed_archives"]] == ["node-2"]
        assert len(await harness.events("archive.available")) == 2
        assert not await harness.events("recording.started")


async def test_a_report_that_another_node_publishes_is_not_published_here(tmp_path: Path) -> None:
    async with SharedStore(tmp_path / "s.sqlite3") as store, running_recorder(tmp_path, store=store) as harness:
        store.others = None
        change = await recorded(harness, store)
        await store.apply(ended(change))
        await harness.event("archive.available")
        await (await harness.connect()).play(100)
    assert not list((tmp_path / "archive").rglob("report-*"))


async def test_repeated_and_late_changes_have_no_effect(tmp_path: Path) -> None:
    """Changes of this node's own start and stop, and a repeated start while the report waits for other nodes."""
    async with SharedStore(tmp_path / "s.sqlite3") as store, running_recorder(tmp_path, store=store) as harness:
        client = await harness.connect()
        own = Change(await harness.start(), is_start_owned=True)
        await store.apply(own, own)
        await client.play(500)
        store.others_ended.clear()
        await harness.recorder.stop_recording("sora")
        await store.apply(own)
        assert not harness.recorder.recordings()
        await store.apply(ended(own), ended(own, RecordingStatus.FINISHED))
        store.others_ended.set()
        await harness.reported(own.recording.recording_id)
        assert len(await harness.events("archive.started")) == len(await harness.events("recording.started")) == 1


async def test_a_start_that_this_node_owns_is_published(tmp_path: Path) -> None:
    async with SharedStore(tmp_path / "s.sqlite3") as store, running_recorder(tmp_path, store=store) as harness:
        change = started(is_start_owned=True)
        await store.apply(change)
        assert (await harness.event("recording.started")).document["recording_id"] == change.recording.recording_id


async def test_a_recording_whose_end_was_missed_is_ended_before_the_next_begins(tmp_path: Path) -> None:
    """After a time in a minority: the start of the next one, or a list without it, shows its end."""
    async with SharedStore(tmp_path / "s.sqlite3") as store, running_recorder(tmp_path, store=store) as harness:
        store.others = None
        first = await recorded(harness, store)
        second = started()
        await store.apply(second)
        assert harness.recorder.recordings() == [second.recording]
        await store.apply(ended(second, RecordingStatus.FINISHED))
        assert not harness.recorder.recordings()
        ends = [event.document["recording_id"] for event in await harness.events("archive.started")]
        assert ends == [first.recording.recording_id, second.recording.recording_id]


async def test_the_end_of_the_daemon_does_not_wait_for_other_nodes(tmp_path: Path) -> None:
    async with SharedStore(tmp_path / "s.sqlite3") as store:
        async with running_recorder(tmp_path, store=store, timeouts=Timeouts(other_nodes_s=0.01)) as harness:
            change = await recorded(harness, store)
            store.others_ended.clear()
            await store.apply(ended(change))
            await harness.event("archive.available")
        assert not await harness.events("recording.report")
