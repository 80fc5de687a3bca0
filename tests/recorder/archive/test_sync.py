"""Syncs of a file that is being written: what a power cut leaves of it, and errors that a sync reports."""

import errno
import os
import threading
from pathlib import Path

import pytest

from rokuga.recorder.archive.archive_file import ArchiveFile
from rokuga.recorder.archive.container import FinishedFile
from rokuga.recorder.archive.container_table import WEBM
from rokuga.recorder.archive.disk import ArchiveError
from rokuga.recorder.archive.names import archive_names
from rokuga.recorder.archive.writer import WriterThread
from rokuga.recorder.media import NS_PER_MS, AccessUnit
from rokuga.recorder.negotiation import TrackConfig
from tests.support.recorder import OPUS_20_MS

ID = "0" * 26
BATCH_MS = 100


class PowerCut:
    """Replaces fdatasync, and keeps what a power cut after it would leave: no byte that was written later."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._sync = os.fdatasync
        self.kept = b""
        self.count = 0
        self.fault: OSError | None = None
        self.may_sync = threading.Event()
        self.may_sync.set()
        self.is_called = threading.Event()
        monkeypatch.setattr(os, "fdatasync", self)

    def __call__(self, descriptor: int) -> None:
        """Sync, or raise `fault`."""
        self.is_called.set()
        assert self.may_sync.wait(30)
        if self.fault is not None:
            raise self.fault
        kept = os.pread(descriptor, 1 << 30, 0)
        self._sync(descriptor)
        self.kept, self.count = kept, self.count + 1


@pytest.fixture
def power(monkeypatch: pytest.MonkeyPatch) -> PowerCut:
    return PowerCut(monkeypatch)


def opened(folder: Path, writer: WriterThread) -> ArchiveFile:
    """Open a file in a recording's folder."""
    (folder / ID).mkdir()
    names = archive_names(str(folder), ID, ID, WEBM.suffix)
    file = ArchiveFile(WEBM, names, TrackConfig("OPUS"), None, 0o640, 0, writer.submit_sync)
    file.open()
    return file


def write(file: ArchiveFile, begin_ms: int) -> None:
    """Write a batch of audio."""
    unit = AccessUnit(0, OPUS_20_MS, True, 0)
    file.write([("audio", unit, time * NS_PER_MS) for time in range(begin_ms, begin_ms + BATCH_MS, 20)])


async def test_a_power_cut_loses_at_most_two_seconds(tmp_path: Path, power: PowerCut) -> None:
    """The last sync is at most a second old, and may have torn a cluster."""
    async with WriterThread() as writer:
        file = opened(tmp_path, writer)
        for begin_ms in range(0, 6000, BATCH_MS):
            write(file, begin_ms)
            await writer.drain()  # every sync ends in time
            if begin_ms > 1000:
                left = tmp_path / "left.webm"
                left.write_bytes(power.kept)
                repaired = WEBM.repair(str(left))
                assert isinstance(repaired, FinishedFile)
                assert repaired.duration_ms > begin_ms - 2000
        assert power.count == 5
        assert file.finish() is not None


async def test_a_slow_disk_runs_one_sync_at_a_time(tmp_path: Path, power: PowerCut) -> None:
    """Writing does not wait for it; finishing does."""
    async with WriterThread() as writer:
        file = opened(tmp_path, writer)
        await writer.drain()  # the folder is synced
        power.may_sync.clear()
        for begin_ms in range(0, 6000, BATCH_MS):
            write(file, begin_ms)
        assert power.is_called.wait(30)
        assert power.count == 0
        ending = writer.submit(file.finish)
        power.may_sync.set()
        assert await ending is not None
        assert power.count == 1


@pytest.mark.parametrize("at_the_end", [True, False])
async def test_an_error_of_a_sync_ends_the_file(tmp_path: Path, power: PowerCut, *, at_the_end: bool) -> None:
    """A disk that accepted the bytes may report later that they are lost."""
    async with WriterThread() as writer:
        file = opened(tmp_path, writer)
        power.fault = OSError(errno.EIO, os.strerror(errno.EIO))
        write(file, 0)
        await writer.drain()
        write(file, 1000)
        await writer.drain()
        with pytest.raises(ArchiveError) as caught:  # noqa: PT012 (either call raises)
            if not at_the_end:
                write(file, 1100)
            file.finish()
        assert caught.value.errno == errno.EIO
        file.abandon()
        assert [path.name for path in (tmp_path / ID).iterdir()] == [f"archive-{ID}.webm"]
