"""A daemon on a disk on which each fsync takes a second, with dozens of publishers."""

import asyncio
import contextlib
import time
from pathlib import Path

import pytest

from tests import readers
from tests.end_to_end.daemon import Consumer, running
from tests.end_to_end.publishing import publishing

pytestmark = [pytest.mark.end_to_end, pytest.mark.soak]

PUBLISHERS = 24
RECORDING = {"channel_id": "sora", "expire_time": 0, "split_duration": 10}


async def test_no_archive_is_lost_on_a_disk_with_slow_fsync(tmp_path: Path, consumer: Consumer) -> None:
    """24 publish with parts of 10 s, 12 leave: every archive is available, and no API response waits for fsync."""
    command = ("tests.end_to_end.slow_sync_daemon", "1", "run")
    answers_s: list[float] = []
    async with running(tmp_path, consumer.url, command) as daemon:

        async def ask(operation: str, body: dict[str, object]) -> None:
            began_s = time.monotonic()
            await daemon.api(operation, body)
            answers_s.append(time.monotonic() - began_s)

        await ask("StartRecording", RECORDING)
        async with contextlib.AsyncExitStack() as staying, contextlib.AsyncExitStack() as leaving:
            for place in range(PUBLISHERS):
                stack = staying if place % 2 else leaving
                await stack.enter_async_context(publishing(daemon.signaling_url))
            await consumer.wait_for("split-archive.available", count=PUBLISHERS)
            await leaving.aclose()
            for number in range(10):
                await ask("StartRecording", {"channel_id": f"other {number}", "expire_time": 0})
                await ask("StopRecording", {"channel_id": f"other {number}"})
                await asyncio.sleep(0.5)
            await consumer.wait_for("archive.available", count=PUBLISHERS // 2)
            await ask("StopRecording", {"channel_id": "sora"})
            report = await consumer.wait_for("recording.report", channel_id="sora")
        assert not daemon.faults()
    print("slowest answer of the API, seconds:", max(answers_s), "median:", sorted(answers_s)[len(answers_s) // 2])
    assert report["data"]["failed_archives"] == []
    assert len(report["data"]["archives"]) == PUBLISHERS
    for entry in report["data"]["archives"]:
        assert readers.packets(Path(entry["file_path"]))["video"]
