"""The two log files."""

import os
from pathlib import Path

import msgspec
import pytest
import structlog

from rokuga.recorder.media import NS_PER_S
from rokuga.webhooks.delivery import Delivery, DeliveryState
from rokuga.webhooks.log import LogFile, WebhookLog
from tests.material import WALL_NS

SECRET = b'{"type":"archive.available","event_metadata":{"token":"1"},"data":{"metadata":{"event_metadata":"mine"}}}'


def entry(body: bytes = b'{"id":"E"}') -> Delivery:
    """An entry that was tried once."""
    return Delivery(1, "E", "archive.available", "sora", "S", "C", body, WALL_NS, DeliveryState.PENDING, 1, 0, "")


def test_every_event_is_a_line(tmp_path: Path) -> None:
    log = WebhookLog(tmp_path / "log", redact=True)
    assert log.events([b'{"id":"A"}', b'{"id":"B"}'])
    assert log.events([b'{"id":"C"}'])
    assert (tmp_path / "log/event_webhook.jsonl").read_bytes() == b'{"id":"A"}\n{"id":"B"}\n{"id":"C"}\n'


def test_event_metadata_is_redacted_and_a_recordings_metadata_is_not(tmp_path: Path) -> None:
    WebhookLog(tmp_path, redact=True).events([SECRET])
    line = msgspec.json.decode((tmp_path / "event_webhook.jsonl").read_bytes())
    assert line["event_metadata"] == "REDACTED"
    assert line["data"] == {"metadata": {"event_metadata": "mine"}}


def test_redaction_can_be_switched_off(tmp_path: Path) -> None:
    WebhookLog(tmp_path, redact=False).events([SECRET])
    assert (tmp_path / "event_webhook.jsonl").read_bytes() == SECRET + b"\n"


def test_a_failure_has_reason_and_unredacted_body(tmp_path: Path) -> None:
    log = WebhookLog(tmp_path, redact=True)
    log.failure(entry(SECRET), "status 500", WALL_NS, WALL_NS + NS_PER_S)
    log.failure(entry(), "timeout", WALL_NS, None)
    first, second = (tmp_path / "event_webhook_error.jsonl").read_bytes().splitlines()
    assert msgspec.json.decode(first) == {
        "timestamp": "2024-03-01T00:00:00.000123Z",
        "reason": "status 500",
        "attempts": 2,
        "next_attempt": "2024-03-01T00:00:01.000123Z",
        "body": msgspec.json.decode(SECRET),
    }
    assert msgspec.json.decode(second)["next_attempt"] is None


def test_files_are_rotated_by_size_and_the_oldest_is_deleted(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "x.jsonl", max_bytes=10, backups=2)
    for n in range(8):
        assert file.write([b"line%d" % n])
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert found == {"x.jsonl": b"line7\n", "x.jsonl.1": b"line6\n", "x.jsonl.2": b"line5\n"}


def test_a_line_longer_than_the_limit_is_written_whole(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "x.jsonl", max_bytes=10, backups=2)
    assert file.write([b"x" * 100])
    assert file.write([b"y" * 100])
    assert (tmp_path / "x.jsonl.1").read_bytes() == b"x" * 100 + b"\n"


def test_a_line_that_a_full_disk_refuses_is_counted(tmp_path: Path) -> None:
    """/dev/full answers every write as a full disk does (ENOSPC)."""
    (tmp_path / "event_webhook.jsonl").symlink_to("/dev/full")
    (tmp_path / "event_webhook_error.jsonl").symlink_to("/dev/full")
    log = WebhookLog(tmp_path, redact=True)
    assert not log.events([b"1", b"2"])
    log.failure(entry(), "timeout", WALL_NS, None)
    assert log.refused_lines == 3
    (tmp_path / "event_webhook.jsonl").unlink()
    assert log.events([b"3"])
    assert (tmp_path / "event_webhook.jsonl").read_bytes() == b"3\n"


def test_a_refusal_of_the_disk_and_its_end_are_logged_once(tmp_path: Path) -> None:
    """However many lines it takes."""
    file = LogFile(tmp_path / "x.jsonl")
    with structlog.testing.capture_logs() as told:
        for _ in range(2):
            (tmp_path / "x.jsonl").unlink(missing_ok=True)
            (tmp_path / "x.jsonl").symlink_to("/dev/full")
            assert [file.write([b"1", b"2"]), file.write([b"3"])] == [False, False]
            (tmp_path / "x.jsonl").unlink()
            assert [file.write([b"4"]), file.write([b"5"])] == [True, True]
    path = str(tmp_path / "x.jsonl")
    fault = {"event": "webhook log not written", "reason": "No space left on device", "errno": 28}
    again = {"event": "webhook log written again", "path": path, "log_level": "info"}
    assert told == [
        {**fault, "path": path, "log_level": "error"},
        {**again, "refused": 3},
        {**fault, "path": path, "log_level": "error"},
        {**again, "refused": 6},
    ]


def test_a_partially_written_line_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = LogFile(tmp_path / "x.jsonl")
    assert file.write([b"whole"])
    with monkeypatch.context() as patch:
        write = os.write
        patch.setattr("os.write", lambda descriptor, data: write(descriptor, data[:3]))
        assert not file.write([b"half"])
    assert file.write([b"whole"])
    assert (tmp_path / "x.jsonl").read_bytes() == b"whole\nwhole\n"


def test_a_folder_that_was_moved_away_is_created_again(tmp_path: Path) -> None:
    log = WebhookLog(tmp_path / "log", redact=True)
    log.events([b"1"])
    (tmp_path / "log").rename(tmp_path / "old")
    assert log.events([b"2"])
    assert (tmp_path / "log/event_webhook.jsonl").read_bytes() == b"2\n"


def test_a_folder_that_cannot_be_created_raises_nothing(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"a file")
    assert not WebhookLog(tmp_path / "log", redact=True).events([b"1"])


def test_others_cannot_read_the_log(tmp_path: Path) -> None:
    WebhookLog(tmp_path, redact=True).events([b"1"])
    assert (tmp_path / "event_webhook.jsonl").stat().st_mode & 0o777 & ~0o640 == 0


@pytest.mark.parametrize("way", ["rename", "truncate"])
def test_a_log_that_is_rotated_by_somebody_else_goes_on_in_the_new_file(tmp_path: Path, way: str) -> None:
    """By renaming it and making an empty one, or by copying and truncating it: each line once, and no NUL bytes.

    https://github.com/fireice-uk/xmr-stak-cpu/issues/208
    """
    path, old = tmp_path / "log.jsonl", tmp_path / "log.jsonl.old"
    log = LogFile(path)
    assert log.write([b"1", b"2"])
    if way == "rename":
        path.rename(old)
        path.touch(0o640)
    else:
        old.write_bytes(path.read_bytes())
        os.truncate(path, 0)
    assert log.write([b"3"])
    assert (old.read_bytes(), path.read_bytes()) == (b"1\n2\n", b"3\n")
