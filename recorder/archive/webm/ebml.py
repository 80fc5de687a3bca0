"""The part of EBML (RFC 8794) that writing a file and reading it back need: element ids, sizes, Void."""

from typing import Final, NamedTuple

from rokuga.recorder.archive.container import ContainerError

UNKNOWN_SIZE: Final = bytes.fromhex("01ffffffffffffff")


class LayoutError(ContainerError):
    """The bytes are not EBML, or their elements are not as the muxer writes them."""


class Element(NamedTuple):
    """An element's id, the offset of its data and the data's size in bytes (None: unknown)."""

    id: int
    data_offset: int
    data_size: int | None

    @property
    def end(self) -> int:
        """The offset of the next element. Raises LayoutError for an unknown size."""
        if self.data_size is None:
            raise LayoutError(f"element {self.id:X} of unknown size")
        return self.data_offset + self.data_size


def read_element(data: bytes, offset: int, base: int = 0) -> Element:
    """Read the id and size of the element at `offset` in `data`; `base` is added to the offset of its data.

    Raises LayoutError.
    """
    if offset >= len(data):
        raise LayoutError("no element at the end of the bytes")
    id_bytes = _width(data[offset], 4)
    begin = offset + id_bytes
    if begin >= len(data):
        raise LayoutError("an element's id is cut off")
    size_bytes = _width(data[begin], 8)
    if begin + size_bytes > len(data):
        raise LayoutError("an element's size is cut off")
    mask = (1 << 7 * size_bytes) - 1
    size = int.from_bytes(data[begin : begin + size_bytes], "big") & mask
    data_offset = base + begin + size_bytes
    return Element(int.from_bytes(data[offset:begin], "big"), data_offset, None if size == mask else size)


def _width(first: int, most: int) -> int:
    """Return the size in bytes of a variable-size integer by its first byte (RFC 8794 section 4.1)."""
    width = 9 - first.bit_length()
    if width > most:
        raise LayoutError(f"a variable-size integer that begins with {first:02x}")
    return width


def element(identifier: int, data: bytes, size_bytes: int = 0) -> bytes:
    """Return an element; with `size_bytes` its size field has that many bytes."""
    return element_head(identifier, len(data), size_bytes) + data


def element_head(identifier: int, data_size: int, size_bytes: int = 0) -> bytes:
    """Return the id and the size field of an element with `data_size` bytes of data."""
    id_bytes = identifier.to_bytes((identifier.bit_length() + 7) // 8, "big")
    width = size_bytes or next(w for w in range(1, 9) if data_size < (1 << 7 * w) - 1)
    return id_bytes + (1 << 7 * width | data_size).to_bytes(width, "big")


def unsigned(identifier: int, value: int, value_bytes: int = 0) -> bytes:
    """Return an element with an unsigned integer, in `value_bytes` or as few bytes as possible."""
    return element(identifier, value.to_bytes(value_bytes or max((value.bit_length() + 7) // 8, 1), "big"))


def void(total_bytes: int) -> bytes:
    """Return a Void element of `total_bytes` in all, b"" for 0. Raises LayoutError for 1."""
    if total_bytes == 0:
        return b""
    if total_bytes == 1:
        raise LayoutError("a Void element has at least 2 bytes")
    if total_bytes < 9:
        return element(0xEC, bytes(total_bytes - 2))
    return element(0xEC, bytes(total_bytes - 9), size_bytes=8)
