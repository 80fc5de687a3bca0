"""Tools around Sora, imitated by these tests: sora_exporter and sora-archive-uploader."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from rokuga.devtools.publisher.publisher import Publication, PublishOptions, publish
from rokuga.recorder.webrtc.dtls.transport import Certificate
from tests import readers
from tests.end_to_end.daemon import Consumer, Daemon
from tests.end_to_end.publishing import CLIP, publishing

pytestmark = pytest.mark.end_to_end


class StatsReport(msgspec.Struct):
    """The fields that sora_exporter reads from GetStatsReport (collector/sora_api.go); missing ones are 0."""

    version: str = ""
    total_connection_created: int = 0
    total_connection_updated: int = 0
    total_connection_destroyed: int = 0
    total_successful_connections: int = 0
    total_ongoing_connections: int = 0
    total_failed_connections: int = 0
    total_duration_sec: int = 0
    total_turn_udp_connections: int = 0
    total_turn_tcp_connections: int = 0
    average_duration_sec: int = 0
    average_setup_time_msec: int = 0
    total_session_created: int = 0
    total_session_destroyed: int = 0
    total_auth_webhook_allowed: int = 0
    total_auth_webhook_denied: int = 0
    total_successful_auth_webhook: int = 0
    total_failed_auth_webhook: int = 0
    total_successful_event_webhook: int = 0
    total_failed_event_webhook: int = 0
    total_ignored_event_webhook: int = 0
    total_received_srtp: int = 0
    total_received_srtp_byte_size: int = 0
    total_decrypted_srtp: int = 0
    total_decrypted_srtp_byte_size: int = 0
    total_sent_srtp: int = 0
    total_sent_srtp_byte_size: int = 0
    sora_client: dict[str, Any] = msgspec.field(default_factory=dict)
    error: dict[str, int] = msgspec.field(default_factory=dict)
    erlang_vm: dict[str, Any] = msgspec.field(default_factory=dict)
    cluster: dict[str, Any] = msgspec.field(default_factory=dict)
    cluster_relay: list[dict[str, Any]] = msgspec.field(default_factory=list)


class License(msgspec.Struct):
    """The fields that it reads from GetLicense (collector/license.go)."""

    expired_at: str
    max_connections: int
    product_name: str
    serial_code: str
    type: str
    max_nodes: int | None = None


async def ask(url: str, target: str) -> bytes:
    """Post like sora_exporter: without body and content-type, whatever the status is."""
    headers = {"x-sora-target": target}
    async with (
        aiohttp.ClientSession(skip_auto_headers=["Content-Type"]) as session,
        session.post(url, headers=headers) as answer,
    ):
        return await answer.read()


async def test_sora_exporter_reads_its_three_responses(daemon: Daemon, consumer: Consumer) -> None:
    """Before, during and after a publication: the fields that it requires, with correct numbers."""
    before = msgspec.json.decode(await ask(daemon.api_url, "Sora_20171010.GetStatsReport"), type=StatsReport)
    assert before.version
    assert (before.total_connection_created, before.total_ongoing_connections) == (0, 0)
    async with publishing(daemon.signaling_url):
        await consumer.wait_for("connection.created")
        assert before.total_session_created == before.total_received_srtp == 0
        during = before
        while during.total_received_srtp < 50:  # enough packets for the comparisons below
            report = await ask(daemon.api_url, "Sora_20171010.GetStatsReport")
            during = msgspec.json.decode(report, type=StatsReport)
        assert (during.total_connection_created, during.total_connection_destroyed) == (1, 0)
        assert during.total_ongoing_connections == during.total_successful_connections == 1
    await consumer.wait_for("connection.destroyed")
    after = msgspec.json.decode(await ask(daemon.api_url, "Sora_20171010.GetStatsReport"), type=StatsReport)
    assert (after.total_connection_created, after.total_connection_destroyed) == (1, 1)
    assert after.total_ongoing_connections == 0
    assert (after.total_session_created, after.total_session_destroyed) == (1, 1)
    count = len(consumer.events)
    assert count - 1 <= after.total_successful_event_webhook <= count, "the last one may not be counted yet"
    assert after.total_received_srtp_byte_size > after.total_received_srtp * 12 >= during.total_received_srtp * 12 > 0
    assert after.total_received_srtp >= after.total_decrypted_srtp > 0.9 * after.total_received_srtp
    assert after.average_setup_time_msec > 0
    licence = msgspec.json.decode(await ask(daemon.api_url, "Sora_20171218.GetLicense"), type=License)
    assert licence.max_connections > 0
    nodes = msgspec.json.decode(await ask(daemon.api_url, "Sora_20211215.ListClusterNodes"))
    assert nodes == [], "it is a single node"


class Archive(msgspec.Struct):
    """The fields that sora-archive-uploader reads from an archive's JSON (uploader.go)."""

    recording_id: str
    channel_id: str
    session_id: str
    client_id: str
    connection_id: str
    file_path: str
    filename: str
    metadata_file_path: str
    metadata_filename: str


class SplitEnd(msgspec.Struct):
    """The fields that it reads from the JSON that ends the parts."""

    recording_id: str
    channel_id: str
    session_id: str
    client_id: str
    connection_id: str
    file_path: str
    filename: str


class Report(msgspec.Struct):
    """The fields that it reads from a report; a session_id would make it that of a session recording."""

    recording_id: str
    channel_id: str
    file_path: str
    filename: str
    metadata: Any = None
    session_id: str = ""


@dataclass
class Uploader:
    """Imitates a scan of sora-archive-uploader (finder.go, uploader.go); `uploaded` are the keys in its bucket."""

    archive_dir: Path
    bucket: Path
    uploaded: list[str] = field(default_factory=list)

    def scan(self) -> None:
        """Upload all complete archives one level deep, and the report of a recording last."""
        for folder in self.archive_dir.iterdir():
            if folder.is_dir():
                names = {path.name for path in folder.iterdir()}
                for name in sorted(names):
                    self._upload_archive(folder, name, names)
                for name in sorted(names):
                    if name.startswith("report-") and name.endswith(".json"):
                        self._upload_report(folder / name)

    def _upload_archive(self, folder: Path, name: str, names: set[str]) -> None:
        if name.startswith("split-archive-end-") and name.endswith(".json"):
            end = msgspec.json.decode((folder / name).read_bytes(), type=SplitEnd)
            assert Path(end.filename).name == name
            self._upload(folder / name, end.recording_id)
        elif "archive-" in name and name.endswith(".json") and name.removesuffix("json") + "webm" in names:
            archive = msgspec.json.decode((folder / name).read_bytes(), type=Archive)
            self._upload(folder / Path(archive.filename).name, archive.recording_id)
            self._upload(folder / name, archive.recording_id)

    def _upload_report(self, path: Path) -> None:
        report = msgspec.json.decode(path.read_bytes(), type=Report)
        assert not report.session_id
        self._upload(path, report.recording_id)

    def _upload(self, path: Path, recording_id: str) -> None:
        """Copy a file to its key in the bucket, and delete it."""
        key = f"{recording_id}/{path.name}"
        assert key not in self.uploaded
        (self.bucket / recording_id).mkdir(parents=True, exist_ok=True)
        (self.bucket / key).write_bytes(path.read_bytes())
        path.unlink()
        self.uploaded.append(key)


async def test_the_uploader_uploads_everything_once_and_the_report_last(
    daemon: Daemon, consumer: Consumer, tmp_path: Path
) -> None:
    """It scans and deletes files during the recording; every file is complete, and the recording is not affected."""
    uploader = Uploader(daemon.archive_dir, tmp_path / "bucket")
    started = await daemon.api("StartRecording", {"channel_id": "sora", "expire_time": 0, "split_duration": 1})
    recording_id = started["recording_id"]
    publication = Publication()
    options = PublishOptions(Path(), daemon.signaling_url, "sora", loop=True, seconds=3.5)
    publishing = asyncio.create_task(publish(options, CLIP, Certificate.make(), publication))
    scans = 0
    while not publishing.done():
        uploader.scan()
        scans += 1
        await asyncio.wait([publishing], timeout=0.02)
    await publishing
    assert scans > 10
    uploaded_during = list(uploader.uploaded)
    await daemon.api("StopRecording", {"channel_id": "sora"})
    await consumer.wait_for("recording.report")
    uploader.scan()
    uploader.scan()

    own, parts = publication.connection_id, len(consumer.of_type("split-archive.available"))
    assert any(key.endswith("_0001.webm") for key in uploaded_during), "no part was uploaded during the recording"
    assert sorted(uploader.uploaded) == sorted(
        f"{recording_id}/{name}"
        for name in (
            *(f"split-archive-{own}_{part:04}.{kind}" for part in range(1, parts + 1) for kind in ("json", "webm")),
            f"split-archive-end-{own}.json",
            f"archive-{own}.webm",
            f"archive-{own}.json",
            f"report-{recording_id}.json",
        )
    )
    assert uploader.uploaded[-1] == f"{recording_id}/report-{recording_id}.json"
    assert remaining_files(daemon) == []
    whole = readers.payloads(uploader.bucket / recording_id / f"archive-{own}.webm", "video")
    files = [uploader.bucket / recording_id / f"split-archive-{own}_{part:04}.webm" for part in range(1, parts + 1)]
    assert [data for file in files for data in readers.payloads(file, "video")] == whole
    assert all(readers.decode_strictly(file) for file in files)


def remaining_files(daemon: Daemon) -> list[Path]:
    """Return the files that were not uploaded."""
    return [path for path in daemon.archive_dir.glob("*/*") if path.is_file()]
