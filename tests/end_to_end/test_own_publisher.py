"""The project's publisher over real WebRTC: what is sent is stored, byte for byte."""

import asyncio
from pathlib import Path

import pytest

from rokuga.devtools.publisher.clip import read_clip
from rokuga.devtools.publisher.publisher import Publication, PublishOptions, publish
from rokuga.recorder.media import Kind
from rokuga.recorder.webrtc.dtls.transport import Certificate
from rokuga.recorder.webrtc.outgoing.peer import PublishError
from tests import readers
from tests.end_to_end.daemon import CLIPS, Consumer, Daemon

pytestmark = pytest.mark.end_to_end

LATE_S = 0.5
"""Tolerance for a busy machine; tests/recorder/sync has exact times."""


async def publish_clip(daemon: Daemon, name: str, channel_id: str = "sora", **options: object) -> Publication:
    """Publish one of the project's clips to its end."""
    clip = read_clip(CLIPS / name)
    given = PublishOptions(CLIPS / name, daemon.signaling_url, channel_id, **options)  # type: ignore[arg-type]  # any option
    return await publish(given, clip, Certificate.make())


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("vp9-opus.webm", {"audio", "video"}),
        ("vp8-opus.webm", {"audio", "video"}),
        ("vp9.webm", {"video"}),
        ("opus.webm", {"audio"}),
    ],
)
async def test_what_is_sent_is_stored(
    daemon: Daemon, consumer: Consumer, tmp_path: Path, name: str, kinds: set[Kind]
) -> None:
    """Every picture and Opus packet of the clip is in the file, and every reader accepts it."""
    await daemon.api("StartRecording", {"channel_id": "sora", "expire_time": 0})
    publication = await publish_clip(daemon, name)
    await daemon.api("StopRecording", {"channel_id": "sora"})
    available = await consumer.wait_for("archive.available")
    report = await consumer.wait_for("recording.report")

    file = Path(available["data"]["file_path"])
    sent = readers.packets(CLIPS / name)
    stored = readers.packets(file)
    for kind in kinds:
        assert [data for data, _, _ in stored[kind]] == [data for data, _, _ in sent[kind]]
        assert [key for _, _, key in stored[kind]] == [key for _, _, key in sent[kind]]
        assert publication.counts.units[kind] == len(sent[kind])
    assert readers.duration_s(file) == pytest.approx(readers.duration_s(CLIPS / name), abs=LATE_S)
    assert readers.decode_strictly(file) == {kind: len(sent[kind]) for kind in kinds}
    assert {track["type"] for track in readers.identify(file)["tracks"]} == kinds
    inspected = readers.inspect_with_hisui(file)
    for kind in kinds:
        assert inspected[f"{kind}_sample_count"] == len(sent[kind])
    readers.compose_with_hisui(file.parent, tmp_path / "composed.mp4")
    types = [event_type for event_type in consumer.types if not event_type.startswith("connection.")]
    assert types == ["recording.started", "archive.started", "archive.available", "recording.report"]
    assert consumer.types.index("connection.created") < consumer.types.index("archive.started")
    destroyed = await consumer.wait_for("connection.destroyed")
    assert destroyed["connection_id"] == publication.connection_id
    assert destroyed["data"]["reason"] == "TYPE-DISCONNECT"
    assert [entry["connection_id"] for entry in report["data"]["archives"]] == [publication.connection_id]
    assert not report["data"]["failed_archives"]


async def test_all_connections_of_the_channel_are_recorded_until_the_stop(daemon: Daemon, consumer: Consumer) -> None:
    """Those that exist at the start and those that follow; none of another channel."""
    clip = read_clip(CLIPS / "vp9-opus.webm")
    certificate = Certificate.make()
    publications = [Publication() for _ in range(3)]
    channels = ["sora", "sora", "elsewhere"]

    async def begin(place: int) -> "asyncio.Task[Publication]":
        options = PublishOptions(Path(), daemon.signaling_url, channels[place], loop=True)
        task = asyncio.create_task(publish(options, clip, certificate, publications[place]))
        await publications[place].sending.wait()
        return task

    tasks = [await begin(0), await begin(2)]
    started = await daemon.api("StartRecording", {"channel_id": "sora", "expire_time": 60})
    await consumer.wait_for("archive.started")
    tasks.append(await begin(1))
    await consumer.wait_for("archive.started", count=2)
    listed = await daemon.api("ListArchiving")
    assert {entry["connection_id"] for entry in listed} == {p.connection_id for p in publications[:2]}
    await daemon.api("StopRecording", {"channel_id": "sora"})
    report = await consumer.wait_for("recording.report", recording_id=started["recording_id"])
    assert {e["connection_id"] for e in report["data"]["archives"] + report["data"]["failed_archives"]} == {
        p.connection_id for p in publications[:2]
    }
    for publication in publications:
        publication.stop.set()
    await asyncio.gather(*tasks)


async def test_a_client_that_the_api_disconnects_and_the_consumer_receive_the_reason(
    daemon: Daemon, consumer: Consumer
) -> None:
    """The client that of Sora, the consumer that of the caller."""
    publication = Publication()
    options = PublishOptions(Path(), daemon.signaling_url, "sora", loop=True)
    clip = read_clip(CLIPS / "vp9-opus.webm")
    publishing = asyncio.create_task(publish(options, clip, Certificate.make(), publication))
    await publication.sending.wait()
    request = {"channel_id": "sora", "connection_id": publication.connection_id, "reason": "授業は終わり"}
    await daemon.api("Sora_20151104.DisconnectConnection", request)
    with pytest.raises(PublishError, match="closed the signalling: 1000 DISCONNECTED-API"):
        await publishing
    destroyed = await consumer.wait_for("connection.destroyed")
    assert destroyed["connection_id"] == publication.connection_id
    assert destroyed["data"]["reason"] == destroyed["data"]["disconnect_api_reason"] == "授業は終わり"


async def test_a_recording_ends_by_itself_when_it_expires(daemon: Daemon, consumer: Consumer) -> None:
    """`expire_time` seconds after the start the files are finished and the report is published."""
    await daemon.api("StartRecording", {"channel_id": "sora", "expire_time": 2})
    publication = await publish_clip(daemon, "vp9-opus.webm")
    report = await consumer.wait_for("recording.report")
    (entry,) = report["data"]["archives"]
    assert entry["connection_id"] == publication.connection_id
    assert readers.duration_s(Path(entry["file_path"])) == pytest.approx(2.0, abs=LATE_S)
    assert await daemon.api("ListStartedRecording") == []
