"""WHIP clients of others publish; what they report as sent is stored, decodable and in sync."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import median

import pytest

from tests import readers
from tests.end_to_end import flashes_and_beeps
from tests.end_to_end.clients import publish_with_browser, publish_with_ffmpeg, publish_with_gstreamer
from tests.end_to_end.daemon import Consumer, Daemon, running
from tests.end_to_end.test_foreign_clients import FIVE_MARKS, LIP_SYNC_MS, are_all, encoded, record, stored_file

pytestmark = pytest.mark.end_to_end


TOKEN = "s3cret"


@pytest.fixture
async def daemon(tmp_path: Path, consumer: Consumer) -> AsyncIterator[Daemon]:
    """A daemon with a token, at the machine's addresses: GStreamer does not reach 127.0.0.1 from them."""
    async with running(tmp_path, consumer.url, whip_bearer_token=TOKEN, media_address="") as started:
        yield started
    assert not started.faults()


@pytest.mark.alone
@pytest.mark.parametrize(
    ("client", "codec"),
    [
        ("plain", "VP9"),
        ("eyevinn", ""),
        pytest.param("medooze", "AV1", marks=pytest.mark.soak),  # its offers are among the vectors; 8 s
        pytest.param("plain", "H264", marks=pytest.mark.soak),  # as FFmpeg sends; 8 s
    ],
)
async def test_whip_clients_in_chromium(daemon: Daemon, consumer: Consumer, client: str, codec: str) -> None:
    """From a page of another origin: every picture is stored, flashes and beeps are in sync.

    Eyevinn's client prefers VP8, as the browser does.
    """
    await record(daemon)
    options = {"whip": client, "url": daemon.whip_url("sora"), "token": TOKEN, "codec": codec}
    sent = await publish_with_browser(daemon, "sora", [FIVE_MARKS], **options)
    assert "refused" not in sent, sent
    if client == "plain":  # the others do not expose the response
        assert sent["http"]["status"] == 201
        assert sent["http"]["etag"]
    file = await stored_file(daemon, consumer)
    frames = readers.decode_strictly(file)
    assert are_all(frames["video"], encoded(sent["statistics"]))
    offsets = flashes_and_beeps.sync_errors_ms(file, sent["flashLatenessMs"])
    assert abs(median(offsets)) <= LIP_SYNC_MS, offsets
    readers.identify(file)
    readers.inspect_with_hisui(file)


async def ffmpeg(daemon: Daemon, consumer: Consumer, channel: str, *options: str) -> None:
    """Publish from FFmpeg, which has no ICE candidates, and check the file."""
    await record(daemon, channel)
    sent = await publish_with_ffmpeg(daemon, channel, 2, "--token", TOKEN, *options)
    frames = readers.decode_strictly(await file_of(daemon, consumer, channel))
    assert frames["video"] == pytest.approx(sent["video"], abs=3)
    assert frames["audio"] == pytest.approx(sent["audio"], abs=5)


async def gstreamer(daemon: Daemon, consumer: Consumer, channel: str, *options: str) -> None:
    """Publish from GStreamer, with an RSA certificate and a bundle-only section, and check the file."""
    await record(daemon, channel)
    sent = await publish_with_gstreamer(daemon, channel, 2, "--token", TOKEN, *options)
    assert sent["connected"], sent
    assert (sent["status"], sent["delete"]) == (201, 200)
    assert sent.get("patch", 204) == 204
    # Not strictly: at the start its audio packets can be 1 ms apart, which ffmpeg warns of.
    frames = readers.count_frames(await file_of(daemon, consumer, channel))
    assert frames["video"] > 30
    assert frames["audio"] > 75


async def file_of(daemon: Daemon, consumer: Consumer, channel: str) -> Path:
    """Stop the recording of a channel; return its only file, after a check by Hisui."""
    await daemon.api("StopRecording", {"channel_id": channel})
    [archive] = (await consumer.wait_for("recording.report", channel_id=channel))["data"]["archives"]
    file = Path(archive["file_path"])
    readers.inspect_with_hisui(file)
    return file


async def test_ffmpeg_and_gstreamer(daemon: Daemon, consumer: Consumer) -> None:
    """Both at once: FFmpeg as the DTLS server, GStreamer with trickled candidates."""
    await asyncio.gather(
        ffmpeg(daemon, consumer, "ffmpeg", "--passive"),
        gstreamer(daemon, consumer, "gstreamer", "--codec", "VP9", "--trickle"),
    )


@pytest.mark.soak
async def test_ffmpeg_as_dtls_client_and_gstreamer_without_trickle(daemon: Daemon, consumer: Consumer) -> None:
    """Their other modes; the tests of their captured offers cover these in short."""
    await ffmpeg(daemon, consumer, "ffmpeg")
    await gstreamer(daemon, consumer, "gstreamer", "--codec", "VP8")


async def test_a_whip_publisher_is_listed_and_disconnected_like_any_connection(
    daemon: Daemon, consumer: Consumer
) -> None:
    """It has events and is listed; DisconnectConnection ends it, its file and its session."""
    await daemon.api("StartRecording", {"channel_id": "sora", "expire_time": 0, "split_duration": 1})
    client = asyncio.create_task(publish_with_gstreamer(daemon, "sora", 4, "--token", TOKEN, "--codec", "VP8"))
    created = await consumer.wait_for("connection.created")
    [listed] = await daemon.api("Sora_20201013.ListConnections")
    assert listed["connection_id"] == created["connection_id"]
    await consumer.wait_for("split-archive.available")  # without media there is no file
    named = {"channel_id": "sora", "connection_id": created["connection_id"]}
    await daemon.api("Sora_20151104.DisconnectConnection", named)
    destroyed = (await consumer.wait_for("connection.destroyed"))["data"]
    assert destroyed["reason"] == "DISCONNECTED-API"
    await stored_file(daemon, consumer)
    with pytest.raises(AssertionError, match="HTTP Error 404"):  # of its DELETE
        await client
