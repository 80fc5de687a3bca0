"""The sessions: each a connection with a URL that cannot be guessed, from its answer to its end."""

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import structlog

from rokuga.api.protocols import PublisherConnection
from rokuga.api.signaling.channels import Channels, Member
from rokuga.api.signaling.server_messages import Present
from rokuga.api.whip.translation import Fragment

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Session:
    """One publisher. `etag` names its ICE session, which `ice` are the client's credentials of.

    `token` is the one that it came with, which is wanted again for whatever is done to it.
    """

    id: str
    etag: str
    ice: Fragment
    token: str | None
    connection: PublisherConnection


class Sessions:
    """All sessions that there are. A session is there as long as its connection is."""

    def __init__(self, channels: Channels) -> None:
        self._channels = channels
        self._sessions: dict[str, Session] = {}
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        """Live until the end of the context."""
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End every session."""
        for session in self._sessions.values():
            session.connection.stop("SHUTDOWN")
        await self._tasks.__aexit__(None, None, None)

    def connected(self) -> int:
        """Return how many sessions have their media connection."""
        return sum(session.connection.connected.is_set() for session in self._sessions.values())

    def counts(self, channel_id: str) -> Mapping[str, int]:
        """Give how many are in a channel, by role."""
        return self._channels.counts(channel_id)

    def open(
        self, connection: PublisherConnection, ice: Fragment, token: str | None, notify_metadata: Any
    ) -> Session:
        """Begin a session of a connection that has its answer."""
        session = Session(secrets.token_urlsafe(24), f'"{secrets.token_hex(8)}"', ice, token, connection)
        self._sessions[session.id] = session
        self._tasks.create_task(self._live(session, notify_metadata))
        return session

    def get(self, session_id: str) -> Session | None:
        """Find a session."""
        return self._sessions.get(session_id)

    async def _live(self, session: Session, notify_metadata: Any) -> None:
        """Follow a session to its end. Our own fault ends this one, not the others."""
        try:
            await self._follow(session.connection, notify_metadata)
        except Exception:
            log.exception("a WHIP session failed", connection_id=session.connection.identity.connection_id)
            session.connection.stop("INTERNAL-ERROR")
        finally:
            del self._sessions[session.id]

    async def _follow(self, connection: PublisherConnection, notify_metadata: Any) -> None:
        """Tell the channel when the client is there, and when it is gone."""
        identity = connection.identity
        names = {"channel_id": identity.channel_id, "connection_id": identity.connection_id}
        closing = asyncio.create_task(connection.wait_ended())
        arriving = asyncio.create_task(connection.connected.wait())
        member = None
        try:
            await asyncio.wait([closing, arriving], return_when=asyncio.FIRST_COMPLETED)
            if connection.connected.is_set() and not closing.done():
                member = self._enter(connection, notify_metadata)
                log.info("client connected", **names)
            reason = await closing
            log.info("client leaves", reason=reason, **names)
        finally:
            arriving.cancel()
            closing.cancel()
            if member is not None:
                self._channels.leave(member)

    def _enter(self, connection: PublisherConnection, notify_metadata: Any) -> Member:
        present = Present(
            identity=connection.identity,
            role=connection.role,
            audio=connection.audio is not None,
            video=connection.video is not None,
            metadata=notify_metadata,
        )
        member = Member(present, lambda _notification: None)  # WHIP has no way to tell the client of others
        self._channels.enter(member)
        return member
