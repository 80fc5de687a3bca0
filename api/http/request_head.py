"""The head of an HTTP/1.1 request, parsed as strictly as RFC 9112 allows (pure).

What could be read in two ways is refused: see `framing`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MAX_FIELDS: Final = 128

TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_REQUEST_LINE: Final = re.compile(rb'(%b{1,32}) ([!-"$-~]+) HTTP/([0-9])\.([0-9])' % TOKEN)
_ABSOLUTE: Final = re.compile(rb"https?://([^/?@]+)(/[^?]*)?(\?.*)?", re.IGNORECASE)
_FIELD: Final = re.compile(rb"(%b+):([\t -~\x80-\xff]*)" % TOKEN)
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")


class MalformedRequest(ValueError):
    """The stream is not valid HTTP/1.1. `status` is that of the response, after which the connection is closed."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True)
class Head:
    """One request without its body. Header names are in lower case, values are stripped of whitespace.

    `target` begins with `/`, or is `*`. After a head with `asks_for_websocket` the stream is no longer HTTP.
    """

    method: bytes
    target: bytes
    version: str
    headers: list[tuple[bytes, bytes]]
    keeps_alive: bool
    asks_for_websocket: bool
    has_body: bool
    expects_continue: bool


def read_request_line(line: bytes) -> tuple[bytes, bytes, str]:
    """Return method, target and version (section 3). Raises MalformedRequest."""
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise MalformedRequest("the request line is not right")
    method, target, major, minor = match.groups()
    if major != b"1" or minor not in b"01":
        raise MalformedRequest("this is HTTP/1.1", 505)
    return method, target, f"1.{minor.decode()}"


def read_head(line: bytes, lines: Sequence[bytes]) -> Head:
    """Parse a request line and header lines (sections 3 and 5). Raises MalformedRequest."""
    method, target, version = read_request_line(line)
    headers = read_fields(lines)

    def values(wanted: bytes) -> list[bytes]:
        return [value for name, value in headers if name == wanted]

    hosts = values(b"host")
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        raise MalformedRequest("there is not one Host")
    has_body = _has_body(version, values(b"content-length"), values(b"transfer-encoding"))
    options = _elements(values(b"connection"))
    asks = version == "1.1" and b"upgrade" in options and _elements(values(b"upgrade")) == [b"websocket"]
    if asks and (method != b"GET" or has_body):
        raise MalformedRequest("a WebSocket begins with a GET without a body")
    return Head(
        method=method,
        target=_path_of(method, target, hosts),
        version=version,
        headers=headers,
        keeps_alive=version == "1.1" and b"close" not in options,
        asks_for_websocket=asks,
        has_body=has_body,
        expects_continue=version == "1.1" and has_body and _elements(values(b"expect")) == [b"100-continue"],
    )


def read_fields(lines: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """Parse header or trailer lines (section 5). Raises MalformedRequest."""
    if len(lines) > MAX_FIELDS:
        raise MalformedRequest("there are too many headers", 431)
    fields = []
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise MalformedRequest("a header is not right")
        fields.append((match[1].lower(), match[2].strip(b" \t")))
    return fields


def _has_body(version: str, lengths: Sequence[bytes], codings: Sequence[bytes]) -> bool:
    """Return whether there is a body (section 6.3): one Content-Length above 0, or chunked alone."""
    if codings:
        if lengths or version != "1.1" or len(codings) > 1 or codings[0].lower() != b"chunked":
            raise MalformedRequest("Transfer-Encoding is not chunked alone")
        return True
    if len(lengths) > 1 or (lengths and not _LENGTH.fullmatch(lengths[0])):
        raise MalformedRequest("there is not one Content-Length")
    return bool(lengths) and int(lengths[0]) > 0


def _path_of(method: bytes, target: bytes, hosts: Sequence[bytes]) -> bytes:
    """Return path and query of a target (section 3.2). An absolute target must have the host of the Host header."""
    if target.startswith(b"/") or (target == b"*" and method == b"OPTIONS"):
        return target
    match = _ABSOLUTE.fullmatch(target)
    if match is None or [match[1].lower()] != [host.lower() for host in hosts]:
        raise MalformedRequest("the target is not right")
    return (match[2] or b"/") + (match[3] or b"")


def _elements(values: Sequence[bytes]) -> list[bytes]:
    """Return the elements of list headers, in lower case (RFC 9110 section 5.6.1)."""
    elements = [word.strip(b" \t").lower() for value in values for word in value.split(b",")]
    return [word for word in elements if word]
