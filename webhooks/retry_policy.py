"""When to try again, and when to give up."""

from dataclasses import dataclass
from typing import Final, assert_never

from rokuga.recorder.media import NS_PER_S

PAUSES_S: Final = (1, 5, 30, 120, 600, 1800, 3600)
"""After the first attempt, the second, and so on; the last one is repeated."""

JITTER: Final = 0.2
"""A pause is up to so much shorter or longer: consumers that come back are not met by everybody at once."""

MAX_RETRY_AFTER_S: Final = 3600

MAX_PAUSE_NS: Final = int(3600 * (1 + JITTER)) * NS_PER_S
"""No pause is longer, whatever the jitter and the consumer say."""

GONE: Final = 410


@dataclass(frozen=True, slots=True)
class Delivered:
    """The consumer answered 2xx."""

    status: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The consumer answered something else; `retry_after_s` if it said when to come back (RFC 9110 10.2.3).

    `reason` is how its answer begins.
    """

    status: int
    retry_after_s: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Unreachable:
    """No answer: refused, reset, timed out, no such host, a bad certificate."""

    reason: str


AWAY: Final = frozenset({502, 503, 504})
"""What a proxy answers for a server that is not there (RFC 9110 sections 15.6.3 to 15.6.5)."""

PARK_AFTER: Final = 3
"""So often an event is tried before the consumer is believed that it refuses it for good."""

PASSING: Final = frozenset({408, 425, 429})
"""Client errors that pass: RFC 9110 section 15.5.9, RFC 8470 section 5.2, RFC 6585 section 4."""

Outcome = Delivered | Refused | Unreachable


def is_parked(outcome: Refused | Unreachable, attempts: int) -> bool:
    """Whether an event is refused for good after so many attempts: nothing is to wait for it any more."""
    if attempts < PARK_AFTER or not isinstance(outcome, Refused):
        return False
    return 400 <= outcome.status < 500 and outcome.status not in PASSING


def is_away(outcome: Outcome) -> bool:
    """Whether the consumer itself was not there, and did not say when to come back."""
    match outcome:
        case Delivered():
            return False
        case Refused(status=status, retry_after_s=retry_after_s):
            return status in AWAY and retry_after_s is None
        case Unreachable():
            return True
    assert_never(outcome)


def next_attempt_ns(
    outcome: Refused | Unreachable,
    attempts: int,
    age_ns: int,
    chance: float,
    max_attempts: int | None,
    max_age_ns: int,
) -> int | None:
    """Give the pause before the next attempt, None to give up.

    `attempts` were made, the last of them with this outcome; `age_ns` is that of the event; `chance` is a random
    number of [0, 1). One attempt at most is Sora's own behaviour.
    """
    if max_attempts is not None and attempts >= max_attempts:
        return None
    if isinstance(outcome, Refused) and outcome.status == GONE:
        return None
    pause_ns = _pause_ns(outcome, attempts, chance)
    return pause_ns if age_ns + pause_ns <= max_age_ns else None


def _pause_ns(outcome: Refused | Unreachable, attempts: int, chance: float) -> int:
    pause_s = PAUSES_S[min(attempts, len(PAUSES_S)) - 1]
    jittered_ns = int(pause_s * NS_PER_S * (1 - JITTER + 2 * JITTER * chance))
    match outcome:
        case Refused(retry_after_s=int(seconds)):
            return max(min(seconds, MAX_RETRY_AFTER_S) * NS_PER_S, jittered_ns)
        case Refused() | Unreachable():
            return jittered_ns
    assert_never(outcome)
