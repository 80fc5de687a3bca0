"""The contract of the event webhook: what the daemon posts has no fault, and every violation is named."""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from rokuga.recorder.events import EventType
from rokuga.webhooks.bodies import make_body
from rokuga.webhooks.contract import ContractChecker
from rokuga.webhooks.sequence import RecordingSequences
from rokuga.webhooks.signature import sign
from tests.test_schemas import CONFIG, record

Body = dict[str, Any]
OTHER_ID = "0" * 26


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def posted(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[list[Body]]:
    """Three connections, recorded whole and in parts: every type of event but archive.failed is among it."""
    events = await record(tmp_path_factory.mktemp("posted"), split_duration=1)
    yield [msgspec.json.decode(make_body(event, CONFIG)) for event in events]


def check_all(bodies: list[Body], key: bytes | None = None) -> ContractChecker:
    checker = ContractChecker(key)
    for body in bodies:
        checker.check({"sora-event-webhook-type": body["type"]}, msgspec.json.encode(body), 0)
    return checker


def first(bodies: list[Body], event_type: EventType) -> int:
    return next(place for place, body in enumerate(bodies) if body["type"] == event_type)


def test_what_the_daemon_posts_has_no_fault(posted: list[Body]) -> None:
    """In its order, each once; what comes again is counted, and is no fault."""
    checker = check_all(posted)
    assert checker.faults == []
    assert (checker.events, checker.repeats, checker.reports, checker.open_recordings) == (len(posted), 0, 1, [])
    again = check_all(posted + posted)
    assert (again.faults, again.events, again.repeats) == ([], len(posted), len(posted))


def without(event_type: EventType) -> Callable[[list[Body]], list[Body]]:
    return lambda bodies: [*bodies[: first(bodies, event_type)], *bodies[first(bodies, event_type) + 1 :]]


def late(event_type: EventType) -> Callable[[list[Body]], list[Body]]:
    return lambda bodies: [*without(event_type)(bodies), bodies[first(bodies, event_type)]]


def doubled(event_type: EventType) -> Callable[[list[Body]], list[Body]]:
    """The same thing posted under another id."""

    def double(bodies: list[Body]) -> list[Body]:
        place = first(bodies, event_type)
        other = {**bodies[place], "id": OTHER_ID}
        return [*bodies[: place + 1], other, *bodies[place + 1 :]]

    return double


def changed(event_type: EventType, change: Mapping[str, Any]) -> Callable[[list[Body]], list[Body]]:
    def alter(bodies: list[Body]) -> list[Body]:
        place = first(bodies, event_type)
        body = {**bodies[place], "data": {**bodies[place]["data"], **change}}
        return [*bodies[:place], body, *bodies[place + 1 :]]

    return alter


T = EventType


@pytest.mark.parametrize(
    ("breaks", "fault"),
    [
        (without(T.RECORDING_STARTED), "nothing told that this recording started"),
        (without(T.ARCHIVE_STARTED), "nothing told that this archive started"),
        (without(T.ARCHIVE_AVAILABLE), "archives of the report are"),
        (late(T.ARCHIVE_AVAILABLE), "the recording has its report already"),
        (late(T.SPLIT_ARCHIVE_AVAILABLE), "the recording has its report already"),
        (doubled(T.RECORDING_STARTED), "the recording started before"),
        (doubled(T.ARCHIVE_STARTED), "the archive started before"),
        (doubled(T.SPLIT_ARCHIVE_AVAILABLE), "comes too late"),
        (without(T.SPLIT_ARCHIVE_AVAILABLE), "part 2 follows part 0"),
        (without(T.SPLIT_ARCHIVE_END), "nothing told that the parts end"),
        (doubled(T.SPLIT_ARCHIVE_END), "the parts had their end already"),
        (doubled(T.ARCHIVE_AVAILABLE), "the archive had its archive.available already"),
        (doubled(T.RECORDING_REPORT), "the recording has its report already"),
        (changed(T.SPLIT_ARCHIVE_END, {"split_last_index": "0009"}), "the last part is not the one"),
        (changed(T.RECORDING_REPORT, {"archives": []}), "archives of the report are []"),
        (changed(T.ARCHIVE_AVAILABLE, {"size": "12"}), "not as its schema says"),
        (changed(T.ARCHIVE_AVAILABLE, {"colour": "red"}), "not as its schema says"),
    ],
)
def test_a_violation_is_named(posted: list[Body], breaks: Callable[[list[Body]], list[Body]], fault: str) -> None:
    """Missing, late, doubled and altered events."""
    assert any(fault in found for found in check_all(breaks(posted)).faults)


def test_parts_may_come_after_an_archive_that_failed() -> None:
    """A disk that was too slow is not waited for; the report is."""
    sequences = RecordingSequences()
    archive = {"recording_id": "recording", "connection_id": "one"}
    posted: list[tuple[str, Body]] = [
        ("recording.started", {"recording_id": "recording", "split_only": False}),
        ("archive.started", archive),
        ("archive.failed", archive),
        ("split-archive.available", archive | {"split_index": "0001"}),
        ("split-archive.end", archive | {"split_last_index": "0001"}),
        ("recording.report", {"recording_id": "recording", "failed_archives": [archive]}),
    ]
    assert [fault for event in posted for fault in sequences.add(*event)] == []
    assert (sequences.reports, sequences.open_recordings) == (1, [])


def test_other_events_of_a_recording_have_their_place_before_its_report() -> None:
    """The sequence is that of the types it knows; of any other one it is known that the report ends the recording."""
    sequences, paused = RecordingSequences(), {"recording_id": "recording"}
    assert sequences.add("recording.started", paused) == []
    assert sequences.add("recording.paused", paused) == []
    assert sequences.add("recording.report", paused) == []
    assert sequences.add("recording.paused", paused) == ["the recording has its report already"]


def test_what_waits_for_a_refused_event_may_not_overtake_it(posted: list[Body]) -> None:
    """Another connection may; the refused event comes first of those that wait for it."""
    kinds = [body["type"] for body in posted]
    start = kinds.index("recording.started")
    checker = ContractChecker()
    checker.refuse(msgspec.json.encode(posted[start]))
    for place in (kinds.index("connection.created"), kinds.index("archive.started"), start):
        body = posted[place]
        post = checker.check({"sora-event-webhook-type": body["type"]}, msgspec.json.encode(body), 0)
        overtakes = "it overtakes recording.started, which was refused"
        assert (overtakes in post.faults) is (kinds[place] == "archive.started")


def test_connection_created_comes_before_the_other_events_of_its_connection(posted: list[Body]) -> None:
    assert "connection.created comes after other events" in str(check_all(late(T.CONNECTION_CREATED)(posted)).faults)
    assert "the connection had its connection.created before" in str(
        check_all(doubled(T.CONNECTION_CREATED)(posted)).faults
    )


def test_an_id_always_has_the_same_body(posted: list[Body]) -> None:
    """Coming again is allowed; coming again with other words is not."""
    other = {**posted[0], "label": "another"}
    assert check_all([posted[0], other]).faults == ["this id had another body before"]


def test_the_header_has_to_name_the_type_of_the_body(posted: list[Body]) -> None:
    checker = ContractChecker()
    post = checker.check({"sora-event-webhook-type": "archive.failed"}, msgspec.json.encode(posted[0]), 0)
    assert post.faults == ("the header sora-event-webhook-type does not tell the type of the body",)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b'{"type":5,"id":{}}', b'{"data":[]}'])
def test_any_bytes_are_checked_without_an_exception(body: bytes) -> None:
    """What is no event is a fault, never an exception."""
    assert ContractChecker().check({}, body, 0).faults


def test_signatures_are_checked_with_their_time(posted: list[Body]) -> None:
    """A right one passes; a wrong key, no signature and an old time do not."""
    now_s = int(time.time())
    body, key = msgspec.json.encode(posted[0]), b"key"
    kind = {"sora-event-webhook-type": posted[0]["type"]}

    def signed(by: bytes, timestamp: int) -> dict[str, str]:
        signature = sign(by, posted[0]["id"], str(timestamp), body)
        return {
            **kind,
            "webhook-id": posted[0]["id"],
            "webhook-timestamp": str(timestamp),
            "webhook-signature": f"v1,bm9uZQ== {signature}",
        }

    assert ContractChecker(key).check(signed(key, now_s), body, now_s).faults == ()
    for headers in (signed(b"other", now_s), kind):
        assert ContractChecker(key).check(headers, body, now_s).faults == ("the signature is not right",)
    assert ContractChecker(key).check(signed(key, now_s - 301), body, now_s).faults == (
        "the signature's time is not now",
    )


def test_a_signature_covers_the_body_byte_for_byte(posted: list[Body]) -> None:
    """Of control characters and what is beyond the BMP, too; not of the same JSON in another form.

    https://github.com/octokit/webhooks.js/issues/71
    """
    now_s, key = int(time.time()), b"key"
    started = next(body for body in posted if body["type"] == "recording.started")
    odd = "\x1b \x7f \u2028 \U0001f600 </script> \\u0041 e\u0301"
    body = msgspec.json.encode({**started, "data": {**started["data"], "metadata": {"odd": odd}}})
    headers = {
        "sora-event-webhook-type": started["type"],
        "webhook-id": started["id"],
        "webhook-timestamp": str(now_s),
        "webhook-signature": sign(key, started["id"], str(now_s), body),
    }
    assert ContractChecker(key).check(headers, body, now_s).faults == ()
    again = msgspec.json.format(body, indent=2)
    assert ContractChecker(key).check(headers, again, now_s).faults == ("the signature is not right",)
    assert msgspec.json.decode(body)["data"]["metadata"]["odd"] == odd
