"""`rokuga sink` as a process: it accepts, refuses or resets, and its exit code reports faults."""

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
    """The bodies of all events of a real recording in parts."""
    events = await record(tmp_path_factory.mktemp("recorded"), split_duration=1)
    yield [make_body(event, CONFIG) for event in events]


@contextlib.asynccontextmanager
async def running_sink(*options: str) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """Run a sink on a free port; yield its URL and process."""
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
    """Post an event; return the status, 0 if the connection was reset."""
    event_type = msgspec.json.decode(body)["type"]
    async with aiohttp.ClientSession() as session:
        try:
            async with session.post(url, data=body, headers={"sora-event-webhook-type": event_type}) as answer:
                return answer.status
        except aiohttp.ClientError:
            return 0


@pytest.mark.system
async def test_it_ends_with_0_after_the_report_of_a_correct_recording(bodies: list[bytes]) -> None:
    """One of its events is repeated; a summary is printed."""
    async with running_sink("--reports", "1") as (url, process):
        for body in [bodies[0], *bodies]:
            assert await post(url, body) == 200
        output = (await process.communicate())[0].decode()
    assert process.returncode == 0
    assert f"{len(bodies)} events, 1 came again, 1 reports, 0 faults" in output


@pytest.mark.system
async def test_its_exit_code_is_1_after_a_fault(bodies: list[bytes]) -> None:
    """A report whose archives were not announced, then SIGTERM."""
    async with running_sink() as (url, process):
        for body in (bodies[0], bodies[-1]):
            assert await post(url, body) == 200
        process.send_signal(signal.SIGTERM)
        output = (await process.communicate())[0].decode()
    assert process.returncode == 1
    assert "FAULT" in output


@pytest.mark.system
@pytest.mark.parametrize(("options", "status"), [(["--fail", "1"], 500), (["--reset", "1"], 0)])
async def test_it_injects_faults(bodies: list[bytes], options: list[str], status: int) -> None:
    """A refused event is not recorded: its repeat is no fault."""
    async with running_sink(*options) as (url, process):
        assert await post(url, bodies[0]) == status
        process.send_signal(signal.SIGINT)
        output = (await process.communicate())[0].decode()
    assert process.returncode == 0
    assert "0 events" in output


@pytest.mark.parametrize(("text", "seconds"), [("2s", 2), ("500ms", 0.5), ("1 min", 60)])
def test_a_delay_may_have_any_unit(text: str, seconds: float) -> None:
    assert pause_s(text) == seconds
