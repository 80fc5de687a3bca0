"""Clients of others publish; what they report as sent is stored, decodable and in sync."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from tests import readers
from tests.end_to_end import flashes_and_beeps
from tests.end_to_end.clients import MEDIA, Step, generate_load, publish_with_browser, publish_with_sdk
from tests.end_to_end.daemon import Consumer, Daemon

pytestmark = pytest.mark.end_to_end

LIP_SYNC_MS = 40
FIVE_MARKS: Step = {"call": "marks", "arguments": [5]}
"""The first ones precede the sender reports of the audio (some 5 s), and are aligned by packet arrival."""
PICTURES_UNTIL_KEYFRAME = 15
"""Pictures that the load generator sends before it responds to a PLI: it waits 300 ms."""


async def record(daemon: Daemon, channel: str = "sora") -> str:
    """Start a recording; return its id."""
    started = await daemon.api("StartRecording", {"channel_id": channel, "expire_time": 0})
    return str(started["recording_id"])


async def stored_file(daemon: Daemon, consumer: Consumer, channel: str = "sora") -> Path:
    """Stop the recording; return its only file."""
    await daemon.api("StopRecording", {"channel_id": channel})
    await consumer.wait_for("recording.report")  # is the last event
    assert "archive.available" in consumer.types, consumer.events
    return Path(consumer.of_type("archive.available")[0]["data"]["file_path"])


def encoded(statistics: list[dict[str, Any]]) -> int:
    """Return how many pictures the client reports as encoded."""
    return next(int(entry["framesEncoded"]) for entry in statistics if entry["kind"] == "video")


def spoken(statistics: list[dict[str, Any]]) -> int:
    """Return how many audio packets the client reports as sent."""
    return next(int(entry["packetsSent"]) for entry in statistics if entry["kind"] == "audio")


def are_all(stored: int, reported: int) -> bool:
    """Return whether as many are stored as were sent, up to the last ones, and one second after the report."""
    return reported - 3 <= stored <= reported + 50


@pytest.mark.alone
@pytest.mark.parametrize("codec", ["VP9", "VP8", "AV1", "H264"])
async def test_chromium_with_the_sora_sdk(daemon: Daemon, consumer: Consumer, codec: str) -> None:
    """Every picture is stored, and flashes and beeps are in sync."""
    await record(daemon)
    sent = await publish_with_browser(daemon, "sora", [FIVE_MARKS], codec=codec)
    assert sent["connected"], sent
    assert sent["disconnect"] == ["normal", "DISCONNECT", 1000, "TYPE-DISCONNECT"]
    assert sent["notifications"] == ["connection.created"]
    assert sent["protocol"] == "udp", "UDP is preferred to TCP"
    file = await stored_file(daemon, consumer)
    frames = readers.decode_strictly(file)
    assert are_all(frames["video"], encoded(sent["statistics"]))
    offsets = flashes_and_beeps.sync_errors_ms(file, sent["flashLatenessMs"])
    assert len(offsets) >= 4, "the first one may precede the first picture"
    assert abs(median(offsets)) <= LIP_SYNC_MS, offsets
    readers.identify(file)


@pytest.mark.alone
async def test_a_browser_that_requests_data_channels_stays_on_its_websocket(
    daemon: Daemon, consumer: Consumer
) -> None:
    """The offer declines them: https://github.com/shiguredo/sora-js-sdk/pull/59"""
    await record(daemon)
    steps: list[Step] = [FIVE_MARKS, {"wait": 4000}]
    sent = await publish_with_browser(daemon, "sora", steps, codec="VP8", dataChannels="yes")
    assert sent["disconnect"] == ["normal", "DISCONNECT", 1000, "TYPE-DISCONNECT"]
    frames = readers.decode_strictly(await stored_file(daemon, consumer))
    assert are_all(frames["video"], encoded(sent["statistics"]))
    assert len(consumer.of_type("connection.destroyed")) == 1


@pytest.mark.alone
async def test_video_that_starts_late_changes_size_is_muted_and_replaced_is_stored(
    daemon: Daemon, consumer: Consumer
) -> None:
    """With the Sora SDK in Chromium."""
    await record(daemon)
    steps: list[Step] = [
        {"call": "replaceVideo", "arguments": [False]},
        {"wait": 5000},
        {"call": "replaceVideo", "arguments": [True]},
        FIVE_MARKS,
        {"call": "resize", "arguments": [320, 180]},
        {"wait": 1000},
        {"call": "mute", "arguments": ["video", True]},
        {"wait": 1000},
        {"call": "mute", "arguments": ["video", False]},
        {"call": "replaceVideo", "arguments": [False]},
        {"wait": 1000},
        {"call": "replaceVideo", "arguments": [True]},
        {"call": "marks", "arguments": [3]},
    ]
    sent = await publish_with_browser(daemon, "sora", steps, codec="VP9")
    file = await stored_file(daemon, consumer)
    frames = readers.decode_strictly(file)
    assert are_all(frames["video"], encoded(sent["statistics"]))
    assert flashes_and_beeps.sizes(file) >= {(640, 360), (320, 180)}
    offsets = flashes_and_beeps.sync_errors_ms(file, sent["flashLatenessMs"])
    for some in (offsets, offsets[:5], offsets[-3:]):
        assert abs(median(some)) <= LIP_SYNC_MS, offsets
    readers.inspect_with_hisui(file)


@pytest.mark.parametrize("codec", ["VP9", "VP8", "AV1"])
async def test_the_python_sdk(daemon: Daemon, consumer: Consumer, codec: str) -> None:
    """Every picture and audio packet of 4 s is stored."""
    await record(daemon)
    sent = await publish_with_sdk(daemon, "sora", 4, "--codec", codec)
    file = await stored_file(daemon, consumer)
    frames = readers.decode_strictly(file)
    assert are_all(frames["video"], encoded(sent["statistics"]))
    assert are_all(frames["audio"], spoken(sent["statistics"]))


@pytest.mark.parametrize(("options", "kinds"), [(("--no-audio",), {"video"}), (("--no-video",), {"audio"})])
async def test_the_python_sdk_with_one_kind(
    daemon: Daemon, consumer: Consumer, options: tuple[str, ...], kinds: set[str]
) -> None:
    """The file has no track for the kind that was not sent."""
    await record(daemon)
    await publish_with_sdk(daemon, "sora", 2, *options)
    file = await stored_file(daemon, consumer)
    assert set(readers.decode_strictly(file)) == kinds
    readers.inspect_with_hisui(file)


async def test_the_load_generator(daemon: Daemon, consumer: Consumer) -> None:
    """Five publishers of another WebRTC stack; the payloads are those of its files, byte for byte.

    On a busy machine no packet of one publisher's first picture may arrive, which cannot be detected as a loss; the
    file then begins with the key frame after a PLI. Nothing else may be missing.
    """
    await record(daemon)
    result = await generate_load(daemon, "sora", 5, 4)
    assert result["connected"] == 5
    await daemon.api("StopRecording", {"channel_id": "sora"})
    report = await consumer.wait_for("recording.report")
    assert len(report["data"]["archives"]) == 5
    pictures = readers.payloads(MEDIA / "v.ivf", "video")
    packets = readers.payloads(MEDIA / "a.ogg", "audio")
    late = 0
    for entry in report["data"]["archives"]:
        file = Path(entry["file_path"])
        stored = readers.payloads(file, "video")
        assert len(stored) > 100
        begins_late = stored[0] != pictures[0]
        late += begins_late
        assert is_run_of(pictures, stored, begins_late=begins_late)
        sound = readers.payloads(file, "audio")
        assert len(sound) > 180
        assert is_run_of(packets, sound, begins_late=begins_late)
        readers.decode_strictly(file)
        readers.inspect_with_hisui(file)
    assert late <= min(result["total"]["pli"], 1)


def is_run_of(sent: Sequence[bytes], stored: Sequence[bytes], *, begins_late: bool) -> bool:
    """Return whether the stored payloads are consecutive sent ones, from the first unless they begin late.

    It is no plain assertion: pytest would print a difference of megabytes.
    """
    begin = sent.index(stored[0]) if begins_late else 0
    return sent[begin : begin + len(stored)] == stored


async def pictures_missing(daemon: Daemon, consumer: Consumer, loss: float, seconds: float, *options: str) -> float:
    """Publish with loss; return the share of the sent pictures that are not stored.

    The loss of the very first packet cannot be detected: the pictures up to the next key frame do not count then.
    """
    await record(daemon)
    result = await generate_load(daemon, "sora", 1, seconds, "--loss", str(loss), *options)
    file = await stored_file(daemon, consumer)
    readers.decode_strictly(file)
    stored = readers.payloads(file, "video")
    begins_late = stored[0] != readers.payloads(MEDIA / "v.ivf", "video")[0]
    sent = int(result["total"]["vframes"])
    return (sent - len(stored) - (PICTURES_UNTIL_KEYFRAME if begins_late else 0)) / sent


@pytest.mark.parametrize("options", [(), ("--rtx",)])
async def test_lost_packets_are_repaired(daemon: Daemon, consumer: Consumer, options: tuple[str, ...]) -> None:
    """2 % of the packets are lost, with RTX and without: all pictures are stored but the last."""
    assert await pictures_missing(daemon, consumer, 0.02, 5, *options) < 0.02


@pytest.mark.soak
@pytest.mark.parametrize(("loss", "most"), [(0.02, 0.005), (0.10, 0.01)])
async def test_lost_packets_are_repaired_over_20_s(
    daemon: Daemon, consumer: Consumer, loss: float, most: float
) -> None:
    """All pictures at 2 %, nearly all at 10 %; one or two are in transit when the generator disconnects."""
    assert await pictures_missing(daemon, consumer, loss, 20) <= most
