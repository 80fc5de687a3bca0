"""Who is in which channel, and telling them of one another."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from rokuga.api.signaling.server_messages import Present, notify
from rokuga.recorder.clock import Clock, rfc3339
from rokuga.recorder.media import NS_PER_S


@dataclass(eq=False, slots=True)
class Member:
    """One client that is connected. `deliver` takes a notification and must not wait."""

    present: Present
    deliver: Callable[[str], None]
    entered_ns: int = field(default=0)


class Channels:
    """The members of all channels, in the order of their coming."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._members: dict[str, list[Member]] = {}

    def enter(self, member: Member) -> None:
        """Let a member in: it learns who is there, the others that it is there."""
        member.entered_ns = self._clock.monotonic_ns()
        members = self._members.setdefault(member.present.identity.channel_id, [])
        others = [other.present for other in members]
        members.append(member)
        member.deliver(self._notification("connection.created", member, others))
        created = self._notification("connection.created", member)
        for other in members[:-1]:
            other.deliver(created)

    def leave(self, member: Member) -> None:
        """Let a member go: the others learn it. Nothing happens for who is not there."""
        channel_id = member.present.identity.channel_id
        members = self._members.get(channel_id, [])
        if member not in members:
            return
        members.remove(member)
        if not members:
            del self._members[channel_id]
        destroyed = self._notification("connection.destroyed", member)
        for other in members:
            other.deliver(destroyed)

    def total(self) -> int:
        """Give how many are in all channels."""
        return sum(map(len, self._members.values()))

    def counts(self, channel_id: str) -> Mapping[str, int]:
        """Give how many are in a channel, by role."""
        return Counter(member.present.role for member in self._members.get(channel_id, []))

    def _notification(
        self,
        event_type: Literal["connection.created", "connection.destroyed"],
        member: Member,
        others: list[Present] | None = None,
    ) -> str:
        return notify(
            event_type,
            member.present,
            timestamp=rfc3339(self._clock.wall_ns()),
            minutes=(self._clock.monotonic_ns() - member.entered_ns) // (60 * NS_PER_S),
            counts=self.counts(member.present.identity.channel_id),
            others=others,
        )
