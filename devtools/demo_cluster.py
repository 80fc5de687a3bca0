"""The demo of a cluster on one machine: nodes on etcd servers, one of which is cut off for a while."""

import asyncio
import contextlib
import shutil
import sys
from pathlib import Path
from typing import Any, Final

import aiohttp

from rokuga.api.daemon import Addresses, running
from rokuga.devtools.demo import CHANNEL, REPORT_TIMEOUT_S, consuming, demo_config, show_files
from rokuga.devtools.etcd_servers import serving
from rokuga.devtools.publisher.clip import Clip
from rokuga.devtools.publisher.publisher import Publication, PublishOptions, publish
from rokuga.recorder.webrtc.dtls.transport import Certificate

NOT_INSTALLED: Final = "there is no etcd on this machine: apt-get install etcd-server"


async def demo_cluster(clip: Clip, folder: Path, count: int) -> int:
    """Run the demo; return 0 after one report with the archives of all nodes that had a publisher."""
    if shutil.which("etcd") is None:
        print(NOT_INSTALLED, file=sys.stderr)
        return 1
    async with contextlib.AsyncExitStack() as stack:
        servers = stack.enter_context(serving(folder, count))
        consumer = await stack.enter_async_context(consuming())
        nodes: list[Addresses] = []
        for number in range(1, count + 1):
            settings = {"node_name": f"node-{number}", "cluster_endpoints": servers.endpoints[number - 1]}
            config = demo_config(folder / f"node-{number}", consumer.url, **settings)
            nodes.append(await stack.enter_async_context(running(config)))
            print(f"  node-{number}    API {nodes[-1].api_url}  signalling {nodes[-1].signaling_url}")
        publications = [Publication() for _ in nodes[1:]]
        publishing = [
            asyncio.create_task(
                publish(
                    PublishOptions(folder, node.signaling_url, CHANNEL, loop=True),
                    clip,
                    Certificate.make(),
                    publication,
                )
            )
            for node, publication in zip(nodes[1:], publications, strict=True)
        ]
        await _call(nodes[0], 1, "StartRecording", {"channel_id": CHANNEL, "expire_time": 0})
        await asyncio.sleep(2)
        for number, node in enumerate(nodes, 1):
            await _call(node, number, "ListStartedRecording", {})
        print(f"  cut       node-{count} is cut off from the others; its publisher is still recorded")
        servers.pause(count - 1)
        await _call(nodes[-1], count, "ListStartedRecording", {})
        await _call(nodes[0], 1, "StopRecording", {"channel_id": CHANNEL})
        servers.resume(count - 1)
        print(f"  healed    node-{count} learns that the recording was stopped")
        for publication in publications:
            publication.stop.set()
        await asyncio.gather(*publishing)
        try:
            async with asyncio.timeout(3 * REPORT_TIMEOUT_S):
                await consumer.reported.wait()
        except TimeoutError:
            print("no recording.report arrived", file=sys.stderr)
            return 1
        reports = [event["data"] for event in consumer.events if event["type"] == "recording.report"]
        nodes_of_archives = sorted(entry["node_name"] for report in reports for entry in report["archives"])
        print(f"  report    {len(reports)} of them, archives on {', '.join(nodes_of_archives)}")
    show_files(consumer, folder)
    return 0 if len(reports) == 1 and len(nodes_of_archives) == count - 1 else 1


async def _call(node: Addresses, number: int, operation: str, body: dict[str, Any]) -> None:
    """Call a target and print the response, also an error."""
    headers = {"x-sora-target": f"Sora_20161101.{operation}"}
    async with aiohttp.ClientSession() as session, session.post(node.api_url, json=body, headers=headers) as response:
        print(f"  node-{number}    {operation}: {response.status} {await response.text()}")
