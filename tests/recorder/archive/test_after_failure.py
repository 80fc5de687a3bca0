"""What comes after an archive failed: the report is the last word, and nothing in progress is left behind."""

import errno
import json
import os
import resource
import threading
from pathlib import Path

import pytest

from rokuga.recorder.archive import disk
from rokuga.recorder.archive.output import TOO_SLOW
from rokuga.recorder.events import Event
from tests import readers
from tests.recorder.house import House

FAILED, PART, REPORT = "archive.failed", "split-archive.available", "recording.report"
PARTS_END = "split-archive.end"


async def test_the_report_comes_after_parts_that_a_slow_disk_finished_late(house: House) -> None:
    """The disk hangs over some cuts: archive.failed while it does, the parts when it goes on, then the report."""
    house.recorder.context.writer._max_queued_bytes = 80_000
    state = await house.start(split_duration=1)
    client = await house.enter()
    await client.play(900)
    await house.disk()
    goes_on = threading.Event()
    house.recorder.context.writer.submit(goes_on.wait)
    while not await house.events(FAILED):
        await client.play(1000)
    assert (await house.event(FAILED)).document["reason"] == TOO_SLOW
    await house.recorder.stop_recording("sora")
    assert not await house.events(REPORT, PART)
    goes_on.set()
    await house.reported(state.recording_id)
    types = [str(event.type) for event in await house.events(FAILED, PART, PARTS_END, REPORT)]
    assert types == [FAILED, *[PART] * (len(types) - 3), PARTS_END, REPORT]
    parts = await house.events(PART)
    (end,) = await house.events(PARTS_END)
    assert end.document["split_last_index"] == max(part.document["split_index"] for part in parts)
    assert len(parts) >= 5
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
        patch.setattr(disk, "write_all", full)
        await client.leave()
    failed = await house.event(FAILED)
    assert failed.document["errno"] == errno.ENOSPC
    assert failed.document["path"].endswith(".json")
    assert house.files(state.recording_id) == [Path(failed.document["file_path"]).name]
    await house.stop()


def beside(event: Event) -> object:
    """Read the file that the event names."""
    return json.loads(Path(event.document["file_path"]).read_text())


@pytest.mark.parametrize("fault", ["a file may not grow", "the folder is gone"])
async def test_parts_that_were_told_have_an_end_when_the_archive_fails(house: House, fault: str) -> None:
    """Whoever collects parts is told which was the last; also where the document about it finds no place."""
    state = await house.start(split_duration=1)
    client = await house.enter()
    for _ in range(5):
        await client.play(500, size_bytes=16_000)
        await house.disk()
    await house.event(PART)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if fault == "a file may not grow":
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 21, hard))  # more than the store's log needs meanwhile
    else:
        (house.folder / "archive" / state.recording_id).rename(house.folder / "elsewhere")
    try:
        for _ in range(8):
            await client.play(500, size_bytes=16_000)
            await house.disk()
        await house.event(FAILED)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await house.stop()
    parts = await house.events(PART)
    types = [str(event.type) for event in await house.events(PART, PARTS_END, FAILED, REPORT)]
    assert [name for name in types if name != PART] == [FAILED, PARTS_END, REPORT]
    assert [part.document["split_index"] for part in parts] == [f"{index + 1:04d}" for index in range(len(parts))]
    (end,) = await house.events(PARTS_END)
    assert end.document["split_last_index"] == parts[-1].document["split_index"]
    if fault == "a file may not grow":
        assert beside(end) == end.document
        assert not [name for name in house.files(state.recording_id) if name.startswith(".")]
