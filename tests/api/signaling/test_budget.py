"""The limit on what a client may send."""

from rokuga.api.signaling.budget import BYTES_PER_S, MAX_BYTES, MAX_MESSAGES, MESSAGES_PER_S, MessageBudget
from rokuga.recorder.media import NS_PER_S


def test_messages_have_a_burst_and_a_rate() -> None:
    budget = MessageBudget(0)
    assert {budget.spend(1, 0) for _ in range(MAX_MESSAGES)} == {None}
    assert budget.spend(1, 0) == "TOO-MANY-MESSAGES"
    budget = MessageBudget(0)
    for _ in range(MAX_MESSAGES):
        budget.spend(1, 0)
    assert [budget.spend(1, NS_PER_S) for _ in range(MESSAGES_PER_S + 1)] == [None] * MESSAGES_PER_S + [
        "TOO-MANY-MESSAGES"
    ]


def test_bytes_have_a_burst_and_a_rate() -> None:
    budget = MessageBudget(0)
    assert budget.spend(MAX_BYTES, 0) is None
    assert budget.spend(BYTES_PER_S, NS_PER_S) is None
    assert budget.spend(1, NS_PER_S) == "TOO-MANY-BYTES"


def test_the_budget_is_refilled_up_to_the_burst_and_only_by_time() -> None:
    budget = MessageBudget(0)
    assert budget.spend(MAX_BYTES + 1, 10**6 * NS_PER_S) == "TOO-MANY-BYTES"


def test_pongs_of_a_client_with_many_tracks_stay_within_the_budget() -> None:
    budget = MessageBudget(0)
    assert {budget.spend(200_000, n * 5 * NS_PER_S) for n in range(5000)} == {None}
