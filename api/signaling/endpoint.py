"""The WebSocket of one client: frames and events go into the conversation one by one, and it says what to do."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import structlog
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from rokuga.api.http.connection_limits import prove
from rokuga.api.large_messages import LargeMessages
from rokuga.api.protocols import Authenticator, PublisherConnection, RecordingService
from rokuga.api.signaling import conversation as said
from rokuga.api.signaling import permission, server_messages
from rokuga.api.signaling.budget import Budget
from rokuga.api.signaling.channels import Channels, Member
from rokuga.recorder.clock import Clock
from rokuga.recorder.errors import ConnectionRefused
from rokuga.recorder.identifiers import new_id
from rokuga.recorder.media import NS_PER_S
from rokuga.webhooks.auth import NoAnswer

log = structlog.get_logger()

MAX_WAITING: Final = 256
"""Events of one client that wait. Beyond that its frames are not read, and notifications for it are dropped."""

SEND_TIMEOUT_S: Final = 10.0
"""A client that takes nothing for so long is gone."""

Input = Callable[[int], Sequence[said.Action]]
"""Tells the conversation something, given the time; gives what follows."""


class SignalingEndpoint:
    """The ASGI application of one WebSocket path. A authenticator, if there is one, is asked about every client."""

    def __init__(
        self,
        recorder: RecordingService,
        channels: Channels,
        clock: Clock,
        version: str,
        authenticator: Authenticator | None = None,
        elsewhere: said.Elsewhere = said.nowhere,
        large: LargeMessages | None = None,
    ) -> None:
        self._large = large or LargeMessages()
        self._recorder = recorder
        self._channels = channels
        self._clock = clock
        self._version = version
        self._authenticator = authenticator
        self._elsewhere = elsewhere

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one client to its end."""
        websocket = WebSocket(scope, receive, send)
        await websocket.accept()
        conversation = said.Conversation(
            self._clock.monotonic_ns(), asks=self._authenticator is not None, elsewhere=self._elsewhere
        )
        session = Session(
            websocket,
            conversation,
            self._recorder,
            self._channels,
            self._clock,
            self._version,
            self._authenticator,
            self._large,
        )
        await session.run()


class Session:
    """One client's WebSocket and connection, tied: when one ends, so does the other."""

    def __init__(
        self,
        websocket: WebSocket,
        conversation: said.Conversation,
        recorder: RecordingService,
        channels: Channels,
        clock: Clock,
        version: str,
        authenticator: Authenticator | None,
        large: LargeMessages,
    ) -> None:
        self._websocket = websocket
        self._large = large
        self._recorder = recorder
        self._channels = channels
        self._clock = clock
        self._version = version
        self._authenticator = authenticator
        self._connection_id = new_id()
        self._conversation = conversation
        self._budget = Budget(clock.monotonic_ns())
        self._waiting: asyncio.Queue[Input] = asyncio.Queue(MAX_WAITING)
        self._tasks: set[asyncio.Task[None]] = set()
        self._connection: PublisherConnection | None = None
        self._notify_metadata: Any = None
        self._member: Member | None = None
        self._is_over = False
        self._reason = "INTERNAL-ERROR"
        self._remark: str | None = None

    async def run(self) -> None:
        """Live until one of the two ends."""
        self._spawn(self._read())
        try:
            while not self._is_over:
                await self._do(await self._next())
        except (WebSocketDisconnect, TimeoutError):
            self._reason = "WEBSOCKET-CLOSED"
        except Exception:
            log.exception("signalling failed")
            await self._do(self._conversation.failed())
        finally:
            self._leave()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._let_go()

    def _let_go(self) -> None:
        """Forget what holds this session: tasks that were cancelled, by their frames, and what is not heard now."""
        self._tasks.clear()
        while not self._waiting.empty():
            self._waiting.get_nowait()

    async def _next(self) -> Sequence[said.Action]:
        """Wait for something to happen, or for the conversation's deadline, which no flood of frames puts off."""
        now_ns, deadline_ns = self._clock.monotonic_ns(), self._conversation.deadline_ns
        if deadline_ns is not None and now_ns >= deadline_ns:
            return self._conversation.tick(now_ns)
        try:
            async with asyncio.timeout(None if deadline_ns is None else (deadline_ns - now_ns) / NS_PER_S):
                happening = await self._waiting.get()
        except TimeoutError:
            return []
        return happening(self._clock.monotonic_ns())

    async def _do(self, actions: Sequence[said.Action]) -> None:
        for action in actions:
            match action:
                case said.Authorize():
                    self._spawn(self._authorize(action))
                case said.Open():
                    await self._open(action)
                case said.Accept():
                    await self._accept(action)
                case said.Enter():
                    self._enter()
                case said.Send():
                    async with asyncio.timeout(SEND_TIMEOUT_S):
                        await self._websocket.send_text(action.text)
                case said.Close():
                    await self._close(action)

    async def _authorize(self, action: said.Authorize) -> None:
        """Ask beside the conversation, so that a client that goes meanwhile is seen."""
        await self._waiting.put(await self._permission(action))

    async def _permission(self, action: said.Authorize) -> Input:
        conversation, authenticator = self._conversation, self._authenticator
        if authenticator is None:
            return lambda _now_ns: conversation.unauthorized("there is nobody to ask")
        try:
            counts = self._channels.counts(action.connect.channel_id)
            question = permission.question(action.connect, self._connection_id, counts)
            answer = await authenticator.ask(self._connection_id, question)
        except NoAnswer as error:
            fault = str(error)
            return lambda _now_ns: conversation.unauthorized(fault)
        except Exception:
            log.exception("asking the authentication webhook failed", connection_id=self._connection_id)
            return lambda _now_ns: conversation.failed()
        return lambda _now_ns: conversation.authorized(action, answer)

    async def _open(self, action: said.Open) -> None:
        try:
            client = self._websocket.client
            request = replace(
                action.request,
                connection_id=self._connection_id,
                client_address="" if client is None else client.host,
            )
            connection = await self._recorder.connect(request)
        except ConnectionRefused as error:
            await self._do(self._conversation.refused(error.reason))
            return
        prove(self._websocket.scope)
        self._connection = connection
        self._notify_metadata = action.notify_metadata
        self._spawn(self._await_connected(connection))
        self._spawn(self._await_end(connection))
        offer = server_messages.offer(
            identity=connection.identity,
            sdp=connection.offer_sdp,
            mids=connection.mids,
            audio=connection.audio,
            video=connection.video,
            version=self._version,
            metadata=action.metadata,
        )
        await self._do(self._conversation.opened(offer, self._clock.monotonic_ns()))

    async def _accept(self, action: said.Accept) -> None:
        try:
            if self._connection is not None:
                async with self._large.turn(action.sdp):
                    self._connection.accept(action.sdp)
        except ValueError as error:
            await self._do(self._conversation.refused(str(error)))

    def _enter(self) -> None:
        connection = self._connection
        if connection is not None:
            present = server_messages.Present(
                identity=connection.identity,
                role=connection.role,
                audio=connection.audio is not None,
                video=connection.video is not None,
                metadata=self._notify_metadata,
            )
            self._member = Member(present, self._deliver)
            self._channels.enter(self._member)
            log.info("client connected", **self._names())

    async def _close(self, action: said.Close) -> None:
        self._reason, self._remark = action.reason, action.detail
        self._is_over = True
        if self._connection is None and action.code != said.NORMAL:
            log.info("client refused", reason=action.reason, connection_id=self._connection_id)
        self._leave()
        with contextlib.suppress(WebSocketDisconnect, TimeoutError):
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._websocket.close(action.code, action.reason)

    def _leave(self) -> None:
        """End the connection and tell the channel. Safe to repeat."""
        member, self._member = self._member, None
        connection, self._connection = self._connection, None
        if member is not None:
            self._channels.leave(member)
        if connection is not None:
            connection.stop(self._reason, self._remark)
            log.info("client leaves", reason=self._reason, connection_id=connection.identity.connection_id)

    def _names(self) -> dict[str, str]:
        if self._connection is None:
            return {}
        identity = self._connection.identity
        return {"channel_id": identity.channel_id, "connection_id": identity.connection_id}

    def _deliver(self, text: str) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            self._waiting.put_nowait(lambda _now_ns: [said.Send(text)])

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.add(asyncio.create_task(work))

    async def _read(self) -> None:
        while True:
            frame = await self._websocket.receive()
            if frame["type"] == "websocket.disconnect":
                await self._waiting.put(self._gone)
                return
            text = frame.get("text")
            data = frame["bytes"] if text is None else text
            limit = self._budget.spend(len(data), self._clock.monotonic_ns())
            if limit is not None:
                await self._waiting.put(self._refusing(limit))
                return
            await self._waiting.put(partial(self._conversation.receive, data))

    def _refusing(self, reason: str) -> Input:
        return lambda _now_ns: self._conversation.refused(reason)

    def _gone(self, _now_ns: int) -> Sequence[said.Action]:
        self._reason = "WEBSOCKET-CLOSED"
        self._is_over = True
        return []

    async def _await_connected(self, connection: PublisherConnection) -> None:
        await connection.connected.wait()
        await self._waiting.put(self._conversation.connected)

    async def _await_end(self, connection: PublisherConnection) -> None:
        reason = await connection.wait_ended()
        await self._waiting.put(lambda _now_ns: self._conversation.ended(reason))
