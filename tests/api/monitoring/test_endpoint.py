"""Probes and metrics of the real daemon over HTTP, with a full disk and a stuck writer."""

import asyncio
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from rokuga.api.app import api_app
from rokuga.api.config.loader import DaemonConfig
from rokuga.api.context import AppContext
from rokuga.api.daemon import running
from rokuga.api.monitoring.endpoint import exposition
from rokuga.api.monitoring.health import Disk, Health
from rokuga.api.monitoring.metrics import METRICS
from rokuga.recorder.archive.disk import free_bytes
from rokuga.recorder.archive.writer import WriterThread
from rokuga.recorder.clock import Clock
from tests.api.serving import config_in, served
from tests.fakes_recorder import FakeRecorder

TOKEN = "correct-horse-battery-staple"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "archive"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


async def _until(url: str, is_it: Callable[[int, dict[str, str]], bool]) -> None:
    """Poll until the response is the expected one."""
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(url) as response:
                if is_it(response.status, (await response.json())["faults"]):
                    return
            await asyncio.sleep(0.05)


@pytest.mark.system
async def test_a_full_disk_is_a_fault_until_there_is_space(tmp_path: Path, small_disk: Path) -> None:
    async with running(config_in(tmp_path)) as addresses:
        url = f"{addresses.api_url}readyz"
        await _until(url, lambda status, _: status == 200)
        with pytest.raises(OSError, match="No space"):
            (small_disk / "ballast").write_bytes(bytes(9 << 20))
        await _until(url, lambda status, faults: status == 503 and "disk" in faults)
        (small_disk / "ballast").unlink()
        await _until(url, lambda status, _: status == 200)


async def test_a_stuck_writer_is_a_fault_until_it_continues(tmp_path: Path) -> None:
    going_on = threading.Event()
    async with WriterThread() as writer:

        async def measure() -> int:
            return await writer.submit(lambda: free_bytes(str(tmp_path)))

        async with Health({"writer": Disk(measure, 0).measure}, Clock()) as health:
            async with served(api_app(AppContext(FakeRecorder(), DaemonConfig(), health=health))) as address:
                url = f"http://{address}/readyz"
                await _until(url, lambda status, _: status == 200)
                stuck = writer.submit(going_on.wait)
                try:
                    await _until(url, lambda status, faults: status == 503 and list(faults) == ["writer"])
                finally:
                    going_on.set()
                await stuck
                await _until(url, lambda status, _: status == 200)


async def test_a_probe_that_raises_is_a_fault_with_its_reason() -> None:
    async def broken() -> str | None:
        raise OSError("it is gone")

    async with Health({"outbox": broken}, Clock()) as health:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert health.faults() == {"outbox": "it is gone"}


async def test_metrics_are_those_of_the_table_and_need_the_token(tmp_path: Path) -> None:
    config = config_in(tmp_path, api_bearer_token=TOKEN)
    async with running(config) as addresses, aiohttp.ClientSession() as session:
        await _until(f"{addresses.api_url}readyz", lambda status, _: status == 200)
        async with session.get(f"{addresses.api_url}livez") as response:
            assert response.status == 200
        async with session.get(f"{addresses.api_url}metrics") as response:
            assert response.status == 401
        headers = {"authorization": f"Bearer {TOKEN}"}
        async with session.get(f"{addresses.api_url}metrics", headers=headers) as response:
            families = {family.name: family for family in text_string_to_metric_families(await response.text())}
    named = {row.exported_name for name, row in METRICS.items() if not name.startswith(("auth_webhook_", "cluster_"))}
    assert {name for name in families if name.startswith("rokuga_")} == {*named, "rokuga_build_info"}
    assert "process_resident_memory_bytes" in families
    assert families["rokuga_archive_free_bytes"].samples[0].value > 0
    assert {sample.labels["kind"] for sample in families["rokuga_lost_packets"].samples} == {"audio", "video"}


def test_every_row_is_exported() -> None:
    numbers = {name: {"x": 1} if row.label else 1 for name, row in METRICS.items()}
    families = list(text_string_to_metric_families(exposition(numbers, "").decode()))[: len(METRICS)]
    assert [family.name for family in families] == [row.exported_name for row in METRICS.values()]
    assert [family.samples[0].value for family in families] == [row.exported(1) for row in METRICS.values()]
