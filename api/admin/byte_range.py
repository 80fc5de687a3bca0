"""The Range header (RFC 9110 section 14), pure."""

import re
from dataclasses import dataclass
from typing import Final

_SINGLE: Final = re.compile(r"bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*", re.IGNORECASE)


class Unsatisfiable(ValueError):
    """The range begins after the end of the file: 416 (RFC 9110 section 15.5.17)."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes from `first` to `last`, both inclusive."""

    first: int
    last: int

    @property
    def length(self) -> int:
        """The number of bytes."""
        return self.last - self.first + 1


def requested_range(header: str | None, size_bytes: int) -> ByteRange | None:
    """Return the requested range of a file of this size, None for all of it. Raises Unsatisfiable.

    Malformed headers, other units and multiple ranges are ignored, as section 14.2 allows.
    """
    match = _SINGLE.fullmatch(header) if header is not None else None
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        length = min(_number(match[2]), size_bytes)
        first, last = size_bytes - length, size_bytes - 1
    else:
        first = _number(match[1])
        last = _number(match[2]) if match[2] else size_bytes - 1
        if match[2] and last < first:
            return None
        last = min(last, size_bytes - 1)
    if first >= size_bytes:
        raise Unsatisfiable(f"the file has {size_bytes} bytes")
    return ByteRange(first, last)


def _number(digits: str) -> int:
    """Parse a number of any length; only its first 19 digits count, which exceed the size of any file."""
    return int(digits.lstrip("0")[:19] or "0")
