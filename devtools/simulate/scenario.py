"""What can be rehearsed, one row each: acts in the order of their time, and how their events are delivered."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rokuga.recorder.events import Event
from rokuga.recorder.models import RecordingParameters

CLIP: Final = "vp9-opus.webm"
SOUND: Final = "opus.webm"
SILENCE: Final = ""


@dataclass(frozen=True, slots=True)
class Start:
    """A recording starts."""

    at_s: float
    parameters: RecordingParameters


@dataclass(frozen=True, slots=True)
class Enter:
    """A client comes and plays its clip again and again; one without a clip sends nothing."""

    at_s: float
    client_id: str
    clip: str = CLIP
    channel_id: str = "rehearsal"


@dataclass(frozen=True, slots=True)
class Leave:
    """A client goes."""

    at_s: float
    client_id: str


@dataclass(frozen=True, slots=True)
class Stop:
    """A recording is stopped, and its report waited for."""

    at_s: float
    channel_id: str = "rehearsal"


@dataclass(frozen=True, slots=True)
class Expire:
    """A recording is waited for whose `expire_time` is over by now."""

    at_s: float
    channel_id: str = "rehearsal"


@dataclass(frozen=True, slots=True)
class Crash:
    """The daemon's process is lost; a second later another one takes up what it left."""

    at_s: float


Act = Start | Enter | Leave | Stop | Expire | Crash
Delivery = Callable[[Sequence[Event]], Iterator[Event]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row: what happens, and in which order the consumer is told."""

    summary: str
    acts: Sequence[Act]
    deliver: Delivery = iter


def twice(events: Sequence[Event]) -> Iterator[Event]:
    """Deliver each event again, as if the first answer had been lost on its way."""
    for event in events:
        yield event
        yield event


def channel_by_channel(events: Sequence[Event]) -> Iterator[Event]:
    """Deliver the last channel's events first: channels wait for each other as little as they do for real."""
    for channel_id in sorted({event.channel_id for event in events}, reverse=True):
        yield from (event for event in events if event.channel_id == channel_id)


def _start(at_s: float = 0.0, channel_id: str = "rehearsal", **parameters: int) -> Start:
    split_duration = parameters.get("split_duration")
    is_split_only = bool(parameters.get("split_only"))
    return Start(
        at_s, RecordingParameters(channel_id, parameters.get("expire_time", 0), split_duration, is_split_only)
    )


_ONE: Final = (Enter(0.5, "alice"), Leave(4.5, "alice"), Stop(5.0))

SCENARIOS: Final[Mapping[str, Scenario]] = {
    "one-connection": Scenario("one client, from start to report", (_start(), *_ONE)),
    "three-connections": Scenario(
        "three clients that come and go, one of them with sound alone",
        (
            _start(),
            Enter(0.5, "alice"),
            Enter(1.0, "bob", SOUND),
            Enter(1.5, "carol"),
            Leave(3.0, "bob"),
            Leave(4.0, "alice"),
            Leave(4.5, "carol"),
            Stop(5.0),
        ),
    ),
    "split": Scenario("parts of 2 s and the whole file", (_start(split_duration=2), *_ONE)),
    "split-only": Scenario("parts of 2 s alone", (_start(split_duration=2, split_only=1), *_ONE)),
    "expiry": Scenario("a recording that ends by its expire_time", (_start(expire_time=4), _ONE[0], Expire(4.0))),
    "failed-archive": Scenario(
        "a client that agreed to send and never did, beside one that does",
        (_start(), Enter(0.5, "alice"), Enter(0.5, "mute", SILENCE), Leave(4.0, "mute"), *_ONE[1:]),
    ),
    "crash-and-recovery": Scenario(
        "the daemon is lost while it writes; its successor announces what was left and goes on",
        (
            _start(split_duration=2),
            Enter(0.5, "alice"),
            Crash(5.0),
            Enter(7.0, "bob"),
            Leave(9.5, "bob"),
            Stop(10.0),
        ),
    ),
    "duplicate-delivery": Scenario("every event is delivered twice", (_start(split_duration=2), *_ONE), twice),
    "out-of-order-across-channels": Scenario(
        "two channels at once; the one that began last is delivered first",
        (
            _start(0.0, "room-a"),
            Enter(0.2, "alice", channel_id="room-a"),
            _start(0.5, "room-b"),
            Enter(0.7, "bob", channel_id="room-b"),
            Leave(3.5, "alice"),
            Stop(4.0, "room-a"),
            Leave(4.5, "bob"),
            Stop(5.0, "room-b"),
        ),
        channel_by_channel,
    ),
}
