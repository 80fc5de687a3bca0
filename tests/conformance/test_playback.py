"""Chromium's `<video>` plays every kind of file, and shows the right picture after a seek."""

import asyncio
import json
from pathlib import Path

import pytest
from aiohttp import web

from rokuga.devtools.serving import serving
from tests.conformance.archives import VIDEO_CODECS, audio_units, record, video_units
from tests.end_to_end.clients import place

HERE = Path(__file__).parent
NPM = HERE.parent.parent / ".tools" / "npm"
SEEKS_S = [0.45, 0.1, 0.7]
FRAME_S = 1 / 30


async def play(files: list[Path]) -> list[dict[str, object]]:
    """Play all files in Chromium, and seek in each."""
    driver = NPM / "play.mjs"
    place(HERE / "browser" / "play.mjs", driver)  # beside node_modules, where imports resolve
    app = web.Application()

    async def page(_request: web.Request) -> web.FileResponse:
        return web.FileResponse(HERE / "browser" / "player.html")

    async def file(request: web.Request) -> web.FileResponse:
        return web.FileResponse(files[int(request.match_info["place"])], headers={"content-type": "video/webm"})

    app.router.add_get("/", page)
    app.router.add_get("/files/{place}", file)
    async with serving(app) as address:
        base = f"http://{address}/"
        wanted = json.dumps([[f"/files/{place}", SEEKS_S] for place in range(len(files))])
        process = await asyncio.create_subprocess_exec(
            "node",
            driver,
            base,
            wanted,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode(errors="replace")
        seen: list[dict[str, object]] = json.loads(out)
        return seen


@pytest.mark.end_to_end
async def test_chromium_plays_and_seeks(tmp_path: Path) -> None:
    """Each codec with and without audio, and audio only: to the end, and to the picture of the sought time."""
    sent = []
    for codec in VIDEO_CODECS:
        for with_sound in (True, False):
            units = video_units(codec) + (audio_units() if with_sound else [])
            folder = tmp_path / f"{codec}-{with_sound}"
            folder.mkdir()
            sent.append(await record(folder, units, audio="OPUS" if with_sound else None, video=codec))
    sent.append(await record(tmp_path, audio_units(), video=None))
    for recorded, seen in zip(sent, await play([each.path for each in sent]), strict=True):
        last_ms = max(units[-1][1] for units in recorded.units.values() if units)
        assert seen["duration"] == pytest.approx(last_ms / 1000, abs=0.03)
        assert seen["end"] == pytest.approx(last_ms / 1000, abs=0.1)
        assert seen["width"] == (320 if recorded.units.get("video") else 0)
        shown = [frame["mediaTime"] for frame in seen["seeks"]]  # type: ignore[attr-defined]  # JSON
        if recorded.units.get("video"):
            assert shown == pytest.approx(SEEKS_S, abs=FRAME_S + 0.001)
