"""Recordings by channel: which connections are archived from when to when, and the documents of their files."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from rokuga.recorder.connection import TOO_MANY_PENDING, ConnectionRequest
from rokuga.recorder.errors import ConnectionRefused
from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.negotiation import TrackConfig
from tests import readers
from tests.support.recorder import (
    AVAILABLE,
    FAILED,
    PART,
    PARTS_END,
    REPORT,
    STARTED,
    RecorderHarness,
    running_recorder,
)

EVIL_IDS = ["../../tmp/pwn", "/etc/x", "..", "a/b", "%2e%2e%2f", "nul\0byte", "new\nline", "x" * 300, "-rf", "CON"]


async def test_present_and_later_publishers_are_archived_until_the_stop(harness: RecorderHarness) -> None:
    """No connection of another channel, none that only receives, and each with its own offsets."""
    first = await harness.connect()
    await harness.connect("elsewhere")
    await harness.connect(role="recvonly")
    state = await harness.start(metadata_json='{"k":1}')
    await first.play(1500)
    second = await harness.connect()
    for _ in range(5):
        await first.play(200)
        second.send("audio", 0, b"\xfc.")
    assert [progress.seconds for progress in harness.recorder.archives()] == [2, 1]
    await harness.stop()
    report = await harness.reported(state.recording_id)
    entries = report.document["archives"]
    assert [entry["connection_id"] for entry in entries] == [
        client.connection.identity.connection_id for client in (first, second)
    ]
    assert [(entry["start_time_offset"], entry["stop_time_offset"]) for entry in entries] == [(0, 2), (1, 2)]
    assert report.document["metadata"] == {"k": 1}
    assert await harness.types() == ["recording.started", STARTED, STARTED, AVAILABLE, AVAILABLE, REPORT]
    folder = harness.folder / "archive" / state.recording_id
    assert json.loads((folder / f"report-{state.recording_id}.json").read_text()) == report.document


async def test_a_connection_that_sends_nothing_is_a_failed_archive(harness: RecorderHarness) -> None:
    """It has neither file nor document, and the report lists it."""
    state = await harness.start()
    client = await harness.connect()
    await client.leave()
    await harness.stop()
    (failed,) = await harness.events(FAILED)
    assert failed.document["reason"] == "no media was received"
    assert "errno" not in failed.document
    report = await harness.reported(state.recording_id)
    assert report.document["archives"] == []
    assert len(report.document["failed_archives"]) == 1
    assert harness.files(state.recording_id) == [f"report-{state.recording_id}.json"]


async def test_a_recording_that_stops_before_any_media_leaves_no_file(harness: RecorderHarness) -> None:
    """100 rounds, some with a first packet after the stop: no file, no active recording, one report each."""
    for turn in range(100):
        connection = await harness.recorder.connect(ConnectionRequest("sora", "sendonly", audio=TrackConfig("OPUS")))
        state = await harness.start()
        if turn % 2:
            connection.accept("v=0\r\n")
        await harness.stop()
        harness.peers[-1].hooks.sink.unit("audio", unit(harness))
        await connection.close("TYPE-DISCONNECT")
        assert harness.files(state.recording_id) == [f"report-{state.recording_id}.json"]
        assert not harness.recorder.recordings()
    assert len(await harness.events(REPORT)) == 100
    assert len(await harness.events(STARTED)) == len(await harness.events(FAILED))
    await harness.start()


def unit(harness: RecorderHarness) -> Any:
    """Return an audio unit that arrives now."""
    from rokuga.recorder.media import AccessUnit

    return AccessUnit(0, b"\xfc.", True, harness.clock.now_ns)


async def test_nothing_is_recorded_after_the_stop(harness: RecorderHarness) -> None:
    """Also of a client that came 10 ms before it: every archive is in the report, no byte is written later."""
    state = await harness.start()
    first = await harness.connect()
    await first.play(1000)
    late = await harness.connect()
    await late.play(10)
    await harness.stop()
    folder = harness.folder / "archive" / state.recording_id
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    await first.play(2000)
    await late.play(2000)
    await harness.drain()
    assert {path.name: path.stat().st_size for path in folder.iterdir()} == sizes
    report = await harness.reported(state.recording_id)
    listed = [*report.document["archives"], *report.document["failed_archives"]]
    assert {entry["connection_id"] for entry in listed} == {
        client.connection.identity.connection_id for client in (first, late)
    }
    assert not harness.recorder.archives()


@pytest.mark.parametrize("ending", ["a clean close", "a timeout", "the end of the daemon"])
async def test_the_only_part_is_finished_and_announced_as_the_last(tmp_path: Path, ending: str) -> None:
    """Parts of 1800 s, an end after 65 s: the part is finished, and split-archive.end has its index."""
    async with running_recorder(tmp_path) as harness:
        state = await harness.start(split_duration=1800, split_only=True)
        client = await harness.connect()
        for _ in range(65):
            await client.play(1000)
            await harness.drain()
        if ending == "a clean close":
            await client.leave()
        elif ending == "a timeout":
            client.peer.close("MEDIA-TIMEOUT")
            await client.connection.wait_closed()
    async with running_recorder(tmp_path) as harness:
        (part,), (end,) = await harness.events(PART), await harness.events(PARTS_END)
        assert part.document["split_index"] == end.document["split_last_index"] == "0001"
        assert readers.duration_s(Path(part.document["file_path"])) == pytest.approx(65, abs=0.1)
        connection_id = client.connection.identity.connection_id
        assert harness.files(state.recording_id) == [
            f"split-archive-{connection_id}_0001.json",
            f"split-archive-{connection_id}_0001.webm",
            f"split-archive-end-{connection_id}.json",
        ]
        await harness.stop()
        report = await harness.reported(state.recording_id)
        (entry,) = report.document["archives"]
        assert entry["split_last_index"] == "0001"
        assert "file_path" not in entry


async def test_setting_the_wall_clock_does_not_change_durations_or_splits(harness: RecorderHarness) -> None:
    """+1 h at 30 s, -1 h at 50 s: parts of 20 s, the end at 120 s, and times in the documents that fit each other."""
    state = await harness.start(expire_time=120, split_duration=20)
    client = await harness.connect()
    for second in range(120):
        harness.clock.wall_offset_ns += {30: 3600, 50: -3600}.get(second, 0) * NS_PER_S
        await client.play(1000)
        await harness.drain()
    assert (await harness.reported(state.recording_id)).document["archives"]
    parts = [event.document for event in await harness.events(PART)]
    assert [part["split_index"] for part in parts] == [f"000{index}" for index in range(1, 7)]
    assert [part["start_time_offset"] for part in parts] == [0, 20, 40, 60, 80, 100]
    assert [part["stop_time_offset"] for part in parts] == [20, 40, 60, 80, 100, 120]
    for part in parts:
        assert readers.duration_s(Path(part["file_path"])) == pytest.approx(20, abs=0.1)
        took = datetime.fromisoformat(part["stop_timestamp"]) - datetime.fromisoformat(part["start_timestamp"])
        assert took.total_seconds() == pytest.approx(20, abs=0.05)
    (whole,) = await harness.events(AVAILABLE)
    assert readers.duration_s(Path(whole.document["file_path"])) == pytest.approx(120, abs=0.1)
    assert whole.document["stop_time"] - whole.document["start_time"] == 120


@pytest.mark.parametrize("evil", EVIL_IDS)
async def test_ids_of_clients_are_never_used_in_a_path(harness: RecorderHarness, evil: str) -> None:
    """The documents have them unchanged; no file is outside the recording's folder."""
    state = await harness.start(evil)
    client = await harness.connect(evil, client_id=evil)
    await client.play(200)
    await harness.stop(evil)
    (available,) = await harness.events(AVAILABLE)
    assert available.document["channel_id"] == available.document["client_id"] == evil
    written = harness.folder / "archive" / state.recording_id / Path(available.document["metadata_file_path"]).name
    assert json.loads(written.read_text())["client_id"] == evil
    everything = {path.relative_to(harness.folder).parts[:2] for path in harness.folder.rglob("*") if path.is_file()}
    stores = {parts for parts in everything if parts[0].startswith("store.sqlite3")}
    assert everything - stores == {("archive", state.recording_id)}


async def test_archives_are_announced_at_shutdown_and_the_recording_continues_after_it(tmp_path: Path) -> None:
    """Files are closed; the next start records into the same recording."""
    async with running_recorder(tmp_path) as harness:
        state = await harness.start()
        client = await harness.connect()
        await client.play(500)
    async with running_recorder(tmp_path) as harness:
        assert [recording.recording_id for recording in harness.recorder.recordings()] == [state.recording_id]
        (available,) = await harness.events(AVAILABLE)
        assert available.connection == client.connection.identity
        again = await harness.connect()
        await again.play(500)
        await harness.stop()
        assert len((await harness.reported(state.recording_id)).document["archives"]) == 2


async def test_connections_are_refused_during_shutdown(tmp_path: Path) -> None:
    async with running_recorder(tmp_path) as harness:
        pass
    with pytest.raises(ConnectionRefused):
        await harness.recorder.connect(ConnectionRequest("sora", "sendonly", audio=TrackConfig("OPUS")))


async def test_a_client_that_is_evicted_before_it_answers_is_removed(harness: RecorderHarness) -> None:
    """Too many others connected before its media could flow: nothing waits for its answer."""
    connection = await harness.recorder.connect(ConnectionRequest("c", "sendonly", audio=TrackConfig("OPUS")))
    harness.peers[-1].hooks.on_evicted()
    assert await connection.wait_closed() == TOO_MANY_PENDING
    assert harness.recorder.connections("c") == []
