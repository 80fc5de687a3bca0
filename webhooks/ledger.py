"""What a consumer may expect of the webhooks, kept as a ledger: every event is entered, every broken promise named.

Pure. The promises: a body is as its schema says; the header tells its type; an id always has the same body; within a
recording things come in their order (start, archives, report), each once; the report lists what was announced;
`connection.created` is the first event of its connection; nothing overtakes what was refused (`order.py`).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from rokuga.webhooks.order import Subject, follows
from rokuga.webhooks.schemas import check_body
from rokuga.webhooks.signature import sign

ENDS: Final = {"archive.available": "archives", "archive.failed": "failed_archives"}
"""What ends an archive, and the report's list that it is in then."""

MAX_SKEW_S: Final = 300
"""A signature that is older or newer is refused (Standard Webhooks, "Verifying webhook authenticity")."""


@dataclass(frozen=True, slots=True)
class Entered:
    """What one POST was. `faults` says in words what should not be so; `is_again` means that its id was known."""

    event_type: str
    event_id: str
    channel_id: str
    is_again: bool
    faults: tuple[str, ...]


@dataclass(slots=True)
class _Archives:
    """What was told of one connection in one recording: its archives, one after the other, and their parts.

    A fault ends an archive, and another one follows, which continues the parts. `status` is the event that ended the
    newest archive, "" until then; `counts` counts the starts and the ends by their events.
    """

    status: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    last_index: int = 0
    is_split_ended: bool = False

    def start(self, is_split_only: bool) -> str:
        """Take archive.started; give what is wrong with that, "" if nothing is.

        Of an archive that has parts alone and that ended in order nothing tells the end, if another one follows.
        """
        has_ended = self.status or (is_split_only and self.last_index)
        fault = "the archive started before" if self.counts["archive.started"] and not has_ended else ""
        self.counts["archive.started"] += 1
        self.status = ""
        return fault or ("the parts had their end already" if self.is_split_ended else "")

    def take(self, event_type: str, data: dict[str, Any]) -> str:
        """Take one event of it; give what is wrong with that, "" if nothing is."""
        if event_type == "split-archive.available":
            index, last = int(data.get("split_index", 0)), self.last_index
            self.last_index = max(index, last)
            if index <= last or self.is_split_ended:
                return f"part {index} comes too late"
            return "" if index == last + 1 else f"part {index} follows part {last}"
        if event_type == "split-archive.end":
            if self.is_split_ended:
                return "the parts had their end already"
            self.is_split_ended = True
            is_last = int(data.get("split_last_index", 0)) == self.last_index
            return "" if is_last else "the last part is not the one that split-archive.end names"
        if self.status:  # parts of a slow disk come later
            return f"the archive had its {self.status} already"
        self.status = event_type
        self.counts[event_type] += 1
        return ""

    def reported_as(self, status: str, is_split_only: bool) -> int:
        """Give how often the report lists the connection among those that ended with this event.

        Parts alone are one archive, of which split-archive.end is the end.
        """
        if status == "archive.available" and is_split_only:
            return int(self.is_split_ended and self.counts["archive.started"] > self.counts["archive.failed"])
        return self.counts[status]


@dataclass(slots=True)
class _Recording:
    is_split_only: bool
    is_reported: bool = False
    archives: dict[str, _Archives] = field(default_factory=dict)

    def ended_as(self, status: str) -> list[str]:
        """Give the connections whose archives ended with this event, each as often as one did."""
        return sorted(
            connection_id
            for connection_id, archives in self.archives.items()
            for _ in range(archives.reported_as(status, self.is_split_only))
        )

    def take(self, event_type: str, data: dict[str, Any]) -> list[str]:
        """Take an event of this recording that is not its start; give what is wrong with it."""
        connection_id = str(data.get("connection_id", ""))
        if self.is_reported:
            return ["the recording has its report already"]
        if event_type == "recording.report":
            self.is_reported = True
            return self._report_faults(data)
        if event_type == "archive.started":
            fault = self.archives.setdefault(connection_id, _Archives()).start(self.is_split_only)
        elif (archives := self.archives.get(connection_id)) is None:
            fault = "nothing told that this archive started"
        else:
            fault = archives.take(event_type, data)
        return [fault] if fault else []

    def _report_faults(self, data: dict[str, Any]) -> list[str]:
        is_open = any(archives.last_index and not archives.is_split_ended for archives in self.archives.values())
        faults = ["nothing told that the parts end"] if is_open else []
        for status, name in ENDS.items():
            listed = sorted(str(archive.get("connection_id")) for archive in data.get(name, []))
            told = self.ended_as(status)
            if listed != told:
                faults.append(f"{name} of the report are {listed}, but {status} was told of {told}")
        return faults


class Story:
    """What events tell of recordings, in the order of their arrival, without repeats: each in place, each once."""

    def __init__(self) -> None:
        self.reports = 0
        self._recordings: dict[str, _Recording] = {}

    @property
    def open_recordings(self) -> list[str]:
        """The ids of recordings that began and have no report yet."""
        return [name for name, recording in self._recordings.items() if not recording.is_reported]

    def take(self, event_type: str, data: dict[str, Any]) -> list[str]:
        """Enter an event that is new and sound into its recording, if it is of one; give what is wrong with it."""
        recording_id = data.get("recording_id")
        if recording_id is None:
            return []
        recording = self._recordings.get(recording_id)
        if event_type == "recording.started":
            self._recordings.setdefault(recording_id, _Recording(data.get("split_only") is True))
            return [] if recording is None else ["the recording started before"]
        if recording is None:
            return ["nothing told that this recording started"]
        self.reports += event_type == "recording.report" and not recording.is_reported
        return recording.take(event_type, data)


class Connections:
    """What events tell of connections: `connection.created` and `connection.destroyed` come once, in this order."""

    def __init__(self) -> None:
        self._told: dict[str, set[str]] = {}

    def take(self, event_type: str, connection_id: str | None) -> list[str]:
        """Enter an event that is new, if it is of a connection; give what is wrong with it."""
        if connection_id is None:
            return []
        told = self._told.setdefault(connection_id, set())
        is_first = not told
        is_again = event_type in told
        told.add(event_type)
        if event_type.startswith("connection.") and is_again:
            return [f"the connection had its {event_type} before"]
        if event_type == "connection.created" and not is_first:
            return ["connection.created comes after other events of its connection"]
        return []


class Ledger:
    """Takes every event in the order of its arrival. `key` is that of the signatures, None where none is expected."""

    def __init__(self, key: bytes | None = None) -> None:
        self.events = 0
        self.again = 0
        self.faults: list[str] = []
        self._key = key
        self._bodies: dict[str, bytes] = {}
        self._story = Story()
        self._connections = Connections()
        self._refused: dict[str, tuple[str, Subject]] = {}

    @property
    def reports(self) -> int:
        """How many recordings have their report."""
        return self._story.reports

    @property
    def open_recordings(self) -> list[str]:
        """The ids of recordings that began and have no report yet."""
        return self._story.open_recordings

    def enter(self, headers: Mapping[str, str], body: bytes, now_s: int) -> Entered:
        """Enter one POST (header names in lower case); a broken promise is a fault and never an exception."""
        faults = self._signature_faults(headers, body, now_s)
        event = _read(body)
        is_sound = True
        try:
            check_body(body)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            is_sound = False
            faults.append(f"the body is not as its schema says: {error}")
        event_type, event_id = str(event.get("type", "")), str(event.get("id", ""))
        if headers.get("sora-event-webhook-type") != event_type:
            faults.append("the header sora-event-webhook-type does not tell the type of the body")
        is_again = event_id in self._bodies
        if is_again and self._bodies[event_id] != body:
            faults.append("this id had another body before")
        if not is_again:
            self._bodies[event_id] = body
            faults += self._overtaken(event) if is_sound else []
            faults += self._connections.take(event_type, event.get("connection_id")) if is_sound else []
            faults += self._story.take(event_type, event["data"]) if is_sound else []
        self.events += not is_again
        self.again += is_again
        self.faults += faults
        return Entered(event_type, event_id, str(event.get("channel_id", "")), is_again, tuple(faults))

    def refuse(self, body: bytes) -> None:
        """Note that a POST was refused so that it comes again, before anything that waits for it."""
        event = _read(body)
        if isinstance(event.get("data"), dict) and (event_id := str(event.get("id", ""))) not in self._bodies:
            self._refused[event_id] = str(event.get("type", "")), subject_of_body(event)

    def _overtaken(self, event: Mapping[str, Any]) -> list[str]:
        self._refused.pop(event["id"], None)
        place = subject_of_body(event)
        return [
            f"it overtakes {event_type}, which was refused"
            for event_type, earlier in self._refused.values()
            if follows(place, earlier)
        ]

    def _signature_faults(self, headers: Mapping[str, str], body: bytes, now_s: int) -> list[str]:
        if self._key is None:
            return []
        event_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        if sign(self._key, event_id, timestamp, body) not in headers.get("webhook-signature", "").split(" "):
            return ["the signature is not right"]
        if not timestamp.isdecimal() or abs(int(timestamp) - now_s) > MAX_SKEW_S:
            return ["the signature's time is not now"]
        return []


def subject_of_body(event: Mapping[str, Any]) -> Subject:
    """Give whose event it is by its body; `data` is an object."""
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
