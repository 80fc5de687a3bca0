"""JSON of clients: any bytes result in a value that can be encoded again, or in JsonError."""

from typing import Any, Final

import msgspec

MAX_DEPTH: Final = 128
"""Nesting of arrays and objects. Deeper values would exhaust the stack when they are encoded."""


class JsonError(ValueError):
    """The bytes are not JSON (RFC 8259), or nested too deeply."""


def decode(text: bytes | str) -> Any:
    """Decode one JSON value. Raises JsonError."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise JsonError(str(error)) from error
    check_depth(value)
    return value


def check_depth(value: Any) -> None:
    """Check that a decoded value can be encoded again. Raises JsonError."""
    if _is_deeper(value, MAX_DEPTH):
        raise JsonError(f"nested more than {MAX_DEPTH} deep")


def _is_deeper(value: Any, max_depth: int) -> bool:
    level = [value]
    for _ in range(max_depth + 1):
        level = [inner for inner in level if isinstance(inner, dict | list)]
        if not level:
            return False
        level = [child for outer in level for child in (outer.values() if isinstance(outer, dict) else outer)]
    return True
