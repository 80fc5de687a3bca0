"""The plan of a soak: who publishes what and when, which recordings are made, and when the daemon is killed. Pure.

All times are ms since the start of the soak. Random numbers are passed in: the same numbers make the same plan.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal

import msgspec

from rokuga.recorder.media import Kind

Draw = Callable[[], float]
"""Returns a random number from 0 to below 1, uniformly distributed."""

SLOTS_PER_CHANNEL: Final = 5
MIN_PUBLICATION_MS: Final = 4_000
MAX_PUBLICATION_MS: Final = 240_000
MIN_RECORDING_MS: Final = 15_000
MAX_RECORDING_MS: Final = 180_000
LAST_KILL_MS: Final = 5_000
"""No kill comes so shortly before the end: what it left unfinished has to be recovered and checked."""

CLIPS: Final[Sequence[tuple[str, Sequence[Kind]]]] = (
    ("vp9-opus", ("audio", "video")),
    ("vp8-opus", ("audio", "video")),
    ("opus", ("audio",)),
    ("vp9", ("video",)),
    ("vp8-opus", ("video",)),
)
"""The clips that the slots publish at first, in turn, and their kinds."""


class SoakOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of the command; 0 switches a feature off."""

    publishers: int
    seconds: int
    churn: bool = False
    loss: float = 0.0
    split_s: int = 0
    kill_every_s: int = 0
    seed: int = 1


class PlannedPublication(msgspec.Struct, frozen=True, kw_only=True):
    """One publisher of a slot. An `abrupt` disconnect sends nothing on the signalling connection."""

    slot: int
    channel_id: str
    clip: str
    kinds: Sequence[Kind]
    begin_ms: int
    end_ms: int
    disconnect: Literal["orderly", "abrupt"]


class PlannedRecording(msgspec.Struct, frozen=True, kw_only=True):
    """One recording, which is stopped at `end_ms`, or with `expires` ends by its expire_time."""

    channel_id: str
    begin_ms: int
    end_ms: int
    split_s: int = 0
    split_only: bool = False
    expires: bool = False


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All publications by their begin, the recordings of each channel in order, and the kills."""

    publications: Sequence[PlannedPublication]
    recordings: Sequence[Sequence[PlannedRecording]]
    kills_ms: Sequence[int]


def make_plan(options: SoakOptions, draw: Draw) -> Plan:
    """Return a random plan for these options."""
    end_ms = options.seconds * 1000
    channels = -(-options.publishers // SLOTS_PER_CHANNEL)
    publications = [
        each for slot in range(options.publishers) for each in _publications(options, slot, channels, draw)
    ]
    recordings = [list(_recordings(options, f"soak-{channel}", draw)) for channel in range(channels)]
    every_ms = options.kill_every_s * 1000
    kills_ms = list(range(every_ms, end_ms - LAST_KILL_MS, every_ms)) if every_ms else []
    publications.sort(key=lambda each: each.begin_ms)
    return Plan(publications=publications, recordings=recordings, kills_ms=kills_ms)


def _between(shortest: int, longest: int, draw: Draw) -> int:
    """Return a random duration, log-uniformly distributed between both."""
    return int(shortest * (longest / shortest) ** draw())


def _publications(options: SoakOptions, slot: int, channels: int, draw: Draw) -> Iterator[PlannedPublication]:
    """Plan one slot: one publication, or with churn one after the other."""
    end_ms = options.seconds * 1000
    begin_ms = slot * 50
    clip, kinds = CLIPS[slot % len(CLIPS)]
    while begin_ms < end_ms - MIN_PUBLICATION_MS:
        duration_ms = _between(MIN_PUBLICATION_MS, MAX_PUBLICATION_MS, draw) if options.churn else end_ms
        yield PlannedPublication(
            slot=slot,
            channel_id=f"soak-{slot % channels}",
            clip=clip,
            kinds=kinds,
            begin_ms=begin_ms,
            end_ms=min(begin_ms + duration_ms, end_ms),
            disconnect="abrupt" if draw() < 0.25 else "orderly",
        )
        begin_ms += duration_ms + _between(100, 3_000, draw)
        clip, kinds = CLIPS[int(draw() * len(CLIPS))]


def _recordings(options: SoakOptions, channel_id: str, draw: Draw) -> Iterator[PlannedRecording]:
    """Plan one channel: whole files, an expiry, parts beside the whole file, parts only; in turn."""
    end_ms = options.seconds * 1000
    begin_ms = round(draw() * 2_000)
    forms = [(0, False, False), (0, False, True)]
    if options.split_s:
        forms += [(options.split_s, False, False), (options.split_s, True, False)]
    turn = int(draw() * len(forms))
    while begin_ms < end_ms - MIN_PUBLICATION_MS:
        split_s, split_only, expires = forms[turn % len(forms)]
        min_ms = max(MIN_RECORDING_MS, split_s * 1_500)
        duration_ms = _between(min_ms, max(MAX_RECORDING_MS, split_s * 4_000), draw) // 1000 * 1000
        duration_ms = max(min(duration_ms, end_ms - begin_ms), 1000)
        yield PlannedRecording(
            channel_id=channel_id,
            begin_ms=begin_ms,
            end_ms=begin_ms + duration_ms,
            split_s=split_s,
            split_only=split_only,
            expires=expires,
        )
        begin_ms += duration_ms + _between(200, 3_000, draw)
        turn += 1
