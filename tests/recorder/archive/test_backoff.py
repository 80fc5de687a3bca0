"""The pauses after archives that ended by an error."""

from rokuga.recorder.archive.backoff import MAX_INTERNAL_ERRORS, ArchiveBackoff
from rokuga.recorder.media import NS_PER_S


def begun_in(hours: int, life_s: int, *, is_internal: bool = False) -> int:
    """Count the archives that begin in so many hours, if each ends after `life_s`."""
    pauses, begun, now_ns = ArchiveBackoff(), 0, 0
    while now_ns < hours * 3600 * NS_PER_S:
        if pauses.may_begin(now_ns):
            begun += 1
            pauses.add_end(now_ns, now_ns + life_s * NS_PER_S, is_internal=is_internal)
            now_ns += life_s * NS_PER_S
        now_ns += NS_PER_S
    return begun


def test_the_pauses_grow_while_archives_are_short() -> None:
    """A disk that is free for a second again and again makes some sixty archives an hour, not thousands."""
    assert begun_in(1, 1) < 70


def test_after_a_long_archive_the_next_pause_is_a_second_again() -> None:
    pauses = ArchiveBackoff()
    for _ in range(10):
        pauses.add_end(0, NS_PER_S, is_internal=False)
    pauses.add_end(0, 3600 * NS_PER_S, is_internal=False)
    assert pauses.may_begin(3601 * NS_PER_S)


def test_after_some_internal_errors_no_other_archive_begins() -> None:
    assert begun_in(24, 1, is_internal=True) == MAX_INTERNAL_ERRORS
