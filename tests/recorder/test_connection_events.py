"""connection.created and connection.destroyed: reasons, durations, and connections that a crash left open."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from rokuga.recorder.connection import Connection, ConnectionRequest
from rokuga.recorder.errors import ConnectionRefused
from rokuga.recorder.events import Event
from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.negotiation import TrackConfig
from rokuga.recorder.store import StoreError
from rokuga.recorder.store.sqlite import SqliteStore
from rokuga.webhooks import schemas
from rokuga.webhooks.bodies import make_body
from rokuga.webhooks.config import WebhookConfig
from tests.support.clock import FakeClock
from tests.support.recorder import RecorderHarness, running_recorder

DESTROYED = "connection.destroyed"


@pytest.mark.parametrize(
    ("reason", "remark", "told"),
    [
        ("DISCONNECTED-API", None, {"reason": "DISCONNECTED-API"}),
        ("DISCONNECTED-API", "closing time", {"reason": "closing time", "disconnect_api_reason": "closing time"}),
        ("TYPE-DISCONNECT", None, {"reason": "TYPE-DISCONNECT"}),
        ("TYPE-DISCONNECT", "NO-ERROR", {"reason": "TYPE-DISCONNECT", "type_disconnect_reason": "NO-ERROR"}),
        ("MEDIA-TIMEOUT", "of no meaning", {"reason": "MEDIA-TIMEOUT"}),
    ],
)
async def test_the_reason_of_connection_destroyed_is_that_of_the_caller(
    harness: RecorderHarness, reason: str, remark: str | None, told: dict[str, str]
) -> None:
    client = await harness.connect()
    client.connection.stop(reason, remark)
    client.connection.stop("SHUTDOWN", "too late")
    gone = await harness.event(DESTROYED, client.connection.identity)
    keys = ("reason", "disconnect_api_reason", "type_disconnect_reason")
    assert {key: gone.document[key] for key in keys if key in gone.document} == told


async def test_ending_the_recorder_closes_connections_with_the_reason_shutdown(harness: RecorderHarness) -> None:
    """Connections and their files are closed when `end` returns, and new connections are refused."""
    state = await harness.start()
    client = await harness.connect()
    await client.play(1000)
    await harness.recorder.end()
    (gone,) = await harness.events(DESTROYED)
    assert gone.document["reason"] == "SHUTDOWN"
    (available,) = await harness.events("archive.available")
    assert available.document["recording_id"] == state.recording_id
    with pytest.raises(ConnectionRefused, match="SHUTDOWN"):
        await harness.recorder.connect(ConnectionRequest("sora", "sendonly", audio=TrackConfig("OPUS")))
    assert harness.recorder.recordings() == [state]


@pytest.mark.parametrize("step_s", [3600, -3600])
async def test_setting_the_wall_clock_does_not_change_the_duration_of_a_connection(
    harness: RecorderHarness, step_s: int
) -> None:
    client = await harness.connect()
    harness.clock.wall_offset_ns += step_s * NS_PER_S
    harness.clock.now_ns += 119 * NS_PER_S
    await client.leave()
    gone = await harness.event(DESTROYED, client.connection.identity)
    assert gone.document["minutes"] == 1
    assert gone.document["destroyed_time"] - gone.document["created_time"] == 119


async def killed(folder: Path, *clients: str) -> list[Connection]:
    """Copy the store of a running recorder with these clients, of which the first has disconnected."""
    async with SqliteStore(folder / "alive.sqlite3") as store, running_recorder(folder, store=store) as harness:
        there = [(await harness.connect(client_id=client_id, role="sendrecv")).connection for client_id in clients]
        await there[0].close("TYPE-DISCONNECT")
        await harness.event(DESTROYED, there[0].identity)
        async with SqliteStore(folder / "alive.sqlite3") as other:  # writes what is in its log into the file
            await other.append([])
        for name in ("", "-wal"):
            shutil.copy2(folder / f"alive.sqlite3{name}", folder / f"store.sqlite3{name}")
    return there


async def test_the_next_start_publishes_connection_destroyed_after_a_kill(tmp_path: Path) -> None:
    """Once for each open connection, as of the last write of the store, with the remaining ones counted."""
    _, second, third = await killed(tmp_path, "first", "second", "third")
    clock = FakeClock()
    for name in ("", "-wal"):
        os.utime(tmp_path / f"store.sqlite3{name}", ns=(0, clock.clock().wall_ns() + 119 * NS_PER_S))
    clock.now_ns += 3600 * NS_PER_S
    for _ in range(2):
        async with running_recorder(tmp_path, clock) as harness:
            gone = (await harness.events(DESTROYED))[1:]
    assert [event.connection for event in gone] == [second.identity, third.identity]
    assert [event.document["channel_connections"] for event in gone] == [1, 0]
    assert [event.document["channel_sendrecv_connections"] for event in gone] == [1, 0]
    for event in gone:
        schemas.check_body(make_body(event, WebhookConfig()))
        assert (event.document["reason"], event.document["minutes"]) == ("CRASH", 1)
        assert event.document["destroyed_timestamp"] == "2023-11-14T22:15:19.250000Z"


class FullStore(SqliteStore):
    """A store whose disk may be full."""

    is_full = False

    async def append(self, events: Sequence[Event]) -> None:
        """Fail on a full disk."""
        if self.is_full:
            raise StoreError("the disk of the store is full")
        await super().append(events)


async def connect(harness: RecorderHarness, client_id: str) -> Connection:
    """Connect a client without waiting for its event."""
    connection = await harness.recorder.connect(
        ConnectionRequest("sora", "sendonly", client_id, audio=TrackConfig("OPUS"))
    )
    connection.accept("v=0\r\n")
    await connection.connected.wait()
    return connection


async def test_connection_events_of_a_full_disk_are_stored_in_order_when_there_is_space(tmp_path: Path) -> None:
    """An event that cannot be encoded is dropped and holds back no other."""
    async with FullStore(tmp_path / "store.sqlite3") as store, running_recorder(tmp_path, store=store) as harness:
        store.is_full = True
        for client_id in ("first", "\ud800", "second"):
            client = await connect(harness, client_id)
            await client.close("TYPE-DISCONNECT")
        assert await harness.events() == []
        store.is_full = False
        await harness.clock.next_sleep()
        await harness.event(DESTROYED, client.identity)
        told = [
            (str(event.type), event.connection and event.connection.client_id) for event in await harness.events()
        ]
        created = "connection.created"
        assert told == [(created, "first"), (DESTROYED, "first"), (created, "second"), (DESTROYED, "second")]
