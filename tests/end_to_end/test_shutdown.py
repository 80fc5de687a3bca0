"""The first SIGTERM ends the daemon in order, a second one at once; neither loses anything."""

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests import readers
from tests.end_to_end.daemon import Consumer, Daemon, running
from tests.end_to_end.publishing import publishing

pytestmark = pytest.mark.end_to_end


def unfinished(daemon: Daemon) -> list[Path]:
    """Return the files in progress."""
    return list(daemon.archive_dir.rglob(".*.part"))


async def recorded(daemon: Daemon) -> None:
    """Wait until an archive contains a second of media."""
    while not any(archive["seconds"] for archive in await daemon.api("ListArchiving")):
        pass


async def test_sigterm_finishes_the_files_and_keeps_the_recording(tmp_path: Path, consumer: Consumer) -> None:
    """Files are finished and announced before the exit with 0; the recording continues at the next start."""
    async with running(tmp_path, consumer.url) as daemon:
        started = await daemon.api("StartRecording", {"channel_id": "sora", "expire_time": 0, "split_duration": 1})
        async with publishing(daemon.signaling_url, may_be_cut_off=True) as first:
            await consumer.wait_for("split-archive.available")
            assert unfinished(daemon)
            consumer.answer = respond_slowly
            assert await daemon.stop() == 0
        assert not unfinished(daemon)
        assert not daemon.faults()
    (available,) = consumer.of_type("archive.available")
    (end,) = consumer.of_type("split-archive.end")
    (destroyed,) = consumer.of_type("connection.destroyed")
    assert destroyed["data"]["reason"] == "SHUTDOWN"
    assert available["connection_id"] == end["connection_id"] == destroyed["connection_id"] == first.connection_id
    parts = [part["data"]["split_index"] for part in consumer.of_type("split-archive.available")]
    assert parts == [f"{number:04}" for number in range(1, int(end["data"]["split_last_index"]) + 1)]
    assert readers.decode_strictly(Path(available["data"]["file_path"]))["video"]
    assert not consumer.of_type("recording.report")
    consumer.answer = None
    seen = len(consumer.events)

    async with running(tmp_path, consumer.url) as daemon:
        (active,) = await daemon.api("ListStartedRecording")
        assert active["recording_id"] == started["recording_id"]
        async with publishing(daemon.signaling_url, may_be_cut_off=True) as second:
            await consumer.wait_for("archive.started", count=2)
            await daemon.api("StopRecording", {"channel_id": "sora"})
            report = await consumer.wait_for("recording.report")
        assert not daemon.faults()
    archives = [entry["connection_id"] for entry in report["data"]["archives"]]
    assert archives == [first.connection_id, second.connection_id]
    assert not report["data"]["failed_archives"]
    assert len(consumer.once()) == len(consumer.events), "an event was repeated after the restart"
    assert consumer.events[seen]["type"] == "connection.created"


async def test_a_hanging_consumer_delays_the_end_by_the_grace_time_only(tmp_path: Path, consumer: Consumer) -> None:
    """The exit is in order, and the remaining events are delivered at the next start."""
    holding = hold(consumer, "recording.started")
    async with running(tmp_path, consumer.url, webhook_response_timeout="1 h") as daemon:
        await daemon.api("StartRecording", {"channel_id": "sora", "expire_time": 0})
        async with publishing(daemon.signaling_url, may_be_cut_off=True):
            await holding.wait()
            await recorded(daemon)
            assert await daemon.stop() == 0
        assert not unfinished(daemon)
        assert set(consumer.types) == {"recording.started", "connection.created"}, "these wait for no other event"
    consumer.answer = None
    async with running(tmp_path, consumer.url):
        await consumer.wait_for("connection.destroyed")
    types = [event["type"] for event in consumer.once()]
    assert types.index("recording.started") < types.index("archive.started")
    types.remove("recording.started")  # its order relative to connections is not defined
    assert types == [
        "connection.created",
        "archive.started",
        "archive.available",
        "connection.destroyed",
    ]


async def test_a_second_sigterm_ends_at_once_and_loses_nothing(tmp_path: Path, consumer: Consumer) -> None:
    """While the outbox waits for the consumer: committed events are delivered unchanged at the next start."""
    holding = hold(consumer, "archive.available")
    async with running(tmp_path, consumer.url, webhook_response_timeout="1 h") as daemon:
        await daemon.api("StartRecording", {"channel_id": "sora", "expire_time": 0})
        async with publishing(daemon.signaling_url, may_be_cut_off=True) as publication:
            await consumer.wait_for("archive.started")
            await recorded(daemon)
            daemon.process.send_signal(signal.SIGTERM)
            await holding.wait()
            assert await daemon.stop() == 1
        assert not daemon.faults()
    (held,) = consumer.of_type("archive.available")
    consumer.answer = None
    report = await report_of_a_new_start(tmp_path, consumer)
    assert consumer.of_type("archive.available") == [held, held]
    assert [entry["connection_id"] for entry in report["archives"]] == [publication.connection_id]


async def test_two_sigterms_in_a_row_lose_nothing(tmp_path: Path, consumer: Consumer) -> None:
    """While the files are closed: they are finished and announced at the next start, if they were not before."""
    async with running(tmp_path, consumer.url) as daemon:
        await daemon.api("StartRecording", {"channel_id": "sora", "expire_time": 0, "split_duration": 1})
        async with publishing(daemon.signaling_url, may_be_cut_off=True) as publication:
            await consumer.wait_for("split-archive.available")
            daemon.process.send_signal(signal.SIGTERM)
            await daemon.logged("ending")
            assert await daemon.stop() == 1
    report = await report_of_a_new_start(tmp_path, consumer)
    assert [entry["connection_id"] for entry in report["archives"]] == [publication.connection_id]
    types = [event["type"] for event in consumer.once()]
    assert types.count("archive.available") == types.count("split-archive.end") == 1
    assert readers.decode_strictly(Path(report["archives"][0]["file_path"]))["video"]


async def respond_slowly(_request: web.Request, _event: dict[str, Any]) -> web.Response:
    """Respond after a delay, so that events wait when the files are closed."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), 0.4)
    return web.Response()


def hold(consumer: Consumer, event_type: str) -> asyncio.Event:
    """Make the consumer never respond to events of this type; set the returned event at the first one."""
    holding = asyncio.Event()

    async def answer(_request: web.Request, event: dict[str, Any]) -> web.Response:
        if event["type"] == event_type:
            holding.set()
            await asyncio.Event().wait()
        return web.Response()

    consumer.answer = answer
    return holding


async def report_of_a_new_start(folder: Path, consumer: Consumer) -> dict[str, Any]:
    """Restart the daemon, stop the recording, and return its report."""
    async with running(folder, consumer.url) as daemon:
        assert [each["channel_id"] for each in await daemon.api("ListStartedRecording")] == ["sora"]
        await daemon.api("StopRecording", {"channel_id": "sora"})
        report = await consumer.wait_for("recording.report")
        assert not unfinished(daemon)
        assert not daemon.faults()
    data: dict[str, Any] = report["data"]
    return data
