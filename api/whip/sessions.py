"""WHIP sessions: a connection with an unguessable URL, from its answer until it ends."""

import asyncio
import secrets
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import structlog

from rokuga.api.protocols import PublisherConnection
from rokuga.api.signaling.channels import ChannelMembers, Member
from rokuga.api.signaling.server_messages import MemberInfo
from rokuga.api.whip.translation import Fragment

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class WhipSession:
    """One publisher. `etag` identifies its ICE session, `ice` are the client's credentials in it.

    `token` is the bearer token of the POST; PATCH and DELETE have to have the same one.
    """

    id: str
    etag: str
    ice: Fragment
    token: str | None
    connection: PublisherConnection


class WhipSessions:
    """All sessions. A session exists as long as its connection."""

    def __init__(self, channels: ChannelMembers) -> None:
        self._channels = channels
        self._sessions: dict[str, WhipSession] = {}
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End every session, and wait until all have ended."""
        for session in self._sessions.values():
            session.connection.stop("SHUTDOWN")
        await self._tasks.__aexit__(None, None, None)

    def connected(self) -> int:
        """Return the number of sessions that have completed DTLS."""
        return sum(session.connection.connected.is_set() for session in self._sessions.values())

    def open(
        self, connection: PublisherConnection, ice: Fragment, token: str | None, notify_metadata: Any
    ) -> WhipSession:
        """Add a session for a connection that has its answer."""
        session = WhipSession(secrets.token_urlsafe(24), f'"{secrets.token_hex(8)}"', ice, token, connection)
        self._sessions[session.id] = session
        self._tasks.create_task(self._run(session, notify_metadata))
        return session

    def get(self, session_id: str) -> WhipSession | None:
        """Return a session, None where there is none."""
        return self._sessions.get(session_id)

    async def _run(self, session: WhipSession, notify_metadata: Any) -> None:
        """Run a session until it ends. An internal error ends this session alone."""
        try:
            await self._follow(session.connection, notify_metadata)
        except Exception:
            log.exception(
                "internal error, WHIP session closed", connection_id=session.connection.identity.connection_id
            )
            session.connection.stop("INTERNAL-ERROR")
        finally:
            del self._sessions[session.id]

    async def _follow(self, connection: PublisherConnection, notify_metadata: Any) -> None:
        """Add the client to its channel once DTLS has completed, and remove it when the connection has ended."""
        identity = connection.identity
        ids = {"channel_id": identity.channel_id, "connection_id": identity.connection_id}
        ended = asyncio.create_task(connection.wait_ended())
        connected = asyncio.create_task(connection.connected.wait())
        member = None
        try:
            await asyncio.wait([ended, connected], return_when=asyncio.FIRST_COMPLETED)
            if connection.connected.is_set() and not ended.done():
                member = self._join(connection, notify_metadata)
                log.info("client connected", **ids)
            reason = await ended
            log.info("client disconnected", reason=reason, **ids)
        finally:
            connected.cancel()
            ended.cancel()
            if member is not None:
                self._channels.remove(member)

    def _join(self, connection: PublisherConnection, notify_metadata: Any) -> Member:
        info = MemberInfo(
            identity=connection.identity,
            role=connection.role,
            audio=connection.audio is not None,
            video=connection.video is not None,
            metadata=notify_metadata,
        )
        member = Member(info, lambda _notification: None)  # WHIP has no notifications
        self._channels.add(member)
        return member
