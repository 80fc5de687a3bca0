"""A network partition: each node and its etcd have a network namespace, between which packets are dropped."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from rokuga.devtools.etcd_servers import server_command
from rokuga.devtools.publisher.clip import read_clip
from rokuga.devtools.publisher.publisher import Publication, PublishOptions, publish
from rokuga.recorder.webrtc.dtls.transport import Certificate
from tests import readers
from tests.end_to_end.daemon import CLIPS, ROOT, Daemon
from tests.end_to_end.test_cluster import MINORITY, answer
from tests.machine import lacks

CLIP = read_clip(CLIPS / "vp9-opus.webm")
pytestmark = [pytest.mark.end_to_end, pytest.mark.soak]
BRIDGE = f"rk{os.getpid() % 100000}"
NUMBERS = (1, 2, 3)


def ip(*arguments: str) -> None:
    """Run ip(8)."""
    subprocess.run(["ip", *arguments], check=True)


def address(number: int) -> str:
    """Return the address of a node."""
    return f"10.231.77.{number}"


def namespace(number: int) -> str:
    """Return the name of a node's namespace."""
    return f"{BRIDGE}-{number}"


@pytest.fixture
def network() -> Iterator[None]:
    """Three namespaces on a bridge, through which the test reaches all of them, also during the partition."""
    if os.geteuid():
        lacks("network namespaces need root")
    ip("link", "add", BRIDGE, "type", "bridge")
    try:
        ip("address", "add", f"{address(254)}/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        for number in NUMBERS:
            ip("netns", "add", namespace(number))
            ip(
                "link",
                "add",
                f"{BRIDGE}v{number}",
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                namespace(number),
            )
            ip("link", "set", f"{BRIDGE}v{number}", "master", BRIDGE, "up")
            ip("-n", namespace(number), "address", "add", f"{address(number)}/24", "dev", "eth0")
            ip("-n", namespace(number), "link", "set", "eth0", "up")
            ip("-n", namespace(number), "link", "set", "lo", "up")
        yield
    finally:
        for number in NUMBERS:
            subprocess.run(["ip", "netns", "del", namespace(number)], check=False)
        ip("link", "del", BRIDGE)


def cut(number: int, command: str = "-A") -> None:
    """Drop all packets from and to the other nodes; `-D` ends that."""
    for other in set(NUMBERS) - {number}:
        for chain, direction in (("INPUT", "-s"), ("OUTPUT", "-d")):
            drop = ["iptables", command, chain, direction, address(other), "-j", "DROP"]
            subprocess.run(["ip", "netns", "exec", namespace(number), *drop], check=True)


@pytest.fixture
def etcds(network: None, tmp_path: Path) -> Iterator[None]:
    """One etcd beside each node."""
    peers = {f"e{number}": f"http://{address(number)}:2380" for number in NUMBERS}
    processes = []
    for number in NUMBERS:
        server = server_command(tmp_path, f"e{number}", f"http://{address(number)}:2379", peers)
        command = ["ip", "netns", "exec", namespace(number), *server, "--log-level", "fatal"]
        processes.append(subprocess.Popen(command))
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextlib.asynccontextmanager
async def node(folder: Path, number: int) -> AsyncIterator[Daemon]:
    """Run a node in its namespace; its first endpoint is its own etcd."""
    order = [number, *sorted(set(NUMBERS) - {number})]
    settings = {
        "ARCHIVE_DIR": str(folder / f"node-{number}" / "archive"),
        "DATA_DIR": str(folder / f"node-{number}" / "data"),
        "API_PORT": "3000",
        "API_LOOPBACK_ADDRESS_ONLY": "false",
        "MEDIA_ADDRESS": address(number),
        "LOG_FORMAT": "json",
        "NODE_NAME": f"node-{number}",
        "CLUSTER_ENDPOINTS": ",".join(f"http://{address(each)}:2379" for each in order),
    }
    process = await asyncio.create_subprocess_exec(
        *("ip", "netns", "exec", namespace(number), sys.executable, "-m", "rokuga", "run"),
        cwd=ROOT,
        env=os.environ | {f"ROKUGA_{key}": value for key, value in settings.items()},
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    while b'"ready"' not in (line := await process.stderr.readline()):
        assert line, "the daemon did not start"
    draining = asyncio.create_task(process.stderr.read())
    daemon = Daemon(process, folder / f"node-{number}")
    daemon.api_url = f"http://{address(number)}:3000/"
    daemon.signaling_url = f"ws://{address(number)}:5000/signaling"
    try:
        yield daemon
    finally:
        await daemon.stop()
        await draining


async def leader() -> int:
    """Return the number of the etcd leader."""
    async with aiohttp.ClientSession() as session:
        for number in NUMBERS:
            async with session.get(f"http://{address(number)}:2379/metrics") as got:
                if "\netcd_server_is_leader 1" in await got.text():
                    return number
    raise AssertionError("there is no etcd leader")


def events(folder: Path, event_type: str) -> list[dict[str, Any]]:
    """Return the events of one type in the logs of all nodes."""
    lines = [
        line for log in folder.glob("node-*/data/log/event_webhook.jsonl") for line in log.read_bytes().splitlines()
    ]
    return [event for event in map(msgspec.json.decode, lines) if event["type"] == event_type]


async def until_events(folder: Path, event_type: str, count: int) -> list[dict[str, Any]]:
    """Wait for so many events, and return them."""
    while len(found := events(folder, event_type)) < count:  # noqa: ASYNC110  # the log is a file
        await asyncio.sleep(0.05)
    return found


LIST = {"channel_id": "sora"}


@pytest.mark.parametrize("role", ["leader", "follower"])
async def test_a_node_in_the_minority_refuses_reads_still_records_and_catches_up(
    etcds: None, tmp_path: Path, role: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No read succeeds in the minority; its archive is complete; a stop during the partition is applied after it."""
    async with node(tmp_path, 1) as one, node(tmp_path, 2) as two, node(tmp_path, 3) as three:
        nodes = {1: one, 2: two, 3: three}
        leading = await leader()
        number = leading if role == "leader" else leading % 3 + 1
        lost, kept = nodes.pop(number), next(iter(nodes.values()))
        publication = Publication()
        options = PublishOptions(Path(), lost.signaling_url, "sora", loop=True)
        publishing = asyncio.create_task(publish(options, CLIP, Certificate.make(), publication))
        await publication.sending.wait()
        await kept.api("StartRecording", {"channel_id": "sora", "expire_time": 0})
        await until_events(tmp_path, "archive.started", 1)
        cut(number)
        begin_s = time.monotonic()
        assert await answer(lost, "ListStartedRecording", LIST) == MINORITY
        first_s = time.monotonic() - begin_s
        answered = asked = gap = 0
        slowest_s = changed_s = 0.0
        while time.monotonic() - begin_s < 6 or not changed_s:
            began_s = time.monotonic()
            asked += 1
            answered += await answer(lost, "ListStartedRecording", LIST) != MINORITY
            slowest_s = max(slowest_s, time.monotonic() - began_s)
            if not changed_s:
                status, _ = await answer(kept, "StopRecording", LIST)
                changed_s = time.monotonic() - begin_s if status == 200 else 0.0
                gap += status != 200
            await asyncio.sleep(0.05)
        healing_s = time.monotonic()
        cut(number, "-D")
        while (state := await answer(lost, "ListStartedRecording", LIST)) == MINORITY:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        healed_s = time.monotonic() - healing_s
        assert state == (200, [])
        (available,) = await until_events(tmp_path, "archive.available", 1)
        publication.stop.set()
        await publishing
        (report,) = await until_events(tmp_path, "recording.report", 1)
    recorded_s = readers.duration_s(Path(available["data"]["file_path"]))
    with capsys.disabled():
        print(f"\n{role} cut: first refusal after {first_s:.2f} s, {answered} of {asked} later reads answered,")
        print(f"  the slowest after {slowest_s:.2f} s; majority stopped it after {changed_s:.2f} s, {gap} refused;")
        print(f"  healed {healed_s:.2f} s after the end of the cut; {recorded_s:.1f} s of media kept")
    assert answered == 0
    assert recorded_s > 6
    assert len(report["data"]["archives"]) + len(report["data"]["failed_archives"]) == 1
    assert len(events(tmp_path, "recording.report")) == len(events(tmp_path, "recording.started")) == 1
