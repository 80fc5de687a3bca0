"""Real clients publish; what they say they sent is in the file, decodes, and is in sync."""

from pathlib import Path
from statistics import median
from typing import Any

import pytest

from tests import readers
from tests.end_to_end import marks
from tests.end_to_end.clients import MEDIA, generate_load, publish_with_browser, publish_with_sdk
from tests.end_to_end.daemon import Consumer, Daemon

pytestmark = pytest.mark.end_to_end

LIP_SYNC_MS = 40


async def record(daemon: Daemon, channel: str = "sora") -> str:
    """Start a recording; give its id."""
    started = await daemon.api("StartRecording", {"channel_id": channel, "expire_time": 0})
    return str(started["recording_id"])


async def stored_file(daemon: Daemon, consumer: Consumer, channel: str = "sora") -> Path:
    """Stop the recording; give its only file."""
    await daemon.api("StopRecording", {"channel_id": channel})
    await consumer.wait_for("recording.report")
    return Path((await consumer.wait_for("archive.available"))["data"]["file_path"])


def encoded(statistics: list[dict[str, Any]]) -> int:
    """Give how many pictures the client says it encoded."""
    return next(int(entry["framesEncoded"]) for entry in statistics if entry["kind"] == "video")


@pytest.mark.parametrize("codec", ["VP9", "VP8", "AV1", "H264"])
async def test_chromium_with_the_sora_sdk(daemon: Daemon, consumer: Consumer, codec: str) -> None:
    """Chromium publishes 4 s; every picture is there, and flash and beep are stored together."""
    await record(daemon)
    sent = await publish_with_browser(daemon, "sora", [{"wait": 4000}], codec=codec)
    assert sent["connected"], sent
    assert sent["disconnect"] == ["normal", "DISCONNECT", 1000, "TYPE-DISCONNECT"]
    assert sent["notifications"] == ["connection.created"]
    file = await stored_file(daemon, consumer)
    frames = readers.decode_strictly(file)
    assert frames["video"] == pytest.approx(encoded(sent["statistics"]), abs=3)
    offsets = marks.sync_errors_ms(file, sent["flashLatenessMs"])
    assert len(offsets) >= 3
    assert abs(median(offsets)) <= LIP_SYNC_MS, offsets
    readers.identify(file)


@pytest.mark.parametrize("codec", ["VP9", "VP8", "AV1"])
async def test_the_python_sdk(daemon: Daemon, consumer: Consumer, codec: str) -> None:
    """The Python SDK publishes 4 s; every picture is there."""
    await record(daemon)
    sent = await publish_with_sdk(daemon, "sora", 4, "--codec", codec)
    file = await stored_file(daemon, consumer)
    frames = readers.decode_strictly(file)
    assert frames["video"] == pytest.approx(encoded(sent["statistics"]), abs=3)
    assert frames["audio"] == pytest.approx(200, abs=15)


@pytest.mark.parametrize(("options", "kinds"), [(("--no-audio",), {"video"}), (("--no-video",), {"audio"})])
async def test_the_python_sdk_with_one_kind(
    daemon: Daemon, consumer: Consumer, options: tuple[str, ...], kinds: set[str]
) -> None:
    """Audio alone and video alone are recorded, and the file has no track for what was not sent."""
    await record(daemon)
    await publish_with_sdk(daemon, "sora", 2, *options)
    file = await stored_file(daemon, consumer)
    assert set(readers.decode_strictly(file)) == kinds
    readers.inspect_with_hisui(file)


async def test_the_load_generator(daemon: Daemon, consumer: Consumer) -> None:
    """Five publishers of another WebRTC stack; payloads are those of its files, byte for byte."""
    await record(daemon)
    result = await generate_load(daemon, "sora", 5, 4)
    assert result["connected"] == 5
    await daemon.api("StopRecording", {"channel_id": "sora"})
    report = await consumer.wait_for("recording.report")
    assert len(report["data"]["archives"]) == 5
    pictures = readers.payloads(MEDIA / "v.ivf", "video")
    packets = readers.payloads(MEDIA / "a.ogg", "audio")
    for entry in report["data"]["archives"]:
        file = Path(entry["file_path"])
        stored = readers.payloads(file, "video")
        assert len(stored) > 100
        assert stored == pictures[: len(stored)]
        spoken = readers.payloads(file, "audio")
        assert len(spoken) > 180
        assert spoken == packets[: len(spoken)]
        readers.decode_strictly(file)
        readers.inspect_with_hisui(file)
