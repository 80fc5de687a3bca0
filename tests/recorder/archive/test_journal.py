"""A crash between any two I/O steps, and recovery after it, lead to what an uninterrupted recording leads to."""

import asyncio
import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rokuga.recorder.clock import rfc3339
from rokuga.recorder.events import Event, EventType, event_id
from rokuga.recorder.models import ArchiveStatus
from tests.recorder.archive.crash_points import CONNECTION_ID, RECORDING_ID, CrashPoint, Disk, Plan, record, recover

AVAILABLE, FAILED, STARTED = EventType.ARCHIVE_AVAILABLE, EventType.ARCHIVE_FAILED, EventType.ARCHIVE_STARTED
PART, PARTS_END = EventType.SPLIT_ARCHIVE_AVAILABLE, EventType.SPLIT_ARCHIVE_END

COUNTED = {"stats", "created_at", "reason"}
"""What only the process knew that was killed."""
MEASURED = {"size", "stop_time", "stop_time_offset", "stop_timestamp", "split_last_index"}
"""What depends on how much of the media was written before the crash."""

SPLITS = [(None, False), (1, False), (1, True)]
KINDS = [("audio",), ("audio", "video")]
EARLIER = [
    (0, "interrupted"),
    (300, "interrupted"),
    (1500, "interrupted"),
    (0, "fault"),
    (1500, "fault"),
    (1500, "full"),
]
LAST = [(0, "closed"), (300, "closed"), (1500, "closed"), (2600, "closed"), (1500, "fault")]


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    split_duration, split_only = draw(st.sampled_from(SPLITS))
    archives = (*draw(st.lists(st.sampled_from(EARLIER), max_size=2)), draw(st.sampled_from(LAST)))
    return Plan(split_duration, split_only, draw(st.sampled_from(KINDS)), archives)


@given(plan=plans(), again=st.integers(0))
@settings(max_examples=40)
def test_a_crash_at_any_step_ends_in_the_same_documents_and_events(plan: Plan, again: int) -> None:
    """Whole, split and split-only archives, several in a row, that end in order, by a fault or by a full disk.

    A recovery that crashes itself leads there, too.
    """
    with tempfile.TemporaryDirectory() as directory:
        folder, points = recorded(directory, plan)
        for point in points:
            recovered = recover(plan, point, folder)[-1]
            check(plan, point, recovered, points[-1])
            assert not [name for name in recovered.files if name.endswith(".part")]
        recovered_from = recover(plan, points[again % len(points)], folder, is_noted=True)
        for point in recovered_from:
            assert outcome(recover(plan, point, folder)[-1]) == outcome(recovered_from[-1])


@given(plan=plans())
@settings(max_examples=20)
def test_files_that_are_moved_before_their_event_is_stored_are_announced(plan: Plan) -> None:
    """An uploader moves each media file with a document beside it, and both are gone at the crash."""
    with tempfile.TemporaryDirectory() as directory:
        folder, points = recorded(directory, plan)
        for point in points:
            check(plan, point, recover(plan, without_documented(point), folder)[-1], points[-1])


@given(plan=plans().filter(lambda plan: not plan.split_only))
@settings(max_examples=10)
def test_an_archive_whose_whole_file_is_lost_is_failed(plan: Plan) -> None:
    """Its parts are announced all the same."""
    with tempfile.TemporaryDirectory() as directory:
        folder, points = recorded(directory, plan)
        for point in points:
            files = {name: data for name, data in point.files.items() if not name.startswith(".archive-")}
            damaged = replace(point, files=files, is_complete=False)
            check(plan, damaged, recover(plan, damaged, folder)[-1], points[-1])


def recorded(directory: str, plan: Plan) -> tuple[Path, list[CrashPoint]]:
    folder = Path(directory, RECORDING_ID)
    folder.mkdir()
    return folder, asyncio.run(record(plan, Disk(folder)))


def without_documented(point: CrashPoint) -> CrashPoint:
    moved = {name for name in point.files if f"{name.removesuffix('.webm')}.json" in point.files}
    moved |= {name.replace(".webm", ".json") for name in moved}
    return replace(point, files={name: data for name, data in point.files.items() if name not in moved})


def outcome(point: CrashPoint) -> Any:
    return [event.id for event in point.events], sorted(point.files), point.archives


def check(plan: Plan, point: CrashPoint, recovered: CrashPoint, uninterrupted: CrashPoint) -> None:
    """See that recovery stored and wrote what was missing, and nothing else."""
    ids = [event.id for event in recovered.events]
    assert len(set(ids)) == len(ids)
    assert recovered.events[: len(point.events)] == point.events
    if point.is_complete and plan.archives[-1][1] == "closed":
        assert ids == [event.id for event in uninterrupted.events]
    check_parts(point, recovered, uninterrupted)
    check_documents(point, recovered, uninterrupted)
    for number in recovered.archives:
        check_end(plan, number, point, recovered)
    if recovered.archives:
        newest = recovered.archives[max(recovered.archives)]
        assert not newest.owed
        assert not newest.owes_parts_end


def check_parts(point: CrashPoint, recovered: CrashPoint, uninterrupted: CrashPoint) -> None:
    """Each part that was on the disk is announced, in order, and then their end."""
    stored = {event.id for event in point.events}
    expected = [
        event.id
        for event in uninterrupted.events
        if event.type is PART and (event.id in stored or point.is_playable(file_name(event)))
    ]
    found = [event for event in recovered.events if event.type in {PART, PARTS_END}]
    assert [event.type for event in found] == [PART] * len(expected) + [PARTS_END] * bool(expected)
    assert [event.id for event in found][:-1] == expected
    if expected:
        parts, end = [event.document for event in found[:-1]], found[-1].document
        assert [part["split_index"] for part in parts] == [f"{index + 1:04d}" for index in range(len(parts))]
        assert end["split_last_index"] == parts[-1]["split_index"]
        assert (end["audio"], end["video"]) == tuple(any(part[kind] for part in parts) for kind in ("audio", "video"))
        for part, following in pairwise([*parts, {"start_timestamp": end["stop_timestamp"]}]):
            assert part["start_timestamp"] < part["stop_timestamp"] <= following["start_timestamp"]


def check_end(plan: Plan, number: int, point: CrashPoint, recovered: CrashPoint) -> None:
    """An archive that was begun has one end, after its start; it is available if it had something to play."""
    about = (RECORDING_ID, CONNECTION_ID, *([str(number)] if number > 1 else []))
    started, available, failed = (event_id(each, *about) for each in (STARTED, AVAILABLE, FAILED))
    ids = [event.id for event in recovered.events]
    state, before = recovered.archives[number], point.archives[number]
    ends = [event for event in recovered.events if event.id in {available, failed}]
    if state.status is ArchiveStatus.AVAILABLE and plan.split_only:
        assert not ends
    else:
        assert [event.id for event in ends] == [available if state.status is ArchiveStatus.AVAILABLE else failed]
        assert ids.index(started) < ids.index(ends[0].id)
    documents = [event.document for event in ends if event.type is AVAILABLE]
    assert state.document == (documents[0] if documents else None)
    assert state.document is None or state.document["stop_timestamp"] == rfc3339(state.stop_wall_ns or 0)
    if before.status is ArchiveStatus.WRITING:
        assert (state.status is ArchiveStatus.AVAILABLE) is has_media(plan, number, point, recovered)


def has_media(plan: Plan, number: int, point: CrashPoint, recovered: CrashPoint) -> bool:
    """Whether an archive that was being written had a whole file, or with split_only a part, to play."""
    if not plan.split_only:
        suffix = f"_{number}" if number > 1 else ""
        return point.is_playable(f"archive-{CONNECTION_ID}{suffix}.webm")
    parts = [int(event.document["split_index"]) for event in recovered.events if event.type is PART]
    return max(parts, default=0) > point.archives[number].parts_before


def check_documents(point: CrashPoint, recovered: CrashPoint, uninterrupted: CrashPoint) -> None:
    """A document is that of its event; what was stored of it before the crash is not made again."""
    known = {
        Path(document["metadata_filename"]).name
        for archive in point.archives.values()
        for document in archive.owed.values()
    } | {name for name in point.files if name.endswith(".json")}
    for event in recovered.events:
        if event.type in {AVAILABLE, PART, PARTS_END}:
            name = Path(event.document.get("metadata_filename", event.document["filename"])).name
            assert name not in recovered.files or json.loads(recovered.files[name]) == event.document
            assert name in recovered.files or name in point.files
            if name in uninterrupted.files:
                varying = set() if name in known else COUNTED | MEASURED
                reference = json.loads(uninterrupted.files[name])
                assert without(varying, event.document) == without(varying, reference)


def file_name(event: Event) -> str:
    return Path(event.document["filename"]).name


def without(fields: set[str], document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in fields}
