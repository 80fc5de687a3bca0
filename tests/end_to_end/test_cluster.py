"""Three daemons on three etcd servers, as three machines would be: real publishers, one killed, one cut off."""

import asyncio
import contextlib
import io
import json
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from rokuga.devtools.etcd_servers import free_ports
from rokuga.devtools.publisher.publisher import Publication
from tests import readers
from tests.end_to_end.clients import publish_with_sdk
from tests.end_to_end.daemon import ROOT, RUN, Consumer, Daemon, running
from tests.end_to_end.publishing import publishing
from tests.support.etcd import Servers

pytestmark = pytest.mark.end_to_end


@dataclass
class Nodes:
    """Where the nodes of one cluster live."""

    servers: Servers
    prefix: str
    folder: Path
    consumer: Consumer
    first: int | None = None

    def run(
        self, number: int, command: Sequence[str] = RUN, **settings: str
    ) -> contextlib.AbstractAsyncContextManager[Daemon]:
        """Run a node. The nearest server comes first."""
        endpoints = self.servers.endpoints[number - 1 :] + self.servers.endpoints[: number - 1]
        return running(
            self.folder / f"node-{number}",
            self.consumer.url,
            command,
            node_name=f"node-{number}",
            cluster_endpoints=",".join(endpoints),
            cluster_prefix=self.prefix,
            **settings,
        )

    def run_redirecting(self, number: int) -> contextlib.AbstractAsyncContextManager[Daemon]:
        """Run a node that sends clients to others, and is one to which they are sent."""
        (port,) = free_ports(1)
        url = f"ws://127.0.0.1:{port}/signaling"
        return self.run(number, signaling_port=str(port), cluster_signaling_url=url, cluster_redirect="true")


@pytest.fixture
async def cluster(etcd: Servers, tmp_path: Path, consumer: Consumer) -> Nodes:
    for number in (1, 2, 3):
        (tmp_path / f"node-{number}").mkdir()
    return Nodes(etcd, etcd.prefix(), tmp_path, consumer)


@contextlib.asynccontextmanager
async def together(*nodes: contextlib.AbstractAsyncContextManager[Daemon]) -> AsyncIterator[Sequence[Daemon]]:
    """Start nodes at the same time, which two cores do faster than one after the other."""
    async with contextlib.AsyncExitStack() as stack:
        yield await asyncio.gather(*(stack.enter_async_context(node) for node in nodes))


async def answer(daemon: Daemon, operation: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    """Call a target; give whatever comes."""
    headers = {"x-sora-target": f"Sora_20161101.{operation}"}
    data = io.BytesIO(json.dumps(body).encode()) if body is not None else None
    async with aiohttp.ClientSession() as session, session.post(daemon.api_url, data=data, headers=headers) as got:
        return got.status, await got.json()


MINORITY = (400, {"error_type": "NOT-CLUSTER-MAJORITY"})


async def page(daemon: Daemon, name: str) -> str:
    """Read what monitors read."""
    async with aiohttp.ClientSession() as session, session.get(daemon.api_url + name) as got:
        return await got.text()


async def until_page_has(daemon: Daemon, name: str, text: str) -> None:
    """Read it until it says so."""
    while text not in await page(daemon, name):  # noqa: ASYNC110  # nothing else says so
        await asyncio.sleep(0.05)


async def until_healed(daemon: Daemon) -> None:
    """Call until the node belongs to a majority again."""
    while await answer(daemon, "ListStartedRecording") == MINORITY:  # noqa: ASYNC110  # nothing else says so
        await asyncio.sleep(0.05)


async def until_sent(publication: Publication, packets: int) -> None:
    """Have so much be sent: an archive of one who leaves before its first frame has failed."""
    while publication.counts.packets < packets:  # noqa: ASYNC110  # nothing else says so
        await asyncio.sleep(0.01)


async def test_the_story_of_a_cluster(cluster: Nodes) -> None:
    """Start on node 1, publish on 2 and 3, list anywhere, lose the majority, find it again, stop: one report."""
    async with together(*map(cluster.run, (1, 2, 3))) as (one, two, three):
        async with publishing(two.signaling_url), publishing(three.signaling_url):
            await cluster.consumer.wait_for("connection.created", 2)
            large = {"channel_id": "sora", "expire_time": 0, "metadata": "x" * 2_000_000}
            status, refusal = await answer(one, "StartRecording", large)
            assert (status, refusal["error_type"]) == (400, "METADATA-TOO-LARGE")
            started = await one.api("StartRecording", {"channel_id": "sora", "expire_time": 0})
            for node in (two, three):
                (listed,) = await node.api("ListStartedRecording")
                assert listed["recording_id"] == started["recording_id"]
                assert len(await node.api("ListArchiving")) == 1
            assert await one.api("ListArchiving") == []
            body = {"channel_id": "sora", "expire_time": 0}
            assert await answer(three, "StartRecording", body) == (400, {"error_type": "STARTED-RECORDING"})
            assert [node["connected"] for node in await one.api("Sora_20211215.ListClusterNodes")] == [True] * 3
            with cluster.servers.paused(1, 2):
                for operation in ("StopRecording", "ListArchiving", "ListStartedRecording"):
                    assert await answer(two, operation, {"channel_id": "sora"}) == MINORITY
                assert "rokuga_cluster_majority 0.0" in await page(two, "metrics")
                await until_page_has(two, "readyz", "this node sees no majority")
                async with publishing(two.signaling_url) as third:  # media needs no majority
                    await cluster.consumer.wait_for("archive.started", 3)
                    await until_sent(third, 20)
            for node in (one, two, three):
                await until_healed(node)
            assert await two.api("StopRecording", {"channel_id": "sora"}) == {"channel_id": "sora"}
            report = (await cluster.consumer.wait_for("recording.report"))["data"]
        entries = sorted(report["archives"], key=lambda entry: str(entry["node_name"]))
        assert [entry["node_name"] for entry in entries] == ["node-2", "node-2", "node-3"]
        assert report["failed_archives"] == []
        for entry in entries:
            assert Path(entry["file_path"]).is_relative_to(cluster.folder / entry["node_name"])
            assert readers.duration_s(Path(entry["file_path"])) > 0
        assert await one.api("ListStartedRecording") == []
    types = cluster.consumer.types
    assert types.count("recording.started") == types.count("recording.report") == 1
    assert types.count("archive.available") == 3


@pytest.mark.parametrize(("count", "published"), [(9, 2), pytest.param(40, 3, marks=pytest.mark.soak)])
async def test_a_node_that_is_killed_and_comes_back(cluster: Nodes, count: int, published: int) -> None:
    """Many recordings, some with publishers on every node: as many reports, each once, no archive forgotten."""
    channels = [f"channel {number}" for number in range(count)]
    before, after = channels[:1] + channels[count // 2 :], channels[1 : count // 2]
    publishers = 3 * published
    consumer = cluster.consumer
    async with together(*map(cluster.run, (1, 2, 3))) as nodes:
        one, two, three = nodes
        async with contextlib.AsyncExitStack() as stack:
            for number, channel_id in enumerate(channels):
                await nodes[number % 3].api("StartRecording", {"channel_id": channel_id, "expire_time": 0})
            for number in range(publishers):
                entering = publishing(nodes[number % 3].signaling_url, channels[number // 3], may_be_cut_off=True)
                await stack.enter_async_context(entering)
            await consumer.wait_for("archive.started", publishers)
            for channel_id in before:
                await two.api("StopRecording", {"channel_id": channel_id})
            three.kill()
            await three.process.wait()
            for channel_id in after:
                await one.api("StopRecording", {"channel_id": channel_id})
        async with cluster.run(3) as back:
            await consumer.wait_until(lambda: len(reported(consumer)) == count)
            await consumer.wait_until(lambda: ended(consumer) == publishers)
            assert await back.api("ListStartedRecording") == []
    tellers = {(event["id"], event["node_name"]) for event in consumer.of_type("recording.report")}
    assert len(tellers) == count  # the killed node may repeat a webhook whose answer it did not live to note
    reports = [event for event in consumer.once() if event["type"] == "recording.report"]
    assert len(reports) == count
    told = [entry for event in reports for kind in ("archives", "failed_archives") for entry in event["data"][kind]]
    assert len(told) == len({entry["connection_id"] for entry in told}) == publishers
    ends = [event for event in consumer.once() if event["type"] in {"archive.available", "archive.failed"}]
    assert len(ends) == len({event["connection_id"] for event in ends}) == publishers


DEATHS = [
    ("after decide", 1),  # the start is won
    ("before post", 1),  # it is in the outbox
    ("after decide", 2),  # the stop is won
    ("after claim", 1),  # the report is ours
    ("after json", 1),  # its file is written
    ("after finish", 1),  # it is in the log, with the change it tells of
    ("before post", 2),  # it is in the outbox
]


@pytest.mark.parametrize(
    ("step", "count"), [pytest.param(*each, marks=() if each == DEATHS[-1] else pytest.mark.soak) for each in DEATHS]
)
async def test_what_a_node_died_before_telling_another_one_tells(cluster: Nodes, step: str, count: int) -> None:
    """Killed when it had won, and nobody else there: who comes next tells it once, and it nothing when it is back."""
    consumer = cluster.consumer
    command = ("tests.end_to_end.dying", step, str(count), str(cluster.folder), "run")
    async with cluster.run(2, command, cluster_node_timeout="3") as two:
        recording = asyncio.create_task(record_nothing(two, consumer))
        assert await two.process.wait() == -signal.SIGKILL
        recording.cancel()
        await asyncio.gather(recording, return_exceptions=True)
    assert "recording.report" not in consumer.types
    async with cluster.run(1, cluster_node_timeout="3") as one:
        await consumer.wait_for("recording.started")
        if await one.api("ListStartedRecording"):
            await one.api("StopRecording", {"channel_id": "sora"})
        await consumer.wait_for("recording.report")
        async with cluster.run(2, cluster_node_timeout="3"):
            pass
    assert consumer.types == ["recording.started", "recording.report"]


async def record_nothing(daemon: Daemon, consumer: Consumer) -> None:
    """Start and stop, as far as the daemon lives."""
    await daemon.api("StartRecording", {"channel_id": "sora", "expire_time": 0})
    await consumer.wait_for("recording.started")
    await daemon.api("StopRecording", {"channel_id": "sora"})


async def test_a_client_is_sent_to_the_node_that_has_room(cluster: Nodes) -> None:
    """Two stay where they came; the next, which is sora_sdk, goes where nobody is, and publishes there."""
    async with together(cluster.run_redirecting(1), cluster.run_redirecting(2)) as (one, _):
        await until_page_has(one, "metrics", "rokuga_cluster_nodes 2.0")
        async with publishing(one.signaling_url), publishing(one.signaling_url):
            sent = await publish_with_sdk(one, "sora", 0.5)
        created = await cluster.consumer.wait_for("connection.created", 3)
    assert created
    nodes = {event["connection_id"]: event["node_name"] for event in cluster.consumer.of_type("connection.created")}
    assert nodes.pop(sent["connection_id"]) == "node-2"
    assert list(nodes.values()) == ["node-1", "node-1"]


def reported(consumer: Consumer) -> set[str]:
    """Give the recordings that have a report."""
    return {event["data"]["recording_id"] for event in consumer.of_type("recording.report")}


def ended(consumer: Consumer) -> int:
    """Count the archives that have ended."""
    ends = consumer.of_type("archive.available") + consumer.of_type("archive.failed")
    return len({event["connection_id"] for event in ends})


@pytest.mark.soak
async def test_the_demo_of_three_nodes_shows_one_report(tmp_path: Path) -> None:
    """As a user runs it: three nodes and three servers, one cut off for a while."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "api", "demo", "--nodes", "3", "--keep", str(tmp_path)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert b'400 {"error_type":"NOT-CLUSTER-MAJORITY"}' in output
    assert b"1 of them, archives on node-2, node-3" in output


RUN_ALONE = """
import asyncio, sys
from rokuga.api.config.loader import load_config
from rokuga.api.daemon import running

async def main():
    async with running(load_config(None, {"ROKUGA_API_PORT": "0", "ROKUGA_SIGNALING_PORT": "0",
            "ROKUGA_MEDIA_PORT": "0", "ROKUGA_DATA_DIR": sys.argv[1], "ROKUGA_ARCHIVE_DIR": sys.argv[1]})[0]):
        print(sorted(name.rpartition(".")[2] for name in sys.modules if "rokuga.recorder.store." in name))

asyncio.run(main())
"""


async def test_one_node_loads_nothing_of_a_cluster(tmp_path: Path) -> None:
    """A daemon that runs has the modules of its own file, and no others of the store."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RUN_ALONE, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert output.decode().splitlines()[-1] == "['damage', 'database', 'sqlite']"
