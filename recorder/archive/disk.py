"""Folders and documents on the disk, each synced, and the one error for what goes wrong with a file."""

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rokuga.recorder.archive.container import ContainerError
from rokuga.recorder.archive.facts import Failure
from rokuga.recorder.archive.media_file import write_all
from rokuga.recorder.archive.metadata import encode_document
from rokuga.recorder.archive.names import FileNames
from rokuga.recorder.events import Document

FAULTS: Final = (OSError, ContainerError)
"""The errors that become an ArchiveError."""

ENOUGH_FREE_BYTES: Final = 16 * 1024 * 1024
"""After an error, archives begin again where so much can be written,"""
SMALL_DISK_PARTS: Final = 16
"""or this fraction of the disk, if that is less."""
PROBE_BYTES: Final = 4096


class ArchiveError(Exception):
    """A file cannot be written. `errno` is None where the operating system reported none."""

    def __init__(self, reason: str, errno: int | None, path: str) -> None:
        super().__init__(f"{reason}: {path}")
        self.reason = reason
        self.errno = errno
        self.path = path

    @property
    def failure(self) -> Failure:
        """The error as a plain value."""
        return Failure(self.reason, self.errno, self.path)


@contextlib.contextmanager
def archive_errors(path: str) -> Iterator[None]:
    """Convert errors of the disk and the container into ArchiveError."""
    try:
        yield
    except FAULTS as error:
        raise archive_error(error, path) from error


def archive_error(error: OSError | ContainerError, path: str) -> ArchiveError:
    """Return an error of the disk or the container as an ArchiveError."""
    number = error.errno if isinstance(error, OSError) else None
    return ArchiveError(str(error) if number is None else os.strerror(number), number, path)


def make_folder(path: str, mode: int, min_free_bytes: int = 0) -> None:
    """Create a recording's folder. Raises ArchiveError where files cannot be created in it, or little space is free.

    Its name is synced by `sync_parent`.
    """
    with archive_errors(path):
        Path(path).mkdir(mode=mode, parents=True, exist_ok=True)
        Path(path).chmod(mode)
        if not os.access(path, os.W_OK | os.X_OK, effective_ids=True):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        if has_less_free(path, min_free_bytes):
            Path(path).rmdir()
            raise low_space(path)


def remove_empty_folder(path: str) -> None:
    """Undo `make_folder`, unless something is in the folder."""
    with contextlib.suppress(OSError):  # it is not empty, or not there
        Path(path).rmdir()


def free_bytes(path: str) -> int:
    """Return the bytes that can be written in a folder, or in the nearest one above it. Raises OSError."""
    folder = Path(path)
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def has_less_free(path: str, min_free_bytes: int) -> bool:
    """Return whether less can be written in a folder; False for one that does not exist."""
    try:
        found = os.statvfs(path)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < min_free_bytes


def check_writable(path: str) -> None:
    """Check that files can be written in a folder for more than a moment. Raises ArchiveError.

    Less free than ENOUGH_FREE_BYTES, or than a fraction of a small disk, is a full disk. Quotas, permissions and
    errors of the device are detected by a file without a name that is written and synced.
    """
    with archive_errors(path):
        found = os.statvfs(path)
        size_bytes = found.f_blocks * found.f_frsize
        if found.f_bavail * found.f_frsize < min(ENOUGH_FREE_BYTES, size_bytes // SMALL_DISK_PARTS):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with tempfile.TemporaryFile(dir=path) as probe:
            write_all(probe.fileno(), bytes(PROBE_BYTES), 0)
            os.fsync(probe.fileno())


def low_space(path: str) -> ArchiveError:
    """Return the error of a disk with less free space than `archive_min_free_bytes`."""
    return ArchiveError("less space is free than archive_min_free_bytes", errno.ENOSPC, path)


def publish_file(names: FileNames) -> None:
    """Rename a complete and synced file to its final name, and sync that. Raises OSError."""
    Path(names.in_progress_path).rename(names.path)
    sync_folder(str(Path(names.path).parent))


def write_json(names: FileNames, document: Document, mode: int) -> None:
    """Write a document so that its name appears with all of its content or not at all. Raises ArchiveError."""
    with archive_errors(names.path):
        try:
            descriptor = os.open(names.in_progress_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
            try:
                os.fchmod(descriptor, mode)
                write_all(descriptor, encode_document(document), 0)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            publish_file(names)
        except OSError:
            with contextlib.suppress(OSError):
                Path(names.in_progress_path).unlink()
            raise


def sync_parent(path: str) -> None:
    """Sync the name of a folder; errors are ignored, since a missing folder is created again when it is needed."""
    with contextlib.suppress(OSError):
        sync_folder(str(Path(path).parent))


def sync_folder(path: str) -> None:
    """Sync the names in a folder. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
