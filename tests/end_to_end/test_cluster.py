"""Three daemons on three etcd servers, with real publishers; nodes are killed and cut off."""

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
class Cluster:
    """The etcd servers, folders and consumer of one cluster."""

    servers: Servers
    prefix: str
    folder: Path
    consumer: Consumer
    first: int | None = None

    def run(
        self, number: int, command: Sequence[str] = RUN, **settings: str
    ) -> contextlib.AbstractAsyncContextManager[Daemon]:
        """Run a node whose first endpoint is the server of its number."""
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
        """Run a node that redirects clients, and to which they are redirected."""
        (port,) = free_ports(1)
        url = f"ws://127.0.0.1:{port}/signaling"
        return self.run(number, signaling_port=str(port), cluster_signaling_url=url, cluster_redirect="true")


@pytest.fixture
async def cluster(etcd: Servers, tmp_path: Path, consumer: Consumer) -> Cluster:
    for number in (1, 2, 3):
        (tmp_path / f"node-{number}").mkdir()
    return Cluster(etcd, etcd.prefix(), tmp_path, consumer)


@contextlib.asynccontextmanager
async def together(*nodes: contextlib.AbstractAsyncContextManager[Daemon]) -> AsyncIterator[Sequence[Daemon]]:
    """Start nodes in parallel, which is faster on two cores."""
    async with contextlib.AsyncExitStack() as stack:
        yield await asyncio.gather(*(stack.enter_async_context(node) for node in nodes))


async def answer(daemon: Daemon, operation: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    """Call a target; return status and body, also of an error."""
    headers = {"x-sora-target": f"Sora_20161101.{operation}"}
    data = io.BytesIO(json.dumps(body).encode()) if body is not None else None
    async with (
        aiohttp.ClientSession() as session,
        session.post(daemon.api_url, data=data, headers=headers) as response,
    ):
        return response.status, await response.json()


MINORITY = (400, {"error_type": "NOT-CLUSTER-MAJORITY"})


async def page(daemon: Daemon, name: str) -> str:
    """Return a page of the monitoring."""
    async with aiohttp.ClientSession() as session, session.get(daemon.api_url + name) as response:
        return await response.text()


async def until_page_has(daemon: Daemon, name: str, text: str) -> None:
    """Poll a page of the monitoring until it contains a text."""
    while text not in await page(daemon, name):  # noqa: ASYNC110  # there is no event for it
        await asyncio.sleep(0.05)


async def until_healed(daemon: Daemon) -> None:
    """Poll until the node belongs to a majority again."""
    while await answer(daemon, "ListStartedRecording") == MINORITY:  # noqa: ASYNC110  # there is no event for it
        await asyncio.sleep(0.05)


async def until_sent(publication: Publication, packets: int) -> None:
    """Wait until so many packets are sent: an archive without a frame fails."""
    while publication.counts.packets < packets:  # noqa: ASYNC110  # there is no event for it
        await asyncio.sleep(0.01)


async def test_a_recording_on_three_nodes_has_one_report_after_a_lost_majority(cluster: Cluster) -> None:
    """Start on node 1, publish on 2 and 3, list on all, lose and regain the majority, stop on node 2."""
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
async def test_a_killed_node_loses_no_archive_and_no_report(cluster: Cluster, count: int, published: int) -> None:
    """Many recordings, some with publishers on every node: each has one report, which contains all archives."""
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
        async with cluster.run(3) as restarted:
            await consumer.wait_until(lambda: len(reported(consumer)) == count)
            await consumer.wait_until(lambda: ended(consumer) == publishers)
            assert await restarted.api("ListStartedRecording") == []
    reporters = {(event["id"], event["node_name"]) for event in consumer.of_type("recording.report")}
    assert len(reporters) == count  # the killed node may repeat a webhook whose response it did not store
    reports = [event for event in consumer.once() if event["type"] == "recording.report"]
    assert len(reports) == count
    entries = [
        entry for event in reports for kind in ("archives", "failed_archives") for entry in event["data"][kind]
    ]
    assert len(entries) == len({entry["connection_id"] for entry in entries}) == publishers
    ends = [event for event in consumer.once() if event["type"] in {"archive.available", "archive.failed"}]
    assert len(ends) == len({event["connection_id"] for event in ends}) == publishers


CRASHES = [
    ("after decide", 1),  # the start is won
    ("before post", 1),  # it is in the outbox
    ("after decide", 2),  # the stop is won
    ("after claim", 1),  # the report is ours
    ("after json", 1),  # its file is written
    ("after finish", 1),  # it is in the event log, in the transaction of its change
    ("before post", 2),  # it is in the outbox
]


@pytest.mark.parametrize(
    ("step", "count"),
    [pytest.param(*each, marks=() if each == CRASHES[-1] else pytest.mark.soak) for each in CRASHES],
)
async def test_an_event_that_a_node_could_not_publish_is_published_by_another(
    cluster: Cluster, step: str, count: int
) -> None:
    """A node that won is killed while no other is up: the next node publishes once, the restarted one nothing."""
    consumer = cluster.consumer
    command = ("tests.end_to_end.crashing_daemon", step, str(count), str(cluster.folder), "run")
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
    """Start and stop a recording without publishers, as far as the daemon lasts."""
    await daemon.api("StartRecording", {"channel_id": "sora", "expire_time": 0})
    await consumer.wait_for("recording.started")
    await daemon.api("StopRecording", {"channel_id": "sora"})


async def test_a_client_is_redirected_to_the_node_with_the_fewest_connections(cluster: Cluster) -> None:
    """Two clients stay; the next, sora_sdk, is redirected to the empty node, and publishes there."""
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
    """Return the recordings that have a report."""
    return {event["data"]["recording_id"] for event in consumer.of_type("recording.report")}


def ended(consumer: Consumer) -> int:
    """Return the number of archives that have ended."""
    ends = consumer.of_type("archive.available") + consumer.of_type("archive.failed")
    return len({event["connection_id"] for event in ends})


@pytest.mark.soak
async def test_the_demo_of_three_nodes_shows_one_report(tmp_path: Path) -> None:
    """The command: three nodes and three servers, one of which is cut off for a while."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rokuga", "demo", "--nodes", "3", "--keep", str(tmp_path)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert b'400 {"error_type":"NOT-CLUSTER-MAJORITY"}' in output
    assert b"1 of them, archives on node-2, node-3" in output


PRINT_STORE_MODULES = """
import asyncio, sys
from rokuga.api.config.loader import load_config
from rokuga.api.daemon import running

async def main():
    async with running(load_config(None, {"ROKUGA_API_PORT": "0", "ROKUGA_SIGNALING_PORT": "0",
            "ROKUGA_MEDIA_PORT": "0", "ROKUGA_DATA_DIR": sys.argv[1], "ROKUGA_ARCHIVE_DIR": sys.argv[1]})[0]):
        print(sorted(name.rpartition(".")[2] for name in sys.modules if "rokuga.recorder.store." in name))

asyncio.run(main())
"""


async def test_a_single_node_imports_no_module_of_the_cluster_store(tmp_path: Path) -> None:
    """A running daemon has imported the modules of the SQLite store alone."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PRINT_STORE_MODULES, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert output.decode().splitlines()[-1] == "['damage', 'database', 'private_files', 'sqlite']"
