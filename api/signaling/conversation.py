"""One client's signalling as a state machine without I/O: messages and events in, actions out.

connect > (Authorize >) Open > offer > answer > Accept > (DTLS is up) > Join > ping, ping, ... > disconnect > Close
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
"""For the client's connect, and then for its answer."""

PING_INTERVAL_NS: Final = 5 * NS_PER_S
"""momo disconnects after 60 s without a ping."""

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
INTERNAL_ERROR: Final = 1011
SORA_ERROR: Final = 4490
"""Sora's close code for every fault of a client (close codes: RFC 6455 section 7.4)."""

_CODES: Final[Mapping[str, int]] = {
    "DISCONNECTED-API": NORMAL,
    "CLOSED-BY-PEER": NORMAL,
    "SHUTDOWN": GOING_AWAY,
    "INTERNAL-ERROR": INTERNAL_ERROR,
}
"""Close codes by the reason for which a connection ends; all others have SORA_ERROR."""


@dataclass(frozen=True, slots=True)
class Authorize:
    """Ask the authentication webhook about the client; then call `authorized` or `unauthorized`."""

    connect: client_messages.ConnectMessage


@dataclass(frozen=True, slots=True)
class Open:
    """Request a connection from the recorder; then call `opened` or `refused`. `metadata` belongs to the offer."""

    request: ConnectionRequest
    notify_metadata: Any
    metadata: Any = None


@dataclass(frozen=True, slots=True)
class Accept:
    """Pass the client's SDP answer to the connection; then call `refused` if it is invalid."""

    sdp: str


@dataclass(frozen=True, slots=True)
class Join:
    """Add the client to its channel."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send a text frame."""

    text: str


@dataclass(frozen=True, slots=True)
class Close:
    """End the connection and close the WebSocket. `detail` is the reason that the client's disconnect has."""

    code: int
    reason: str
    detail: str | None = None


Action = Authorize | Open | Accept | Join | Send | Close


ChooseRedirect = Callable[[], str | None]
"""Returns the signalling URL of the node that a new client is redirected to, None to serve it here."""


def no_redirect() -> None:
    """Serve every client here."""


class Phase(Enum):
    """What the conversation waits for."""

    CONNECT = auto()
    PERMISSION = auto()
    OPENED = auto()
    ANSWER = auto()
    MEDIA = auto()
    END = auto()
    CLOSED = auto()


class Conversation:
    """Every method returns the actions that are due, in order. There are none after a Close.

    With `needs_permission`, a client is opened only after it was authorized. Redirection comes before authorization.
    """

    def __init__(
        self, now_ns: int, *, needs_permission: bool = False, redirect_url: ChooseRedirect = no_redirect
    ) -> None:
        self._needs_permission = needs_permission
        self._redirect_url = redirect_url
        self.phase = Phase.CONNECT
        self.deadline_ns: int | None = now_ns + ANSWER_TIMEOUT_NS
        """When `tick` is due."""

    def receive(self, text: str | bytes, now_ns: int) -> list[Action]:
        """Process a message of the client."""
        if self.phase is Phase.CLOSED:
            return []
        try:
            return self._on_message(client_messages.parse_message(text))
        except client_messages.MessageError as error:
            return self.refused(str(error))

    def _on_message(self, message: client_messages.Message) -> list[Action]:
        match message:
            case client_messages.DisconnectMessage():
                return self._close(NORMAL, "TYPE-DISCONNECT", message.reason)
            case client_messages.ConnectMessage() if self.phase is Phase.CONNECT:
                return self._on_connect(message)
            case _ if self.phase is Phase.CONNECT:
                raise client_messages.MessageError("the first message has to be a connect")
            case client_messages.ConnectMessage():
                raise client_messages.MessageError("there was a connect before")
            case client_messages.AnswerMessage() if self.phase is Phase.ANSWER:
                self.phase, self.deadline_ns = Phase.MEDIA, None
                return [Accept(message.sdp)]
            case client_messages.AnswerMessage():
                raise client_messages.MessageError("an answer is not expected now")
            case _:
                return []

    def _on_connect(self, connect: client_messages.ConnectMessage) -> list[Action]:
        client_messages.check_ids(connect)
        client_messages.requested_tracks(connect)
        location = None if connect.redirect is True else self._redirect_url()
        if location is not None:
            return [Send(server_messages.redirect(location)), *self._close(NORMAL, "REDIRECT")]
        if not self._needs_permission:
            return self._open(permission.Granted(connect))
        self.phase, self.deadline_ns = Phase.PERMISSION, None
        return [Authorize(connect)]

    def authorized(self, asked: Authorize, answer: Mapping[str, Any]) -> list[Action]:
        """Process the webhook's answer: it allows or denies the client, or is invalid."""
        if self.phase is not Phase.PERMISSION:
            return []
        try:
            return self._open(permission.apply_answer(asked.connect, answer))
        except permission.Denied as denied:
            return self.refused(str(denied))
        except client_messages.MessageError as error:
            return self.unauthorized(str(error))

    def unauthorized(self, fault: str) -> list[Action]:
        """Refuse the client, because the webhook returned no valid answer; `fault` says why."""
        return self.refused(f"AUTH-WEBHOOK-FAILED: {fault}")

    def _open(self, granted: permission.Granted) -> list[Action]:
        request = client_messages.connection_request(granted.connect, granted.event_metadata_json)
        self.phase, self.deadline_ns = Phase.OPENED, None
        return [Open(request, granted.connect.signaling_notify_metadata, granted.metadata)]

    def opened(self, offer: str, now_ns: int) -> list[Action]:
        """Continue with the recorder's connection; `offer` is the whole message."""
        if self.phase is not Phase.OPENED:
            return []
        self.phase, self.deadline_ns = Phase.ANSWER, now_ns + ANSWER_TIMEOUT_NS
        return [Send(offer)]

    def refused(self, reason: str) -> list[Action]:
        """Close, because the recorder refuses the connection or the answer, or a message is invalid."""
        return self._close(SORA_ERROR, reason)

    def connected(self, now_ns: int) -> list[Action]:
        """Continue after DTLS has completed."""
        if self.phase is not Phase.MEDIA:
            return []
        self.phase, self.deadline_ns = Phase.END, now_ns + PING_INTERVAL_NS
        return [Join()]

    def ended(self, reason: str) -> list[Action]:
        """Close, because the media connection has ended."""
        return self._close(_CODES.get(reason, SORA_ERROR), reason)

    def failed(self) -> list[Action]:
        """Close, because of an internal error."""
        return self._close(INTERNAL_ERROR, "INTERNAL-ERROR")

    def tick(self, now_ns: int) -> list[Action]:
        """Send a ping, or close after a timeout, if the deadline has passed."""
        if self.deadline_ns is None or now_ns < self.deadline_ns:
            return []
        if self.phase is not Phase.END:
            return self._close(SORA_ERROR, "TIMEOUT")
        self.deadline_ns = now_ns + PING_INTERVAL_NS
        return [Send(server_messages.ping())]

    def _close(self, code: int, reason: str, detail: Any = None) -> list[Action]:
        if self.phase is Phase.CLOSED:
            return []
        self.phase, self.deadline_ns = Phase.CLOSED, None
        text = server_messages.close_reason(detail) if isinstance(detail, str) else None
        return [Close(code, server_messages.close_reason(reason), text)]
