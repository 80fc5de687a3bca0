"""What the store does not take at once is told later, once, and holds up nobody."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from rokuga.recorder.events import Event
from rokuga.recorder.states import ArchiveState
from rokuga.recorder.store import MinorityError, StoreError
from rokuga.recorder.store.sqlite import SqliteStore
from tests.recorder.house import AVAILABLE, PART, PARTS_END, REPORT, STARTED, running


class FailingStore(SqliteStore):
    """A store that can be told to fail the next calls."""

    failures = 0

    async def save_archive(self, archive: ArchiveState, events: Sequence[Event]) -> None:
        """Fail, if told so."""
        self._fail()
        await super().save_archive(archive, events)

    async def finish_recording(self, recording_id: str, events: Sequence[Event]) -> bool:
        """Fail, if told so."""
        self._fail()
        return await super().finish_recording(recording_id, events)

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise StoreError("the disk of the store is full")


async def test_what_the_store_did_not_take_is_told_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start and a part that could not be stored come with the next change; ends are insisted on."""
    monkeypatch.setattr("rokuga.recorder.recording.STORE_AGAIN_S", 0.001)
    async with FailingStore(tmp_path / "store.sqlite3") as store:
        async with running(tmp_path, store=store) as house:
            await house.start(split_duration=1)
            store.failures = 1
            client = await house.enter()
            assert not await house.events(STARTED)
            await client.play(3000)
            await house.event(PART)
            assert len(await house.events(STARTED)) == 1
            store.failures = 5
            await house.stop()
        assert await house.types() == ["recording.started", STARTED, PART, PART, PART, PARTS_END, AVAILABLE, REPORT]


async def test_a_store_that_fails_at_the_very_end_leaves_it_to_the_next_start(tmp_path: Path) -> None:
    """The daemon does not wait for it; the archive is announced once, by the next one."""
    async with FailingStore(tmp_path / "store.sqlite3") as store:
        async with running(tmp_path, store=store) as house:
            await house.start()
            client = await house.enter()
            await client.play(500)
            store.failures = 10
        store.failures = 0
        assert not await house.events(AVAILABLE)
        async with running(tmp_path, store=store) as house:
            await house.event(AVAILABLE)
            await house.stop()
            assert len(await house.events(AVAILABLE)) == 1
            assert len(await house.events(REPORT)) == 1


class MinorityStore(SqliteStore):
    """A store that ends no recording until it sees a majority."""

    has_majority = False
    tries = 0

    async def stop_recording(self, recording_id: str, stop_wall_ns: int) -> bool:
        """Refuse, if alone."""
        self.tries += 1
        if not self.has_majority:
            raise MinorityError("no leader")
        return await super().stop_recording(recording_id, stop_wall_ns)


async def test_a_recording_that_the_store_cannot_end_yet_ends_in_time_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are closed at `expire_time`, and who comes later is not recorded; the report follows when it can."""
    monkeypatch.setattr("rokuga.recorder.recordings.EXPIRE_AGAIN_S", 0.001)
    async with MinorityStore(tmp_path / "store.sqlite3") as store, running(tmp_path, store=store) as house:
        state = await house.start(expire_time=2)
        client = await house.enter()
        await client.play(2000)
        await house.event(AVAILABLE)
        late = await house.enter(client_id="late")
        await late.play(500)
        assert house.recorder.archives() == []
        assert not await house.events(REPORT)
        store.has_majority = True
        report = await house.reported(state.recording_id)
        assert len(report.document["archives"]) == len(await house.events(STARTED)) == 1


async def test_a_channel_is_free_while_its_recording_waits_to_be_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is asked again after a pause: whoever comes meanwhile is let in, and the end is not held up."""
    monkeypatch.setattr("rokuga.recorder.recordings.EXPIRE_AGAIN_S", 3600)
    async with MinorityStore(tmp_path / "store.sqlite3") as store, running(tmp_path, store=store) as house:
        await house.start(expire_time=1)
        client = await house.enter()
        await client.play(1000)
        await house.event(AVAILABLE)
        late = await house.enter(client_id="late")
        await late.play(500)
        assert store.tries == 1
