"""Every error of a disk: its archive ends with archive.failed, all others continue."""

import errno
import os
import resource
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rokuga.recorder.archive import disk
from rokuga.recorder.archive.disk import ArchiveError
from tests import machine, readers
from tests.support.recorder import Client, RecorderHarness, running_recorder

NOBODY = 65534
DISK_BYTES = 1 << 20
FAILED, AVAILABLE = "archive.failed", "archive.available"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB at tmp_path/archive."""
    with machine.small_disk(tmp_path / "archive", DISK_BYTES) as folder:
        yield folder


@pytest.fixture
def unprivileged(tmp_path: Path) -> Iterator[None]:
    """Run as the user nobody, for whom permissions hold; tmp_path can be reached."""
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(folder.stat().st_mode | stat.S_IXOTH | stat.S_IROTH)
    if os.geteuid():
        yield  # permissions hold already
        return
    os.chown(tmp_path, NOBODY, NOBODY)
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    yield
    os.seteuid(0)
    os.setegid(0)


async def play(harness: RecorderHarness, client: Client, seconds: int, **options: Any) -> None:
    """Play while the disk keeps up."""
    for _ in range(seconds * 5):
        await client.play(200, **options)
        await harness.drain()


async def works_again(harness: RecorderHarness, channel_id: str = "again") -> None:
    """The next recording works."""
    await harness.start(channel_id)
    client = await harness.connect(channel_id)
    await play(harness, client, 1)
    await harness.stop(channel_id)
    await harness.event(AVAILABLE, client.connection.identity)
    await client.leave()


@pytest.mark.system
async def test_a_full_disk_ends_one_archive_and_keeps_its_file(tmp_path: Path, small_disk: Path) -> None:
    """Its file is complete up to the last cluster; channels on other disks continue; later starts work."""
    elsewhere = tmp_path / "elsewhere"
    async with running_recorder(tmp_path) as full, running_elsewhere(elsewhere) as other:
        await full.start()
        await other.start()
        clients = [await full.connect(), await other.connect()]
        for _ in range(20):
            for harness, client in zip((full, other), clients, strict=True):
                await play(harness, client, 1, size_bytes=4000)
        failed = await full.event(FAILED)
        assert failed.document["errno"] == errno.ENOSPC
        assert failed.document["reason"] == os.strerror(errno.ENOSPC)
        assert not full.recorder.archives()
        path = Path(failed.document["file_path"])
        kept = readers.packets(path)
        assert kept["video"][-1][1] > 7000
        assert readers.duration_s(path) == pytest.approx(kept["audio"][-1][1] / 1000, abs=0.1)
        readers.identify(path)
        await full.stop()
        report = await full.event("recording.report")
        assert [entry["connection_id"] for entry in report.document["failed_archives"]] == [
            clients[0].connection.identity.connection_id
        ]
        shutil.rmtree(path.parent)
        await works_again(full)
        await other.stop()
        available = await other.event(AVAILABLE)
        assert len(readers.packets(Path(available.document["file_path"]))["audio"]) == 1000


async def test_an_archive_at_the_limit_of_the_file_size_fails_and_keeps_its_file(harness: RecorderHarness) -> None:
    """RLIMIT_FSIZE: as on a full disk, what was written can be played."""
    await harness.start()
    client = await harness.connect()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        await play(harness, client, 12, size_bytes=6000)
        failed = await harness.event(FAILED)
        assert failed.document["errno"] == errno.EFBIG
        await harness.stop()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    path = Path(failed.document["file_path"])
    assert readers.packets(path)["video"][-1][1] > 5000
    assert readers.duration_s(path) > 5
    await client.leave()
    await works_again(harness)


def running_elsewhere(folder: Path) -> Any:
    """A second recorder on another disk."""
    folder.mkdir()
    return running_recorder(folder)


@pytest.mark.parametrize("fault", ["read-only", "parent is a file", "no way in"])
async def test_start_recording_fails_with_the_error_of_the_folder(
    tmp_path: Path, fault: str, unprivileged: None
) -> None:
    """The error has path and errno; nothing is recorded; after a correction the next start works."""
    archive_dir = tmp_path / "archive"
    expected = errno.EACCES
    if fault == "parent is a file":
        archive_dir.write_text("")
        expected = errno.ENOTDIR
    else:
        archive_dir.mkdir()
        archive_dir.chmod(0o555 if fault == "read-only" else 0o000)
    async with running_recorder(tmp_path) as harness:
        with pytest.raises(ArchiveError) as raised:
            await harness.start()
        assert raised.value.errno == expected
        assert raised.value.path.startswith(str(archive_dir))
        assert not harness.recorder.recordings()
        assert not await harness.events()
        if archive_dir.is_file():
            archive_dir.unlink()
        else:
            archive_dir.chmod(0o755)
        await works_again(harness)


async def test_a_folder_that_does_not_exist_is_created(harness: RecorderHarness) -> None:
    """With the permissions of the configuration, as its files, whatever the umask."""
    before = os.umask(0o077)
    try:
        state = await harness.start()
        client = await harness.connect()
        await play(harness, client, 1)
        await harness.stop()
    finally:
        os.umask(before)
    folder = harness.folder / "archive" / state.recording_id
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o640}
    assert len(harness.files(state.recording_id)) == 3


async def test_a_folder_that_is_removed_before_the_first_packet_is_created_again(harness: RecorderHarness) -> None:
    """Clients that connect then are recorded."""
    state = await harness.start()
    (harness.folder / "archive" / state.recording_id).rmdir()
    client = await harness.connect()
    await play(harness, client, 1)
    await harness.stop()
    available = await harness.event(AVAILABLE)
    assert len(readers.packets(Path(available.document["file_path"]))["audio"]) == 50
    assert (await harness.event("recording.report")).document["file_written"] is True
    await client.leave()


async def test_a_folder_that_is_removed_while_files_are_written_fails_the_archive(harness: RecorderHarness) -> None:
    """The file cannot be renamed: archive.failed, once."""
    state = await harness.start(split_duration=2)
    client = await harness.connect()
    await play(harness, client, 1)
    shutil.rmtree(harness.folder / "archive" / state.recording_id)
    await play(harness, client, 3)
    await harness.stop()
    assert [event.document["errno"] for event in await harness.events(FAILED)] == [errno.ENOENT]
    await client.leave()
    await works_again(harness)


async def test_too_many_open_files_fail_only_the_archive_that_begins(harness: RecorderHarness) -> None:
    """Archives that were open continue, also to the end of their files."""
    await harness.start()
    first = await harness.connect()
    await play(harness, first, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open("/dev/null", os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken[0] + 1, hard))
    try:
        second = await harness.connect()
        failed = await harness.event(FAILED)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(taken[0])
    assert failed.connection == second.connection.identity
    assert failed.document["errno"] == errno.EMFILE
    await play(harness, first, 1)
    await harness.stop()
    available = await harness.event(AVAILABLE)
    assert available.connection == first.connection.identity
    assert len(readers.packets(Path(available.document["file_path"]))["audio"]) == 100


@pytest.mark.parametrize("call", ["fsync", "rename"])
async def test_an_error_of_fsync_or_rename_fails_the_archive(
    harness: RecorderHarness, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """EIO: archive.failed contains it, and there is no document."""
    await harness.start()
    client = await harness.connect()
    await play(harness, client, 1)

    def failing(*_arguments: object, **_named: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing)
        state = await harness.recorder.stop_recording("sora")
        failed = await harness.event(FAILED)
    assert failed.document["errno"] == errno.EIO
    report = await harness.reported(state.recording_id)
    assert report.document["archives"] == []
    assert not [name for name in harness.files(state.recording_id) if name.startswith("archive") and "json" in name]
    await client.leave()
    await works_again(harness)


async def test_archives_are_closed_in_order_before_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below archive_min_free_bytes running archives end as available, new ones and Start are refused."""
    free = 10_000_000
    monkeypatch.setattr(disk, "has_less_free", lambda _path, limit: free < limit)
    monkeypatch.setattr("rokuga.recorder.disk_space.has_less_free", lambda _path, limit: free < limit)
    async with running_recorder(tmp_path, archive_min_free_bytes=5_000_000) as harness:
        await harness.start()
        first = await harness.connect()
        await play(harness, first, 1)
        free = 4_000_000
        await harness.recorder.check_disk_space()
        available = await harness.event(AVAILABLE)
        assert len(readers.packets(Path(available.document["file_path"]))["audio"]) == 50
        second = await harness.connect()
        failed = await harness.event(FAILED, second.connection.identity)
        assert failed.document["errno"] == errno.ENOSPC
        assert "archive_min_free_bytes" in failed.document["reason"]
        with pytest.raises(ArchiveError, match="archive_min_free_bytes"):
            await harness.start("other")
        assert len(list((tmp_path / "archive").iterdir())) == 1
        free = 10_000_000
        await harness.recorder.check_disk_space()
        await works_again(harness)
        assert len(harness.recorder.recordings()) == 1


async def test_a_part_that_cannot_be_finished_is_kept_all_the_same(
    harness: RecorderHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rename fails once: the archive fails, and every file that can be played has its final name."""
    state = await harness.start(split_duration=1)
    client = await harness.connect()
    rename, names = os.rename, []

    def failing(source: str, target: str) -> None:
        names.append(source)
        if len(names) == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    await play(harness, client, 4)
    failed = await harness.event(FAILED)
    assert failed.document["errno"] == errno.EIO
    assert "split-archive" in failed.document["path"]
    assert not harness.recorder.archives()
    await harness.stop()
    left = harness.files(state.recording_id)
    connection_id = client.connection.identity.connection_id
    assert {f"archive-{connection_id}.webm", f"split-archive-{connection_id}_0001.webm"} < set(left)
    assert not [name for name in left if name.startswith(".")]
