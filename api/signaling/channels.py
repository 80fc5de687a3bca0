"""The members of all channels, and the notifications that they receive about one another."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from rokuga.api.signaling.server_messages import MemberInfo, notify
from rokuga.recorder.clock import Clock, rfc3339
from rokuga.recorder.media import NS_PER_S


@dataclass(eq=False, slots=True)
class Member:
    """A connected client. `notify` receives a notification as JSON text, and must not block."""

    info: MemberInfo
    notify: Callable[[str], None]
    joined_ns: int = field(default=0)


class ChannelMembers:
    """The members of each channel, in the order in which they joined."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._members: dict[str, list[Member]] = {}

    def add(self, member: Member) -> None:
        """Add a member. It is notified of itself and of the others, the others of it."""
        member.joined_ns = self._clock.monotonic_ns()
        members = self._members.setdefault(member.info.identity.channel_id, [])
        others = [other.info for other in members]
        members.append(member)
        member.notify(self._notification("connection.created", member, others))
        created = self._notification("connection.created", member)
        for other in members[:-1]:
            other.notify(created)

    def remove(self, member: Member) -> None:
        """Remove a member and notify the others. Nothing happens if it is not one."""
        channel_id = member.info.identity.channel_id
        members = self._members.get(channel_id, [])
        if member not in members:
            return
        members.remove(member)
        if not members:
            del self._members[channel_id]
        destroyed = self._notification("connection.destroyed", member)
        for other in members:
            other.notify(destroyed)

    def total(self) -> int:
        """Return the number of members of all channels."""
        return sum(map(len, self._members.values()))

    def counts(self, channel_id: str) -> Mapping[str, int]:
        """Return the number of a channel's members, by role."""
        return Counter(member.info.role for member in self._members.get(channel_id, []))

    def _notification(
        self,
        event_type: Literal["connection.created", "connection.destroyed"],
        member: Member,
        others: list[MemberInfo] | None = None,
    ) -> str:
        return notify(
            event_type,
            member.info,
            timestamp=rfc3339(self._clock.wall_ns()),
            minutes=(self._clock.monotonic_ns() - member.joined_ns) // (60 * NS_PER_S),
            counts=self.counts(member.info.identity.channel_id),
            others=others,
        )
