"""A finished file over HTTP: whole, a range, or 304 where the client has it."""

import asyncio
import contextlib
import os
from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from rokuga.api.admin.archive_folder import OpenedFile
from rokuga.api.admin.byte_range import ByteRange, Unsatisfiable, requested_range
from rokuga.api.admin.conditions import ConditionResult, FileVersion, evaluate_conditions
from rokuga.recorder.archive.container_table import CONTAINERS

PIECE_BYTES: Final = 256 * 1024
"""Read at a time: the memory that a client that does not read occupies."""

_MEDIA_TYPES: Final[Mapping[str, str]] = {
    "json": "application/json",
    **{container.suffix: container.media_type for container in CONTAINERS.values()},
}


class FileResponse:
    """An ASGI application that sends one file and closes it."""

    def __init__(self, file: OpenedFile, headers: Mapping[str, str]) -> None:
        self._file = file
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle GET or HEAD."""
        try:
            await self._answer(Request(scope), receive, send)
        finally:
            os.close(self._file.descriptor)

    async def _answer(self, request: Request, receive: Receive, send: Send) -> None:
        file = self._file
        version = FileVersion(file.etag, file.modified_s)
        headers = {
            **self._headers,
            "accept-ranges": "bytes",
            "etag": version.etag,
            "last-modified": version.last_modified,
            "cache-control": "private, no-cache",
        }
        match evaluate_conditions(request.headers, version):
            case ConditionResult.PRECONDITION_FAILED:
                await _send_head(send, 412, {**headers, "content-length": "0"})
            case ConditionResult.NOT_MODIFIED:
                await _send_head(send, 304, headers)
            case ConditionResult.ALL:
                await self._send(request, receive, send, headers, None)
            case ConditionResult.PART:
                try:
                    wanted = requested_range(request.headers.get("range"), file.size_bytes)
                except Unsatisfiable:
                    behind = {"content-range": f"bytes */{file.size_bytes}", "content-length": "0"}
                    await _send_head(send, 416, {**headers, **behind})
                else:
                    await self._send(request, receive, send, headers, wanted)

    async def _send(
        self, request: Request, receive: Receive, send: Send, headers: Mapping[str, str], wanted: ByteRange | None
    ) -> None:
        file = self._file
        part = wanted or ByteRange(0, file.size_bytes - 1)
        about = {
            "content-type": _MEDIA_TYPES[file.name.rpartition(".")[2]],
            "content-length": str(part.length),
            "content-disposition": f"{'attachment' if 'download' in request.query_params else 'inline'}; "
            f'filename="{file.name}"',
        }
        if wanted is not None:
            about["content-range"] = f"bytes {part.first}-{part.last}/{file.size_bytes}"
        is_whole = request.method == "HEAD"
        await _send_head(send, 206 if wanted else 200, {**headers, **about}, is_whole=is_whole or not part.length)
        if not is_whole:
            await self._send_bytes(part, receive, send)

    async def _send_bytes(self, part: ByteRange, receive: Receive, send: Send) -> None:
        """Send the range in pieces, until the client disconnects."""
        disconnected = asyncio.create_task(_wait_disconnected(receive))
        offset, end = part.first, part.last + 1
        try:
            while offset < end and not disconnected.done():
                piece = await asyncio.to_thread(
                    os.pread, self._file.descriptor, min(PIECE_BYTES, end - offset), offset
                )
                if not piece:  # truncated meanwhile; the announced length cannot be sent
                    return
                offset += len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": offset < end})
        finally:
            disconnected.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await disconnected


async def _send_head(send: Send, status: int, headers: Mapping[str, str], *, is_whole: bool = True) -> None:
    """Send status and headers, and with `is_whole` the end of the body."""
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    start: Message = {"type": "http.response.start", "status": status, "headers": raw}
    await send(start)
    if is_whole:
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _wait_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
