"""A WHIP resource over HTTP: methods, CORS, and errors as RFC 9457 problem documents.

Pages of all origins may publish, as in signalling, so that CORS preflights are answered.
"""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from rokuga.api.whip.endpoint import WhipHandlers
from rokuga.api.whip.problem import MEDIA_TYPE, Problem
from rokuga.api.whip.translation import FRAGMENT, SDP

log = structlog.get_logger()

_FOR_PAGES: Final[Mapping[str, str]] = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Location, ETag, Link, Accept-Patch, Accept-Post, Retry-After, WWW-Authenticate",
}
_PREFLIGHT: Final[Mapping[str, str]] = {
    "Access-Control-Allow-Headers": "Authorization, Content-Type, If-Match, ETag",  # Eyevinn's client sends ETag
    "Access-Control-Max-Age": "86400",
}

Method = Callable[[Request], Awaitable[Response]]


def whip_routes(whip: WhipHandlers, server: str) -> list[Route]:
    """Return the routes of the endpoints, one for each channel, and of the sessions."""
    endpoint = Resource({"POST": whip.publish}, {"Accept-Post": SDP}, server)
    session = Resource({"PATCH": whip.trickle, "DELETE": whip.delete}, {"Accept-Patch": FRAGMENT}, server)
    return [Route("/whip/{channel_id:path}", endpoint), Route("/whip-session/{session_id}", session)]


class Resource:
    """An ASGI application. `methods` return a response or raise Problem; `accepts` has headers with media types."""

    def __init__(self, methods: Mapping[str, Method], accepts: Mapping[str, str], server: str) -> None:
        self._methods = methods
        self._accepts = accepts
        self._allowed = ", ".join(("GET", "HEAD", *methods, "OPTIONS"))
        self._headers = {"server": server, **_FOR_PAGES}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            response = await self._answer(Request(scope, receive))
        except ClientDisconnect:
            return
        except Problem as fault:
            log.info("WHIP request refused", status=int(fault.status), reason=fault.detail)
            response = _refusal(fault)
        except Exception:
            log.exception("internal error in a WHIP request")
            response = _refusal(Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "INTERNAL-ERROR"))
        response.headers.update(self._headers)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        match request.method:
            case "OPTIONS":
                headers = {**_PREFLIGHT, **self._accepts, "Access-Control-Allow-Methods": self._allowed}
                return Response(None, 204, headers)
            case "GET" | "HEAD":
                return Response(None, 204, self._accepts)  # reserved by RFC 9725 section 4.2
            case method if method in self._methods:
                return await self._methods[method](request)
            case method:
                headers = {"Allow": self._allowed}
                raise Problem(HTTPStatus.METHOD_NOT_ALLOWED, f"{method} is not for this", headers)


def _refusal(fault: Problem) -> Response:
    return Response(fault.body(), int(fault.status), {**fault.headers}, media_type=MEDIA_TYPE)
