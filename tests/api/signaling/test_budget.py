"""A client may send so much at once, and so much a second."""

from rokuga.api.signaling.budget import BYTES_PER_S, MAX_BYTES, MAX_MESSAGES, MESSAGES_PER_S, MessageBudget
from rokuga.recorder.media import NS_PER_S


def test_so_many_messages_may_come_at_once_and_so_many_a_second() -> None:
    budget = MessageBudget(0)
    assert {budget.spend(1, 0) for _ in range(MAX_MESSAGES)} == {None}
    assert budget.spend(1, 0) == "TOO-MANY-MESSAGES"
    budget = MessageBudget(0)
    for _ in range(MAX_MESSAGES):
        budget.spend(1, 0)
    assert [budget.spend(1, NS_PER_S) for _ in range(MESSAGES_PER_S + 1)] == [None] * MESSAGES_PER_S + [
        "TOO-MANY-MESSAGES"
    ]


def test_so_many_bytes_may_come_at_once_and_so_many_a_second() -> None:
    budget = MessageBudget(0)
    assert budget.spend(MAX_BYTES, 0) is None
    assert budget.spend(BYTES_PER_S, NS_PER_S) is None
    assert budget.spend(1, NS_PER_S) == "TOO-MANY-BYTES"


def test_who_waits_has_no_more_than_at_first_and_a_clock_that_stands_gives_nothing() -> None:
    budget = MessageBudget(0)
    assert budget.spend(MAX_BYTES + 1, 10**6 * NS_PER_S) == "TOO-MANY-BYTES"


def test_pongs_of_a_client_with_many_tracks_are_within_it_for_hours() -> None:
    budget = MessageBudget(0)
    assert {budget.spend(200_000, n * 5 * NS_PER_S) for n in range(5000)} == {None}
