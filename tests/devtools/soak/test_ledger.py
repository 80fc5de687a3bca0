"""Events accounted for: a life as it should be has no fault, and each way to spoil it is found."""

from typing import Any

import pytest

from rokuga.devtools.soak.ledger import Event, Ledger, NodePresence
from rokuga.recorder.media import NS_PER_S


def event(event_type: str, number: int = 0, connection_id: str = "one", **data: Any) -> Event:
    made: dict[str, Any] = {"id": f"{event_type}{number}{connection_id}", "type": event_type, "channel_id": "channel"}
    ids = {"recording_id": "recording"}
    if event_type.startswith("recording."):
        return made | {"data": {**ids, **data}}
    return made | {"connection_id": connection_id, "data": {"connection_id": connection_id, **ids, **data}}


def report(*available: str, failed: tuple[str, ...] = (), split_only: bool = False) -> Event:
    return event(
        "recording.report",
        split_only=split_only,
        archives=[{"connection_id": each} for each in available],
        failed_archives=[{"connection_id": each} for each in failed],
    )


STARTED = event("recording.started", split_only=False)
BEGAN = event("archive.started")
DONE = event("archive.available")
LIFE = [event("connection.created"), STARTED, BEGAN, DONE, event("connection.destroyed"), report("one")]
HERE = [NodePresence("one", "channel", 0, 10 * NS_PER_S)]


def told(*events: Event, present: list[NodePresence] | None = None) -> list[str]:
    """Deliver and accept each once, then settle; give all faults."""
    ledger = Ledger()
    ledger.started("recording", "channel", 1)
    faults: list[str] = []
    for number, each in enumerate(events):
        faults += ledger.deliver(each)[1]
        ledger.accept(each, number)
    return faults + list(ledger.settle(HERE if present is None else present))


def test_a_life_as_it_should_be_has_no_fault() -> None:
    assert not told(*LIFE)


def test_a_report_and_the_end_of_each_connection_are_owed_until_they_come() -> None:
    ledger = Ledger()
    ledger.started("recording", "channel", 1)
    for each in (*LIFE[:4], LIFE[5], LIFE[4]):  # whoever publishes on when the recording ends leaves later
        assert ledger.owed()
        ledger.deliver(each)
    assert not ledger.owed()


def test_parts_are_numbered_and_ended() -> None:
    parts = [event("split-archive.available", n, split_index=f"{n:04}") for n in (1, 2)]
    end = event("split-archive.end", split_last_index="0002")
    begin = [LIFE[0], event("recording.started", split_only=True), BEGAN]
    done = [LIFE[4], report("one", split_only=True)]
    assert not told(*begin, *parts, end, *done)
    assert not told(LIFE[0], STARTED, BEGAN, *parts, end, DONE, *done)
    assert told(*begin, parts[0], end, *done)
    assert told(*begin, parts[1], end, *done)
    assert told(*begin, *parts, *done)


@pytest.mark.parametrize(
    ("life", "fault"),
    [
        ([*LIFE[:3], *LIFE[4:]], "archives of the report are ['one'], but archive.available was told of []"),
        ([*LIFE[:4], event("archive.available", 2), *LIFE[4:]], "the archive had its archive.available already"),
        ([*LIFE[:2], *LIFE[3:]], "nothing told that this archive started"),
        (
            [*LIFE[:4], event("archive.failed", reason="none"), *LIFE[4:]],
            "the archive had its archive.available already",
        ),
        (LIFE[:-1], "recording recording has no report"),
        ([*LIFE, event("archive.available", 3)], "the recording has its report already"),
        ([*LIFE[:2], event("recording.started", 2), *LIFE[2:]], "the recording started before"),
        ([LIFE[0], *LIFE[2:]], "nothing told that this recording started"),
        ([*LIFE[:-1], report("one", "two")], "archives of the report are ['one', 'two'], but"),
        (LIFE[1:], "a connection is told as ['connection.destroyed']"),
        ([*LIFE[:4], LIFE[5]], "never ended"),
        ([LIFE[0], STARTED, LIFE[4], report()], "lacks connection one"),
    ],
)
def test_each_way_to_spoil_a_life_is_found(life: list[Event], fault: str) -> None:
    assert any(fault in each for each in told(*life)), told(*life)


def test_an_archive_that_failed_is_a_fault_if_there_was_media() -> None:
    life = [*LIFE[:3], event("archive.failed", reason="the disk is full"), LIFE[4], report(failed=("one",))]
    assert any("failed after 10.0 s: the disk is full" in fault for fault in told(*life))
    assert not told(*life, present=[NodePresence("one", "channel", 0, NS_PER_S)])


def test_a_repeat_is_the_same_event_and_comes_only_while_it_is_owed() -> None:
    ledger = Ledger()
    assert ledger.deliver(STARTED) == (True, [])
    assert ledger.deliver(STARTED) == (False, [])
    assert ledger.deliver({**STARTED, "channel_id": "channel", "data": {}})[1] == [
        "recording.started comes again with another body"
    ]
    ledger.accept(STARTED, 5 * NS_PER_S)
    assert ledger.deliver(STARTED)[1] == ["recording.started comes again though it was accepted"]
    assert (ledger.deliveries, ledger.repeats) == (4, 3)


def test_a_daemon_that_was_killed_may_not_have_heard_that_an_event_was_accepted() -> None:
    ledger = Ledger()
    ledger.deliver(STARTED)
    ledger.accept(STARTED, 5 * NS_PER_S)
    ledger.killed(5 * NS_PER_S + 1)
    assert ledger.deliver(STARTED) == (False, [])


def test_nothing_overtakes_what_was_not_accepted() -> None:
    """By the order of connections and recordings; another connection goes on."""
    ledger = Ledger()
    ledger.deliver(STARTED)
    created = event("connection.created")
    elsewhere = {**created, "connection_id": "other", "data": {"connection_id": "other"}}
    assert ledger.deliver(elsewhere) == (True, [])
    assert ledger.deliver(BEGAN)[1] == ["archive.started overtakes recording.started, which was not accepted yet"]


def test_a_kill_may_take_the_whole_of_a_connection_but_not_its_end_alone() -> None:
    ledger = Ledger()
    ledger.killed(5 * NS_PER_S)
    who = NodePresence("one", "channel", 0, 5 * NS_PER_S)
    assert not list(ledger.settle([who]))
    ledger.deliver(LIFE[0])
    assert list(ledger.settle([who])) == ["connection one never ended"]
    ledger.deliver(LIFE[4])
    assert not list(ledger.settle([who]))
