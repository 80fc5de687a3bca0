"""The members of channels and their notifications."""

import json
from typing import Any

from rokuga.api.signaling.channels import ChannelMembers, Member
from rokuga.api.signaling.server_messages import MemberInfo
from rokuga.recorder.clock import Clock
from rokuga.recorder.connection import Role
from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.negotiation import ConnectionIdentity


class Time:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now_ns = 0

    def clock(self) -> Clock:
        """Return the clock."""
        return Clock(monotonic_ns=lambda: self.now_ns, wall_ns=lambda: 1_709_251_200_000_100_000 + self.now_ns)


class Listener:
    """A member that records its notifications."""

    def __init__(self, name: str, channel_id: str = "sora", role: Role = "sendonly", metadata: Any = None) -> None:
        self.notifications: list[dict[str, Any]] = []
        identity = ConnectionIdentity(channel_id, "SESSION", f"client-{name}", f"bundle-{name}", f"connection-{name}")
        info = MemberInfo(identity, role, audio=True, video=role != "recvonly", metadata=metadata)
        self.member = Member(info, lambda text: self.notifications.append(json.loads(text)))


def test_the_first_member_is_notified_of_itself() -> None:
    """SDKs are connected when they receive their own connection_id."""
    first = Listener("1")
    ChannelMembers(Time().clock()).add(first.member)
    assert first.notifications == [
        {
            "type": "notify",
            "event_type": "connection.created",
            "timestamp": "2024-03-01T00:00:00.000100Z",
            "role": "sendonly",
            "session_id": "SESSION",
            "client_id": "client-1",
            "bundle_id": "bundle-1",
            "connection_id": "connection-1",
            "audio": True,
            "video": True,
            "minutes": 0,
            "turn_transport_type": "udp",
            "channel_connections": 1,
            "channel_sendrecv_connections": 0,
            "channel_sendonly_connections": 1,
            "channel_recvonly_connections": 0,
            "data": [],
        }
    ]


def test_two_members_are_notified_of_each_other() -> None:
    channels = ChannelMembers(Time().clock())
    first, second = Listener("1", metadata={"name": "Aki"}), Listener("2", role="recvonly", metadata=[1])
    channels.add(first.member)
    channels.add(second.member)
    [own] = second.notifications
    assert own["connection_id"] == "connection-2"
    assert own["metadata"] == [1]
    assert own["data"] == [
        {
            "client_id": "client-1",
            "bundle_id": "bundle-1",
            "connection_id": "connection-1",
            "metadata": {"name": "Aki"},
        }
    ]
    told = first.notifications[1]
    assert (told["event_type"], told["connection_id"]) == ("connection.created", "connection-2")
    assert "data" not in told
    for message in (own, told):
        assert [message[f"channel_{kind}connections"] for kind in ("", "sendrecv_", "sendonly_", "recvonly_")] == [
            2,
            0,
            1,
            1,
        ]


def test_a_removed_member_is_announced_to_the_others() -> None:
    time = Time()
    channels = ChannelMembers(time.clock())
    first, second = Listener("1"), Listener("2", role="sendrecv")
    channels.add(first.member)
    time.now_ns = 30 * NS_PER_S
    channels.add(second.member)
    time.now_ns = 150 * NS_PER_S
    channels.remove(second.member)
    gone = first.notifications[-1]
    assert (gone["event_type"], gone["connection_id"], gone["minutes"]) == ("connection.destroyed", "connection-2", 2)
    assert (gone["channel_connections"], gone["channel_sendrecv_connections"]) == (1, 0)
    assert gone["timestamp"] == "2024-03-01T00:02:30.000100Z"
    assert len(second.notifications) == 1


def test_removing_a_member_twice_notifies_nobody() -> None:
    channels = ChannelMembers(Time().clock())
    first, second = Listener("1"), Listener("2")
    channels.add(first.member)
    channels.remove(second.member)
    channels.add(second.member)
    channels.remove(second.member)
    channels.remove(second.member)
    assert [message["event_type"] for message in first.notifications] == [
        "connection.created",
        "connection.created",
        "connection.destroyed",
    ]


def test_channels_are_independent_and_dropped_when_empty() -> None:
    channels = ChannelMembers(Time().clock())
    first, stranger = Listener("1"), Listener("2", channel_id="other")
    for one in (first, stranger):
        channels.add(one.member)
    assert [len(one.notifications) for one in (first, stranger)] == [1, 1]
    assert stranger.notifications[0]["channel_connections"] == 1
    for one in (first, stranger):
        channels.remove(one.member)
    assert channels._members == {}
