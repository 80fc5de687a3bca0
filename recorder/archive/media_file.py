"""What libavformat writes into: clusters and Cues go to the disk, its header stays in memory.

The header on the disk is ours from the first byte on, at every moment: a crash finds no file that lies about its
tracks. The descriptor is opened once, so that a lack of descriptors shows at the start or not at all.
"""

import os


class MediaFile:
    """A file whose first `header_bytes` are out of libavformat's reach. Methods raise OSError; the first is kept."""

    def __init__(self, path: str, mode: int) -> None:
        """Create the file, with exactly this mode."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, mode)
        os.fchmod(self._descriptor, mode)
        self._header = bytearray()
        self._header_is_complete = False
        self._offset = 0
        self._size = 0
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        """Take what libavformat writes at its present offset."""
        data = bytes(data)
        begin, end = self._offset, self._offset + len(data)
        if not self._header_is_complete or begin < len(self._header):
            self._header[begin:end] = data
        else:
            self._put(data, begin)
        self._offset = end
        self._size = max(self._size, end)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move, as files do."""
        self._offset = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._offset, os.SEEK_END: self._size}[whence]
        return self._offset

    def tell(self) -> int:
        """Give the present offset."""
        return self._offset

    def end_header(self) -> int:
        """Say that all written so far is the header; give its size."""
        self._header_is_complete = True
        return len(self._header)

    @property
    def muxer_header(self) -> bytes:
        """The header as libavformat would have it."""
        return bytes(self._header)

    @property
    def size(self) -> int:
        """Bytes, header included."""
        return self._size

    def put(self, data: bytes, offset: int) -> None:
        """Write ours: a header, or what follows the last cluster."""
        self._put(data, offset)
        self._size = max(self._size, offset + len(data))

    def read(self, size: int, offset: int) -> bytes:
        """Read back what is on the disk."""
        return os.pread(self._descriptor, size, offset)

    def sync(self) -> None:
        """Make it last."""
        os.fsync(self._descriptor)

    def sync_data(self) -> None:
        """Make last what was written so far, while more may be written."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Let go of the descriptor. Safe to repeat."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _put(self, data: bytes, offset: int) -> None:
        try:
            put_all(self._descriptor, data, offset)
        except OSError as error:
            self.error = self.error or error
            raise


def put_all(descriptor: int, data: bytes, offset: int) -> None:
    """Write all of it: a disk that fills up takes a part first, and says so at the next call."""
    written = 0
    while written < len(data):
        written += os.pwrite(descriptor, data[written:] if written else data, offset + written)
