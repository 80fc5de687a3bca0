"""The scenarios, one row each: their steps by time, and the order in which their events are delivered. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rokuga.recorder.events import Event
from rokuga.recorder.models import RecordingParameters

CLIP: Final = "vp9-opus.webm"
AUDIO_CLIP: Final = "opus.webm"
NO_CLIP: Final = ""
CHANNEL: Final = "rehearsal"


@dataclass(frozen=True, slots=True)
class StartStep:
    """Start a recording."""

    at_s: float
    parameters: RecordingParameters


@dataclass(frozen=True, slots=True)
class JoinStep:
    """Connect a client that sends its clip again and again; without a clip it sends nothing."""

    at_s: float
    client_id: str
    clip: str = CLIP
    channel_id: str = CHANNEL


@dataclass(frozen=True, slots=True)
class LeaveStep:
    """Disconnect a client."""

    at_s: float
    client_id: str


@dataclass(frozen=True, slots=True)
class StopStep:
    """Stop a recording, and wait for its report."""

    at_s: float
    channel_id: str = CHANNEL


@dataclass(frozen=True, slots=True)
class ExpireStep:
    """Wait for the report of a recording whose `expire_time` has passed."""

    at_s: float
    channel_id: str = CHANNEL


@dataclass(frozen=True, slots=True)
class CrashStep:
    """End the daemon's process at once; a second later another one recovers its files."""

    at_s: float


Step = StartStep | JoinStep | LeaveStep | StopStep | ExpireStep | CrashStep
Delivery = Callable[[Sequence[Event]], Iterator[Event]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens, and in which order its events are delivered."""

    summary: str
    steps: Sequence[Step]
    deliver: Delivery = iter


def twice(events: Sequence[Event]) -> Iterator[Event]:
    """Return each event twice, as if the first response had been lost."""
    for event in events:
        yield event
        yield event


def channel_by_channel(events: Sequence[Event]) -> Iterator[Event]:
    """Return the events of the last channel first: deliveries of different channels are independent."""
    for channel_id in sorted({event.channel_id for event in events}, reverse=True):
        yield from (event for event in events if event.channel_id == channel_id)


def _start(at_s: float = 0.0, channel_id: str = CHANNEL, **parameters: int) -> StartStep:
    split_duration = parameters.get("split_duration")
    is_split_only = bool(parameters.get("split_only"))
    return StartStep(
        at_s, RecordingParameters(channel_id, parameters.get("expire_time", 0), split_duration, is_split_only)
    )


_ONE: Final = (JoinStep(0.5, "alice"), LeaveStep(4.5, "alice"), StopStep(5.0))

SCENARIOS: Final[Mapping[str, Scenario]] = {
    "one-connection": Scenario("one client, from start to report", (_start(), *_ONE)),
    "three-connections": Scenario(
        "three clients that join and leave, one of them with audio only",
        (
            _start(),
            JoinStep(0.5, "alice"),
            JoinStep(1.0, "bob", AUDIO_CLIP),
            JoinStep(1.5, "carol"),
            LeaveStep(3.0, "bob"),
            LeaveStep(4.0, "alice"),
            LeaveStep(4.5, "carol"),
            StopStep(5.0),
        ),
    ),
    "split": Scenario("parts of 2 s and the whole file", (_start(split_duration=2), *_ONE)),
    "split-only": Scenario("parts of 2 s only", (_start(split_duration=2, split_only=1), *_ONE)),
    "expiry": Scenario("a recording that ends by its expire_time", (_start(expire_time=4), _ONE[0], ExpireStep(4.0))),
    "failed-archive": Scenario(
        "a client that negotiated media and sends none, beside one that sends",
        (_start(), JoinStep(0.5, "alice"), JoinStep(0.5, "mute", NO_CLIP), LeaveStep(4.0, "mute"), *_ONE[1:]),
    ),
    "crash-and-recovery": Scenario(
        "the daemon crashes while it writes; the next one recovers the files and continues the recording",
        (
            _start(split_duration=2),
            JoinStep(0.5, "alice"),
            CrashStep(5.0),
            JoinStep(7.0, "bob"),
            LeaveStep(9.5, "bob"),
            StopStep(10.0),
        ),
    ),
    "duplicate-delivery": Scenario("every event is delivered twice", (_start(split_duration=2), *_ONE), twice),
    "out-of-order-across-channels": Scenario(
        "two channels at once; the events of the second are delivered first",
        (
            _start(0.0, "room-a"),
            JoinStep(0.2, "alice", channel_id="room-a"),
            _start(0.5, "room-b"),
            JoinStep(0.7, "bob", channel_id="room-b"),
            LeaveStep(3.5, "alice"),
            StopStep(4.0, "room-a"),
            LeaveStep(4.5, "bob"),
            StopStep(5.0, "room-b"),
        ),
        channel_by_channel,
    ),
}
