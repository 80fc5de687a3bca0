"""Who publishes what and when, what is recorded and how, and when the daemon is killed. Pure: chance is passed in.

All times are ms from the start of the soak. The same numbers drawn give the same plan.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal

import msgspec

from rokuga.recorder.media import Kind

Draw = Callable[[], float]
"""Gives a number from 0 to below 1, even over all of them."""

SEATS_PER_CHANNEL: Final = 5
SHORTEST_LIFE_MS: Final = 4_000
LONGEST_LIFE_MS: Final = 240_000
SHORTEST_TAKE_MS: Final = 15_000
LONGEST_TAKE_MS: Final = 180_000
QUIET_END_MS: Final = 5_000
"""The daemon is not killed so shortly before the end: what it left is to be seen."""

CLIPS: Final[Sequence[tuple[str, Sequence[Kind]]]] = (
    ("vp9-opus", ("audio", "video")),
    ("vp8-opus", ("audio", "video")),
    ("opus", ("audio",)),
    ("vp9", ("video",)),
    ("vp8-opus", ("video",)),
)
"""What the seats publish, one after the other."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the soak is to be like; 0 where something is not wanted."""

    publishers: int
    seconds: int
    churn: bool = False
    loss: float = 0.0
    split_s: int = 0
    kill_every_s: int = 0
    seed: int = 1


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """One publisher's life. `cut` leaves without a goodbye on the signalling."""

    seat: int
    channel_id: str
    clip: str
    kinds: Sequence[Kind]
    begin_ms: int
    end_ms: int
    leaves: Literal["goodbye", "cut"]


class Take(msgspec.Struct, frozen=True, kw_only=True):
    """One recording: stopped after `end_ms`, or with `expires` by itself."""

    channel_id: str
    begin_ms: int
    end_ms: int
    split_s: int = 0
    split_only: bool = False
    expires: bool = False


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    roles: Sequence[Role]
    takes: Sequence[Sequence[Take]]
    kills_ms: Sequence[int]


def make_plan(options: Options, draw: Draw) -> Plan:
    """Draw a plan. Takes are grouped by channel, in their order."""
    end_ms = options.seconds * 1000
    channels = -(-options.publishers // SEATS_PER_CHANNEL)
    roles = [role for seat in range(options.publishers) for role in _lives(options, seat, channels, draw)]
    takes = [list(_takes(options, f"soak-{channel}", draw)) for channel in range(channels)]
    every_ms = options.kill_every_s * 1000
    kills_ms = list(range(every_ms, end_ms - QUIET_END_MS, every_ms)) if every_ms else []
    return Plan(roles=sorted(roles, key=lambda role: role.begin_ms), takes=takes, kills_ms=kills_ms)


def _between(shortest: int, longest: int, draw: Draw) -> int:
    """Draw a length: short ones are as frequent as those twice as long."""
    return int(shortest * (longest / shortest) ** draw())


def _lives(options: Options, seat: int, channels: int, draw: Draw) -> Iterator[Role]:
    """Give the lives of one seat: one, or with churn one after the other."""
    end_ms = options.seconds * 1000
    begin_ms = seat * 50
    clip, kinds = CLIPS[seat % len(CLIPS)]
    while begin_ms < end_ms - SHORTEST_LIFE_MS:
        life_ms = _between(SHORTEST_LIFE_MS, LONGEST_LIFE_MS, draw) if options.churn else end_ms
        yield Role(
            seat=seat,
            channel_id=f"soak-{seat % channels}",
            clip=clip,
            kinds=kinds,
            begin_ms=begin_ms,
            end_ms=min(begin_ms + life_ms, end_ms),
            leaves="cut" if draw() < 0.25 else "goodbye",
        )
        begin_ms += life_ms + _between(100, 3_000, draw)
        clip, kinds = CLIPS[int(draw() * len(CLIPS))]


def _takes(options: Options, channel_id: str, draw: Draw) -> Iterator[Take]:
    """Give the recordings of one channel: whole, in parts beside the whole, parts only, by expiry; in turn."""
    end_ms = options.seconds * 1000
    begin_ms = round(draw() * 2_000)
    forms = [(0, False, False), (0, False, True)]
    if options.split_s:
        forms += [(options.split_s, False, False), (options.split_s, True, False)]
    turn = int(draw() * len(forms))
    while begin_ms < end_ms - SHORTEST_LIFE_MS:
        split_s, split_only, expires = forms[turn % len(forms)]
        shortest_ms = max(SHORTEST_TAKE_MS, split_s * 1_500)
        take_ms = _between(shortest_ms, max(LONGEST_TAKE_MS, split_s * 4_000), draw) // 1000 * 1000
        take_ms = max(min(take_ms, end_ms - begin_ms), 1000)
        yield Take(
            channel_id=channel_id,
            begin_ms=begin_ms,
            end_ms=begin_ms + take_ms,
            split_s=split_s,
            split_only=split_only,
            expires=expires,
        )
        begin_ms += take_ms + _between(200, 3_000, draw)
        turn += 1
