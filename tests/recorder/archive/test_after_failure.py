"""What comes after an archive failed: the report is the last word, and nothing in progress is left behind."""

import errno
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rokuga.recorder.archive import writer
from rokuga.recorder.archive.output import TOO_SLOW
from tests import readers
from tests.recorder.house import House, running

FAILED, PART, REPORT = "archive.failed", "split-archive.available", "recording.report"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with running(tmp_path) as house:
        yield house


async def test_the_report_comes_after_parts_that_a_slow_disk_finished_late(house: House) -> None:
    """The disk hangs over some cuts: archive.failed while it does, the parts when it goes on, then the report."""
    state = await house.start(split_duration=1)
    client = await house.enter()
    await client.play(900)
    await house.disk()
    goes_on = threading.Event()
    house.recorder._writer.submit(goes_on.wait)
    for _ in range(15):
        await client.play(1000)
    assert (await house.event(FAILED)).document["reason"] == TOO_SLOW
    await house.recorder.stop_recording("sora")
    assert not await house.events(REPORT, PART)
    goes_on.set()
    await house.reported(state.recording_id)
    types = [str(event.type) for event in await house.events(FAILED, PART, REPORT)]
    assert types == [FAILED, *[PART] * (len(types) - 2), REPORT]
    parts = await house.events(PART)
    assert len(parts) >= 10
    for part in parts:
        assert readers.packets(Path(part.document["file_path"]))["audio"]
    await client.leave()
    assert (await house.events(PART, REPORT))[-1].type == REPORT


async def test_a_document_that_finds_no_room_leaves_no_piece_of_itself(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full for the document only: the file stays, archive.failed says which path, no dot file is left."""
    state = await house.start()
    client = await house.enter()
    await client.play(900)

    def full(descriptor: int, _data: bytes, _offset: int) -> None:
        os.pwrite(descriptor, b"{", 0)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(writer, "put_all", full)
        await client.leave()
    failed = await house.event(FAILED)
    assert failed.document["errno"] == errno.ENOSPC
    assert failed.document["path"].endswith(".json")
    assert house.files(state.recording_id) == [Path(failed.document["file_path"]).name]
    await house.stop()
