"""`rokuga sink` as a process: it takes, refuses, resets, and says by its exit code whether all was right."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import pytest
import pytest_asyncio

from rokuga.api.config.arguments import pause_s
from rokuga.webhooks.bodies import make_body
from tests.test_schemas import CONFIG, record

ROOT = Path(__file__).parent.parent.parent


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bodies(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[list[bytes]]:
    """Every event of a real recording in parts."""
    events = await record(tmp_path_factory.mktemp("recorded"), split_duration=1)
    yield [make_body(event, CONFIG) for event in events]


@contextlib.asynccontextmanager
async def sinking(*options: str) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """Run a sink on a free port; gives its URL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "rokuga", "sink", "--port", "0", *options, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    try:
        yield line.split()[-1], process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def post(url: str, body: bytes) -> int:
    """Post an event; 0 where the connection was reset."""
    event_type = msgspec.json.decode(body)["type"]
    async with aiohttp.ClientSession() as session:
        try:
            async with session.post(url, data=body, headers={"sora-event-webhook-type": event_type}) as answer:
                return answer.status
        except aiohttp.ClientError:
            return 0


@pytest.mark.system
async def test_it_ends_with_the_report_when_all_was_right(bodies: list[bytes]) -> None:
    """Every event of a real recording, one of them twice: exit code 0, and the sum of it is printed."""
    async with sinking("--reports", "1") as (url, process):
        for body in [bodies[0], *bodies]:
            assert await post(url, body) == 200
        output = (await process.communicate())[0].decode()
    assert process.returncode == 0
    assert f"{len(bodies)} events, 1 came again, 1 reports, 0 faults" in output


@pytest.mark.system
async def test_its_exit_code_tells_of_a_broken_promise(bodies: list[bytes]) -> None:
    """A report without its archives: the fault is printed, and the exit code is 1 after SIGTERM."""
    async with sinking() as (url, process):
        for body in (bodies[0], bodies[-1]):
            assert await post(url, body) == 200
        process.send_signal(signal.SIGTERM)
        output = (await process.communicate())[0].decode()
    assert process.returncode == 1
    assert "FAULT" in output


@pytest.mark.system
@pytest.mark.parametrize(("options", "status"), [(["--fail", "1"], 500), (["--reset", "1"], 0)])
async def test_it_misbehaves_when_it_is_told_to(bodies: list[bytes], options: list[str], status: int) -> None:
    """What was refused is not taken: it will come again, and that is no fault of the sender."""
    async with sinking(*options) as (url, process):
        assert await post(url, bodies[0]) == status
        process.send_signal(signal.SIGINT)
        output = (await process.communicate())[0].decode()
    assert process.returncode == 0
    assert "0 events" in output


@pytest.mark.parametrize(("text", "seconds"), [("2s", 2), ("500ms", 0.5), ("1 min", 60)])
def test_a_delay_is_written_as_people_do(text: str, seconds: float) -> None:
    assert pause_s(text) == seconds
