"""Folders and documents on the disk, each step made to last, and the one error for what goes wrong with a file."""

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rokuga.recorder.archive.container import ContainerError
from rokuga.recorder.archive.facts import Fault
from rokuga.recorder.archive.media_file import write_all
from rokuga.recorder.archive.metadata import encode_document
from rokuga.recorder.archive.names import FileNames
from rokuga.recorder.events import Document

FAULTS: Final = (OSError, ContainerError)
"""What becomes an ArchiveError."""

ENOUGH_FREE_BYTES: Final = 16 * 1024 * 1024
"""After a fault, archives begin again where so much can be written,"""
SMALL_DISK_PARTS: Final = 16
"""or a sixteenth of the disk, if that is less."""
PROBE_BYTES: Final = 4096


class ArchiveError(Exception):
    """A file cannot be written. `errno` is None where the fault is not the disk's."""

    def __init__(self, reason: str, errno: int | None, path: str) -> None:
        super().__init__(f"{reason}: {path}")
        self.reason = reason
        self.errno = errno
        self.path = path

    @property
    def fault(self) -> Fault:
        """The error as a plain value."""
        return Fault(self.reason, self.errno, self.path)


@contextlib.contextmanager
def archive_errors(path: str) -> Iterator[None]:
    """Turn what the disk and the layout raise into ArchiveError."""
    try:
        yield
    except FAULTS as error:
        raise archive_error(error, path) from error


def archive_error(fault: OSError | ContainerError, path: str) -> ArchiveError:
    """Say what the disk or the layout raised as an ArchiveError."""
    number = fault.errno if isinstance(fault, OSError) else None
    return ArchiveError(str(fault) if number is None else os.strerror(number), number, path)


def make_folder(path: str, mode: int, min_free_bytes: int = 0) -> None:
    """Make a recording's folder. Raises ArchiveError where files cannot be made in it, or not for long.

    Its name is on the disk after `sync_parent`.
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
    """Undo `make_folder`, if nothing came into the folder."""
    with contextlib.suppress(OSError):  # it is not empty, or gone
        Path(path).rmdir()


def free_bytes(path: str) -> int:
    """Give what can still be written under a folder, or under the nearest one above it. Raises OSError."""
    folder = Path(path)
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def has_less_free(path: str, min_free_bytes: int) -> bool:
    """Whether less can be written in a folder; False for one that does not exist yet."""
    try:
        found = os.statvfs(path)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < min_free_bytes


def check_room(path: str) -> None:
    """Try whether files can be written in a folder for more than a moment. Raises ArchiveError.

    Less free than ENOUGH_FREE_BYTES, or than a part of a small disk, is a full disk. Quotas, permissions and faults
    of the device are found out by a file without a name that is written and synced.
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
    """Say that nothing new is begun because the disk is nearly full."""
    return ArchiveError("less space is free than archive_min_free_bytes", errno.ENOSPC, path)


def publish_file(names: FileNames) -> None:
    """Give a file that is whole and on the disk its final name, and make that last. Raises OSError."""
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
    """Make the name of a folder last, as far as the disk lets us: it is made anew where it is missed."""
    with contextlib.suppress(OSError):
        sync_folder(str(Path(path).parent))


def sync_folder(path: str) -> None:
    """Make the names in a folder last. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
