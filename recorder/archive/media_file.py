"""The file on the disk, by one descriptor that is opened once: a lack of them shows at the start or not at all."""

import os
from pathlib import Path


class MediaFile:
    """A file that is written at places of our choice. Methods raise OSError."""

    def __init__(self, path: str, mode: int) -> None:
        """Create the file, with exactly this mode."""
        self._path = Path(path)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, mode)
        os.fchmod(self._descriptor, mode)

    def put(self, data: bytes, offset: int) -> None:
        """Write all of it."""
        put_all(self._descriptor, data, offset)

    def sync(self) -> None:
        """Make it last."""
        os.fsync(self._descriptor)

    def sync_data(self) -> None:
        """Make last what was written so far, while more may be written.

        Raises FileNotFoundError where the path is gone: nobody would find what is written from now on.
        """
        os.fdatasync(self._descriptor)
        self._path.stat()

    def close(self) -> None:
        """Let go of the descriptor. Safe to repeat."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def put_all(descriptor: int, data: bytes, offset: int) -> None:
    """Write all of it: a disk that fills up takes a part first, and says so at the next call. Raises OSError."""
    written = 0
    while written < len(data):
        written += os.pwrite(descriptor, data[written:] if written else data, offset + written)
