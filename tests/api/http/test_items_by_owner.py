"""ItemsByOwner compared with a simple count; RoundRobinQueue with a clock."""

from hypothesis import given
from hypothesis import strategies as st

from rokuga.api.http.items_by_owner import ItemsByOwner
from rokuga.api.http.round_robin import MAX_REMEMBERED, RoundRobinQueue
from rokuga.recorder.media import NS_PER_S


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abcd"), st.integers(0, 5))))
def test_the_oldest_of_the_largest_owner_is_found(steps: list[tuple[bool, str, int]]) -> None:
    shares: ItemsByOwner[tuple[str, int]] = ItemsByOwner()
    held: dict[str, list[tuple[str, int]]] = {}
    for is_new, owner, number in steps:
        item = (owner, number)
        items = held.setdefault(owner, [])
        if is_new:
            shares.add(owner, item)
            if item not in items:
                items.append(item)
        else:
            shares.remove(owner, item)
            if item in items:
                items.remove(item)
        assert len(shares) == sum(map(len, held.values()))
        most = max(map(len, held.values()))
        oldest = shares.oldest_of_largest()
        if most == 0:
            assert oldest is None
        else:
            assert oldest is not None
            assert (len(held[oldest[0]]), held[oldest[0]][0]) == (most, oldest)


def test_an_owner_has_a_rate_limit() -> None:
    turns: RoundRobinQueue[int] = RoundRobinQueue(5)
    for number in range(12):
        turns.add("a", number)
    assert turns.pop_due(0, 100) == [0, 1, 2, 3, 4]
    assert turns.pop_due(0, 100) == []
    assert turns.pop_due(NS_PER_S // 5, 100) == [5]
    assert turns.pop_due(NS_PER_S * 60, 100) == [6, 7, 8, 9, 10]
    assert len(turns) == 1


def test_owners_are_served_in_turn() -> None:
    turns: RoundRobinQueue[str] = RoundRobinQueue(100)
    for number in range(50):
        turns.add("flood", f"flood {number}")
    turns.add("client", "client")
    assert turns.pop_due(0, 4) == ["flood 0", "client", "flood 1", "flood 2"]


def test_a_removed_item_is_not_returned() -> None:
    turns: RoundRobinQueue[str] = RoundRobinQueue(100)
    turns.add("a", "first")
    turns.add("a", "second")
    turns.remove("a", "first")
    turns.remove("a", "first")
    turns.remove("b", "first")
    assert turns.pop_due(0, 4) == ["second"]
    assert not turns


def test_the_number_of_remembered_owners_is_limited() -> None:
    turns: RoundRobinQueue[int] = RoundRobinQueue(1)
    for number in range(MAX_REMEMBERED + 1):
        turns.add(str(number), number)
        assert turns.pop_due(0, 1) == [number]
    turns.add("1", 1)
    turns.add("0", 0)
    assert turns.pop_due(0, 1) == [0]
