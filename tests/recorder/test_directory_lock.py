"""The lock on a directory: real locks between real processes."""

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rokuga.recorder.directory_lock import LOCK_FILE, DirectoryFault, DirectoryInUse, DirectoryLock
from tests.machine import lacks, mounted

ROOT = Path(__file__).parent.parent.parent
HOLD = """
import sys
from pathlib import Path
from rokuga.recorder.directory_lock import DirectoryLock
lock = DirectoryLock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""
NOBODY = 65_534


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[DirectoryLock]:
    made = DirectoryLock(tmp_path / "data")
    yield made
    made.release()


def holding(directory: Path) -> "subprocess.Popen[bytes]":
    """Start a process that holds the lock until its stdin ends."""
    command = [sys.executable, "-c", HOLD, str(directory)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def end(process: "subprocess.Popen[bytes]") -> None:
    process.communicate()


@pytest.mark.system
def test_the_error_of_a_second_process_names_the_owner(lock: DirectoryLock) -> None:
    first = holding(lock.directory)
    with pytest.raises(DirectoryInUse) as refused:
        lock.acquire()
    assert str(refused.value) == f"{lock.directory}: already used by pid {first.pid} on {socket.gethostname()}"
    end(first)
    lock.acquire()
    assert lock.is_held
    assert lock.is_exclusive


@pytest.mark.system
def test_the_lock_of_a_killed_owner_is_released(lock: DirectoryLock) -> None:
    first = holding(lock.directory)
    first.send_signal(signal.SIGKILL)
    end(first)
    assert f"pid {first.pid} ".encode() in (lock.directory / LOCK_FILE).read_bytes()
    lock.acquire()
    assert f"pid {os.getpid()} ".encode() in (lock.directory / LOCK_FILE).read_bytes()


@pytest.mark.parametrize("word", [b"", b"\x1b[2J pid 1 on x", b"\xff" * 4000])
def test_invalid_content_of_a_lock_file_is_not_quoted(lock: DirectoryLock, word: bytes) -> None:
    lock.acquire()
    (lock.directory / LOCK_FILE).write_bytes(word)
    with pytest.raises(DirectoryInUse, match=r": already used by another process$"):
        DirectoryLock(lock.directory).acquire()


def test_a_symbolic_link_leads_to_the_same_lock(lock: DirectoryLock, tmp_path: Path) -> None:
    lock.acquire()
    (tmp_path / "link").symlink_to(lock.directory, target_is_directory=True)
    with pytest.raises(DirectoryInUse):
        DirectoryLock(tmp_path / "link").acquire()


def test_a_directory_inside_another_has_a_lock_of_its_own(lock: DirectoryLock) -> None:
    lock.acquire()
    inner = DirectoryLock(lock.directory / "data")
    inner.acquire()
    assert inner.is_held
    inner.release()


def test_a_deleted_lock_file_is_created_and_locked_again(lock: DirectoryLock) -> None:
    """The directory may have been replaced, or another disk mounted there."""
    lock.acquire()
    (lock.directory / LOCK_FILE).unlink()
    assert lock.is_held is False
    lock.check()
    with pytest.raises(DirectoryInUse):
        DirectoryLock(lock.directory).acquire()


@pytest.mark.system
def test_helper_processes_do_not_keep_the_lock(lock: DirectoryLock) -> None:
    """Neither a started nor a forked one, which both outlive the owner."""
    lock.acquire()
    reading, writing = os.pipe()
    running, started_to_run = os.pipe()
    forked = os.fork()
    if forked == 0:
        os.close(writing)
        os.write(started_to_run, b"x")
        os.read(reading, 1)
        os._exit(0)
    os.read(running, 1)
    command = [sys.executable, "-c", "print(flush=True); input()"]
    pipes = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipes, stdout=pipes, close_fds=False) as started:
        assert started.stdout is not None
        started.stdout.readline()  # it has come through exec
        assert lock._descriptor is not None
        os.close(lock._descriptor)  # as the kernel does when the owner is killed
        lock._descriptor = None
        other = DirectoryLock(lock.directory)
        other.acquire()
        other.release()
        assert started.poll() is None
        assert started.stdin is not None
        started.stdin.write(b"\n")
    os.close(writing)
    os.waitpid(forked, 0)


@pytest.mark.system
def test_a_forked_process_that_ends_does_not_release_the_lock(lock: DirectoryLock) -> None:
    lock.acquire()
    forked = os.fork()
    if forked == 0:
        os._exit(0)
    os.waitpid(forked, 0)
    with pytest.raises(DirectoryInUse):
        DirectoryLock(lock.directory).acquire()


def test_a_file_system_without_locks_is_used_without(lock: DirectoryLock, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS without its lock service: ENOLCK (flock(2))."""

    def refuse(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    lock.acquire()
    assert lock.is_held
    assert not lock.is_exclusive


def test_a_file_is_refused_as_a_directory(tmp_path: Path) -> None:
    (tmp_path / "archive").write_text("")
    with pytest.raises(DirectoryFault, match=r"archive: Not a directory \(errno 20\): it needs to be a directory"):
        DirectoryLock(tmp_path / "archive").check()


@pytest.mark.system
def test_a_directory_on_a_read_only_disk_is_reported(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "ro", "tmpfs") as disk:
        with pytest.raises(DirectoryFault, match=r"Read-only file system \(errno 30\): .* mounted for writing"):
            DirectoryLock(disk).check()


@pytest.mark.system
def test_a_disk_that_becomes_read_only_is_found_by_the_next_check(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "tmpfs") as disk:
        lock = DirectoryLock(disk)
        lock.check()
        assert [path.name for path in disk.iterdir()] == [LOCK_FILE]
        lock.release()  # a file that is open for writing keeps mount(8) from it; a fault of the disk does not ask
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(DirectoryFault, match=r"errno 30"):
            lock.check()
        lock.release()


def as_nobody(directory: Path, *groups: int) -> str:
    """Check a directory as another user; return the error text."""
    if os.geteuid() != 0:
        lacks("another user takes root")
    said, saying = os.pipe()
    forked = os.fork()
    if forked == 0:
        os.setgroups(list(groups))
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        try:
            DirectoryLock(directory).check()
            os.write(saying, b"held")
        except BaseException as error:
            os.write(saying, str(error).encode())
        finally:
            os._exit(0)
    os.close(saying)
    os.waitpid(forked, 0)
    with os.fdopen(said, "rb") as pipe:
        return pipe.read().decode()


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory that other users reach, as they do not reach those of pytest."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "shared").mkdir()
        yield Path(folder) / "shared"


@pytest.mark.system
def test_the_error_of_another_users_directory_names_the_needed_permission(shared: Path) -> None:
    said = as_nobody(shared)
    assert said.endswith(
        f"Permission denied (errno 13): uid {NOBODY}, gid {NOBODY} needs to read and write it;"
        f" {shared} belongs to uid 0, gid 0, mode 0755"
    )


@pytest.mark.system
def test_a_directory_of_the_same_group_is_usable(shared: Path) -> None:
    """With another uid than last time, as in a container with an arbitrary uid in group 0."""
    shared.chmod(0o770)
    last = DirectoryLock(shared)
    last.acquire()
    assert f"already used by pid {os.getpid()} on" in as_nobody(shared, 0)
    last.release()
    assert as_nobody(shared, 0) == "held"


@pytest.mark.system
def test_an_unreadable_lock_file_is_an_error(shared: Path) -> None:
    """It is unknown whether its owner is running."""
    shared.chmod(0o777)
    (shared / LOCK_FILE).touch(0o600)
    assert "Permission denied (errno 13)" in as_nobody(shared)
    (shared / LOCK_FILE).chmod(0o644)
    last = DirectoryLock(shared)
    last.acquire()
    (shared / LOCK_FILE).chmod(0o644)
    assert "already used by pid" in as_nobody(shared)
    last.release()
