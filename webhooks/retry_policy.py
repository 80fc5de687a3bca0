"""When a delivery is attempted again, when it is parked, and when it is given up. Pure."""

from dataclasses import dataclass
from typing import Final, assert_never

from rokuga.recorder.media import NS_PER_S
from rokuga.webhooks.config import WebhookConfig
from rokuga.webhooks.delivery import Delivery, DeliveryResult, DeliveryState

PAUSES_S: Final = (1, 5, 30, 120, 600, 1800, 3600)
"""After the first attempt, the second, and so on; the last one is repeated."""

JITTER: Final = 0.2
"""The share by which a pause is shorter or longer, so that not all retries arrive at once."""

MAX_RETRY_AFTER_S: Final = 3600

MAX_PAUSE_NS: Final = int(3600 * (1 + JITTER)) * NS_PER_S
"""No pause is longer, whatever the jitter and Retry-After are."""

GONE: Final = 410


@dataclass(frozen=True, slots=True)
class Delivered:
    """The response was 2xx."""

    status: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The response was not 2xx; `retry_after_s` is its Retry-After (RFC 9110 section 10.2.3).

    `reason` is how its body begins.
    """

    status: int
    retry_after_s: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Unreachable:
    """There was no response: connection refused or reset, timeout, no such host, bad certificate."""

    reason: str


AWAY: Final = frozenset({502, 503, 504})
"""What a proxy responds for a server that is not there (RFC 9110 sections 15.6.3 to 15.6.5)."""

PARK_AFTER: Final = 3
"""After so many attempts a client error counts as a refusal for good."""

TEMPORARY: Final = frozenset({408, 425, 429})
"""Client errors that are temporary: RFC 9110 section 15.5.9, RFC 8470 section 5.2, RFC 6585 section 4."""

Outcome = Delivered | Refused | Unreachable


def is_parked(outcome: Refused | Unreachable, attempts: int) -> bool:
    """Return whether a delivery is refused for good after so many attempts: no other one may wait for it."""
    if attempts < PARK_AFTER or not isinstance(outcome, Refused):
        return False
    return 400 <= outcome.status < 500 and outcome.status not in TEMPORARY


def is_away(outcome: Outcome) -> bool:
    """Return whether nothing answered, or a gateway did without Retry-After (502, 503, 504)."""
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
    """Return the pause before the next attempt, None to give up.

    `attempts` were made, the last of them with this outcome; `age_ns` is the delivery's; `chance` is a random number
    of [0, 1). One attempt at most is Sora's own behaviour.
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


def result_of(
    delivery: Delivery, outcome: Outcome, config: WebhookConfig, chance: float, now_wall_ns: int, uptime_ns: int
) -> DeliveryResult:
    """Return what an attempt makes of a delivery. `uptime_ns` is that of the outbox now."""
    if isinstance(outcome, Delivered):
        return DeliveryResult(delivery.seq, DeliveryState.DELIVERED)
    attempts, age_ns = delivery.attempts + 1, uptime_ns - delivery.created_uptime_ns
    reason = f"status {outcome.status} {outcome.reason}" if isinstance(outcome, Refused) else outcome.reason
    error = reason.strip()
    pause_ns = next_attempt_ns(outcome, attempts, age_ns, chance, config.max_attempts, config.max_age_ns)
    if pause_ns is None:
        return DeliveryResult(delivery.seq, DeliveryState.DEAD, error=error)
    if delivery.state is DeliveryState.PARKED or is_parked(outcome, attempts):
        return DeliveryResult(delivery.seq, DeliveryState.PARKED, error=error)
    return DeliveryResult(
        delivery.seq, DeliveryState.PENDING, now_wall_ns + pause_ns, error, is_away=is_away(outcome)
    )
