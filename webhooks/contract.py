"""What a consumer of the event webhook may rely on, checked POST by POST. Pure.

A body matches its schema; `sora-event-webhook-type` is its type; the signature is valid; an id always has the same
body; events of a recording and of a connection are in their sequence (`sequence.py`); nothing overtakes what was
refused (`order.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from rokuga.webhooks.order import Subject, follows
from rokuga.webhooks.schemas import check_body
from rokuga.webhooks.sequence import ConnectionSequences, RecordingSequences
from rokuga.webhooks.signature import signature_faults


@dataclass(frozen=True, slots=True)
class CheckedPost:
    """One POST and its faults, in words. `is_repeat`: its id has arrived before."""

    event_type: str
    event_id: str
    channel_id: str
    is_repeat: bool
    faults: tuple[str, ...]


class ContractChecker:
    """Checks POSTs in the order of their arrival. `key` is that of the signatures, None where none is expected.

    `events` counts different events, `repeats` the others; `faults` are those of all.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self.events = 0
        self.repeats = 0
        self.faults: list[str] = []
        self._key = key
        self._bodies: dict[str, bytes] = {}
        self._recordings = RecordingSequences()
        self._connections = ConnectionSequences()
        self._refused: dict[str, tuple[str, Subject]] = {}

    @property
    def reports(self) -> int:
        """How many recordings have their report."""
        return self._recordings.reports

    @property
    def open_recordings(self) -> list[str]:
        """The ids of recordings that started and have no report yet."""
        return self._recordings.open_recordings

    def check(self, headers: Mapping[str, str], body: bytes, now_s: int) -> CheckedPost:
        """Check a POST that is accepted; header names are in lower case. Raises nothing."""
        faults = [] if self._key is None else signature_faults(self._key, headers, body, now_s)
        event = _read(body)
        is_valid = True
        try:
            check_body(body)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            is_valid = False
            faults.append(f"the body is not as its schema says: {error}")
        event_type, event_id = str(event.get("type", "")), str(event.get("id", ""))
        if headers.get("sora-event-webhook-type") != event_type:
            faults.append("the header sora-event-webhook-type does not tell the type of the body")
        is_repeat = event_id in self._bodies
        if is_repeat and self._bodies[event_id] != body:
            faults.append("this id had another body before")
        if not is_repeat:
            self._bodies[event_id] = body
            faults += self._place_faults(event) if is_valid else []
        self.events += not is_repeat
        self.repeats += is_repeat
        self.faults += faults
        return CheckedPost(event_type, event_id, str(event.get("channel_id", "")), is_repeat, tuple(faults))

    def refuse(self, body: bytes) -> None:
        """Note that a POST is refused: it has to be repeated before anything that waits for it."""
        event = _read(body)
        if isinstance(event.get("data"), dict) and (event_id := str(event.get("id", ""))) not in self._bodies:
            self._refused[event_id] = str(event.get("type", "")), subject_of_body(event)

    def _place_faults(self, event: Mapping[str, Any]) -> list[str]:
        self._refused.pop(event["id"], None)
        subject = subject_of_body(event)
        overtaken = [
            f"it overtakes {event_type}, which was refused"
            for event_type, earlier in self._refused.values()
            if follows(subject, earlier)
        ]
        connection_faults = self._connections.add(event["type"], event.get("connection_id"))
        return overtaken + connection_faults + self._recordings.add(event["type"], event["data"])


def subject_of_body(event: Mapping[str, Any]) -> Subject:
    """Return what an event is about, by its body, whose `data` is an object."""
    return Subject(
        str(event.get("channel_id", "")),
        str(event.get("connection_id", "")),
        str(event["data"].get("recording_id", "")),
    )


def _read(body: bytes) -> dict[str, Any]:
    try:
        event = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return {}
    return event if isinstance(event, dict) else {}
