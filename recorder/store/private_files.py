"""The files of a database, which only the daemon's user may read."""

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import Final

from rokuga.recorder.directory_lock import explained
from rokuga.recorder.store import StoreError

FILE_MODE: Final = 0o600


def make_private(path: Path) -> None:
    """Create the file if it is missing, and make all files of the database private. Raises StoreError.

    SQLite creates `-wal` and `-shm` with the permissions of the file. No existing file is opened: closing it would
    release the locks that other connections of this process have on it (https://www.sqlite.org/howtocorrupt.html
    section 2.2).
    """
    try:
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE))
        if not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    except OSError as error:
        raise StoreError(str(explained(error, path))) from error
    for name in database_files(path):
        with contextlib.suppress(OSError):  # it does not exist, or belongs to another user and is writable
            if stat.S_IMODE(name.stat().st_mode) & ~FILE_MODE:
                name.chmod(FILE_MODE)


def append_private(path: Path, data: bytes) -> None:
    """Append to a private file, and fsync it. Raises StoreError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            os.write(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StoreError(str(explained(error, path))) from error


def database_files(path: Path) -> tuple[Path, Path, Path]:
    """Return the files of a database: itself, its write-ahead log, and the log's index."""
    return path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")


def last_written_wall_ns(path: Path) -> int:
    """Return the wall time of the last write to the file or its log, or 0. Call it before opening the file."""
    times = [0]
    for name in database_files(path)[:2]:
        with contextlib.suppress(OSError):
            times.append(name.stat().st_mtime_ns)
    return max(times)
