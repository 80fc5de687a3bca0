"""The browser page under conditions: keyboard only, with a password, several cameras, a hidden tab."""

import json
import os
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from rokuga.recorder.identifiers import new_id
from tests import readers
from tests.end_to_end import flashes_and_beeps
from tests.end_to_end.clients import HERE, NPM, place, run_client
from tests.end_to_end.daemon import CLIPS, Consumer, Daemon, running
from tests.end_to_end.test_foreign_clients import record

pytestmark = pytest.mark.end_to_end

LISTED = 10
"""Recordings that the page lists at first."""

TOKEN = "t0ken-of-the-page"
ORDER = [
    *("Publish", "Record", "Files", "Webhooks"),
    *("Channel", "Source", "Video codec", "Resolution", "Bit rate, kbit/s", "Video", "Audio", "Publish"),
    *("Channel", "Ends after, s (0: never)", "Split every, s", "Metadata, JSON", "Parts only"),
]


async def drive(name: str, daemon: Daemon, *arguments: str) -> Any:
    """Run a driver of the page; return its output."""
    driver = NPM / name  # beside node_modules, where imports resolve
    place(HERE / "browser" / name, driver)
    page = daemon.signaling_url.replace("ws://", "http://").replace("/signaling", "/")
    return json.loads(await run_client("node", driver, page, *arguments))


@pytest.mark.parametrize("secret", [pytest.param("password", marks=pytest.mark.soak), "token"])
async def test_the_page_is_usable_by_keyboard_and_legible(tmp_path: Path, secret: str) -> None:
    """The tab order is that of reading, with visible focus; Enter, Space and Escape work as usual.

    Every control has a name, every text a contrast of 4.5 to 1, every edge 3 to 1, in both themes. The browser asks
    for the password once; the page asks for the token, again after a wrong one, and may be cancelled.
    """
    settings = {"password": {"admin_basic_auth": "me:s3cret"}, "token": {"api_bearer_token": TOKEN}}[secret]
    arguments = {"password": ("me", "s3cret", ""), "token": ("", "", TOKEN)}[secret]
    async with running(tmp_path, **settings) as daemon:
        seen = await drive("keyboard.mjs", daemon, *arguments)
    assert not daemon.faults()
    assert seen["order"] == ORDER
    assert seen["unseen"] == []
    assert seen["isOff"]
    assert ("UNAUTHORIZED" in seen["problem"]) == (secret == "token")
    for checked in (seen["names"], *seen["contrast"].values()):
        assert checked["bad"] == []
        assert checked["looked"] > 20


@pytest.mark.soak
async def test_many_files_can_be_viewed_one_by_one(tmp_path: Path) -> None:
    """Each of ten large files gets its poster when it is scrolled into view, and the page stays responsive."""
    for _ in range(LISTED):
        folder = tmp_path / "archive" / new_id()
        folder.mkdir(parents=True)
        file = folder / f"archive-{new_id()}.webm"
        shutil.copyfile(CLIPS / "vp9-opus.webm", file)
        os.truncate(file, 64 << 20)  # more than a browser reads for a poster
        file.with_suffix(".json").write_text("{}")
    async with running(tmp_path) as daemon:
        assert await drive("many_files.mjs", daemon, str(LISTED)) == {"status": 200, "playing": 1}
    assert not daemon.faults()


@pytest.mark.soak
async def test_several_cameras_in_one_page_each_with_its_codec(tmp_path: Path, consumer: Consumer) -> None:
    """One page publishes the browser's fake camera four times, and each file has its codec."""
    codecs = ("VP8", "VP9", "AV1", "H264")
    async with running(tmp_path, consumer.url) as daemon:
        for codec in codecs:
            await record(daemon, codec)
        shown = await drive("cameras.mjs", daemon, *codecs)
        for codec in codecs:
            await daemon.api("StopRecording", {"channel_id": codec})
            report = await consumer.wait_for("recording.report", channel_id=codec)
            [archive] = report["data"]["archives"]
            streams = readers.probe(Path(archive["file_path"]), "-show_streams")["streams"]
            assert {stream["codec_name"] for stream in streams} == {codec.lower(), "opus"}
            assert readers.decode_strictly(Path(archive["file_path"]))["video"] > 30
            assert shown[codec].startswith(f"{codec} · 320×180")
    assert not daemon.faults()


@pytest.mark.soak
async def test_a_hidden_tab_keeps_its_frame_rate(tmp_path: Path, consumer: Consumer) -> None:
    """In a hidden tab, whose timers fire once a second, pictures and beeps keep their rate."""
    seconds = 5
    async with running(tmp_path, consumer.url) as daemon:
        await record(daemon)
        seen = await drive("hidden.mjs", daemon, str(seconds))
        await daemon.api("StopRecording", {"channel_id": "sora"})
        [archive] = (await consumer.wait_for("recording.report"))["data"]["archives"]
    assert seen["visibility"] == "hidden"
    assert seen["timers"] <= 3 * seconds  # the tab was throttled
    file = Path(archive["file_path"])
    assert readers.decode_strictly(file)["video"] >= 20 * seconds
    beeps = flashes_and_beeps.beeps_s(file)
    assert len(beeps) >= seconds - 1
    assert all(later - earlier == pytest.approx(1, abs=0.1) for earlier, later in pairwise(beeps))
    assert not daemon.faults()
