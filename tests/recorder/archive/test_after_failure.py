"""After an archive failed: the report is the last event, and no file in progress is left."""

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
from tests.support.recorder import RecorderHarness

FAILED, PART, REPORT = "archive.failed", "split-archive.available", "recording.report"
PARTS_END = "split-archive.end"


async def test_the_report_follows_parts_that_a_slow_disk_finished_late(harness: RecorderHarness) -> None:
    """The disk stalls for some parts: archive.failed meanwhile, the parts when it continues, then the report."""
    harness.recorder.context.writer._max_queued_bytes = 80_000
    state = await harness.start(split_duration=1)
    client = await harness.connect()
    await client.play(900)
    await harness.drain()
    goes_on = threading.Event()
    harness.recorder.context.writer.submit(goes_on.wait)
    while not await harness.events(FAILED):
        await client.play(1000)
    assert (await harness.event(FAILED)).document["reason"] == TOO_SLOW
    await harness.recorder.stop_recording("sora")
    assert not await harness.events(REPORT, PART)
    goes_on.set()
    await harness.reported(state.recording_id)
    types = [str(event.type) for event in await harness.events(FAILED, PART, PARTS_END, REPORT)]
    assert types == [FAILED, *[PART] * (len(types) - 3), PARTS_END, REPORT]
    parts = await harness.events(PART)
    (end,) = await harness.events(PARTS_END)
    assert end.document["split_last_index"] == max(part.document["split_index"] for part in parts)
    assert len(parts) >= 5
    for part in parts:
        assert readers.packets(Path(part.document["file_path"]))["audio"]
    await client.leave()
    assert (await harness.events(PART, REPORT))[-1].type == REPORT


async def test_a_document_that_does_not_fit_on_the_disk_leaves_no_file(
    harness: RecorderHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full for the document only: the file stays, archive.failed has the path, no dot file is left."""
    state = await harness.start()
    client = await harness.connect()
    await client.play(900)

    def full(descriptor: int, _data: bytes, _offset: int) -> None:
        os.pwrite(descriptor, b"{", 0)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(disk, "write_all", full)
        await client.leave()
    failed = await harness.event(FAILED)
    assert failed.document["errno"] == errno.ENOSPC
    assert failed.document["path"].endswith(".json")
    assert harness.files(state.recording_id) == [Path(failed.document["file_path"]).name]
    await harness.stop()


def beside(event: Event) -> object:
    """Read the file that the event names."""
    return json.loads(Path(event.document["file_path"]).read_text())


@pytest.mark.parametrize("fault", ["a file may not grow", "the folder is gone"])
async def test_announced_parts_have_an_end_when_the_archive_fails(harness: RecorderHarness, fault: str) -> None:
    """split-archive.end is stored, even if its document cannot be written."""
    state = await harness.start(split_duration=1)
    client = await harness.connect()
    for _ in range(5):
        await client.play(500, size_bytes=16_000)
        await harness.drain()
    await harness.event(PART)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if fault == "a file may not grow":
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 21, hard))  # more than the store's log needs meanwhile
    else:
        (harness.folder / "archive" / state.recording_id).rename(harness.folder / "elsewhere")
    try:
        for _ in range(8):
            await client.play(500, size_bytes=16_000)
            await harness.drain()
        await harness.event(FAILED)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await harness.stop()
    parts = await harness.events(PART)
    types = [str(event.type) for event in await harness.events(PART, PARTS_END, FAILED, REPORT)]
    assert [name for name in types if name != PART] == [FAILED, PARTS_END, REPORT]
    assert [part.document["split_index"] for part in parts] == [f"{index + 1:04d}" for index in range(len(parts))]
    (end,) = await harness.events(PARTS_END)
    assert end.document["split_last_index"] == parts[-1].document["split_index"]
    if fault == "a file may not grow":
        assert beside(end) == end.document
        assert not [name for name in harness.files(state.recording_id) if name.startswith(".")]
