"""Looks at each file as it is announced, then at each archive's files together; keeps only what is at fault."""

import asyncio
import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from rokuga.devtools.soak import checks
from rokuga.devtools.soak.checks import Seen, check_file, check_parts, lost_units, short, tail_faults
from rokuga.devtools.soak.ledger import Event, Ledger
from rokuga.devtools.soak.marks import Publication
from rokuga.devtools.soak.webm import WebmError, WebmFile, read_webm
from rokuga.recorder.clock import from_rfc3339
from rokuga.recorder.media import NS_PER_S

COVERED_S: Final = 20.0
LOOK_S: Final = 0.25
FORGET_NS: Final = 300 * NS_PER_S
"""So long after its end nothing more is told of a publisher: a daemon has been started again, a repeat has come."""

OnFault = Callable[[str, str], None]


@dataclass(slots=True)
class _Archive:
    """What was seen of one archive: its files, the last part's document, its beginning."""

    begin_wall_ns: int = 0
    parts: list[Seen] = field(default_factory=list)
    whole: Seen | None = None
    end: Mapping[str, Any] | None = None
    is_recovered: bool = False
    last_document: Mapping[str, Any] | None = None
    work: list["asyncio.Task[None]"] = field(default_factory=list)


@dataclass(slots=True)
class Tally:
    """What was looked at so far. `units` were stored, `missing_units` between them were not."""

    files: int = 0
    units: int = 0
    missing_units: int = 0
    unrepaired_packets: int = 0
    recovered_files: int = 0
    worst_sync_ms: float = 0.0
    worst_start_sync_ms: float = 0.0


class Inspector:
    """`publications` is filled as publishers begin."""

    def __init__(self, ledger: Ledger, loss: float, split_s: int, keep: bool, on_fault: OnFault) -> None:
        self.publications: dict[str, Publication] = {}
        self.tally = Tally()
        self._ledger = ledger
        self._loss = loss
        self._split_s = split_s
        self._keep = keep
        self._on_fault = on_fault
        self._archives: dict[tuple[str, str], _Archive] = defaultdict(_Archive)
        self._faulty: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, event: Event) -> None:
        """Take a new event; what it tells of is looked at in a task of its own."""
        event_type, data = event["type"], event["data"]
        if event_type == "recording.report":
            self._spawn(self._close(data))
            return
        if event_type.startswith(("recording.", "connection.")):
            return
        archive = self._archives[data["recording_id"], event["connection_id"]]
        if event_type == "archive.started":
            archive.begin_wall_ns = from_rfc3339(data["start_timestamp"])
        elif event_type.endswith("archive.available"):
            archive.work.append(self._spawn(self._look(archive, data)))
        elif event_type == "split-archive.end":
            archive.end = data

    async def finish(self) -> None:
        """Wait for all looks."""
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
        except Exception as error:  # a fault of the soak's own is one to be seen, too
            self._on_fault("soak", f"a check failed by itself: {error!r}")

    def _fault(self, document: Mapping[str, Any], name: str, fault: str) -> None:
        self._faulty.add(document["recording_id"])
        self._on_fault(name, fault)

    async def _sent(self, document: Mapping[str, Any]) -> Publication | None:
        """Give what its publisher sent, once it is known up to the file's end."""
        stop_wall_ns = from_rfc3339(document["stop_timestamp"])
        for _ in range(int(COVERED_S / LOOK_S)):
            sent = self.publications.get(document["connection_id"])
            if sent is not None and sent.covers(stop_wall_ns):
                return sent
            await asyncio.sleep(LOOK_S)
        return None

    async def _look(self, archive: _Archive, document: Mapping[str, Any]) -> None:
        """Look at one file and at the document beside it."""
        name = document["filename"]
        sent = await self._sent(document)
        if sent is None:
            self._fault(document, name, "nobody knows who sent this")
            return
        try:
            file = await asyncio.to_thread(_read, document)
        except (OSError, ValueError) as error:
            self._fault(document, name, str(error))
            return
        killed_wall_ns = self._end_by_kill(document)
        seen = check_file(file, document, sent, loss=self._loss, killed_wall_ns=killed_wall_ns)
        for fault in short(seen.faults):
            self._fault(document, name, fault)
        archive.is_recovered = archive.is_recovered or killed_wall_ns is not None
        if "split_index" in document:
            archive.parts.append(seen)
            archive.last_document = document
        else:
            archive.whole = seen
        self._count(file, document, seen)

    def _count(self, file: WebmFile, document: Mapping[str, Any], seen: Seen) -> None:
        tally = self.tally
        tally.files += 1
        tally.units += sum(map(len, file.blocks.values()))
        tally.missing_units += sum(seen.missing.values())
        tally.recovered_files += bool(document["stats"].get("is_recovered"))
        tally.worst_sync_ms = max(tally.worst_sync_ms, seen.sync_ms)
        tally.worst_start_sync_ms = max(tally.worst_start_sync_ms, seen.start_sync_ms)
        if "split_index" not in document:
            for kind in ("audio", "video"):
                tally.unrepaired_packets += document["stats"].get(kind, {}).get("lost_packets", 0)

    def _end_by_kill(self, document: Mapping[str, Any]) -> int | None:
        """Give when a file that was recovered was cut off: by a kill, if its recording had not ended before."""
        if not document["stats"].get("is_recovered"):
            return None
        begin_wall_ns = from_rfc3339(document["start_timestamp"])
        killed = next((kill for kill in self._ledger.kills_wall_ns if kill > begin_wall_ns), None)
        if killed is None:
            return begin_wall_ns + checks.CRASH_NS
        stopped = self._ledger.recordings[document["recording_id"]].stop_wall_ns
        return min(killed, stopped) if stopped else killed

    async def _close(self, report: Mapping[str, Any]) -> None:
        """Look at each archive's parts together; then remove the recording's files if nothing was wrong."""
        recording_id = report["recording_id"]
        for key in [key for key in self._archives if key[0] == recording_id]:
            archive = self._archives.pop(key)
            await asyncio.gather(*archive.work)
            if archive.end is not None:
                await self._look_at_parts(archive, archive.end)
        if not self._keep and recording_id not in self._faulty:
            folder = Path(report["file_path"]).parent
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

        self._forget(from_rfc3339(report["stop_timestamp"]) - FORGET_NS)

    def _forget(self, before_wall_ns: int) -> None:
        """Let go of what was sent by those who ended before, and of whom all files were looked at."""
        in_work = {connection_id for _, connection_id in self._archives}
        for connection_id, sent in self.publications.items():
            if sent.is_over and sent.until_wall_ns < before_wall_ns and connection_id not in in_work:
                sent.tracks = {}

    async def _look_at_parts(self, archive: _Archive, document: Mapping[str, Any]) -> None:
        sent = await self._sent(document)
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
    """Read a file; it must be as it was told. Raises ValueError where it is not, OSError."""
    data = Path(document["file_path"]).read_bytes()
    if len(data) != document["size"]:
        raise WebmError(f"{len(data)} bytes, {document['size']} were told")
    if msgspec.json.decode(Path(document["metadata_file_path"]).read_bytes()) != document:
        raise WebmError("the metadata file is not what was told")
    return read_webm(data)
