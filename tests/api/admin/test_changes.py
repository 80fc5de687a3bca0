"""The changes that a viewer missed."""

import pytest

from rokuga.api.admin.changes import MAX_KEPT, Changes


def test_a_reconnecting_viewer_receives_missed_changes() -> None:
    """All changes after the id, each with its id; none after the newest."""
    changes = Changes("A")
    ids = [changes.add(text) for text in "xyz"]
    assert changes.since(ids[0]) == [(ids[1], "y"), (ids[2], "z")]
    assert changes.since(ids[2]) == []
    assert changes.since("A-0") == [*zip(ids, "xyz", strict=True)]


@pytest.mark.parametrize("last_id", ["", "B-1", "A-", "A-99", "A--1", "A-٣", f"A-{'9' * 5000}"])
def test_unknown_ids_return_none(last_id: str) -> None:
    """An id of another run or of the future, or a malformed one: the viewer receives everything."""
    changes = Changes("A")
    changes.add("x")
    assert changes.since(last_id) is None


def test_only_the_newest_changes_are_kept() -> None:
    """A viewer that missed more receives everything."""
    changes = Changes("A")
    for number in range(MAX_KEPT + 1):
        changes.add(str(number))
    assert changes.since("A-0") is None
    assert len(changes.since("A-1") or []) == MAX_KEPT
