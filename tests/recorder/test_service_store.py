"""A store that fails, is locked or is slow: nothing is lost, stored twice, or blocked."""

import contextlib
import errno
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from rokuga.recorder.archive import disk
from rokuga.recorder.archive.disk import ArchiveError
from rokuga.recorder.background import background
from rokuga.recorder.connection import ConnectionRequest
from rokuga.recorder.context import Timeouts
from rokuga.recorder.errors import ConnectionRefused, RecordingNotStarted
from rokuga.recorder.events import Event
from rokuga.recorder.models import ArchiveState
from rokuga.recorder.store import MinorityError, StoreError
from rokuga.recorder.store.sqlite import SqliteStore
from tests.support.recorder import AVAILABLE, PART, PARTS_END, REPORT, STARTED, running_recorder


class FailingStore(SqliteStore):
    """A store whose next `failures` calls fail."""

    failures = 0

    async def save_archive(self, archive: ArchiveState, events: Sequence[Event]) -> None:
        """Fail if `failures` are left."""
        self._fail()
        await super().save_archive(archive, events)

    async def finish_recording(self, recording_id: str, events: Sequence[Event]) -> bool:
        """Fail if `failures` are left."""
        self._fail()
        return await super().finish_recording(recording_id, events)

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise StoreError("the disk of the store is full")


async def test_events_that_the_store_rejected_are_stored_with_the_next_change(tmp_path: Path) -> None:
    """A start and a part are stored with the next change; the end of an archive or recording is retried."""
    async with FailingStore(tmp_path / "store.sqlite3") as store:
        async with running_recorder(tmp_path, store=store) as harness:
            await harness.start(split_duration=1)
            store.failures = 1
            client = await harness.connect()
            assert not await harness.events(STARTED)
            await client.play(3000)
            await harness.event(PART)
            assert len(await harness.events(STARTED)) == 1
            store.failures = 5
            async with background(harness.clock.skip_sleeps()):
                await harness.stop()
        assert await harness.types() == ["recording.started", STARTED, PART, PART, PART, PARTS_END, AVAILABLE, REPORT]


async def test_an_archive_that_cannot_be_stored_at_shutdown_is_announced_by_the_next_start(tmp_path: Path) -> None:
    """The daemon does not wait for the store; the archive is announced once."""
    async with FailingStore(tmp_path / "store.sqlite3") as store:
        async with running_recorder(tmp_path, store=store) as harness:
            await harness.start()
            client = await harness.connect()
            await client.play(500)
            store.failures = 10
        store.failures = 0
        assert not await harness.events(AVAILABLE)
        async with running_recorder(tmp_path, store=store) as harness:
            await harness.event(AVAILABLE)
            await harness.stop()
            assert len(await harness.events(AVAILABLE)) == 1
            assert len(await harness.events(REPORT)) == 1


class MinorityStore(SqliteStore):
    """A store that ends no recording while it has no majority."""

    has_majority = False
    tries = 0

    async def stop_recording(self, recording_id: str, stop_wall_ns: int) -> bool:
        """Refuse without a majority."""
        self.tries += 1
        if not self.has_majority:
            raise MinorityError("no leader")
        return await super().stop_recording(recording_id, stop_wall_ns)


async def test_archives_end_at_expire_time_although_the_store_cannot_end_the_recording(tmp_path: Path) -> None:
    """Files are closed, later clients are not recorded, and the report follows when the store works."""
    async with MinorityStore(tmp_path / "store.sqlite3") as store, running_recorder(tmp_path, store=store) as harness:
        state = await harness.start(expire_time=2)
        client = await harness.connect()
        await client.play(2000)
        await harness.event(AVAILABLE)
        late = await harness.connect(client_id="late")
        await late.play(500)
        assert harness.recorder.archives() == []
        assert not await harness.events(REPORT)
        store.has_majority = True
        await harness.clock.next_sleep()
        report = await harness.reported(state.recording_id)
        assert len(report.document["archives"]) == len(await harness.events(STARTED)) == 1


async def test_a_channel_is_not_locked_between_attempts_to_end_its_recording(tmp_path: Path) -> None:
    """Clients connect during the pause between two attempts."""
    async with MinorityStore(tmp_path / "store.sqlite3") as store, running_recorder(tmp_path, store=store) as harness:
        await harness.start(expire_time=1)
        client = await harness.connect()
        await client.play(1000)
        await harness.event(AVAILABLE)
        late = await harness.connect(client_id="late")
        await late.play(500)
        assert store.tries == 1


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the write lock of the store's file."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


async def test_a_start_that_timed_out_on_a_locked_store_has_no_effect(tmp_path: Path) -> None:
    """It leaves no recording, no event and no folder; the next start succeeds."""
    async with SqliteStore(tmp_path / "store.sqlite3", request_timeout_s=0.01) as store:
        async with running_recorder(tmp_path, store=store) as harness:
            with locked(tmp_path / "store.sqlite3"):
                with pytest.raises(StoreError, match="did not answer"):
                    await harness.start()
            assert await store.unfinished_recordings() == []
            assert await harness.types() == []
            assert list((tmp_path / "archive").iterdir()) == []
            with pytest.raises(RecordingNotStarted):
                harness.recorder.recording("sora")
            await harness.start()


async def test_a_stop_that_timed_out_on_a_locked_store_has_no_effect(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "store.sqlite3", request_timeout_s=0.01) as store:
        async with running_recorder(tmp_path, store=store) as harness:
            state = await harness.start()
            with locked(tmp_path / "store.sqlite3"):
                with pytest.raises(StoreError, match="did not answer"):
                    await harness.recorder.stop_recording("sora")
            assert await store.unfinished_recordings() == [state] == harness.recorder.recordings()
            await harness.stop()


async def test_requests_are_refused_by_name_while_a_channel_waits_for_the_store(tmp_path: Path) -> None:
    """A start, a stop and a client; none of them takes effect later."""
    async with running_recorder(tmp_path, timeouts=Timeouts(request_timeout_s=0.001)) as harness:
        async with harness.recorder.channels.hold("sora"):
            for call in (harness.start, harness.stop):
                with pytest.raises(StoreError, match="not stored yet"):
                    await call()
            with pytest.raises(ConnectionRefused, match="STORE-UNAVAILABLE"):
                await harness.recorder.connect(ConnectionRequest("sora", "sendonly"))
        assert harness.recorder.recordings() == []
        assert harness.peers == []


async def test_a_start_whose_folder_cannot_be_made_in_time_is_refused_and_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that hangs blocks one thread, and the folder that it makes later is removed."""
    go_on = threading.Event()

    def slow(path: str, mode: int, min_free_bytes: int = 0) -> None:
        go_on.wait()
        disk.make_folder(path, mode, min_free_bytes)

    monkeypatch.setattr("rokuga.recorder.recording_folders.make_folder", slow)
    async with running_recorder(tmp_path, timeouts=Timeouts(request_timeout_s=0.05)) as harness:
        for channel_id in ("a", "b"):
            with pytest.raises(ArchiveError) as caught:
                await harness.start(channel_id)
            assert caught.value.errno == errno.ETIMEDOUT
        go_on.set()
    assert list((tmp_path / "archive").iterdir()) == []
