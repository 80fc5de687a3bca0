"""The audit of events: a correct sequence has no fault, and each kind of fault is found."""

from typing import Any

import pytest

from rokuga.devtools.soak.event_audit import Event, EventAudit, SendingInterval
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
EVENTS = [event("connection.created"), STARTED, BEGAN, DONE, event("connection.destroyed"), report("one")]
INTERVALS = [SendingInterval("one", "channel", 0, 10 * NS_PER_S)]


def faults_of(*events: Event, intervals: list[SendingInterval] | None = None) -> list[str]:
    """Deliver and accept each event once, and return all faults."""
    audit = EventAudit()
    audit.started("recording", "channel", 1)
    faults: list[str] = []
    for number, each in enumerate(events):
        faults += audit.deliver(each)[1]
        audit.accept(each, number)
    return faults + list(audit.finish(INTERVALS if intervals is None else intervals))


def test_a_correct_sequence_has_no_fault() -> None:
    assert not faults_of(*EVENTS)


def test_a_report_and_the_end_of_each_connection_are_outstanding_until_they_arrive() -> None:
    audit = EventAudit()
    audit.started("recording", "channel", 1)
    for each in (*EVENTS[:4], EVENTS[5], EVENTS[4]):  # a connection may end after its recording
        assert audit.outstanding()
        audit.deliver(each)
    assert not audit.outstanding()


def test_parts_are_numbered_and_ended() -> None:
    parts = [event("split-archive.available", n, split_index=f"{n:04}") for n in (1, 2)]
    end = event("split-archive.end", split_last_index="0002")
    begin = [EVENTS[0], event("recording.started", split_only=True), BEGAN]
    done = [EVENTS[4], report("one", split_only=True)]
    assert not faults_of(*begin, *parts, end, *done)
    assert not faults_of(EVENTS[0], STARTED, BEGAN, *parts, end, DONE, *done)
    assert faults_of(*begin, parts[0], end, *done)
    assert faults_of(*begin, parts[1], end, *done)
    assert faults_of(*begin, *parts, *done)


@pytest.mark.parametrize(
    ("events", "fault"),
    [
        ([*EVENTS[:3], *EVENTS[4:]], "archives of the report are ['one'], but archive.available was told of []"),
        ([*EVENTS[:4], event("archive.available", 2), *EVENTS[4:]], "the archive had its archive.available already"),
        ([*EVENTS[:2], *EVENTS[3:]], "nothing told that this archive started"),
        (
            [*EVENTS[:4], event("archive.failed", reason="none"), *EVENTS[4:]],
            "the archive had its archive.available already",
        ),
        (EVENTS[:-1], "recording recording has no report"),
        ([*EVENTS, event("archive.available", 3)], "the recording has its report already"),
        ([*EVENTS[:2], event("recording.started", 2), *EVENTS[2:]], "the recording started before"),
        ([EVENTS[0], *EVENTS[2:]], "nothing told that this recording started"),
        ([*EVENTS[:-1], report("one", "two")], "archives of the report are ['one', 'two'], but"),
        (EVENTS[1:], "a connection is told as ['connection.destroyed']"),
        ([*EVENTS[:4], EVENTS[5]], "never ended"),
        ([EVENTS[0], STARTED, EVENTS[4], report()], "lacks connection one"),
    ],
)
def test_each_fault_of_a_sequence_is_found(events: list[Event], fault: str) -> None:
    assert any(fault in each for each in faults_of(*events)), faults_of(*events)


def test_an_archive_that_failed_is_a_fault_if_there_was_media() -> None:
    events = [*EVENTS[:3], event("archive.failed", reason="the disk is full"), EVENTS[4], report(failed=("one",))]
    assert any("failed after 10.0 s: the disk is full" in fault for fault in faults_of(*events))
    assert not faults_of(*events, intervals=[SendingInterval("one", "channel", 0, NS_PER_S)])


def test_a_repeat_is_the_same_event_and_comes_only_while_it_is_outstanding() -> None:
    audit = EventAudit()
    assert audit.deliver(STARTED) == (True, [])
    assert audit.deliver(STARTED) == (False, [])
    assert audit.deliver({**STARTED, "channel_id": "channel", "data": {}})[1] == [
        "recording.started comes again with another body"
    ]
    audit.accept(STARTED, 5 * NS_PER_S)
    assert audit.deliver(STARTED)[1] == ["recording.started comes again though it was accepted"]
    assert (audit.deliveries, audit.repeats) == (4, 3)


def test_a_killed_daemon_may_repeat_an_event_that_was_just_accepted() -> None:
    audit = EventAudit()
    audit.deliver(STARTED)
    audit.accept(STARTED, 5 * NS_PER_S)
    audit.killed(5 * NS_PER_S + 1)
    assert audit.deliver(STARTED) == (False, [])


def test_an_event_must_not_overtake_one_that_was_not_accepted() -> None:
    """Within a connection and its recording; other connections are independent."""
    audit = EventAudit()
    audit.deliver(STARTED)
    created = event("connection.created")
    of_another = {**created, "connection_id": "other", "data": {"connection_id": "other"}}
    assert audit.deliver(of_another) == (True, [])
    assert audit.deliver(BEGAN)[1] == ["archive.started overtakes recording.started, which was not accepted yet"]


def test_a_kill_may_lose_both_events_of_a_connection_but_not_its_end_alone() -> None:
    audit = EventAudit()
    audit.killed(5 * NS_PER_S)
    sent = SendingInterval("one", "channel", 0, 5 * NS_PER_S)
    assert not list(audit.finish([sent]))
    audit.deliver(EVENTS[0])
    assert list(audit.finish([sent])) == ["connection one never ended"]
    audit.deliver(EVENTS[4])
    assert not list(audit.finish([sent]))
