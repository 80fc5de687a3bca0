"""The browser page where it is less easy: without a mouse, behind a password, with cameras, in a hidden tab."""

import json
import os
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from rokuga.recorder.identifiers import new_id
from tests import readers
from tests.end_to_end import marks
from tests.end_to_end.clients import HERE, NPM, place, run_client
from tests.end_to_end.daemon import CLIPS, Consumer, Daemon, running
from tests.end_to_end.test_foreign_clients import record

pytestmark = pytest.mark.end_to_end

LISTED = 10
"""Recordings that the page shows at first."""

TOKEN = "t0ken-of-the-page"
ORDER = [
    *("Publish", "Record", "Files", "Webhooks"),
    *("Channel", "Source", "Video codec", "Resolution", "Bit rate, kbit/s", "Video", "Audio", "Publish"),
    *("Channel", "Ends after, s (0: never)", "Split every, s", "Metadata, JSON", "Parts only"),
]


async def drive(name: str, daemon: Daemon, *arguments: str) -> Any:
    """Run a driver of the page; give what it prints."""
    driver = NPM / name  # beside node_modules, where imports resolve
    place(HERE / "browser" / name, driver)
    page = daemon.signaling_url.replace("ws://", "http://").replace("/signaling", "/")
    return json.loads(await run_client("node", driver, page, *arguments))


@pytest.mark.parametrize("secret", [pytest.param("password", marks=pytest.mark.soak), "token"])
async def test_all_is_done_by_keyboard_and_legible(tmp_path: Path, secret: str) -> None:
    """Tab goes where the eye goes, with a focus that shows; Enter, Space and Escape do what they do everywhere.

    Every control has a name, every text 4.5 to 1 of contrast, every edge 3 to 1, in both themes. With a password the
    browser asks once; with a token the page does, again after a wrong one, and takes no for an answer.
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
    for looked in (seen["names"], *seen["contrast"].values()):
        assert looked["bad"] == []
        assert looked["looked"] > 20


@pytest.mark.soak
async def test_many_files_are_looked_through_one_by_one(tmp_path: Path) -> None:
    """Each of ten large files gets its poster as it comes into view, one file plays, and the page gets answers."""
    for _ in range(LISTED):
        folder = tmp_path / "archive" / new_id()
        folder.mkdir(parents=True)
        file = folder / f"archive-{new_id()}.webm"
        shutil.copyfile(CLIPS / "vp9-opus.webm", file)
        os.truncate(file, 64 << 20)  # more than a browser reads of what it only shows
        file.with_suffix(".json").write_text("{}")
    async with running(tmp_path) as daemon:
        assert await drive("many_files.mjs", daemon, str(LISTED)) == {"status": 200, "playing": 1}
    assert not daemon.faults()


@pytest.mark.soak
async def test_several_cameras_in_one_page_each_with_its_codec(tmp_path: Path, consumer: Consumer) -> None:
    """The browser's fake camera and microphone go out four times from one page, and each file has its codec."""
    codecs = ("VP8", "VP9", "AV1", "H264")
    async with running(tmp_path, consumer.url) as daemon:
        for codec in codecs:
            await record(daemon, codec)
        said = await drive("cameras.mjs", daemon, *codecs)
        for codec in codecs:
            await daemon.api("StopRecording", {"channel_id": codec})
            report = await consumer.wait_for("recording.report", channel_id=codec)
            [archive] = report["data"]["archives"]
            streams = readers.probe(Path(archive["file_path"]), "-show_streams")["streams"]
            assert {stream["codec_name"] for stream in streams} == {codec.lower(), "opus"}
            assert readers.decode_strictly(Path(archive["file_path"]))["video"] > 30
            assert said[codec].startswith(f"{codec} · 320×180")
    assert not daemon.faults()


@pytest.mark.soak
async def test_a_hidden_tab_keeps_its_pace(tmp_path: Path, consumer: Consumer) -> None:
    """In a tab that nobody looks at, whose timers beat once a second, pictures and beeps go on at their full rate."""
    seconds = 5
    async with running(tmp_path, consumer.url) as daemon:
        await record(daemon)
        fared = await drive("hidden.mjs", daemon, str(seconds))
        await daemon.api("StopRecording", {"channel_id": "sora"})
        [archive] = (await consumer.wait_for("recording.report"))["data"]["archives"]
    assert fared["visibility"] == "hidden"
    assert fared["timers"] <= 3 * seconds  # it was throttled indeed
    file = Path(archive["file_path"])
    assert readers.decode_strictly(file)["video"] >= 20 * seconds
    beeps = marks.beeps_s(file)
    assert len(beeps) >= seconds - 1
    assert all(later - earlier == pytest.approx(1, abs=0.1) for earlier, later in pairwise(beeps))
    assert not daemon.faults()
