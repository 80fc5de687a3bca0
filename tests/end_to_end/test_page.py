"""The browser page in Chromium, used through its visible controls."""

import json
import os
import re
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from rokuga.recorder.identifiers import new_id
from tests import readers
from tests.end_to_end.clients import HERE, NPM, place, run_client
from tests.end_to_end.daemon import ROOT, consuming, running

SCREENSHOTS = ROOT / "screenshots"
pytestmark = pytest.mark.end_to_end


async def test_the_page_publishes_records_and_plays(tmp_path: Path) -> None:
    """The test pattern is published, recorded in parts, played and sought; webhooks are listed and retried.

    The console has no error, and nothing is wider than a phone. Screenshots are written to screenshots/.
    """
    driver = NPM / "person.mjs"
    place(HERE / "browser" / "person.mjs", driver)  # beside node_modules, where imports resolve
    SCREENSHOTS.mkdir(exist_ok=True)
    async with consuming() as consumer:
        refused: set[str] = set()

        async def refuse_once(_request: web.Request, event: dict[str, object]) -> web.Response:
            is_new = event["type"] == "recording.started" and not refused
            refused.add("once") if is_new else None
            return web.Response(status=503 if is_new else 200)

        consumer.answer = refuse_once
        async with running(tmp_path, consumer.url, webhook_max_attempts="1") as daemon:
            page = daemon.signaling_url.replace("ws://", "http://").replace("/signaling", "/")
            seen = json.loads(await run_client("node", driver, page, SCREENSHOTS))
        assert not daemon.faults()
    (whole,) = consumer.of_type("archive.available")
    assert seen["errors"] == []
    assert seen["overflow"] == 0
    assert seen["played"]["duration"] == pytest.approx(readers.duration_s(Path(whole["data"]["file_path"])), abs=0.1)
    assert seen["played"]["at"] > 3.4
    assert seen["played"]["width"] == 640
    assert seen["parts"] >= 3
    assert re.search(r"VP9 \+ OPUS · 640×360 · part \d", seen["writing"])
    assert re.search(r"VP9 · 640×360 · [\d.]+ [kM]bit/s · 0 % lost", seen["sending"])
    assert {"recording.started", "archive.available", "split-archive.end", "recording.report"} <= set(seen["events"])


async def test_the_daemon_ends_with_pages_open(tmp_path: Path) -> None:
    """An event stream and a file that is not read to its end do not delay the exit."""
    recording, name = new_id(), f"archive-{new_id()}.webm"
    folder = tmp_path / "archive" / recording
    folder.mkdir(parents=True)
    (folder / name).touch()
    os.truncate(folder / name, 1 << 30)
    async with running(tmp_path) as daemon, aiohttp.ClientSession() as session:
        base = daemon.signaling_url.replace("ws://", "http://").replace("/signaling", "/admin")
        async with (
            session.get(f"{base}/events") as events,
            session.get(f"{base}/archives/{recording}/{name}") as file,
        ):
            assert await events.content.readline()
            assert await file.content.readexactly(1)
            assert await daemon.stop() == 0
    assert not daemon.faults()
