"""The routes of /admin: JSON, server-sent events, finished files, and the retry of a webhook."""

import asyncio
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from rokuga.api.admin.access import PAGE_HEADERS
from rokuga.api.admin.archive_folder import ArchiveFolder, NoSuchFile
from rokuga.api.admin.documents import entry_document, state_document
from rokuga.api.admin.file_response import FileResponse
from rokuga.api.admin.watch import LISTED, Watch
from rokuga.api.config.loader import DaemonConfig
from rokuga.api.http.json_response import failure
from rokuga.api.protocols import RecordingService
from rokuga.api.targets.recordings import RecordingLimits
from rokuga.recorder.clock import Clock
from rokuga.recorder.store import StoreError
from rokuga.webhooks.delivery import Delivery, DeliveryState
from rokuga.webhooks.outbox import Outbox

MAX_RECORDINGS = 100


class Admin:
    """The handlers of /admin. Enter its `watch` inside the server's context: streams end before it."""

    def __init__(self, recorder: RecordingService, outbox: Outbox, config: DaemonConfig) -> None:
        self._recorder = recorder
        self._outbox = outbox
        self._config = config
        self._limits = RecordingLimits(config.recording_max_expire_time, config.recording_max_split_duration)
        self._folder = ArchiveFolder(config.recorder.archive_dir)
        self._clock = Clock()
        self.watch = Watch(outbox, self._state)

    def app(self) -> Starlette:
        """Return the application below /admin."""
        routes = [
            Route("/state", self.state),
            Route("/recordings", self.recordings),
            Route("/recordings/{recording_id}", self.recording),
            Route("/archives/{recording_id}/{filename}", self.archive),
            Route("/webhooks", self.webhooks),
            Route("/webhooks/{event_id}", self.webhook),
            Route("/webhooks/{event_id}/retry", self.retry, methods=["POST"]),
            Route("/events", Events(self.watch)),
        ]
        app = Starlette(routes=routes, exception_handlers={404: _not_found, StoreError: _store_error})
        app.router.redirect_slashes = False
        return app

    async def _state(self) -> dict[str, Any]:
        counts = await self._outbox.counts()
        return state_document(self._recorder, self._limits, self._config.version, counts, self._clock.wall_ns())

    async def state(self, _request: Request) -> Response:
        """GET /admin/state: the current state."""
        return _json(await self._state())

    async def recordings(self, request: Request) -> Response:
        """GET /admin/recordings?limit=20: recordings that have files, the newest change first; 1 to 100."""
        text = request.query_params.get("limit", "20")
        if not (text.isascii() and text.isdecimal() and len(text) < 4 and 1 <= int(text) <= MAX_RECORDINGS):
            return _failure("LIMIT-INVALID", 400)
        recordings, has_more = await asyncio.to_thread(self._folder.recordings, int(text))
        return _json({"recordings": recordings, "more": has_more})

    async def recording(self, request: Request) -> Response:
        """GET /admin/recordings/{recording_id}: one of them."""
        try:
            found = await asyncio.to_thread(self._folder.recording, request.path_params["recording_id"])
        except NoSuchFile:
            found = None
        return _json(found) if found is not None else _failure("RECORDING-NOT-FOUND", 404)

    async def archive(self, request: Request) -> Response | FileResponse:
        """GET or HEAD /admin/archives/{recording_id}/{filename}: a finished file; `?download` as an attachment."""
        ids = request.path_params
        try:
            file = await asyncio.to_thread(self._folder.open, ids["recording_id"], ids["filename"])
        except NoSuchFile:
            return _failure("FILE-NOT-FOUND", 404)
        return FileResponse(file, PAGE_HEADERS)

    async def webhooks(self, request: Request) -> Response:
        """GET /admin/webhooks?state=dead: the newest 100 entries, of one state or of all."""
        text = request.query_params.get("state")
        if text is not None and text not in set(DeliveryState):
            return _failure("STATE-INVALID", 400)
        entries = await self._outbox.deliveries(DeliveryState(text) if text is not None else None, LISTED)
        return _json([entry_document(entry) for entry in entries])

    async def webhook(self, request: Request) -> Response:
        """GET /admin/webhooks/{event_id}: one entry with its body."""
        entry = await self._outbox.delivery(request.path_params["event_id"])
        return _json(_with_body(entry)) if entry is not None else _failure("EVENT-NOT-FOUND", 404)

    async def retry(self, request: Request) -> Response:
        """POST /admin/webhooks/{event_id}/retry: make a dead, parked or waiting delivery due now."""
        event_id = request.path_params["event_id"]
        if request.headers.get("content-type") != "application/json":  # forms of foreign pages cannot send this type
            return _failure("CONTENT-TYPE-INVALID", 415)
        if await self._outbox.retry(event_id):
            return _json({"event_id": event_id})
        is_there = await self._outbox.delivery(event_id) is not None
        return _failure("EVENT-IS-SETTLED", 409) if is_there else _failure("EVENT-NOT-FOUND", 404)


class Events:
    """GET /admin/events, an ASGI application."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream to one viewer; 503 where there are too many, or the daemon is stopping."""
        request = Request(scope)
        if request.method != "GET":
            await _failure("METHOD-NOT-ALLOWED", 405)(scope, receive, send)
        elif not self._watch.accepts_viewers:
            await _failure("TOO-MANY-VIEWERS", 503)(scope, receive, send)
        else:
            headers = {**PAGE_HEADERS, "content-type": "text/event-stream", "cache-control": "no-store"}
            raw = [(name.encode(), value.encode()) for name, value in headers.items()]
            await send({"type": "http.response.start", "status": 200, "headers": raw})
            await self._watch.stream(receive, send, request.headers.get("last-event-id", ""))


def _with_body(entry: Delivery) -> dict[str, Any]:
    return {**entry_document(entry), "body": msgspec.Raw(entry.body)}


def _json(value: Any) -> Response:
    headers = {**PAGE_HEADERS, "content-type": "application/json", "cache-control": "no-store"}
    return Response(msgspec.json.encode(value), 200, headers)


def _failure(error_type: str, status: int) -> Response:
    return Response(failure(error_type).body, status, {**PAGE_HEADERS, "content-type": "application/json"})


def _not_found(_request: Request, _error: Exception) -> Response:
    return _failure("NOT-FOUND", 404)


def _store_error(_request: Request, _error: Exception) -> Response:
    return _failure("STORE-UNAVAILABLE", 503)
