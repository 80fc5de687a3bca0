"""What a hostile datagram costs the daemon while it records: CPU in us for each kind, from both sides.

    python -m benchmarks.hostile 20000

One publisher sends a clip in a loop. Each kind is sent from an unknown socket, from the publisher's own address,
and five at a time by connections of TCP; user and system time of the daemon, less what it needs for the publisher
alone, is divided by their number.
"""

import asyncio
import os
import platform
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks.publishers import call, daemon
from rokuga.devtools.soak.process_usage import kernel_drops, usage
from tests.end_to_end.hostile_datagrams import (
    hostile_datagrams,
    keep_outgoing_peers,
    send_by_tcp,
    send_datagrams,
    socket_of,
    unknown_socket,
    username_of,
)
from tests.end_to_end.publishing import publishing

QUIET_S = 5.0
PAUSE_S = 0.005
"""Pause after fifty datagrams: about 10,000 a second."""


async def cpu_s(pid: int, work: object) -> tuple[float, float]:
    """Return the daemon's CPU time during some work, and the duration of that, both in seconds."""
    before, began = usage(pid).cpu_s, time.monotonic()
    await work  # type: ignore[misc]  # any awaitable
    return usage(pid).cpu_s - before, time.monotonic() - began


async def measure(count: int) -> None:
    """Send `count` of each kind, and print the cost of one."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        peers = keep_outgoing_peers(patch)
        async with daemon(Path(folder)) as (pid, ready), publishing(ready["signaling"], "bench"):
            await call(ready["api"], "StartRecording", {"channel_id": "bench", "expire_time": 0})
            await asyncio.sleep(1)
            port = ready["media_port"]
            alone_s, alone_for_s = await cpu_s(pid, asyncio.sleep(QUIET_S))
            with unknown_socket(port) as unknown, socket_of(peers[0]) as own:
                for kind, datagrams in hostile_datagrams(username_of(peers[0])).items():
                    costs = []
                    for sender in (unknown, own):
                        sending = send_datagrams(sender, datagrams, count, lambda: asyncio.sleep(PAUSE_S))
                        spent_s, for_s = await cpu_s(pid, sending)
                        costs.append((spent_s - alone_s / alone_for_s * for_s) / count * 1e6)
                    spent_s, for_s = await cpu_s(pid, send_by_tcp(port, datagrams, count // 100))
                    costs.append((spent_s - alone_s / alone_for_s * for_s) / (count // 100) * 1e6)
                    print(f"{kind:26}  {costs[0]:12.1f}  {costs[1]:11.1f}  {costs[2]:10.0f}", flush=True)
            print(f"dropped by the kernel: {kernel_drops(port)}")


if __name__ == "__main__":
    print(f"{datetime.now(UTC):%Y-%m-%d}  {platform.machine()}, {os.cpu_count()} cores, {platform.python_version()}")
    print(f"{'us per datagram':26}  {'of strangers':>12}  {'its address':>11}  {'connection':>10}")
    asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000))
