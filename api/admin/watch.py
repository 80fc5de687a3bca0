"""Server-sent events with the daemon's state, for every open page.

The recorder and the outbox are polled twice a second while there are viewers, and not at all otherwise. `state` is
the whole state and replaces the previous one; `webhooks` is the whole list, sent to a new viewer; `webhook` is one
changed entry, with an id to resume from (https://html.spec.whatwg.org/multipage/server-sent-events.html).
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self

import msgspec
import structlog
from starlette.types import Receive, Send

from rokuga.api.admin.changes import Changes
from rokuga.api.admin.documents import entry_document
from rokuga.recorder.identifiers import new_id
from rokuga.recorder.store import StoreError
from rokuga.webhooks.delivery import DeliveryState
from rokuga.webhooks.outbox import Outbox

log = structlog.get_logger()

POLL_S: Final = 0.5
KEEP_ALIVE_S: Final = 15.0
"""Interval of comments, by which disconnected viewers are noticed."""
SEND_TIMEOUT_S: Final = 10.0
MAX_QUEUED: Final = 256
"""Changes queued for one viewer; a slower one is disconnected, reconnects and resumes."""
MAX_VIEWERS: Final = 64
LISTED: Final = 100
"""The newest entries of all states, and of each state in OPEN."""

OPEN: Final = (DeliveryState.PENDING, DeliveryState.PARKED, DeliveryState.DEAD)
"""States that are not final: a retry may change them."""

State = Callable[[], Awaitable[dict[str, Any]]]


class Viewer:
    """One open page: the newest state and the changes that were not sent to it yet."""

    def __init__(self) -> None:
        self.state: bytes | None = None
        self.queued: deque[bytes] = deque()
        self.is_ended = False
        self.updated = asyncio.Event()

    def queue_change(self, message: bytes) -> None:
        """Queue a change. More than MAX_QUEUED end the stream."""
        self.is_ended = self.is_ended or len(self.queued) >= MAX_QUEUED
        if not self.is_ended:
            self.queued.append(message)
        self.updated.set()

    def queue_state(self, message: bytes) -> None:
        """Replace the queued state."""
        self.state = message
        self.updated.set()

    def end(self) -> None:
        """End the stream."""
        self.is_ended = True
        self.updated.set()

    def pop_all(self) -> bytes:
        """Return all that is queued, and clear the queue."""
        self.updated.clear()
        body = b"".join(self.queued) + (self.state or b"")
        self.queued.clear()
        self.state = None
        return body


class Watch:
    """Polls while there are viewers. A context manager: its end ends every stream."""

    def __init__(self, outbox: Outbox, state: State) -> None:
        self._outbox = outbox
        self._state = state
        self._changes = Changes(new_id())
        self._entries: dict[str, dict[str, Any]] = {}
        self._viewers: set[Viewer] = set()
        self._has_viewers = asyncio.Event()
        self._is_open = False
        self._is_failing = False

    async def __aenter__(self) -> Self:
        self._is_open = True
        self._polling = asyncio.create_task(self._run(), name="admin watch")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_open = False
        self._polling.cancel()
        await asyncio.wait([self._polling])
        for viewer in self._viewers:
            viewer.end()

    @property
    def accepts_viewers(self) -> bool:
        """Whether one more viewer is admitted."""
        return self._is_open and len(self._viewers) < MAX_VIEWERS

    async def stream(self, receive: Receive, send: Send, last_event_id: str) -> None:
        """Send the body of a response, until the viewer disconnects or is too slow, or the daemon stops."""
        viewer = Viewer()
        self._viewers.add(viewer)
        self._has_viewers.set()
        disconnected = asyncio.create_task(_wait_disconnected(receive, viewer))
        try:
            with contextlib.suppress(TimeoutError, StoreError):
                await self._queue_first(viewer, last_event_id)
                await _send_queued(viewer, send)
        finally:
            self._viewers.discard(viewer)
            disconnected.cancel()
            await asyncio.wait([disconnected])

    async def _queue_first(self, viewer: Viewer, last_event_id: str) -> None:
        viewer.queue_change(b"retry: 1000\n\n")
        missed = self._changes.since(last_event_id)
        if missed is None:
            await self._poll_webhooks()
            entries = sorted(self._entries.values(), key=lambda entry: -entry["created_ms"])
            viewer.queue_change(message("webhooks", msgspec.json.encode(entries).decode(), self._changes.last_id))
        else:
            viewer.queued.extend(message("webhook", text, change_id) for change_id, text in missed)
        viewer.queue_state(message("state", msgspec.json.encode(await self._state()).decode()))

    async def _run(self) -> None:
        before: Mapping[str, Any] = {}
        while True:
            if not self._viewers:
                self._has_viewers.clear()
                await self._has_viewers.wait()
            try:
                await self._poll_webhooks()
                state = await self._state()
                self._is_failing = False
            except StoreError as error:
                if not self._is_failing:
                    log.error("outbox unavailable, retrying", reason=str(error))
                self._is_failing = True
            else:
                if {**state, "now_ms": 0} != before:
                    before = {**state, "now_ms": 0}
                    event = message("state", msgspec.json.encode(state).decode())
                    for viewer in self._viewers:
                        viewer.queue_state(event)
            await asyncio.sleep(POLL_S)

    async def _poll_webhooks(self) -> None:
        """Compare the outbox with the entries that viewers have, and queue the differences."""
        found: dict[str, dict[str, Any]] = {}
        for state in (None, *OPEN):
            found |= {entry.event_id: entry_document(entry) for entry in await self._outbox.deliveries(state, LISTED)}
        for event_id, known in self._entries.items():
            if event_id not in found and known["state"] in OPEN:
                left = await self._outbox.delivery(event_id)
                self._queue_entry(entry_document(left) if left else {**known, "state": "dropped"}, known)
        for event_id, entry in sorted(found.items(), key=lambda item: item[1]["created_ms"]):
            self._queue_entry(entry, self._entries.get(event_id))
        self._entries = found

    def _queue_entry(self, entry: dict[str, Any], known: Mapping[str, Any] | None) -> None:
        if entry == known:
            return
        text = msgspec.json.encode(entry).decode()
        event = message("webhook", text, self._changes.add(text))
        for viewer in self._viewers:
            viewer.queue_change(event)


def message(event: str, data: str, event_id: str | None = None) -> bytes:
    """Return one server-sent event; `data` is JSON without line ends."""
    identity = f"id: {event_id}\n" if event_id is not None else ""
    return f"{identity}event: {event}\ndata: {data}\n\n".encode()


async def _send_queued(viewer: Viewer, send: Send) -> None:
    """Send what is queued, until the stream ends. Raises TimeoutError if the client does not read."""
    while not viewer.is_ended:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KEEP_ALIVE_S):
                await viewer.updated.wait()
        body = viewer.pop_all() or b": still here\n\n"
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await send({"type": "http.response.body", "body": body, "more_body": True})
    async with asyncio.timeout(SEND_TIMEOUT_S):
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _wait_disconnected(receive: Receive, viewer: Viewer) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    viewer.end()
