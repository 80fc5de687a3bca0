"""What connection.destroyed says of the end of a connection."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rokuga.recorder.connection import ConnectionRequest
from rokuga.recorder.errors import ConnectionRefused
from rokuga.recorder.media import TrackConfig
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
