"""What the log of events says of recordings that were not reported."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from rokuga.recorder.archive.metadata import archive_event, recording_document, started_document
from rokuga.recorder.events import Event, EventType
from rokuga.recorder.models import ArchiveStatus
from rokuga.webhooks.bodies import make_body
from rokuga.webhooks.config import WebhookConfig
from rokuga.webhooks.log import WebhookLog
from rokuga.webhooks.unreported import read_unreported
from tests.material import archive, recording, singleton_event

RECORDING, ARCHIVE = recording(), archive()
STARTED = replace(singleton_event(EventType.RECORDING_STARTED), document=recording_document(RECORDING))
ARCHIVE_STARTED = archive_event(
    EventType.ARCHIVE_STARTED, RECORDING, ARCHIVE.connection, 0, started_document(RECORDING, ARCHIVE)
)
REPORT = replace(STARTED, type=EventType.RECORDING_REPORT)
STOP = "2023-11-14T22:15:00.000000Z"


def ended(event_type: EventType, **more: object) -> Event:
    document = {**ARCHIVE_STARTED.document, "stop_timestamp": STOP, **more}
    return archive_event(event_type, RECORDING, ARCHIVE.connection, 0, document)


def log(folder: Path, events: Sequence[Event]) -> None:
    WebhookLog(folder, redact=True).events([make_body(event, WebhookConfig()) for event in events])


def test_a_recording_and_its_archive_are_read_as_they_were(tmp_path: Path) -> None:
    log(tmp_path, [STARTED, ARCHIVE_STARTED])
    (found,) = read_unreported(tmp_path)
    assert found.recording == RECORDING
    assert found.archives == {ARCHIVE.connection.connection_id: ARCHIVE}


def test_a_report_in_an_older_file_counts(tmp_path: Path) -> None:
    log(tmp_path, [STARTED, ARCHIVE_STARTED])
    (tmp_path / "event_webhook.jsonl").rename(tmp_path / "event_webhook.jsonl.1")
    log(tmp_path, [REPORT])
    assert read_unreported(tmp_path) == []


@pytest.mark.parametrize(
    ("event_type", "status"),
    [
        (EventType.ARCHIVE_AVAILABLE, ArchiveStatus.AVAILABLE),
        (EventType.ARCHIVE_FAILED, ArchiveStatus.FAILED),
        (EventType.SPLIT_ARCHIVE_END, ArchiveStatus.WRITING),
    ],
)
def test_the_end_of_an_archive_is_read(tmp_path: Path, event_type: EventType, status: ArchiveStatus) -> None:
    log(tmp_path, [STARTED, ARCHIVE_STARTED, ended(event_type)])
    (found,) = read_unreported(tmp_path)
    (read,) = found.archives.values()
    assert read.status is status


def test_announced_parts_are_read(tmp_path: Path) -> None:
    """An uploader may have taken them."""
    parts = [ended(EventType.SPLIT_ARCHIVE_AVAILABLE, split_index=index) for index in ("0001", "0002")]
    log(tmp_path, [STARTED, ARCHIVE_STARTED, *parts])
    (found,) = read_unreported(tmp_path)
    (read,) = found.archives.values()
    assert (read.split_last_index, read.split_kinds) == ("0002", frozenset(("audio", "video")))


def test_other_lines_are_skipped(tmp_path: Path) -> None:
    odd = (b'{"recording_id"', b'"recording_id"', b'{"type":5,"data":{"recording_id":[]}}', b"\xff recording_id")
    missing = b'{"type":"recording.started","data":{"recording_id":"X"}}'
    (tmp_path / "event_webhook.jsonl").write_bytes(b"\n".join([*odd, missing, b"[" * 9999 + b"recording_id", b""]))
    log(tmp_path, [STARTED])
    assert [each.recording for each in read_unreported(tmp_path)] == [RECORDING]
    assert read_unreported(tmp_path / "none") == []
