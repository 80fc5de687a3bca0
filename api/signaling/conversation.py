"""One client's signalling as a state machine without I/O: what it said and what happened in, what to do out.

connect > (Authorize >) Open > offer > answer > Accept > (DTLS is up) > Enter > ping, ping, ... > disconnect > Close
connect > redirect > Close
Times are monotonic nanoseconds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from rokuga.api.signaling import client_messages, permission, server_messages
from rokuga.recorder.connection import ConnectionRequest
from rokuga.recorder.media import NS_PER_S

ANSWER_TIMEOUT_NS: Final = 10 * NS_PER_S
"""What a client may take for its connect, and then for its answer."""

PING_INTERVAL_NS: Final = 5 * NS_PER_S
"""momo leaves after 60 s without a ping."""

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
INTERNAL_ERROR: Final = 1011
SORA_ERROR: Final = 4490
"""Whatever is wrong with what a client wants or does (close codes: RFC 6455 section 7.4)."""

_CODES: Final[Mapping[str, int]] = {
    "DISCONNECTED-API": NORMAL,
    "CLOSED-BY-PEER": NORMAL,
    "SHUTDOWN": GOING_AWAY,
    "INTERNAL-ERROR": INTERNAL_ERROR,
}
"""Reasons that a connection ends for; all others are SORA_ERROR."""


@dataclass(frozen=True, slots=True)
class Authorize:
    """Ask whether this client may come in; then say `authorized` or `unauthorized`."""

    connect: client_messages.Connect


@dataclass(frozen=True, slots=True)
class Open:
    """Ask the recorder for a connection; then say `opened` or `refused`. `metadata` is for the offer."""

    request: ConnectionRequest
    notify_metadata: Any
    metadata: Any = None


@dataclass(frozen=True, slots=True)
class Accept:
    """Give the answer to the connection; then say `refused` if it is of no use."""

    sdp: str


@dataclass(frozen=True, slots=True)
class Enter:
    """The client is in: tell the channel."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send a text frame."""

    text: str


@dataclass(frozen=True, slots=True)
class Close:
    """End the connection and close the WebSocket. `remark` is why the client leaves, as it says itself."""

    code: int
    reason: str
    detail: str | None = None


Action = Authorize | Open | Accept | Enter | Send | Close


Elsewhere = Callable[[], str | None]
"""Gives the signalling URL of the node to which a client that comes now is to go, None if it is to stay."""


def nowhere() -> None:
    """Let every client stay."""


class Phase(Enum):
    """What is waited for."""

    CONNECT = auto()
    PERMISSION = auto()
    OPENED = auto()
    ANSWER = auto()
    MEDIA = auto()
    END = auto()
    OVER = auto()


class Conversation:
    """Every method gives what is to be done now, in order. Nothing is to be done after a Close.

    With `asks`, nobody is opened to who was not authorized. Whoever is sent `elsewhere` is asked about there.
    """

    def __init__(self, now_ns: int, *, asks: bool = False, elsewhere: Elsewhere = nowhere) -> None:
        self._asks = asks
        self._elsewhere = elsewhere
        self.phase = Phase.CONNECT
        self.deadline_ns: int | None = now_ns + ANSWER_TIMEOUT_NS
        """When `tick` is due."""

    def receive(self, text: str | bytes, now_ns: int) -> list[Action]:
        """Take a frame from the client."""
        if self.phase is Phase.OVER:
            return []
        try:
            return self._act_on(client_messages.parse_message(text))
        except client_messages.MessageError as error:
            return self.refused(str(error))

    def _act_on(self, message: client_messages.Message) -> list[Action]:
        match message:
            case client_messages.Disconnect():
                return self._close(NORMAL, "TYPE-DISCONNECT", message.reason)
            case client_messages.Connect() if self.phase is Phase.CONNECT:
                return self._come(message)
            case _ if self.phase is Phase.CONNECT:
                raise client_messages.MessageError("the first message has to be a connect")
            case client_messages.Connect():
                raise client_messages.MessageError("there was a connect before")
            case client_messages.Answer() if self.phase is Phase.ANSWER:
                self.phase, self.deadline_ns = Phase.MEDIA, None
                return [Accept(message.sdp)]
            case client_messages.Answer():
                raise client_messages.MessageError("an answer is not expected now")
            case _:
                return []

    def _come(self, connect: client_messages.Connect) -> list[Action]:
        client_messages.check_ids(connect)
        client_messages.requested_tracks(connect)
        location = None if connect.redirect is True else self._elsewhere()
        if location is not None:
            return [Send(server_messages.redirect(location)), *self._close(NORMAL, "REDIRECT")]
        if not self._asks:
            return self._open(permission.Granted(connect))
        self.phase, self.deadline_ns = Phase.PERMISSION, None
        return [Authorize(connect)]

    def authorized(self, asked: Authorize, answer: Mapping[str, Any]) -> list[Action]:
        """There is an answer, which allows or refuses the client, or makes no sense."""
        if self.phase is not Phase.PERMISSION:
            return []
        try:
            return self._open(permission.granted(asked.connect, answer))
        except permission.Denied as denied:
            return self.refused(str(denied))
        except client_messages.MessageError as error:
            return self.unauthorized(str(error))

    def unauthorized(self, fault: str) -> list[Action]:
        """There is no answer that could be used; `fault` says why, for people."""
        return self.refused(f"AUTH-WEBHOOK-FAILED: {fault}")

    def _open(self, granted: permission.Granted) -> list[Action]:
        request = client_messages.connection_request(granted.connect, granted.event_metadata_json)
        self.phase, self.deadline_ns = Phase.OPENED, None
        return [Open(request, granted.connect.signaling_notify_metadata, granted.metadata)]

    def opened(self, offer: str, now_ns: int) -> list[Action]:
        """The recorder gave a connection; `offer` is the whole message."""
        if self.phase is not Phase.OPENED:
            return []
        self.phase, self.deadline_ns = Phase.ANSWER, now_ns + ANSWER_TIMEOUT_NS
        return [Send(offer)]

    def refused(self, reason: str) -> list[Action]:
        """The recorder takes no such connection, or no such answer."""
        return self._close(SORA_ERROR, reason)

    def connected(self, now_ns: int) -> list[Action]:
        """DTLS is up."""
        if self.phase is not Phase.MEDIA:
            return []
        self.phase, self.deadline_ns = Phase.END, now_ns + PING_INTERVAL_NS
        return [Enter()]

    def ended(self, reason: str) -> list[Action]:
        """The connection is over."""
        return self._close(_CODES.get(reason, SORA_ERROR), reason)

    def failed(self) -> list[Action]:
        """There is a fault of ours."""
        return self._close(INTERNAL_ERROR, "INTERNAL-ERROR")

    def tick(self, now_ns: int) -> list[Action]:
        """Do what is due."""
        if self.deadline_ns is None or now_ns < self.deadline_ns:
            return []
        if self.phase is not Phase.END:
            return self._close(SORA_ERROR, "TIMEOUT")
        self.deadline_ns = now_ns + PING_INTERVAL_NS
        return [Send(server_messages.ping())]

    def _close(self, code: int, reason: str, remark: Any = None) -> list[Action]:
        if self.phase is Phase.OVER:
            return []
        self.phase, self.deadline_ns = Phase.OVER, None
        said = server_messages.close_reason(remark) if isinstance(remark, str) else None
        return [Close(code, server_messages.close_reason(reason), said)]
