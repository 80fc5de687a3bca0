"""What connection.destroyed says of the end of a connection."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from rokuga.recorder.connection import Connection, ConnectionRequest
from rokuga.recorder.errors import ConnectionRefused
from rokuga.recorder.events import Event
from rokuga.recorder.media import TrackConfig
from rokuga.recorder.store import StoreError
from rokuga.recorder.store.sqlite import SqliteStore
from tests.recorder.house import House, running

DESTROYED = "connection.destroyed"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A recorder."""
    async with running(tmp_path) as started:
        yield started


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
async def test_the_end_is_told_in_the_words_of_who_wanted_it(
    house: House, reason: str, remark: str | None, told: dict[str, str]
) -> None:
    client = await house.enter()
    client.connection.stop(reason, remark)
    client.connection.stop("SHUTDOWN", "too late")
    gone = await house.event(DESTROYED, client.connection.identity)
    keys = ("reason", "disconnect_api_reason", "type_disconnect_reason")
    assert {key: gone.document[key] for key in keys if key in gone.document} == told


async def test_the_end_of_the_recorder_is_a_shutdown(house: House) -> None:
    """Its connections are over, with their files, when `end` returns; nobody comes in any more."""
    state = await house.start()
    client = await house.enter()
    await client.play(1000)
    await house.recorder.end()
    (gone,) = await house.events(DESTROYED)
    assert gone.document["reason"] == "SHUTDOWN"
    (available,) = await house.events("archive.available")
    assert available.document["recording_id"] == state.recording_id
    with pytest.raises(ConnectionRefused, match="SHUTDOWN"):
        await house.recorder.connect(ConnectionRequest("sora", "sendonly", audio=TrackConfig("OPUS")))
    assert house.recorder.recordings() == [state]


class FullStore(SqliteStore):
    """A store whose disk may be full."""

    is_full = False

    async def append(self, events: Sequence[Event]) -> None:
        """Fail on a full disk."""
        if self.is_full:
            raise StoreError("the disk of the store is full")
        await super().append(events)


async def come(house: House, client_id: str) -> Connection:
    """Connect a client; it is there then."""
    connection = await house.recorder.connect(
        ConnectionRequest("sora", "sendonly", client_id, audio=TrackConfig("OPUS"))
    )
    connection.accept("v=0\r\n")
    await connection.connected.wait()
    return connection


async def test_who_came_and_went_on_a_full_disk_is_told_of_when_there_is_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order; and one whose name nobody can write keeps nobody back."""
    monkeypatch.setattr("rokuga.recorder.teller.TELL_AGAIN_S", 0.001)
    async with FullStore(tmp_path / "store.sqlite3") as store, running(tmp_path, store=store) as house:
        store.is_full = True
        for client_id in ("first", "\ud800", "second"):
            client = await come(house, client_id)
            await client.close("TYPE-DISCONNECT")
        assert await house.events() == []
        store.is_full = False
        await house.event(DESTROYED, client.identity)
        told = [(str(event.type), event.connection and event.connection.client_id) for event in await house.events()]
        created = "connection.created"
        assert told == [(created, "first"), (DESTROYED, "first"), (created, "second"), (DESTROYED, "second")]
