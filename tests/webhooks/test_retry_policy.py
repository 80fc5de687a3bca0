"""When to try again."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rokuga.recorder.media import NS_PER_S
from rokuga.webhooks.retry_policy import (
    MAX_PAUSE_NS,
    PAUSES_S,
    Delivered,
    Outcome,
    Refused,
    Unreachable,
    is_away,
    next_attempt_ns,
)

DAY_NS = 24 * 3600 * NS_PER_S
MIDDLE = 0.5
OUTCOMES = st.one_of(
    st.builds(Refused, st.integers(300, 599), st.none() | st.integers(0, 10**9)), st.just(Unreachable("timeout"))
)


def pause_s(outcome: Refused | Unreachable, attempts: int, chance: float = MIDDLE) -> float | None:
    """The pause where nothing ends the attempts."""
    pause_ns = next_attempt_ns(outcome, attempts, 0, chance, None, DAY_NS)
    return None if pause_ns is None else pause_ns / NS_PER_S


def test_pauses_grow_to_an_hour_and_stay_there() -> None:
    pauses = [pause_s(Unreachable("timeout"), attempts) for attempts in range(1, 10)]
    assert pauses == [1, 5, 30, 120, 600, 1800, 3600, 3600, 3600]
    assert pauses[: len(PAUSES_S)] == list(PAUSES_S)


@pytest.mark.parametrize(("chance", "expected"), [(0.0, 96), (0.5, 120), (0.999999, 143.99995)])
def test_jitter_is_a_fifth_either_way(chance: float, expected: float) -> None:
    assert pause_s(Refused(503), 4, chance) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Unreachable("timeout"), True),
        (Refused(503), True),
        (Refused(502, reason="Bad Gateway"), True),
        (Refused(503, retry_after_s=10), False),
        (Refused(500), False),
        (Refused(404), False),
        (Delivered(200), False),
    ],
)
def test_outcomes_of_an_absent_server_are_away(outcome: Outcome, expected: bool) -> None:
    assert is_away(outcome) is expected


def test_with_one_attempt_a_failure_is_final() -> None:
    assert next_attempt_ns(Refused(500), 1, 0, MIDDLE, 1, DAY_NS) is None
    assert next_attempt_ns(Refused(500), 1, 0, MIDDLE, 2, DAY_NS) is not None
    assert next_attempt_ns(Refused(500), 2, 0, MIDDLE, 2, DAY_NS) is None


def test_410_is_final() -> None:
    """RFC 9110 section 15.5.11."""
    assert pause_s(Refused(410), 1) is None
    assert pause_s(Refused(410, 5), 1) is None


@pytest.mark.parametrize(("asked_s", "expected_s"), [(0, 1), (90, 90), (3600, 3600), (86400, 3600)])
def test_retry_after_is_honoured_up_to_an_hour_and_never_shortens(asked_s: int, expected_s: int) -> None:
    assert pause_s(Refused(503, asked_s), 1) == expected_s


def test_an_attempt_that_would_come_after_the_age_is_not_made() -> None:
    assert next_attempt_ns(Refused(500), 1, DAY_NS - NS_PER_S, MIDDLE, None, DAY_NS) == NS_PER_S
    assert next_attempt_ns(Refused(500), 1, DAY_NS - NS_PER_S + 1, MIDDLE, None, DAY_NS) is None


@given(OUTCOMES, st.integers(1, 10**6), st.integers(0, 2 * DAY_NS), st.floats(0, 1, exclude_max=True))
def test_a_pause_is_within_its_limits(
    outcome: Refused | Unreachable, attempts: int, age_ns: int, chance: float
) -> None:
    pause_ns = next_attempt_ns(outcome, attempts, age_ns, chance, None, DAY_NS)
    if pause_ns is not None:
        assert NS_PER_S * 0.8 <= pause_ns <= MAX_PAUSE_NS
        assert age_ns + pause_ns <= DAY_NS


@given(st.lists(OUTCOMES, min_size=1, max_size=6), st.floats(0, 1, exclude_max=True))
def test_every_delivery_ends(outcomes: list[Refused | Unreachable], chance: float) -> None:
    """A day has room for fewer than 60 attempts."""
    age_ns = 0
    for attempts, outcome in enumerate(itertools.islice(itertools.cycle(outcomes), 60), 1):
        pause_ns = next_attempt_ns(outcome, attempts, age_ns, chance, None, DAY_NS)
        if pause_ns is None:
            return
        age_ns += pause_ns
    pytest.fail("still trying")
