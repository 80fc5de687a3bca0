"""The sequence in which events have to arrive: of one archive, one recording, one connection. Pure.

Each `add` receives an event that is new and matches its schema, and returns what is wrong with its place.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

REPORT_LISTS: Final = {"archive.available": "archives", "archive.failed": "failed_archives"}
"""The event that ends an archive, and the list of the report that the archive is in then."""


@dataclass(slots=True)
class _ArchiveSequence:
    """The archives of one connection in one recording, one after the other, and their parts.

    A failure ends an archive; another one may follow, which continues the numbers of the parts. `status` is the event
    that ended the newest archive, "" until then; `counts` counts starts and ends by their events.
    """

    status: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    last_index: int = 0
    is_split_ended: bool = False

    def start(self, is_split_only: bool) -> str:
        """Add archive.started; return what is wrong with it, or "".

        An archive that has only parts has no event of its own for its end if another one follows it.
        """
        has_ended = self.status or (is_split_only and self.last_index)
        fault = "the archive started before" if self.counts["archive.started"] and not has_ended else ""
        self.counts["archive.started"] += 1
        self.status = ""
        return fault or ("the parts had their end already" if self.is_split_ended else "")

    def add(self, event_type: str, data: dict[str, Any]) -> str:
        """Add any other event of the archive; return what is wrong with it, or ""."""
        if event_type == "split-archive.available":
            return self._add_part(int(data.get("split_index", 0)))
        if event_type == "split-archive.end":
            if self.is_split_ended:
                return "the parts had their end already"
            self.is_split_ended = True
            is_last = int(data.get("split_last_index", 0)) == self.last_index
            return "" if is_last else "the last part is not the one that split-archive.end names"
        if event_type not in REPORT_LISTS:
            return ""
        if self.status:  # parts may follow, from a slow disk
            return f"the archive had its {self.status} already"
        self.status = event_type
        self.counts[event_type] += 1
        return ""

    def _add_part(self, index: int) -> str:
        last, self.last_index = self.last_index, max(index, self.last_index)
        if index <= last or self.is_split_ended:
            return f"part {index} comes too late"
        return "" if index == last + 1 else f"part {index} follows part {last}"

    def times_reported(self, status: str, is_split_only: bool) -> int:
        """Return how often the report has to list the connection among the archives that ended with this event.

        Parts without a whole file are one archive, which ends with split-archive.end.
        """
        if status == "archive.available" and is_split_only:
            return int(self.is_split_ended and self.counts["archive.started"] > self.counts["archive.failed"])
        return self.counts[status]


@dataclass(slots=True)
class _RecordingSequence:
    is_split_only: bool
    is_reported: bool = False
    archives: dict[str, _ArchiveSequence] = field(default_factory=dict)

    def ended_with(self, status: str) -> list[str]:
        """Return the connections whose archives ended with this event, once for each archive."""
        return sorted(
            connection_id
            for connection_id, archives in self.archives.items()
            for _ in range(archives.times_reported(status, self.is_split_only))
        )

    def add(self, event_type: str, data: dict[str, Any]) -> list[str]:
        """Add any event but recording.started; return what is wrong with it."""
        if self.is_reported:
            return ["the recording has its report already"]
        if event_type == "recording.report":
            self.is_reported = True
            return self._report_faults(data)
        if "connection_id" not in data:
            return []
        connection_id = str(data["connection_id"])
        if event_type == "archive.started":
            fault = self.archives.setdefault(connection_id, _ArchiveSequence()).start(self.is_split_only)
        elif (archives := self.archives.get(connection_id)) is None:
            fault = "nothing told that this archive started"
        else:
            fault = archives.add(event_type, data)
        return [fault] if fault else []

    def _report_faults(self, data: dict[str, Any]) -> list[str]:
        is_open = any(archives.last_index and not archives.is_split_ended for archives in self.archives.values())
        faults = ["nothing told that the parts end"] if is_open else []
        for status, name in REPORT_LISTS.items():
            listed = sorted(str(archive.get("connection_id")) for archive in data.get(name, []))
            announced = self.ended_with(status)
            if listed != announced:
                faults.append(f"{name} of the report are {listed}, but {status} was told of {announced}")
        return faults


class RecordingSequences:
    """The events of all recordings: start, archives, report, each once and in its place."""

    def __init__(self) -> None:
        self.reports = 0
        self._recordings: dict[str, _RecordingSequence] = {}

    @property
    def open_recordings(self) -> list[str]:
        """The ids of recordings that started and have no report yet."""
        return [name for name, recording in self._recordings.items() if not recording.is_reported]

    def add(self, event_type: str, data: dict[str, Any]) -> list[str]:
        """Add an event, if it is about a recording; return what is wrong with it."""
        recording_id = data.get("recording_id")
        if recording_id is None:
            return []
        recording = self._recordings.get(recording_id)
        if event_type == "recording.started":
            self._recordings.setdefault(recording_id, _RecordingSequence(data.get("split_only") is True))
            return [] if recording is None else ["the recording started before"]
        if recording is None:
            return ["nothing told that this recording started"]
        self.reports += event_type == "recording.report" and not recording.is_reported
        return recording.add(event_type, data)


class ConnectionSequences:
    """The events of all connections: connection.created first, connection.destroyed once."""

    def __init__(self) -> None:
        self._seen: dict[str, set[str]] = {}

    def add(self, event_type: str, connection_id: str | None) -> list[str]:
        """Add an event, if it is about a connection; return what is wrong with it."""
        if connection_id is None:
            return []
        seen = self._seen.setdefault(connection_id, set())
        is_first, is_repeated = not seen, event_type in seen
        seen.add(event_type)
        if event_type.startswith("connection.") and is_repeated:
            return [f"the connection had its {event_type} before"]
        if event_type == "connection.created" and not is_first:
            return ["connection.created comes after other events of its connection"]
        return []
