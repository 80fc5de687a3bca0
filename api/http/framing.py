"""HTTP/1.1 requests out of a stream of bytes, no more leniently than RFC 9112 says (pure).

A proxy before the daemon has to find the same requests in a stream as the daemon: where the two differ, one client's
bytes become another's request (request smuggling). So whatever could be read in two ways is refused, and the
connection closed: two lengths, a length and chunks, other codings than `chunked`, bare CR or LF, folded lines,
whitespace before a colon, more than one Host.

The work is linear in the bytes that come, and the memory is that of one head, at most MAX_HEAD_BYTES.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

MAX_HEAD_BYTES: Final = 64 << 10
"""Request line and headers; trailers, too."""
MAX_FIELDS: Final = 128

MAX_CHUNK_LINE_BYTES: Final = 256
"""A chunk's size and its extensions, of which none is in use."""
MAX_SMALL_CHUNKS: Final = 4096
MIN_CHUNK_BYTES: Final = 64
"""What chunks have to hold on average where there are more of them than MAX_SMALL_CHUNKS: each costs as much."""

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_METHOD: Final = re.compile(rb"%b{1,32}(?: |$)" % _TOKEN)
_REQUEST_LINE: Final = re.compile(rb'(%b{1,32}) ([!-"$-~]+) HTTP/([0-9])\.([0-9])' % _TOKEN)
_ABSOLUTE: Final = re.compile(rb"https?://([^/?@]+)(/[^?]*)?(\?.*)?", re.IGNORECASE)
_FIELD: Final = re.compile(rb"(%b+):([\t -~\x80-\xff]*)" % _TOKEN)
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
_EXTENSION: Final = (
    rb'[\t ]*;[\t ]*%b+(?:[\t ]*=[\t ]*(?:%b+|"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"))?' % (_TOKEN, _TOKEN)
)
_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:%b)*" % _EXTENSION)
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")


class MalformedRequest(ValueError):
    """A stream cannot be read on: `status` is that of the answer, after which the connection is closed."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True)
class Head:
    """One request without its body. Names of headers are in lower case, values without whitespace around them.

    `target` begins with `/`, or is `*`. With `asks_for_websocket` the stream is not HTTP any more after this.
    """

    method: bytes
    target: bytes
    version: str
    headers: list[tuple[bytes, bytes]]
    keeps_alive: bool
    asks_for_websocket: bool
    has_body: bool
    expects_continue: bool


class End(Enum):
    """What comes after the last piece of a body."""

    OF_REQUEST = auto()


class _State(Enum):
    HEAD = auto()
    LENGTH = auto()
    CHUNK_LINE = auto()
    CHUNK = auto()
    CHUNK_END = auto()
    TRAILERS = auto()
    ENDED = auto()
    WEBSOCKET = auto()


class RequestReader:
    """Reads the requests of one connection one after the other: `receive` bytes, then ask for what is `next`."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._state = _State.HEAD
        self._left = 0
        self._chunks = 0
        self._chunked_bytes = 0
        self._had_empty_line = False
        self._has_line = False

    @property
    def is_between(self) -> bool:
        """Whether the last request is whole: what comes next is a head."""
        return self._state is _State.HEAD

    @property
    def unread_bytes(self) -> int:
        """How many bytes wait to be asked for."""
        return len(self._buffer)

    def receive(self, data: bytes) -> None:
        """Take what came."""
        self._buffer += data

    def rest(self) -> bytes:
        """Give what came after a head that asked for a WebSocket."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def next(self) -> Head | bytes | End | None:
        """Give the next head, piece of a body or end of a request; None where more bytes are needed.

        Raises MalformedRequest; nothing may be asked for after that.
        """
        match self._state:
            case _State.HEAD:
                return self._next_head()
            case _State.ENDED:
                return self._end()
            case _State.LENGTH:
                return self._piece(_State.ENDED)
            case _State.WEBSOCKET:
                return None
            case _:
                return self._next_of_chunks()

    def _next_head(self) -> Head | None:
        if not self._had_empty_line and self._buffer.startswith(b"\r\n"):  # section 2.2
            self._had_empty_line = True
            del self._buffer[:2]
        if self._buffer[:1] not in b"\r" and not _METHOD.match(self._buffer, 0, 33):
            raise MalformedRequest("does not begin with a method")
        searched = max(self._searched - 1, 0)
        text = self._lines()
        if text is None:
            self._check_line(searched)
            return None
        line, *lines = text.split(b"\r\n")
        head = _read_head(line, lines)
        self._had_empty_line = self._has_line = False
        self._chunks = self._chunked_bytes = self._left = 0
        self._state = _State.WEBSOCKET if head.asks_for_websocket else self._begin_body(head)
        return head

    def _check_line(self, searched: int) -> None:
        """Refuse a wrong request line before the rest of the head is there: it may never come."""
        end = self._buffer.find(b"\r\n", searched) if not self._has_line else -1
        if end >= 0:
            self._has_line = True
            _read_request_line(bytes(self._buffer[:end]))

    def _begin_body(self, head: Head) -> _State:
        if not head.has_body:
            return _State.ENDED
        for name, value in head.headers:
            if name == b"content-length":
                self._left = int(value)
                return _State.LENGTH
        return _State.CHUNK_LINE

    def _lines(self) -> bytes | None:
        """Take lines up to the empty one; the bytes before the last line's end. None where it has not come."""
        end = self._buffer.find(b"\r\n\r\n", max(self._searched - 3, 0))
        if (end if end >= 0 else len(self._buffer)) > MAX_HEAD_BYTES:
            raise MalformedRequest("the head is too long", 431)
        if end < 0:
            if _BARE_LF.search(self._buffer, max(self._searched - 1, 0)):
                raise MalformedRequest("a line ends without CR")
            self._searched = len(self._buffer)
            return None
        text = bytes(self._buffer[:end])
        del self._buffer[: end + 4]
        self._searched = 0
        return text

    def _end(self) -> End:
        self._state = _State.HEAD
        return End.OF_REQUEST

    def _piece(self, after: _State) -> bytes | None:
        if not self._buffer:
            return None
        piece = bytes(self._buffer[: self._left])
        del self._buffer[: self._left]
        self._left -= len(piece)
        if not self._left:
            self._state = after
        return piece

    def _next_of_chunks(self) -> bytes | End | None:
        """Go through a chunked body (section 7.1)."""
        while True:
            match self._state:
                case _State.CHUNK_LINE:
                    if not self._take_chunk_line():
                        return None
                case _State.CHUNK:
                    return self._piece(_State.CHUNK_END)
                case _State.CHUNK_END:
                    if len(self._buffer) < 2 and b"\r\n".startswith(self._buffer):
                        return None
                    if not self._buffer.startswith(b"\r\n"):
                        raise MalformedRequest("a chunk is longer than it says")
                    del self._buffer[:2]
                    self._state = _State.CHUNK_LINE
                case _:
                    return self._end() if self._take_trailers() else None

    def _take_chunk_line(self) -> bool:
        end = self._buffer.find(b"\r\n", 0, MAX_CHUNK_LINE_BYTES + 2)
        if end < 0:
            if len(self._buffer) > MAX_CHUNK_LINE_BYTES or b"\n" in self._buffer:
                raise MalformedRequest("the line of a chunk is not right")
            return False
        match = _CHUNK_LINE.fullmatch(self._buffer, 0, end)
        if match is None:
            raise MalformedRequest("the line of a chunk is not right")
        self._left = int(match[1], 16)
        del self._buffer[: end + 2]
        self._chunks += 1
        self._chunked_bytes += self._left
        if self._chunks > MAX_SMALL_CHUNKS + self._chunked_bytes // MIN_CHUNK_BYTES:
            raise MalformedRequest("the chunks are too small", 413)
        self._state = _State.CHUNK if self._left else _State.TRAILERS
        return True

    def _take_trailers(self) -> bool:
        """Check trailers and overlook them (section 7.1.2)."""
        if self._buffer.startswith(b"\r\n"):
            del self._buffer[:2]
            return True
        text = None if self._buffer in (bytearray(), bytearray(b"\r")) else self._lines()
        if text is None:
            return False
        _read_fields(text.split(b"\r\n"))
        return True


def _read_request_line(line: bytes) -> tuple[bytes, bytes, str]:
    """Give method, target and version (section 3)."""
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise MalformedRequest("the request line is not right")
    method, target, major, minor = match.groups()
    if major != b"1" or minor not in b"01":
        raise MalformedRequest("this is HTTP/1.1", 505)
    return method, target, f"1.{minor.decode()}"


def _read_head(line: bytes, lines: Sequence[bytes]) -> Head:
    method, target, version = _read_request_line(line)
    headers = _read_fields(lines)

    def values(wanted: bytes) -> list[bytes]:
        return [value for name, value in headers if name == wanted]

    hosts = values(b"host")
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        raise MalformedRequest("there is not one Host")
    has_body = _has_body(version, values(b"content-length"), values(b"transfer-encoding"))
    options = _words(values(b"connection"))
    asks = version == "1.1" and b"upgrade" in options and _words(values(b"upgrade")) == [b"websocket"]
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
        expects_continue=version == "1.1" and has_body and _words(values(b"expect")) == [b"100-continue"],
    )


def _read_fields(lines: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
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
    """Say whether there is a body (section 6.3). Its length is in one header, or it is chunked."""
    if codings:
        if lengths or version != "1.1" or len(codings) > 1 or codings[0].lower() != b"chunked":
            raise MalformedRequest("Transfer-Encoding is not chunked alone")
        return True
    if len(lengths) > 1 or (lengths and not _LENGTH.fullmatch(lengths[0])):
        raise MalformedRequest("there is not one Content-Length")
    return bool(lengths) and int(lengths[0]) > 0


def _path_of(method: bytes, target: bytes, hosts: Sequence[bytes]) -> bytes:
    """Give path and query of a target (section 3.2); one with a host of its own has to name that of the request."""
    if target.startswith(b"/") or (target == b"*" and method == b"OPTIONS"):
        return target
    match = _ABSOLUTE.fullmatch(target)
    if match is None or [match[1].lower()] != [host.lower() for host in hosts]:
        raise MalformedRequest("the target is not right")
    return (match[2] or b"/") + (match[3] or b"")


def _words(values: Sequence[bytes]) -> list[bytes]:
    """Read a list of words (RFC 9110 section 5.6.1)."""
    words = [word.strip(b" \t").lower() for value in values for word in value.split(b",")]
    return [word for word in words if word]
