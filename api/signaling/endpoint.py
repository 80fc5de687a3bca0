"""The WebSocket of one client: feeds messages and events into the conversation, and executes its actions."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import structlog
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from rokuga.api.context import AppContext
from rokuga.api.http.connection_limits import mark_verified
from rokuga.api.protocols import PublisherConnection
from rokuga.api.signaling import conversation as actions
from rokuga.api.signaling import permission, server_messages
from rokuga.api.signaling.budget import MessageBudget
from rokuga.api.signaling.channels import Member
from rokuga.recorder.errors import ConnectionRefused
from rokuga.recorder.identifiers import new_id
from rokuga.recorder.media import NS_PER_S
from rokuga.webhooks.auth import NoAnswer

log = structlog.get_logger()

MAX_QUEUED: Final = 256
"""Inputs of one client. While the queue is full, its messages are not read and its notifications are dropped."""

SEND_TIMEOUT_S: Final = 10.0
"""After this time without progress a send fails, and the client counts as disconnected."""

Input = Callable[[int], Sequence[actions.Action]]
"""Passes something to the conversation, with the time in nanoseconds; returns what is to be done."""


class SignalingEndpoint:
    """The ASGI application of /signaling."""

    def __init__(self, context: AppContext) -> None:
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one client until it disconnects."""
        websocket = WebSocket(scope, receive, send)
        await websocket.accept()
        await SignalingSession(websocket, self._context).run()


class SignalingSession:
    """One client's WebSocket and media connection: when one ends, the other is ended."""

    def __init__(self, websocket: WebSocket, context: AppContext) -> None:
        now_ns = context.clock.monotonic_ns()
        self._websocket = websocket
        self._context = context
        self._clock = context.clock
        self._connection_id = new_id()
        self._conversation = actions.Conversation(
            now_ns, needs_permission=context.authenticator is not None, redirect_url=context.redirect_url
        )
        self._budget = MessageBudget(now_ns)
        self._inputs: asyncio.Queue[Input] = asyncio.Queue(MAX_QUEUED)
        self._tasks: set[asyncio.Task[None]] = set()
        self._connection: PublisherConnection | None = None
        self._notify_metadata: Any = None
        self._member: Member | None = None
        self._is_closed = False
        self._reason = "INTERNAL-ERROR"
        self._detail: str | None = None

    async def run(self) -> None:
        """Run until the WebSocket or the media connection ends."""
        self._spawn(self._read())
        try:
            while not self._is_closed:
                await self._execute(await self._next_actions())
        except (WebSocketDisconnect, TimeoutError):
            self._reason = "WEBSOCKET-CLOSED"
        except Exception:
            log.exception("internal error, connection closed", connection_id=self._connection_id)
            await self._execute(self._conversation.failed())
        finally:
            self._end_connection()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._drop_references()

    def _drop_references(self) -> None:
        """Drop what refers to this session (frames of cancelled tasks, queued inputs), so that no cycle is left."""
        self._tasks.clear()
        while not self._inputs.empty():
            self._inputs.get_nowait()

    async def _next_actions(self) -> Sequence[actions.Action]:
        """Wait for an input or the conversation's deadline. A flood of inputs does not delay the deadline."""
        now_ns, deadline_ns = self._clock.monotonic_ns(), self._conversation.deadline_ns
        if deadline_ns is not None and now_ns >= deadline_ns:
            return self._conversation.tick(now_ns)
        try:
            async with asyncio.timeout(None if deadline_ns is None else (deadline_ns - now_ns) / NS_PER_S):
                process = await self._inputs.get()
        except TimeoutError:
            return []
        return process(self._clock.monotonic_ns())

    async def _execute(self, steps: Sequence[actions.Action]) -> None:
        for action in steps:
            match action:
                case actions.Authorize():
                    self._spawn(self._authorize(action))
                case actions.Open():
                    await self._open(action)
                case actions.Accept():
                    await self._accept(action)
                case actions.Join():
                    self._join()
                case actions.Send():
                    async with asyncio.timeout(SEND_TIMEOUT_S):
                        await self._websocket.send_text(action.text)
                case actions.Close():
                    await self._close(action)

    async def _authorize(self, action: actions.Authorize) -> None:
        """Ask the webhook in a task of its own, so that a client that disconnects meanwhile is noticed."""
        await self._inputs.put(await self._permission(action))

    async def _permission(self, action: actions.Authorize) -> Input:
        conversation, authenticator = self._conversation, self._context.authenticator
        if authenticator is None:
            return lambda _now_ns: conversation.unauthorized("there is nobody to ask")
        try:
            counts = self._context.channels.counts(action.connect.channel_id)
            body = permission.auth_webhook_request(action.connect, self._connection_id, counts)
            answer = await authenticator.ask(self._connection_id, body)
        except NoAnswer as error:
            fault = str(error)
            return lambda _now_ns: conversation.unauthorized(fault)
        except Exception:
            log.exception("internal error in the authentication webhook", connection_id=self._connection_id)
            return lambda _now_ns: conversation.failed()
        return lambda _now_ns: conversation.authorized(action, answer)

    async def _open(self, action: actions.Open) -> None:
        try:
            client = self._websocket.client
            request = replace(
                action.request,
                connection_id=self._connection_id,
                client_address="" if client is None else client.host,
            )
            connection = await self._context.recorder.connect(request)
        except ConnectionRefused as error:
            await self._execute(self._conversation.refused(error.reason))
            return
        mark_verified(self._websocket.scope)
        self._connection = connection
        self._notify_metadata = action.notify_metadata
        self._spawn(self._wait_connected(connection))
        self._spawn(self._wait_ended(connection))
        offer = server_messages.offer(
            identity=connection.identity,
            sdp=connection.offer_sdp,
            mids=connection.mids,
            audio=connection.audio,
            video=connection.video,
            version=self._context.config.version,
            metadata=action.metadata,
        )
        await self._execute(self._conversation.opened(offer, self._clock.monotonic_ns()))

    async def _accept(self, action: actions.Accept) -> None:
        try:
            if self._connection is not None:
                async with self._context.parse_limiter.slot(action.sdp):
                    self._connection.accept(action.sdp)
        except ValueError as error:
            await self._execute(self._conversation.refused(str(error)))

    def _join(self) -> None:
        connection = self._connection
        if connection is not None:
            info = server_messages.MemberInfo(
                identity=connection.identity,
                role=connection.role,
                audio=connection.audio is not None,
                video=connection.video is not None,
                metadata=self._notify_metadata,
            )
            self._member = Member(info, self._queue_notification)
            self._context.channels.add(self._member)
            identity = connection.identity
            log.info("client connected", channel_id=identity.channel_id, connection_id=identity.connection_id)

    async def _close(self, action: actions.Close) -> None:
        self._reason, self._detail = action.reason, action.detail
        self._is_closed = True
        if self._connection is None and action.code != actions.NORMAL:
            log.info("client refused", reason=action.reason, connection_id=self._connection_id)
        self._end_connection()
        with contextlib.suppress(WebSocketDisconnect, TimeoutError):
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._websocket.close(action.code, action.reason)

    def _end_connection(self) -> None:
        """End the media connection and remove the member. Safe to repeat."""
        member, self._member = self._member, None
        connection, self._connection = self._connection, None
        if member is not None:
            self._context.channels.remove(member)
        if connection is not None:
            connection.stop(self._reason, self._detail)
            log.info("client disconnected", reason=self._reason, connection_id=connection.identity.connection_id)

    def _queue_notification(self, text: str) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            self._inputs.put_nowait(lambda _now_ns: [actions.Send(text)])

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.add(asyncio.create_task(work))

    async def _read(self) -> None:
        while True:
            frame = await self._websocket.receive()
            if frame["type"] == "websocket.disconnect":
                await self._inputs.put(self._disconnected)
                return
            text = frame.get("text")
            data = frame["bytes"] if text is None else text
            limit = self._budget.spend(len(data), self._clock.monotonic_ns())
            if limit is not None:
                await self._inputs.put(self._refusing(limit))
                return
            await self._inputs.put(partial(self._conversation.receive, data))

    def _refusing(self, reason: str) -> Input:
        return lambda _now_ns: self._conversation.refused(reason)

    def _disconnected(self, _now_ns: int) -> Sequence[actions.Action]:
        self._reason = "WEBSOCKET-CLOSED"
        self._is_closed = True
        return []

    async def _wait_connected(self, connection: PublisherConnection) -> None:
        await connection.connected.wait()
        await self._inputs.put(self._conversation.connected)

    async def _wait_ended(self, connection: PublisherConnection) -> None:
        reason = await connection.wait_ended()
        await self._inputs.put(lambda _now_ns: self._conversation.ended(reason))
