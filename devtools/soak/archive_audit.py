"""Checks each file when it is announced, and the parts of an archive together; deletes what has no fault."""

import asyncio
import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from rokuga.devtools.soak import checks
from rokuga.devtools.soak.checks import CheckedFile, check_file, check_parts, lost_units, short, tail_faults
from rokuga.devtools.soak.event_audit import Event, EventAudit
from rokuga.devtools.soak.frame_ids import SentMedia
from rokuga.devtools.soak.webm import WebmError, WebmFile, read_webm
from rokuga.recorder.clock import from_rfc3339
from rokuga.recorder.media import NS_PER_S

SENT_TIMEOUT_S: Final = 20.0
POLL_S: Final = 0.25
KEEP_SENT_NS: Final = 300 * NS_PER_S
"""What a connection has sent is kept for so long after its end: a daemon restarts and an event is repeated sooner."""

OnFault = Callable[[str, str], None]


@dataclass(slots=True)
class _AuditedArchive:
    """What is known of one archive: its files, the last part's document, its beginning."""

    begin_wall_ns: int = 0
    parts: list[CheckedFile] = field(default_factory=list)
    whole: CheckedFile | None = None
    end: Mapping[str, Any] | None = None
    is_recovered: bool = False
    last_document: Mapping[str, Any] | None = None
    work: list["asyncio.Task[None]"] = field(default_factory=list)


@dataclass(slots=True)
class AuditTotals:
    """What was checked so far. `missing_units` are those missing between the stored `units`."""

    files: int = 0
    units: int = 0
    missing_units: int = 0
    unrepaired_packets: int = 0
    recovered_files: int = 0
    worst_sync_ms: float = 0.0
    worst_start_sync_ms: float = 0.0


class ArchiveAudit:
    """Checks the files of all archives against `sent`, what each connection has sent, by its id."""

    def __init__(self, events: EventAudit, loss: float, split_s: int, keep: bool, on_fault: OnFault) -> None:
        self.sent: dict[str, SentMedia] = {}
        self.totals = AuditTotals()
        self._events = events
        self._loss = loss
        self._split_s = split_s
        self._keep = keep
        self._on_fault = on_fault
        self._archives: dict[tuple[str, str], _AuditedArchive] = defaultdict(_AuditedArchive)
        self._faulty: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, event: Event) -> None:
        """Add a new event; the file that it announces is checked in a task of its own."""
        event_type, data = event["type"], event["data"]
        if event_type == "recording.report":
            self._spawn(self._check_recording(data))
            return
        if event_type.startswith(("recording.", "connection.")):
            return
        archive = self._archives[data["recording_id"], event["connection_id"]]
        if event_type == "archive.started":
            archive.begin_wall_ns = from_rfc3339(data["start_timestamp"])
        elif event_type.endswith("archive.available"):
            archive.work.append(self._spawn(self._check(archive, data)))
        elif event_type == "split-archive.end":
            archive.end = data

    async def finish(self) -> None:
        """Wait for all checks."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _spawn(self, work: Any) -> "asyncio.Task[None]":
        task: asyncio.Task[None] = asyncio.create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _guarded(self, work: Any) -> None:
        try:
            await work
        except Exception as error:  # a bug of the soak itself is reported, too
            self._on_fault("soak", f"a check failed by itself: {error!r}")

    def _fault(self, document: Mapping[str, Any], name: str, fault: str) -> None:
        self._faulty.add(document["recording_id"])
        self._on_fault(name, fault)

    async def _sent_of(self, document: Mapping[str, Any]) -> SentMedia | None:
        """Return what the publisher sent, once it is known up to the file's end; None if that does not happen."""
        stop_wall_ns = from_rfc3339(document["stop_timestamp"])
        for _ in range(int(SENT_TIMEOUT_S / POLL_S)):
            sent = self.sent.get(document["connection_id"])
            if sent is not None and sent.covers(stop_wall_ns):
                return sent
            await asyncio.sleep(POLL_S)
        return None

    async def _check(self, archive: _AuditedArchive, document: Mapping[str, Any]) -> None:
        """Check one file and the document beside it."""
        name = document["filename"]
        sent = await self._sent_of(document)
        if sent is None:
            self._fault(document, name, "nobody knows who sent this")
            return
        try:
            file = await asyncio.to_thread(_read, document)
        except (OSError, ValueError) as error:
            self._fault(document, name, str(error))
            return
        killed_wall_ns = self._end_by_kill(document)
        checked = check_file(file, document, sent, loss=self._loss, killed_wall_ns=killed_wall_ns)
        for fault in short(checked.faults):
            self._fault(document, name, fault)
        archive.is_recovered = archive.is_recovered or killed_wall_ns is not None
        if "split_index" in document:
            archive.parts.append(checked)
            archive.last_document = document
        else:
            archive.whole = checked
        self._count(file, document, checked)

    def _count(self, file: WebmFile, document: Mapping[str, Any], checked: CheckedFile) -> None:
        totals = self.totals
        totals.files += 1
        totals.units += sum(map(len, file.blocks.values()))
        totals.missing_units += sum(checked.missing.values())
        totals.recovered_files += bool(document["stats"].get("is_recovered"))
        totals.worst_sync_ms = max(totals.worst_sync_ms, checked.sync_ms)
        totals.worst_start_sync_ms = max(totals.worst_start_sync_ms, checked.start_sync_ms)
        if "split_index" not in document:
            for kind in ("audio", "video"):
                totals.unrepaired_packets += document["stats"].get(kind, {}).get("lost_packets", 0)

    def _end_by_kill(self, document: Mapping[str, Any]) -> int | None:
        """Return when a recovered file was cut off: by a kill, unless its recording had ended before."""
        if not document["stats"].get("is_recovered"):
            return None
        begin_wall_ns = from_rfc3339(document["start_timestamp"])
        killed = next((kill for kill in self._events.kills_wall_ns if kill > begin_wall_ns), None)
        if killed is None:
            return begin_wall_ns + checks.CRASH_NS
        stopped = self._events.recordings[document["recording_id"]].stop_wall_ns
        return min(killed, stopped) if stopped else killed

    async def _check_recording(self, report: Mapping[str, Any]) -> None:
        """Check the parts of each archive together; then delete the files of the recording if nothing was wrong."""
        recording_id = report["recording_id"]
        for key in [key for key in self._archives if key[0] == recording_id]:
            archive = self._archives.pop(key)
            await asyncio.gather(*archive.work)
            if archive.end is not None:
                await self._check_parts(archive, archive.end)
        if not self._keep and recording_id not in self._faulty:
            folder = Path(report["file_path"]).parent
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        self._release_sent(from_rfc3339(report["stop_timestamp"]) - KEEP_SENT_NS)

    def _release_sent(self, before_wall_ns: int) -> None:
        """Release what was sent by connections that ended before then and whose files are all checked."""
        unchecked = {connection_id for _, connection_id in self._archives}
        for connection_id, sent in self.sent.items():
            if sent.is_over and sent.until_wall_ns < before_wall_ns and connection_id not in unchecked:
                sent.tracks = {}

    async def _check_parts(self, archive: _AuditedArchive, document: Mapping[str, Any]) -> None:
        sent = await self._sent_of(document)
        if sent is None or not archive.parts or not archive.begin_wall_ns:
            return
        parts = sorted(archive.parts, key=lambda part: part.index)
        explained = None
        if not archive.is_recovered and archive.last_document is not None:
            explained = {kind: lost_units(document, kind) or 0 for kind in sent.tracks}
        faults = list(
            check_parts(
                parts, archive.whole, sent, archive.begin_wall_ns, self._split_s, loss=self._loss, explained=explained
            )
        )
        last = {kind: number for part in parts for kind, number in part.last.items()}
        killed_wall_ns = self._end_by_kill(document) if archive.is_recovered else None
        if killed_wall_ns is not None:
            faults += tail_faults(sent, last, killed_wall_ns, checks.CRASH_NS)
        else:
            edge_ns = checks.LOSSY_EDGE_NS if self._loss else checks.EDGE_NS
            faults += tail_faults(sent, last, from_rfc3339(document["stop_timestamp"]), edge_ns)
        for fault in short(faults):
            self._fault(document, document["filename"], fault)


def _read(document: Mapping[str, Any]) -> WebmFile:
    """Read a file. Raises OSError, and ValueError if it differs from its document."""
    data = Path(document["file_path"]).read_bytes()
    if len(data) != document["size"]:
        raise WebmError(f"{len(data)} bytes, {document['size']} were told")
    if msgspec.json.decode(Path(document["metadata_file_path"]).read_bytes()) != document:
        raise WebmError("the metadata file is not what was told")
    return read_webm(data)
