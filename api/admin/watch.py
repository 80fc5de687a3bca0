"""Server-sent events: what goes on, told to everybody who has the page open.

The recorder and the outbox are looked at twice a second while somebody watches, and not at all otherwise. `state` is
the whole state and replaces the one before; `webhooks` is the whole list, sent to who comes anew; `webhook` is one
entry that changed, with an id to resume from (https://html.spec.whatwg.org/multipage/server-sent-events.html).
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
from rokuga.webhooks.entry import EntryState
from rokuga.webhooks.outbox import Outbox

log = structlog.get_logger()

LOOK_S: Final = 0.5
STILL_HERE_S: Final = 15.0
"""A comment is sent this often, so that who is gone is seen to be."""
SEND_TIMEOUT_S: Final = 10.0
MAX_WAITING: Final = 256
"""Changes that wait for one viewer; one that is slower is dropped, comes again and resumes."""
MAX_VIEWERS: Final = 64
LISTED: Final = 100
"""The newest entries of all, and of those in each of OPEN."""

OPEN: Final = (EntryState.PENDING, EntryState.PARKED, EntryState.DEAD)
"""States of what is not over: a retry may change it."""

State = Callable[[], Awaitable[dict[str, Any]]]


class Viewer:
    """One open page: the newest state, and the changes that it has not been sent."""

    def __init__(self) -> None:
        self.state: bytes | None = None
        self.waiting: deque[bytes] = deque()
        self.is_over = False
        self.news = asyncio.Event()

    def queue_change(self, message: bytes) -> None:
        """Queue a change; too many end the stream."""
        self.is_over = self.is_over or len(self.waiting) >= MAX_WAITING
        if not self.is_over:
            self.waiting.append(message)
        self.news.set()

    def queue_state(self, message: bytes) -> None:
        """Replace the state that waits."""
        self.state = message
        self.news.set()

    def end(self) -> None:
        """End the stream."""
        self.is_over = True
        self.news.set()

    def pop_all(self) -> bytes:
        """Give all that waits."""
        self.news.clear()
        taken = b"".join(self.waiting) + (self.state or b"")
        self.waiting.clear()
        self.state = None
        return taken


class Watch:
    """Looks while there are viewers; a context, whose end ends every stream."""

    def __init__(self, outbox: Outbox, state: State) -> None:
        self._outbox = outbox
        self._state = state
        self._changes = Changes(new_id())
        self._entries: dict[str, dict[str, Any]] = {}
        self._viewers: set[Viewer] = set()
        self._wanted = asyncio.Event()
        self._is_open = False
        self._is_failing = False

    async def __aenter__(self) -> Self:
        self._is_open = True
        self._looking = asyncio.create_task(self._run(), name="admin watch")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_open = False
        self._looking.cancel()
        await asyncio.wait([self._looking])
        for viewer in self._viewers:
            viewer.end()

    @property
    def has_room(self) -> bool:
        """Whether one more may watch."""
        return self._is_open and len(self._viewers) < MAX_VIEWERS

    async def stream(self, receive: Receive, send: Send, last_event_id: str) -> None:
        """Tell one viewer what goes on until it is gone or too slow, or the daemon ends. The body of an answer."""
        viewer = Viewer()
        self._viewers.add(viewer)
        self._wanted.set()
        gone = asyncio.create_task(_until_gone(receive, viewer))
        try:
            with contextlib.suppress(TimeoutError, StoreError):
                await self._greet(viewer, last_event_id)
                await _relay(viewer, send)
        finally:
            self._viewers.discard(viewer)
            gone.cancel()
            await asyncio.wait([gone])

    async def _greet(self, viewer: Viewer, last_event_id: str) -> None:
        viewer.queue_change(b"retry: 1000\n\n")
        missed = self._changes.since(last_event_id)
        if missed is None:
            await self._look_at_webhooks()
            entries = sorted(self._entries.values(), key=lambda entry: -entry["created_ms"])
            viewer.queue_change(message("webhooks", msgspec.json.encode(entries).decode(), self._changes.last_id))
        else:
            viewer.waiting.extend(message("webhook", text, change_id) for change_id, text in missed)
        viewer.queue_state(message("state", msgspec.json.encode(await self._state()).decode()))

    async def _run(self) -> None:
        before: Mapping[str, Any] = {}
        while True:
            if not self._viewers:
                self._wanted.clear()
                await self._wanted.wait()
            try:
                await self._look_at_webhooks()
                state = await self._state()
                self._is_failing = False
            except StoreError as error:
                if not self._is_failing:
                    log.error("the outbox cannot be read", reason=str(error))
                self._is_failing = True
            else:
                if {**state, "now_ms": 0} != before:
                    before = {**state, "now_ms": 0}
                    told = message("state", msgspec.json.encode(state).decode())
                    for viewer in self._viewers:
                        viewer.queue_state(told)
            await asyncio.sleep(LOOK_S)

    async def _look_at_webhooks(self) -> None:
        """Compare the outbox with what viewers were told, and tell the difference."""
        found: dict[str, dict[str, Any]] = {}
        for state in (None, *OPEN):
            found |= {entry.event_id: entry_document(entry) for entry in await self._outbox.entries(state, LISTED)}
        for event_id, known in self._entries.items():
            if event_id not in found and known["state"] in OPEN:
                left = await self._outbox.entry(event_id)
                self._tell(entry_document(left) if left else {**known, "state": "dropped"}, known)
        for event_id, entry in sorted(found.items(), key=lambda item: item[1]["created_ms"]):
            self._tell(entry, self._entries.get(event_id))
        self._entries = found

    def _tell(self, entry: dict[str, Any], known: Mapping[str, Any] | None) -> None:
        if entry == known:
            return
        text = msgspec.json.encode(entry).decode()
        told = message("webhook", text, self._changes.add(text))
        for viewer in self._viewers:
            viewer.queue_change(told)


def message(event: str, data: str, event_id: str | None = None) -> bytes:
    """Write one server-sent event; `data` is JSON, which has no line ends."""
    identity = f"id: {event_id}\n" if event_id is not None else ""
    return f"{identity}event: {event}\ndata: {data}\n\n".encode()


async def _relay(viewer: Viewer, send: Send) -> None:
    """Send what waits, until it is over. Raises TimeoutError for a client that takes nothing."""
    while not viewer.is_over:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STILL_HERE_S):
                await viewer.news.wait()
        body = viewer.pop_all() or b": still here\n\n"
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await send({"type": "http.response.body", "body": body, "more_body": True})
    async with asyncio.timeout(SEND_TIMEOUT_S):
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _until_gone(receive: Receive, viewer: Viewer) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    viewer.end()
