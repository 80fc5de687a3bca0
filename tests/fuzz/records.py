"""Inputs that consist of several parts."""

from collections.abc import Callable, Iterator

Target = Callable[[bytes], None]


def records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Split an input into records: a byte of flags, two of length, and that many bytes or what is left."""
    begin = 0
    while begin < len(data):
        end = begin + 3 + int.from_bytes(data[begin + 1 : begin + 3], "big")
        yield data[begin], data[begin + 3 : end]
        begin = end


def record(what: int, data: bytes) -> bytes:
    """Write a record."""
    return bytes((what,)) + len(data).to_bytes(2, "big") + data
