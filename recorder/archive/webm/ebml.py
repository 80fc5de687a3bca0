"""Just enough of EBML (RFC 8794) to write a header and to find one's way over the top of a file."""

from typing import Final, NamedTuple

from rokuga.recorder.archive.container import ContainerError

UNKNOWN_SIZE: Final = bytes.fromhex("01ffffffffffffff")


class LayoutError(ContainerError):
    """The bytes are no EBML, or not in the order that our muxer writes."""


class Element(NamedTuple):
    """An element's id, where its data begins and how many bytes that has (None: unknown)."""

    id: int
    data_offset: int
    data_size: int | None

    @property
    def end(self) -> int:
        """Where the next element begins. Raises LayoutError for an unknown size."""
        if self.data_size is None:
            raise LayoutError(f"element {self.id:X} of unknown size")
        return self.data_offset + self.data_size


def read_element(data: bytes, offset: int, base: int = 0) -> Element:
    """Read an element's id and size at `offset` in `data`; offsets in the answer have `base` added."""
    if offset >= len(data):
        raise LayoutError("no element at the end of the bytes")
    id_bytes = _width(data[offset], 4)
    begin = offset + id_bytes
    if begin >= len(data):
        raise LayoutError("an element's id is cut short")
    size_bytes = _width(data[begin], 8)
    if begin + size_bytes > len(data):
        raise LayoutError("an element's size is cut short")
    mask = (1 << 7 * size_bytes) - 1
    size = int.from_bytes(data[begin : begin + size_bytes], "big") & mask
    data_offset = base + begin + size_bytes
    return Element(int.from_bytes(data[offset:begin], "big"), data_offset, None if size == mask else size)


def _width(first: int, most: int) -> int:
    """How many bytes a variable-size integer has that begins so (RFC 8794 section 4.1)."""
    width = 9 - first.bit_length()
    if width > most:
        raise LayoutError(f"a variable-size integer that begins with {first:02x}")
    return width


def element(identifier: int, data: bytes, size_bytes: int = 0) -> bytes:
    """Write an element; with `size_bytes` its size has that many bytes, however small it is."""
    return element_head(identifier, len(data), size_bytes) + data


def element_head(identifier: int, data_size: int, size_bytes: int = 0) -> bytes:
    """Write what an element of so many bytes of data begins with."""
    id_bytes = identifier.to_bytes((identifier.bit_length() + 7) // 8, "big")
    width = size_bytes or next(w for w in range(1, 9) if data_size < (1 << 7 * w) - 1)
    return id_bytes + (1 << 7 * width | data_size).to_bytes(width, "big")


def unsigned(identifier: int, value: int, value_bytes: int = 0) -> bytes:
    """Write an element with an unsigned integer."""
    return element(identifier, value.to_bytes(value_bytes or max((value.bit_length() + 7) // 8, 1), "big"))


def void(total_bytes: int) -> bytes:
    """Write a Void element of exactly so many bytes, 0 or at least 2. Raises LayoutError for one byte."""
    if total_bytes == 0:
        return b""
    if total_bytes == 1:
        raise LayoutError("one byte cannot be voided")
    if total_bytes < 9:
        return element(0xEC, bytes(total_bytes - 2))
    return element(0xEC, bytes(total_bytes - 9), size_bytes=8)
