"""`rokuga publish`: invalid arguments and files, the summary of each publisher, and the exit code."""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from rokuga.api.daemon import running
from rokuga.devtools.publisher.command import add_arguments, run
from tests.api.serving import config_in

ROOT = Path(__file__).parents[3]
CLIP = ROOT / "media-samples" / "vp9-opus.webm"


@pytest.mark.parametrize(
    "wrong",
    [
        ["--count", "0"],
        ["--loss", "1.5"],
        ["--seconds", "0"],
        ["--seconds", "nan"],
        ["--seconds", "x"],
        ["--count", "x"],
    ],
)
def test_invalid_arguments_are_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser(prog="publish")
    add_arguments(parser)
    with pytest.raises(SystemExit) as raised:
        parser.parse_args(["clip.webm", *wrong])
    assert raised.value.code == 2
    assert wrong[0] in capsys.readouterr().err


def test_an_unusable_file_is_refused_before_connecting(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert run(parser.parse_args(["missing.webm"])) == 2
    assert "missing.webm" in capsys.readouterr().err


@pytest.mark.end_to_end
async def test_the_command_publishes_until_it_is_interrupted(tmp_path: Path) -> None:
    """Two publishers; Ctrl-C ends both in order, with a summary line each. A refusal has an exit code."""
    async with running(config_in(tmp_path)) as addresses:
        command = [sys.executable, "-m", "api", "publish", str(CLIP), "--url", addresses.signaling_url]
        process = await asyncio.create_subprocess_exec(
            *command, "--loop", "--count", "2", "--channel", "room-{i}", cwd=ROOT,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with aiohttp.ClientSession() as session:
            await until_connected(session, addresses.api_url, 2)
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
        assert (process.returncode, err) == (0, b"")
        lines = out.decode().splitlines()
        assert len(lines) == 2
        assert all("pictures" in line and "Opus packets" in line for line in lines)

        refused = await asyncio.create_subprocess_exec(
            *command, "--channel", "x" * 300, cwd=ROOT,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await refused.communicate()
        assert (refused.returncode, out) == (1, b"")
        assert b"4490" in err


async def until_connected(session: aiohttp.ClientSession, api_url: str, count: int) -> None:
    """Poll the daemon until it has so many clients."""
    while True:
        async with session.post(api_url, headers={"x-sora-target": "Sora_20201013.ListConnections"}) as answer:
            answer.raise_for_status()
            if len(await answer.json()) == count:
                return
