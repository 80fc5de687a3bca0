"""JSON from outside: any bytes give a value that can be written again, or JsonError."""

from typing import Any, Final

import msgspec

MAX_DEPTH: Final = 128
"""Arrays and objects inside one another. What is deeper would exhaust the stack of whoever writes it later."""


class JsonError(ValueError):
    """The bytes are not JSON (RFC 8259), or nested too deeply."""


def decode(text: bytes | str) -> Any:
    """Read one JSON value. Raises JsonError."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise JsonError(str(error)) from error
    check_depth(value)
    return value


def check_depth(value: Any) -> None:
    """See that a decoded value can be written again. Raises JsonError."""
    if _is_deeper(value, MAX_DEPTH):
        raise JsonError(f"nested more than {MAX_DEPTH} deep")


def _is_deeper(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most + 1):
        level = [inner for inner in level if isinstance(inner, dict | list)]
        if not level:
            return False
        level = [child for outer in level for child in (outer.values() if isinstance(outer, dict) else outer)]
    return True
