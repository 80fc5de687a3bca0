"""A file on the disk, by one descriptor that is opened once: too few of them show at the start or not at all."""

import os
from pathlib import Path


class MediaFile:
    """A file that is written at given offsets. Methods raise OSError."""

    def __init__(self, path: str, mode: int) -> None:
        """Create the file, with exactly these permissions."""
        self._path = Path(path)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, mode)
        os.fchmod(self._descriptor, mode)

    def write_at(self, data: bytes, offset: int) -> None:
        """Write all bytes."""
        write_all(self._descriptor, data, offset)

    def sync(self) -> None:
        """Fsync the file."""
        os.fsync(self._descriptor)

    def sync_data(self) -> None:
        """Fdatasync what was written so far; more may be written meanwhile.

        Raises FileNotFoundError where the path was removed: nobody would find what is written from now on.
        """
        os.fdatasync(self._descriptor)
        self._path.stat()

    def close(self) -> None:
        """Close the descriptor. Safe to repeat."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def write_all(descriptor: int, data: bytes, offset: int) -> None:
    """Write all bytes: a disk that fills up writes some of them, and fails at the next call. Raises OSError."""
    written = 0
    while written < len(data):
        written += os.pwrite(descriptor, data[written:] if written else data, offset + written)
