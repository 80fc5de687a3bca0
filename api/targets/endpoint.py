"""The ASGI application of the API: POST with `x-sora-target`, JSON in and out."""

import asyncio
from collections.abc import Mapping
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from rokuga.api.http.json_response import JsonResponse
from rokuga.api.protocols import RecordingService
from rokuga.api.targets import errors
from rokuga.api.targets.dispatch import dispatch, parse_name
from rokuga.api.targets.table import Target, TargetName

MAX_BODY_BYTES: Final = 8_000_000
MAX_DISCARDED_BYTES: Final = 8 * MAX_BODY_BYTES
BODY_TIMEOUT_S: Final = 15.0
"""For the whole body, as in Cowboy's read_body."""


class ApiEndpoint:
    """Handles all methods of its path, with CORS headers where an origin is configured."""

    def __init__(
        self,
        recorder: RecordingService,
        table: Mapping[TargetName, Target],
        cors_origin: str | None,
        server: str,
        accepts_token: bool = False,
        body_timeout_s: float = BODY_TIMEOUT_S,
    ) -> None:
        self._recorder = recorder
        self._table = table
        self._body_timeout_s = body_timeout_s
        self._headers = {"server": server}
        self._cors = cors_origin is not None
        if cors_origin is not None:
            headers = "Origin, X-Requested-With, Content-Type, Accept, x-sora-target"
            self._headers |= {
                "access-control-allow-headers": f"{headers}, Authorization" if accepts_token else headers,
                "access-control-allow-methods": "POST, OPTIONS",
                "access-control-allow-origin": cors_origin,
                "access-control-max-age": "1000",
            }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        request = Request(scope, receive)
        if request.method == "OPTIONS" and self._cors:
            await Response(status_code=200, headers=self._headers)(scope, receive, send)
            return
        try:
            result = await self._answer(request)
        except ClientDisconnect:
            return
        headers = {**self._headers, "content-type": "application/json"}
        if result in (errors.PAYLOAD_TOO_LARGE, errors.REQUEST_TIMEOUT):
            headers["connection"] = "close"
        await Response(result.body, result.status, headers)(scope, receive, send)

    async def _answer(self, request: Request) -> JsonResponse:
        if request.method != "POST":
            return errors.UNEXPECTED_METHOD
        targets = request.headers.getlist("x-sora-target")  # a repeated header is a list (RFC 9110 section 5.2)
        name = parse_name(", ".join(targets) if targets else None)
        if isinstance(name, JsonResponse):
            return name
        try:
            async with asyncio.timeout(self._body_timeout_s):
                body = await _read_body(request)
        except TimeoutError:
            return errors.REQUEST_TIMEOUT
        if body is None:
            return errors.PAYLOAD_TOO_LARGE
        return await dispatch(self._table, self._recorder, name, body)


async def _read_body(request: Request) -> bytes | None:
    """Return the body, None where it is too large.

    Up to MAX_DISCARDED_BYTES are read and discarded: a client whose connection is reset receives no response.
    """
    body = bytearray()
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received <= MAX_BODY_BYTES:
            body += chunk
        elif received > MAX_DISCARDED_BYTES:
            break
    return bytes(body) if received <= MAX_BODY_BYTES else None
