"""Recovery after a kill: each archive is announced once, each recording reported once."""

import asyncio
import json
import shutil
import signal
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from rokuga.recorder.events import Event
from rokuga.recorder.media import NS_PER_MS
from tests import readers
from tests.recorder.archive.crashing import MEDIA_MS
from tests.support.clock import FakeClock
from tests.support.recorder import running_recorder

ROOT = Path(__file__).parent.parent.parent.parent
STARTED, AVAILABLE, FAILED = "archive.started", "archive.available", "archive.failed"
PART, PARTS_END, REPORT = "split-archive.available", "split-archive.end", "recording.report"


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a recorder left that was killed at each single call of the disk and the store."""
    folder = tmp_path_factory.mktemp("crashes")
    (folder / "played").mkdir()
    crash(folder / "played")
    return shutil.copytree(folder / "played", folder / "untouched")


@pytest.fixture
def crashes(untouched: Path) -> list[Path]:
    """A copy of all crashes at the same paths, since documents contain them; in the order of the kills."""
    folder = untouched.parent / "played"
    shutil.rmtree(folder)
    shutil.copytree(untouched, folder)
    return sorted(folder.iterdir(), key=lambda path: int(path.name))


def crash(folder: Path, *crashed: Path) -> list[Path]:
    """Kill a recorder at every step: one that records, or one that recovers after a crash."""
    command = [sys.executable, "-m", "tests.recorder.archive.crashing", *map(str, (folder, *crashed))]
    subprocess.run(command, cwd=ROOT, check=True, timeout=50)
    return sorted(folder.iterdir(), key=lambda path: int(path.name))


async def record_until_killed(folder: Path, media_ms: int, *words: str) -> list[int]:
    """Record so much media in a process that is then killed; return its memory early and late, in KiB."""
    command = [sys.executable, "-m", "tests.recorder.archive.killed", str(folder), str(media_ms), *words]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == -signal.SIGKILL
    return [int(word) for word in output.split()]


async def restart(folder: Path) -> list[Event]:
    """Start again a minute later, stop all recordings, and return all events of both runs."""
    clock = FakeClock()
    clock.now_ns += 60_000 * NS_PER_MS
    async with running_recorder(folder, clock) as harness:
        for state in harness.recorder.recordings():
            await harness.stop(state.parameters.channel_id)
        for event in await harness.events("recording.started"):
            await harness.reported(event.document["recording_id"])
        return await harness.events()


@pytest.mark.system
async def test_whatever_a_kill_interrupts_is_announced_exactly_once(crashes: list[Path]) -> None:
    """Before and after each write, fsync, rename and commit: one end for each archive, one report."""
    assert len(crashes) > 60
    for folder in crashes:
        events = await restart(folder)
        counts = Counter(str(event.type) for event in events)
        assert counts[AVAILABLE] + counts[FAILED] == counts[STARTED], folder
        assert counts[REPORT] == counts["recording.started"], folder
        assert counts["connection.destroyed"] == counts["connection.created"] <= 1, folder
        about = {event.connection.event_metadata_json for event in events if event.connection is not None}
        assert about <= {'{"user":7}'}, folder
        if int(folder.name) % 5 == 0:
            again = await restart(folder)
            assert [event.id for event in again] == [event.id for event in events], folder


@pytest.mark.system
async def test_what_was_on_the_disk_is_in_finished_files(crashes: list[Path]) -> None:
    """All media up to a second before the kill can be read; documents, events and files agree."""
    for folder in crashes[::2]:
        events = await restart(folder)
        reached_ms = int((folder / "reached").read_text() or 0) if (folder / "reached").exists() else 0
        for event in events:
            if event.type in {AVAILABLE, PART}:
                check_file(event)
        if reached_ms > 1000:
            (whole,) = (event for event in events if event.type == AVAILABLE)
            sound = readers.packets(Path(whole.document["file_path"]))["audio"]
            assert sound[-1][1] >= reached_ms - 1000, folder
            check_parts(events, [data for data, _, _ in sound])
        left = [path.name for path in folder.glob("archive/*/.*")]
        assert not left, (folder, left)


def check_file(event: Event) -> None:
    """The document is on the disk and describes its file."""
    document = event.document
    path = Path(document["file_path"])
    assert json.loads(Path(document["metadata_file_path"]).read_text()) == document
    assert path.stat().st_size == document["size"]
    packets = readers.packets(path)
    assert packets["video"][0][2]
    assert {"audio": document["audio"], "video": document["video"]} == {k: bool(v) for k, v in packets.items()}
    assert (document["video_width"], document["video_height"]) == (320, 180)
    assert document["stop_time"] - document["start_time"] <= MEDIA_MS // 1000 + 1


def check_parts(events: list[Event], whole_sound: list[bytes]) -> None:
    """Each part ends where the next one begins, and split-archive.end has the last index."""
    parts = sorted((e.document for e in events if e.type == PART), key=lambda document: document["split_index"])
    assert [part["split_index"] for part in parts] == [f"{index:04d}" for index in range(1, len(parts) + 1)]
    sound = [data for part in parts for data in readers.payloads(Path(part["file_path"]), "audio")]
    common = min(len(sound), len(whole_sound))
    assert sound[:common] == whole_sound[:common]
    assert abs(len(sound) - len(whole_sound)) <= 50
    (end,) = (event for event in events if event.type == PARTS_END)
    assert end.document["split_last_index"] == parts[-1]["split_index"]
    for kind in ("audio", "video"):
        assert end.document[kind] is any(part[kind] for part in parts)
    for part, following in pairwise(parts):
        assert part["start_timestamp"] < part["stop_timestamp"] == following["start_timestamp"]


def move_documented_files(folder: Path) -> set[str]:
    """Move every media file that has a document, and the document, as an uploader does; return the names."""
    moved = set()
    for document in folder.glob("archive/*/*archive-*.json"):
        media = document.with_suffix(".webm")
        if media.exists():
            moved.add(media.name)
            media.unlink()
            document.unlink()
    return moved


@pytest.mark.system
async def test_files_that_were_moved_before_their_event_are_announced_as_available(
    crashes: list[Path],
) -> None:
    """A crash does not make a failed archive of a file that an uploader has moved."""
    moved_in_all = 0
    for folder in crashes:
        moved = move_documented_files(folder)
        moved_in_all += len(moved)
        events = await restart(folder)
        told = {Path(event.document["file_path"]).name for event in events if event.type in {AVAILABLE, PART}}
        assert moved <= told, folder
        if any(name.startswith("archive-") for name in moved):
            assert not [event for event in events if event.type == FAILED], folder
    assert moved_in_all > 20


@pytest.mark.system
@pytest.mark.parametrize("is_moved", [False, True])
async def test_all_documents_of_an_archive_have_the_same_end(crashes: list[Path], is_moved: bool) -> None:
    """The whole file, the last part, the end of the parts, the report: at every kill, also if files were moved."""
    for folder in crashes[is_moved::2]:
        if is_moved:
            move_documented_files(folder)
        events = await restart(folder)
        told = [event.document for event in events if event.type in {AVAILABLE, FAILED, PARTS_END}]
        told += sorted((e.document for e in events if e.type == PART), key=lambda part: part["split_index"])[-1:]
        told += [entry for event in events if event.type == REPORT for entry in event.document["archives"]]
        assert len({document["stop_timestamp"] for document in told}) <= 1, folder


@pytest.mark.system
async def test_a_recovery_may_crash_at_every_step_itself(crashes: list[Path], tmp_path: Path) -> None:
    """Also if files are moved in between: one end for each archive, nothing lost."""
    crashed = next(path for path in reversed(crashes) if list(path.glob("archive/*/.archive-*.part")))
    (tmp_path / "again").mkdir()
    again = crash(tmp_path / "again", crashed)
    assert len(again) > 20
    for number, folder in enumerate(again):
        moved = move_documented_files(folder) if number % 2 else set()
        events = await restart(folder)
        counts = Counter(str(event.type) for event in events)
        assert (counts[AVAILABLE], counts[FAILED], counts[PARTS_END], counts[REPORT]) == (1, 0, 1, 1), folder
        assert counts["connection.destroyed"] == 1, folder
        told = {Path(event.document["file_path"]).name for event in events if event.type in {AVAILABLE, PART}}
        assert moved <= told, folder
        indices = sorted(event.document["split_index"] for event in events if event.type == PART)
        assert indices == ["0001", "0002"], folder


@pytest.mark.system
async def test_an_active_recording_continues_after_a_crash(tmp_path: Path) -> None:
    """Clients that connect again are recorded into the same recording, whose time has continued."""
    await record_until_killed(tmp_path, 5000, "expire")
    clock = FakeClock()
    clock.now_ns += 30_000 * NS_PER_MS
    async with running_recorder(tmp_path, clock) as harness:
        (state,) = harness.recorder.recordings()
        (first,) = await harness.events(AVAILABLE)
        client = await harness.connect()
        await client.play(1000)
        clock.now_ns += 30_001 * NS_PER_MS
        report = await harness.reported(state.recording_id)
        archives = report.document["archives"]
        assert [entry["connection_id"] for entry in archives] == [
            first.document["connection_id"],
            client.connection.identity.connection_id,
        ]
        assert report.document["stop_timestamp"] == "2023-11-14T22:14:20.250000Z"  # 60 s after the start
        assert archives[1]["start_time_offset"] == 30


@pytest.mark.system
async def test_a_recording_continues_after_its_archives_if_the_wall_clock_was_set_back(tmp_path: Path) -> None:
    """A machine that comes up an hour behind does not record over what it recorded before."""
    await record_until_killed(tmp_path, 5000)
    clock = FakeClock()
    clock.wall_offset_ns -= 3_600_000 * NS_PER_MS
    async with running_recorder(tmp_path, clock) as harness:
        client = await harness.connect()
        await client.play(1000)
        state = await harness.stop()
        report = await harness.reported(state.recording_id)
        first, second = report.document["archives"]
        assert first["start_timestamp"] < first["stop_timestamp"] <= second["start_timestamp"]
        assert second["stop_timestamp"] <= report.document["stop_timestamp"]


@pytest.mark.system
async def test_a_recording_that_expired_meanwhile_ends_at_the_next_start(tmp_path: Path) -> None:
    """Its stop is its expire time, not the time of the start."""
    await record_until_killed(tmp_path, 5000, "expire")
    clock = FakeClock()
    clock.now_ns += 3_600_000 * NS_PER_MS
    async with running_recorder(tmp_path, clock) as harness:
        (available,) = await harness.events(AVAILABLE)
        report = await harness.reported(available.document["recording_id"])
        assert report.document["stop_timestamp"] == "2023-11-14T22:14:20.250000Z"
        assert report.document["archives"][0]["stop_time_offset"] in {4, 5}
        assert not harness.recorder.recordings()


@pytest.mark.system
async def test_video_that_stops_keeps_nothing_in_memory(tmp_path: Path) -> None:
    """Video that falls silent for a minute, then a kill: the sound is on the disk to within 1 s, memory was flat."""
    early_kib, late_kib = await record_until_killed(tmp_path, 62_000, "silent")
    assert late_kib - early_kib < 2048
    (path,) = (tmp_path / "archive").glob("*/.archive-*.webm.part")
    unrepaired = readers.packets(path)["audio"]
    assert unrepaired[-1][1] >= 61_000
    async with running_recorder(tmp_path) as harness:
        (available,) = await harness.events(AVAILABLE)
        packets = readers.packets(Path(available.document["file_path"]))
        assert packets["audio"] == unrepaired
        assert len(packets["video"]) == 50
        assert readers.duration_s(Path(available.document["file_path"])) >= 61


@pytest.mark.system
async def test_a_file_of_a_minute_can_be_read_without_repair(tmp_path: Path) -> None:
    """60 s of sound and picture, then a kill: ffprobe reads at least 59 s of the unfinished file."""
    await record_until_killed(tmp_path, 60_000)
    (path,) = (tmp_path / "archive").glob("*/.archive-*.webm.part")
    assert min(of_kind[-1][1] for of_kind in readers.packets(path).values()) >= 59_000
    shown = readers.probe(path, "-show_entries", "packet=pts_time")["packets"]
    assert float(shown[-1]["pts_time"]) >= 59
