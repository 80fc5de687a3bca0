"""A data directory of version 0.1.0, as SIGKILL left it, is used by this version: everything in it goes on."""

import asyncio
import os
import shutil
import sqlite3
import sys
from pathlib import Path

import pytest

from rokuga.devtools.loopback import loopback_environment
from tests import readers
from tests.end_to_end.daemon import ROOT, Consumer, running
from tests.end_to_end.publishing import publishing

pytestmark = pytest.mark.end_to_end

OLD = ROOT / "tests/vectors/upgrade-0.1.0"
OLD_PATH = "/var/lib/rokuga"
CONNECTION = "G7H9KQAMJ51DF57C8JQ4CJYN88"
WAITING = ["recording.started", "connection.created", "archive.started", *["split-archive.available"] * 2]


def restore(folder: Path) -> None:
    """Lay out the directories of the old version in `folder`."""
    shutil.copytree(OLD, folder, dirs_exist_ok=True)
    for path in [*folder.rglob("*.json"), *folder.rglob("*.jsonl")]:
        path.write_text(path.read_text().replace(OLD_PATH, str(folder)))
    with sqlite3.connect(folder / "data/rokuga.sqlite3") as database:
        database.executescript((folder / "data/rokuga.sql").read_text())
        for table in ("recordings", "archives", "events", "open_connections", "outbox"):
            database.execute(
                f"UPDATE {table} SET body = CAST(replace(CAST(body AS TEXT), ?, ?) AS BLOB)", (OLD_PATH, str(folder))
            )
    database.close()


def unfinished(folder: Path) -> list[Path]:
    """Return the files that were not finished."""
    return list(folder.rglob("*.part"))


def about(consumer: Consumer, channel_id: str) -> list[str]:
    """Return the types of a channel's events."""
    events = consumer.events
    return [each["type"] for each in events if channel_id in (each.get("channel_id"), each["data"].get("channel_id"))]


async def test_what_0_1_0_left_in_the_middle_of_a_recording_goes_on(tmp_path: Path, consumer: Consumer) -> None:
    restore(tmp_path)
    async with running(tmp_path, consumer.url) as daemon:
        destroyed = await consumer.wait_for("connection.destroyed")
        assert destroyed["data"]["reason"] == "CRASH"
        types = [event["type"] for event in consumer.once() if event.get("connection_id") == CONNECTION]
        assert types[: len(WAITING) - 1] == WAITING[1:]
        assert types[len(WAITING) - 1 :] == [
            "split-archive.available",
            "split-archive.end",
            "archive.available",
            "connection.destroyed",
        ]
        async with publishing(daemon.signaling_url):
            await consumer.wait_for("split-archive.available", 4)
        assert [each["channel_id"] for each in await daemon.api("ListStartedRecording")] == ["sora"]
        await daemon.api("StopRecording", {"channel_id": "sora"})
        report = await consumer.wait_for("recording.report")
        assert not daemon.faults()
    assert len(report["data"]["archives"]) == 2
    assert not unfinished(tmp_path)
    for event in [*consumer.of_type("split-archive.available"), *consumer.of_type("archive.available")]:
        counts = readers.decode_strictly(Path(event["data"]["file_path"]))
        assert counts["video"]
    assert not about(consumer, "refused"), "what was given up is not sent again by itself"


async def test_what_0_1_0_gave_up_is_kept_and_can_be_sent_again(tmp_path: Path, consumer: Consumer) -> None:
    restore(tmp_path)
    with sqlite3.connect(tmp_path / "data/rokuga.sqlite3") as database:
        ids = [row[0] for row in database.execute("SELECT event_id FROM outbox WHERE state = 'dead' ORDER BY seq")]
    database.close()
    assert len(ids) == 2
    environment = os.environ | loopback_environment(tmp_path)
    async with running(tmp_path, consumer.url):
        await consumer.wait_for("connection.destroyed")
        for event_id in ids:
            command = [sys.executable, "-m", "rokuga", "webhooks", "retry", event_id]
            process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment)
            assert await process.wait() == 0
        await consumer.wait_until(lambda: len(about(consumer, "refused")) == 2)
    assert about(consumer, "refused") == ["recording.started", "recording.report"]
