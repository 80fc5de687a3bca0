"""One finished file over HTTP: whole, a part of it, or nothing where the client has it already."""

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
"""Read at a time: a client that stops reading holds up so much, and one thread for the time of one read."""

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
        """Answer GET or HEAD."""
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
                await _begin(send, 412, {**headers, "content-length": "0"})
            case ConditionResult.NOT_MODIFIED:
                await _begin(send, 304, headers)
            case ConditionResult.ALL:
                await self._send(request, receive, send, headers, None)
            case ConditionResult.PART:
                try:
                    wanted = requested_range(request.headers.get("range"), file.size_bytes)
                except Unsatisfiable:
                    behind = {"content-range": f"bytes */{file.size_bytes}", "content-length": "0"}
                    await _begin(send, 416, {**headers, **behind})
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
        await _begin(send, 206 if wanted else 200, {**headers, **about}, is_whole=is_whole or not part.length)
        if not is_whole:
            await self._send_bytes(part, receive, send)

    async def _send_bytes(self, part: ByteRange, receive: Receive, send: Send) -> None:
        """Send piece by piece, until the client is gone."""
        gone = asyncio.create_task(_until_gone(receive))
        place, end = part.first, part.last + 1
        try:
            while place < end and not gone.done():
                piece = await asyncio.to_thread(os.pread, self._file.descriptor, min(PIECE_BYTES, end - place), place)
                if not piece:  # cut off by somebody else; the length that was told cannot be kept
                    return
                place += len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": place < end})
        finally:
            gone.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await gone


async def _begin(send: Send, status: int, headers: Mapping[str, str], *, is_whole: bool = True) -> None:
    """Send status and headers, and with `is_whole` an empty body."""
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    start: Message = {"type": "http.response.start", "status": status, "headers": raw}
    await send(start)
    if is_whole:
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
