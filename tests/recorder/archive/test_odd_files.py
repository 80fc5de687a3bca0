"""Recovery after a crash with files that others, or a bad disk, have changed."""

import asyncio
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from rokuga.recorder.archive import journal
from rokuga.recorder.events import Event
from tests import readers
from tests.recorder.archive.test_recovery import record_until_killed, restart
from tests.support.recorder import running_recorder

AVAILABLE, FAILED, PART = "archive.available", "archive.failed", "split-archive.available"


@pytest.fixture(scope="module")
def crash(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a kill left: two parts with their documents, a third and the whole file in progress."""
    folder = tmp_path_factory.mktemp("crash") / "crash"
    folder.mkdir()
    asyncio.run(record_until_killed(folder, 2500, "split"))
    return folder


@pytest.fixture
def left(crash: Path) -> Path:
    """A copy of the crash at the same path: documents contain it."""
    kept = crash.with_name("kept")
    if not kept.exists():
        shutil.copytree(crash, kept)
    shutil.rmtree(crash)
    return Path(shutil.copytree(kept, crash))


def the(left: Path, pattern: str) -> Path:
    (found,) = left.glob(f"archive/*/{pattern}")
    return found


def told(events: list[Event]) -> Counter[str]:
    return Counter(str(event.type) for event in events if not event.type.startswith("connection."))


def check(events: list[Event]) -> None:
    """See that the archive has one end, the recording one report, and each announced file its document.

    One that was made again does not know the counters any more.
    """
    found = told(events)
    assert found["recording.report"] == found["archive.started"] == found[AVAILABLE] + found[FAILED] == 1
    assert found["split-archive.end"] == 1
    for event in events:
        if event.type in {AVAILABLE, PART}:
            beside = json.loads(Path(event.document["metadata_file_path"]).read_text())
            lost = {"stats", "created_at"} if "is_recovered" in beside["stats"] else set()
            assert {key for key in beside | event.document if beside[key] != event.document[key]} <= lost
            assert readers.packets(Path(event.document["file_path"]))["video"]


DOCUMENTS = (
    b'{"note":"indexed"}',
    b"",
    b"{",
    b"\xff\xfe",
    b"[]",
    b"null",
    b'"text"',
    b"[" * 100_000,
    b'{"recording_id":5}',
    b'{"stop_timestamp":"yesterday"}',
)


@pytest.mark.system
@pytest.mark.parametrize("text", DOCUMENTS, ids=lambda text: repr(text[:20]))
async def test_a_document_that_cannot_be_read_is_renamed_and_made_again(left: Path, text: bytes) -> None:
    """All parts are announced; the document that was there is kept under another name."""
    document = the(left, "split-archive-*_0001.json")
    other = the(left, "split-archive-*_0002.json").read_bytes()
    document.write_bytes(text)
    events = await restart(left)
    check(events)
    assert told(events)[PART] == 3
    (aside,) = document.parent.glob(f"{document.name}.damaged-*")
    assert aside.read_bytes() == text
    assert the(left, "split-archive-*_0002.json").read_bytes() == other


@pytest.mark.system
async def test_a_document_of_another_recording_is_replaced(left: Path) -> None:
    document = the(left, "split-archive-*_0002.json")
    document.write_text(json.dumps(json.loads(document.read_text()) | {"recording_id": "0" * 26}))
    events = await restart(left)
    check(events)
    assert told(events)[PART] == 3


@pytest.mark.system
async def test_a_document_without_a_valid_time_is_replaced(left: Path) -> None:
    document = the(left, "split-archive-*_0001.json")
    document.write_text(json.dumps(json.loads(document.read_text()) | {"stop_timestamp": "later"}))
    check(await restart(left))


def replace_by_folder(path: Path) -> None:
    path.unlink()
    (path / "inside").mkdir(parents=True)


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def overwrite_header(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(bytes(2000) + data[2000:])


def replace_by_noise(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 100)


ODD: tuple[Callable[[Path], None], ...] = (replace_by_folder, replace_by_pipe, overwrite_header, replace_by_noise)


@pytest.mark.system
@pytest.mark.parametrize("make_odd", ODD)
async def test_a_whole_file_that_cannot_be_read_fails_its_archive_alone(
    left: Path, make_odd: Callable[[Path], None]
) -> None:
    """Its parts are announced; nothing of what lay there is deleted."""
    path = the(left, ".archive-*.webm.part")
    make_odd(path)
    events = await restart(left)
    check(events)
    counts = told(events)
    assert (counts[FAILED], counts[PART]) == (1, 3)
    (failed,) = (event for event in events if event.type == FAILED)
    assert failed.document["reason"]
    assert path.exists() or list(path.parent.glob("archive-*.webm.damaged-*"))
    check(await restart(left))


@pytest.mark.system
@pytest.mark.parametrize("make_odd", ODD)
async def test_a_part_that_cannot_be_read_leaves_the_others_alone(
    left: Path, make_odd: Callable[[Path], None]
) -> None:
    make_odd(the(left, ".split-archive-*_0003.webm.part"))
    events = await restart(left)
    check(events)
    assert (told(events)[AVAILABLE], told(events)[PART]) == (1, 2)


@pytest.mark.system
async def test_a_renamed_file_is_noted_with_its_path(left: Path) -> None:
    the(left, "split-archive-*_0001.json").write_text("{}")
    overwrite_header(the(left, ".archive-*.webm.part"))
    async with running_recorder(left) as harness:
        notes = "\n".join(harness.recorder.recovery_notes())
    assert f"{the(left, 'split-archive-*_0001.json')}: its content cannot be read; it is now split-archive-" in notes
    assert ".archive-" in notes


@pytest.mark.system
async def test_an_internal_error_fails_that_archive_and_the_recording_continues(
    left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise KeyError("ours")

    with monkeypatch.context() as patched:
        patched.setattr(journal, "available_document", fail)
        async with running_recorder(left) as harness:
            assert len(harness.recorder.recordings()) == 1
            assert "KeyError('ours')" in harness.recorder.recovery_notes()[0]
            (failed,) = await harness.events(FAILED)
            assert "KeyError" in failed.document["reason"]
            await harness.stop()
            assert await harness.reported(failed.document["recording_id"])


def hidden(folder: Path) -> list[Path]:
    return list(folder.glob(".*"))


def forget_all(left: Path) -> None:
    """Lose the database."""
    for path in left.glob("store.sqlite3*"):
        path.unlink()


@pytest.mark.system
async def test_files_in_progress_are_finished_without_a_database(left: Path) -> None:
    forget_all(left)
    whole = the(left, ".archive-*.webm.part")
    (whole.parent / ".notes.part").write_text("a stranger's")
    (whole.parent / f"{whole.name.removesuffix('.webm.part')}_2.webm.part").write_bytes(whole.read_bytes())
    empty = (
        whole.parent / f"{whole.name.replace('archive', 'split-archive').removesuffix('.webm.part')}_0009.webm.part"
    )
    empty.write_bytes(whole.read_bytes()[:1000])
    async with running_recorder(left) as harness:
        while len(notes := harness.recorder.recovery_notes()) < 3:
            await harness.drain()
    assert [path.name for path in hidden(whole.parent)] == [".notes.part"]
    assert readers.packets(the(left, "archive-*_2.webm")) == readers.packets(the(left, f"archive-{'?' * 26}.webm"))
    assert readers.packets(the(left, "split-archive-*_0003.webm"))["video"]
    assert all(note.endswith(": finished") for note in notes)


@pytest.mark.system
async def test_files_being_recorded_are_not_repaired_as_leftovers(left: Path) -> None:
    """Nor a recording that goes on after the crash."""
    async with running_recorder(left) as harness:
        client = await harness.connect()
        await client.play(1000)
        await harness.drain()
        assert the(left, ".archive-*.webm.part").exists()
        await harness.stop()
        assert not harness.recorder.recovery_notes()
