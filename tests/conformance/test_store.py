"""What every RecordingStore does."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rokuga.recorder.events import Event, EventType
from rokuga.recorder.models import ArchiveStatus, RecordingStatus
from rokuga.recorder.store import RecordingStore, StoreError
from rokuga.recorder.store.sqlite import SqliteStore
from tests.material import REPORT, WALL_NS, archive, event, identity, recording
from tests.support.etcd import Servers, cluster_store

Open = Callable[[], AbstractAsyncContextManager[RecordingStore]]


@pytest.fixture(params=["sqlite", pytest.param("etcd", marks=pytest.mark.system)])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Return a function that opens the same store each time."""
    if request.param == "sqlite":
        return lambda: SqliteStore(tmp_path / "store.sqlite3")
    servers: Servers = request.getfixturevalue("etcd")
    prefix = servers.prefix()
    return lambda: cluster_store(servers, prefix, tmp_path, "node-1")


@pytest.fixture
async def store(open_store: Open) -> AsyncIterator[RecordingStore]:
    async with open_store() as opened:
        yield opened


def connection_event(connection_id: str, event_type: EventType) -> Event:
    """Return the event that a connection was created or destroyed."""
    return replace(event(connection_id, event_type=event_type), connection=identity(connection_id=connection_id))


def set_times(folder: Path) -> None:
    """Set the modification time of every file to WALL_NS."""
    for file in folder.iterdir():
        os.utime(file, ns=(WALL_NS, WALL_NS))


async def events_of(store: RecordingStore) -> list[Event]:
    """Return all events of the log."""
    return [stored.event for stored in await store.events_after(0, 1000)]


async def test_a_started_recording_is_unfinished_and_its_event_is_in_the_log(store: RecordingStore) -> None:
    assert await store.start_recording(recording(), [event()])
    assert await store.unfinished_recordings() == [recording()]
    assert await events_of(store) == [event()]


async def test_a_second_start_on_a_channel_changes_nothing(store: RecordingStore) -> None:
    await store.start_recording(recording("A"), [event("a")])
    assert not await store.start_recording(recording("B"), [event("b")])
    assert await store.unfinished_recordings() == [recording("A")]
    assert await events_of(store) == [event("a")]


async def test_a_repeated_start_succeeds(store: RecordingStore) -> None:
    assert await store.start_recording(recording(), [event()])
    assert await store.start_recording(recording(), [event()])
    assert await events_of(store) == [event()]


async def test_of_many_starts_at_once_one_wins(store: RecordingStore) -> None:
    won = await asyncio.gather(*(store.start_recording(recording(str(n)), [event(n)]) for n in range(20)))
    assert won.count(True) == 1
    assert len(await store.unfinished_recordings()) == len(await events_of(store)) == 1


async def test_a_channel_is_free_as_soon_as_its_recording_is_stopping(store: RecordingStore) -> None:
    await store.start_recording(recording("A"), [])
    assert await store.stop_recording("A", WALL_NS + 5)
    assert await store.start_recording(recording("B", start_wall_ns=WALL_NS + 6), [])
    stopping, active = await store.unfinished_recordings()
    assert stopping == replace(recording("A"), status=RecordingStatus.STOPPING, stop_wall_ns=WALL_NS + 5)
    assert active.recording_id == "B"


async def test_an_old_recording_cannot_be_started_again(store: RecordingStore) -> None:
    await store.start_recording(recording(), [])
    await store.stop_recording("RECORDING", WALL_NS)
    assert not await store.start_recording(recording(), [event()])
    assert await events_of(store) == []


async def test_of_many_stops_at_once_one_wins(store: RecordingStore) -> None:
    await store.start_recording(recording(), [])
    won = await asyncio.gather(*(store.stop_recording("RECORDING", WALL_NS + n) for n in range(20)))
    assert won.count(True) == 1


async def test_a_recording_is_finished_once_and_only_if_it_is_stopping(store: RecordingStore) -> None:
    await store.start_recording(recording(), [])
    assert not await store.finish_recording("RECORDING", [event("early")])
    await store.stop_recording("RECORDING", WALL_NS + 5)
    assert await store.claim_report("RECORDING") == []
    assert await store.finish_recording("RECORDING", [REPORT])
    assert not await store.finish_recording("RECORDING", [event("late")])
    assert await events_of(store) == [REPORT]
    assert await store.unfinished_recordings() == []


async def test_unknown_recordings_cannot_be_stopped_or_finished(store: RecordingStore) -> None:
    assert not await store.stop_recording("NONE", WALL_NS)
    assert not await store.finish_recording("NONE", [event()])
    assert await events_of(store) == []


async def test_unfinished_recordings_are_returned_oldest_first(store: RecordingStore) -> None:
    for n in (3, 1, 2):
        await store.start_recording(recording(str(n), channel_id=f"channel {n}", start_wall_ns=n), [])
    assert [found.recording_id for found in await store.unfinished_recordings()] == ["1", "2", "3"]


async def test_an_archive_is_replaced_by_its_later_state(store: RecordingStore) -> None:
    await store.save_archive(archive(), [event("started")])
    ended = replace(
        archive(),
        status=ArchiveStatus.AVAILABLE,
        stop_wall_ns=WALL_NS + 1,
        document={"size": 1, "stats": {}, "text": "録画 \u0000 \U0001f3a5"},
        split_last_index="0001",
    )
    await store.save_archive(ended, [event("available")])
    assert await store.archives("RECORDING") == [ended]
    assert await events_of(store) == [event("started"), event("available")]


async def test_archives_of_a_recording_are_returned_in_the_order_of_their_start(store: RecordingStore) -> None:
    await store.save_archive(archive(connection_id="A", start_wall_ns=2), [])
    await store.save_archive(archive(connection_id="B", start_wall_ns=1), [])
    await store.save_archive(archive("OTHER"), [])
    assert [found.connection.connection_id for found in await store.archives("RECORDING")] == ["B", "A"]


async def test_a_connection_may_have_several_archives(store: RecordingStore) -> None:
    """Each is stored under its number, also if another one began at the same moment."""
    await store.start_recording(recording(), [])
    first = archive()
    second = replace(first, number=2)
    for each in (second, first, replace(second, status=ArchiveStatus.FAILED)):
        await store.save_archive(each, [])
    found = await store.archives(first.recording_id)
    assert [(each.number, each.status) for each in found] == [(1, first.status), (2, ArchiveStatus.FAILED)]


async def test_an_event_that_is_stored_again_has_no_effect(store: RecordingStore) -> None:
    first = event(document={"first": True})
    await store.append([first, event(1)])
    await store.append([event(document={"first": False}), event(1), event(2)])
    assert await events_of(store) == [first, event(1), event(2)]


async def test_a_connection_is_open_until_its_end_is_stored(open_store: Open) -> None:
    """In the order of their events; also after a restart, and after the events were pruned."""
    came = {name: connection_event(name, EventType.CONNECTION_CREATED) for name in ("C", "A", "B")}
    async with open_store() as store:
        assert (await store.previous_run()).created == []
        await store.append([*came.values(), event("archive")])
        await store.append([came["A"], connection_event("A", EventType.CONNECTION_DESTROYED)])
        await store.append([came["A"]])
        await store.prune_events((await store.events_after(0, 100))[-1].cursor)
    async with open_store() as store:
        assert (await store.previous_run()).created == [came["C"], came["B"]]


async def test_an_end_that_cannot_be_stored_leaves_the_connection_open(store: RecordingStore) -> None:
    came, gone = (
        connection_event("A", EventType.CONNECTION_CREATED),
        connection_event("A", EventType.CONNECTION_DESTROYED),
    )
    await store.append([came])
    with pytest.raises(StoreError):
        await store.append([gone, event(document={"text": "\ud800"})])
    assert (await store.previous_run()).created == [came]


async def test_the_previous_run_was_last_seen_when_the_store_was_last_written(
    open_store: Open, tmp_path: Path
) -> None:
    async with open_store() as store:
        await store.append([event()])
    set_times(tmp_path)
    async with open_store() as store:
        await store.append([event(1)])
        assert (await store.previous_run()).last_seen_wall_ns == WALL_NS


async def test_the_log_is_read_in_pieces_by_a_cursor_that_grows(store: RecordingStore) -> None:
    await store.append([event(n) for n in range(10)])
    cursor, read = 0, []
    while piece := await store.events_after(cursor, 3):
        assert all(before.cursor < after.cursor for before, after in itertools.pairwise(piece))
        assert cursor < piece[0].cursor
        assert len(piece) <= 3
        cursor = piece[-1].cursor
        read += [stored.event for stored in piece]
    assert read == [event(n) for n in range(10)]


async def test_pruned_events_are_neither_returned_nor_stored_again(store: RecordingStore) -> None:
    await store.append([event(n) for n in range(4)])
    second = (await store.events_after(0, 2))[-1].cursor
    await store.prune_events(second)
    await store.prune_events(second)
    assert await events_of(store) == [event(2), event(3)]
    await store.append([event(n) for n in range(5)])
    assert await events_of(store) == [event(2), event(3), event(4)]


async def test_a_cursor_is_never_used_twice(open_store: Open) -> None:
    async with open_store() as store:
        await store.append([event(0)])
        last = (await store.events_after(0, 1))[-1].cursor
        await store.prune_events(last)
    async with open_store() as store:
        await store.append([event(1)])
        assert (await store.events_after(0, 1))[0].cursor > last


async def test_everything_is_kept_over_a_restart(open_store: Open) -> None:
    async with open_store() as store:
        await store.start_recording(recording(), [event("started")])
        await store.save_archive(archive(), [event("archive")])
    async with open_store() as store:
        assert await store.unfinished_recordings() == [recording()]
        assert await store.archives("RECORDING") == [archive()]
        assert await events_of(store) == [event("started"), event("archive")]


async def test_a_change_whose_event_cannot_be_stored_is_not_made(store: RecordingStore) -> None:
    """A lone surrogate is text for Python, but neither JSON nor UTF-8 can represent it."""
    bad = event(document={"text": "\ud800"})
    with pytest.raises(StoreError):
        await store.start_recording(recording(), [event("good"), bad])
    with pytest.raises(StoreError):
        await store.save_archive(archive(), [bad])
    with pytest.raises(StoreError):
        await store.start_recording(recording(channel_id="\udc00"), [])
    assert await store.unfinished_recordings() == []
    assert await store.archives("RECORDING") == []
    assert await events_of(store) == []


async def test_a_caller_that_is_cancelled_leaves_the_store_usable(store: RecordingStore) -> None:
    calls = [asyncio.create_task(store.append([event(n)])) for n in range(10)]
    await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    await store.append([event("later")])
    assert event("later") in await events_of(store)


async def test_a_closed_store_raises(open_store: Open) -> None:
    async with open_store() as store:
        pass
    with pytest.raises(StoreError):
        await store.append([event()])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), JSON, max_size=4))
@settings(max_examples=30)
async def test_any_document_is_returned_unchanged(open_store: Open, document: dict[str, object]) -> None:
    async with open_store() as store:
        await store.append([event(repr(document), document=document)])
        assert (await events_of(store))[-1].document == document
        await store.prune_events((await store.events_after(0, 1))[-1].cursor)
