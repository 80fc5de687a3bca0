"""Which bytes of a file a request wants: the Range header (RFC 9110 section 14). Pure."""

import re
from dataclasses import dataclass
from typing import Final

_SINGLE: Final = re.compile(r"bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*", re.IGNORECASE)


class Unsatisfiable(ValueError):
    """The range begins behind the end: 416 (RFC 9110 section 15.5.17)."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes from `first` to `last`, both included."""

    first: int
    last: int

    @property
    def length(self) -> int:
        """How many bytes."""
        return self.last - self.first + 1


def requested_range(header: str | None, size_bytes: int) -> ByteRange | None:
    """Give what is wanted of a file of this size, None for all of it. Raises Unsatisfiable.

    What cannot be read, another unit and several ranges at once are overlooked, as section 14.2 allows.
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
    """Read a number of any length; what is longer than any file stays longer than any file."""
    return int(digits.lstrip("0")[:19] or "0")
