"""`rokuga repair` on folders as a kill leaves them."""

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from rokuga.cli.__main__ import main
from rokuga.recorder.directories import DirectoryLock
from tests import readers
from tests.recorder.archive.test_recovery import record_until_killed


@pytest.fixture
def archive_dir(tmp_path: Path) -> Path:
    """An archive_dir with a file that was being written."""
    asyncio.run(record_until_killed(tmp_path, 2500))
    return tmp_path / "archive"


def test_files_in_progress_are_finished(archive_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["repair", str(archive_dir)]) == 0
    (file,) = archive_dir.glob("*/archive-*.webm")
    assert len(readers.packets(file)["audio"]) > 100
    assert readers.duration_s(file) > 2
    assert capsys.readouterr().out == f"{file}: finished\n1 files in progress, 1 of them finished\n"
    assert main(["repair", str(archive_dir)]) == 0
    assert capsys.readouterr().out == "0 files in progress, 0 of them finished\n"


def test_a_folder_of_one_recording_is_repaired_alone(archive_dir: Path) -> None:
    (recording,) = (path for path in archive_dir.iterdir() if path.is_dir())
    assert main(["repair", str(recording)]) == 0
    assert list(recording.glob("archive-*.webm"))


def test_what_cannot_be_read_is_set_aside_and_said(archive_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
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


@pytest.mark.parametrize("is_recording", [False, True])
def test_it_touches_nothing_that_a_daemon_uses(
    archive_dir: Path, capsys: pytest.CaptureFixture[str], is_recording: bool
) -> None:
    lock = DirectoryLock(archive_dir)
    lock.acquire()
    (file,) = archive_dir.glob("*/.archive-*.webm.part")
    assert main(["repair", str(file.parent if is_recording else archive_dir)]) == 1
    assert f"already used by pid {os.getpid()} on " in capsys.readouterr().err
    assert file.exists()
    lock.release()


def test_a_folder_that_is_not_there_is_said_and_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["repair", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err == f"{tmp_path}/none: there is no such folder\n"
    assert subprocess.run(["ls", "-A", tmp_path], check=True, capture_output=True).stdout == b""
