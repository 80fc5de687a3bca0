"""The framing of HTTP/1.1: parses the requests in a stream of bytes, as strictly as RFC 9112 allows (pure).

A proxy in front of the daemon and the daemon must see the same requests in a stream; otherwise one client's bytes
become another's request (request smuggling). What is ambiguous is refused and the connection closed: two lengths, a
length and chunks, codings other than `chunked`, bare CR or LF, folded lines, whitespace before a colon, two Hosts.

The time is linear in the bytes received. The memory is that of one head, at most MAX_HEAD_BYTES.
"""

import re
from enum import Enum, auto
from typing import Final

from rokuga.api.http.request_head import TOKEN, Head, MalformedRequest, read_fields, read_head, read_request_line

MAX_HEAD_BYTES: Final = 64 << 10
"""Of request line and headers, or of trailers."""

MAX_CHUNK_LINE_BYTES: Final = 256
"""Of a chunk's size and its extensions; no extension is in use."""
MAX_SMALL_CHUNKS: Final = 4096
MIN_CHUNK_BYTES: Final = 64
"""Average size required of a body with more than MAX_SMALL_CHUNKS chunks, since each chunk has a fixed cost."""

_METHOD: Final = re.compile(rb"%b{1,32}(?: |$)" % TOKEN)
_EXTENSION: Final = (
    rb'[\t ]*;[\t ]*%b+(?:[\t ]*=[\t ]*(?:%b+|"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"))?' % (TOKEN, TOKEN)
)
_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:%b)*" % _EXTENSION)
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")


class End(Enum):
    """What follows the last piece of a body."""

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
    """Parses the requests of one connection: call `receive` with bytes, then `next` until it returns None."""

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
        """Whether the last request is complete, and a head follows."""
        return self._state is _State.HEAD

    @property
    def unread_bytes(self) -> int:
        """The number of received bytes that `next` has not returned."""
        return len(self._buffer)

    def receive(self, data: bytes) -> None:
        """Append received bytes."""
        self._buffer += data

    def rest(self) -> bytes:
        """Return and remove the bytes after a head that asked for a WebSocket."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def next(self) -> Head | bytes | End | None:
        """Return the next head, piece of a body or end of a request; None where more bytes are needed.

        Raises MalformedRequest; the reader is unusable after that.
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
        head = read_head(line, lines)
        self._had_empty_line = self._has_line = False
        self._chunks = self._chunked_bytes = self._left = 0
        self._state = _State.WEBSOCKET if head.asks_for_websocket else self._begin_body(head)
        return head

    def _check_line(self, searched: int) -> None:
        """Refuse an invalid request line before the rest of the head, which may never arrive."""
        end = self._buffer.find(b"\r\n", searched) if not self._has_line else -1
        if end >= 0:
            self._has_line = True
            read_request_line(bytes(self._buffer[:end]))

    def _begin_body(self, head: Head) -> _State:
        if not head.has_body:
            return _State.ENDED
        for name, value in head.headers:
            if name == b"content-length":
                self._left = int(value)
                return _State.LENGTH
        return _State.CHUNK_LINE

    def _lines(self) -> bytes | None:
        """Remove and return the lines before the next empty line; None where it has not arrived."""
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
        """Return the next piece or the end of a chunked body (section 7.1)."""
        while True:
            match self._state:
                case _State.CHUNK_LINE:
                    if not self._read_chunk_line():
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
                    return self._end() if self._skip_trailers() else None

    def _read_chunk_line(self) -> bool:
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

    def _skip_trailers(self) -> bool:
        """Check and discard trailers (section 7.1.2). Return False where they are incomplete."""
        if self._buffer.startswith(b"\r\n"):
            del self._buffer[:2]
            return True
        text = None if self._buffer in (bytearray(), bytearray(b"\r")) else self._lines()
        if text is None:
            return False
        read_fields(text.split(b"\r\n"))
        return True
