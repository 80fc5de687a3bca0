"""`rokuga repair` on folders that a killed daemon left."""

import asyncio
import os
from pathlib import Path

import pytest

from rokuga.cli.__main__ import main
from rokuga.recorder.directory_lock import DirectoryLock
from tests import readers
from tests.recorder.archive.test_recovery import record_until_killed


@pytest.fixture
def archive_dir(tmp_path: Path) -> Path:
    """An archive_dir with a file in progress."""
    asyncio.run(record_until_killed(tmp_path, 2500))
    return tmp_path / "archive"


@pytest.mark.system
def test_files_in_progress_are_finished(archive_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["repair", str(archive_dir)]) == 0
    (file,) = archive_dir.glob("*/archive-*.webm")
    assert len(readers.packets(file)["audio"]) > 100
    assert readers.duration_s(file) > 2
    assert capsys.readouterr().out == f"{file}: finished\n1 files in progress, 1 of them finished\n"
    assert main(["repair", str(archive_dir)]) == 0
    assert capsys.readouterr().out == "0 files in progress, 0 of them finished\n"


@pytest.mark.system
def test_the_folder_of_one_recording_can_be_repaired(archive_dir: Path) -> None:
    (recording,) = (path for path in archive_dir.iterdir() if path.is_dir())
    assert main(["repair", str(recording)]) == 0
    assert list(recording.glob("archive-*.webm"))


@pytest.mark.system
def test_an_unreadable_file_is_set_aside_and_reported(archive_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file,) = archive_dir.glob("*/.archive-*.webm.part")
    file.write_bytes(bytes(5000))
    assert main(["repair", str(archive_dir)]) == 1
    assert "set aside, it cannot be read" in capsys.readouterr().out
    (aside,) = archive_dir.glob("*/archive-*.webm.damaged-*")
    assert aside.read_bytes() == bytes(5000)


def test_a_damaged_database_is_moved_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rokuga.sqlite3").write_bytes(b"not a database" * 100)
    assert main(["repair", str(tmp_path)]) == 1
    assert "file is not a database; it is now rokuga.sqlite3.damaged-" in capsys.readouterr().out


@pytest.mark.system
@pytest.mark.parametrize("is_recording", [False, True])
def test_nothing_is_repaired_while_a_daemon_runs(
    archive_dir: Path, capsys: pytest.CaptureFixture[str], is_recording: bool
) -> None:
    lock = DirectoryLock(archive_dir)
    lock.acquire()
    (file,) = archive_dir.glob("*/.archive-*.webm.part")
    assert main(["repair", str(file.parent if is_recording else archive_dir)]) == 1
    assert f"already used by pid {os.getpid()} on " in capsys.readouterr().err
    assert file.exists()
    lock.release()


def test_a_missing_folder_is_reported_and_not_created(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["repair", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err == f"{tmp_path}/none: there is no such folder\n"
    assert not list(tmp_path.iterdir())
