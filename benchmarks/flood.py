"""What a flood of strangers' datagrams costs those who are recorded: genuine packets that found the buffer full.

    python -m benchmarks.flood 20 20000 50000 100000

So many publish to a daemon with a core of its own; from the other, datagrams of each kind are thrown at the media
port at each rate for some seconds, from 16 sockets; of 65 kB a twenty-fifth, which is a gigabit a second at 50,000.
What the kernel drops of the genuine ones is asked for again by the recorder, as in any network.
"""

import asyncio
import os
import random
import re
import socket
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Final

import aiohttp

from benchmarks.crowd import AUDIO, VIDEO, publishing
from benchmarks.hundreds import CROWD
from benchmarks.publishers import call, daemon, machine
from benchmarks.whole_files import look, read_clip
from rokuga.devtools.soak.process_usage import kernel_drops, usage
from tests.end_to_end.hostile_datagrams import hostile_datagrams, unknown_socket

FLOOD_S: Final = 4.0
SENDERS: Final = 16
STEP_S: Final = 0.001
"""Interval of the bursts in which datagrams are sent."""
SETTLE_S: Final = 2.0
COUNTED: Final = ("datagrams", "repaired_packets", "lost_packets", "received_packets")


def kinds() -> Mapping[str, tuple[int, Sequence[bytes]]]:
    """Return the datagrams by kind, and the divisor of the rate: the most expensive, the usual and the largest."""
    hostile = hostile_datagrams("nobody:nowhere")
    noise = random.Random(11)
    return {
        "checks": (1, hostile["checks with bad integrity"]),
        "SRTP of 1200 bytes": (1, [b"\x80\x7a" + noise.randbytes(1198) for _ in range(64)]),
        "65 kB": (25, hostile["65 kB"]),
    }


async def counters(api: str) -> Mapping[str, int]:
    """Return the counters of loss in /metrics, summed over labels."""
    async with aiohttp.ClientSession() as session, session.get(f"{api.rstrip('/')}/metrics") as answer:
        text = await answer.text()
    return {
        name: sum(int(float(value)) for value in re.findall(rf"^rokuga_{name}_total(?:{{.*}})? (\S+)$", text, re.M))
        for name in COUNTED
    }


async def throw(port: int, datagrams: Sequence[bytes], rate: int) -> int:
    """Send so many datagrams a second, as far as this process can; return how many were sent."""
    sockets = [unknown_socket(port) for _ in range(SENDERS)]
    thrown, began_s = 0, time.monotonic()
    while (now_s := time.monotonic() - began_s) < FLOOD_S:
        for _ in range(int(now_s * rate) - thrown):
            _send(sockets[thrown % SENDERS], datagrams[thrown % len(datagrams)])
            thrown += 1
            if time.monotonic() - began_s > FLOOD_S:
                break
        await asyncio.sleep(STEP_S)
    for opened in sockets:
        opened.close()
    return thrown


def _send(sender: socket.socket, datagram: bytes) -> None:
    with suppress(ConnectionRefusedError, BlockingIOError):
        sender.send(datagram)


async def measure(publishers: int, rates: Sequence[int]) -> None:
    """Send each kind at each rate; print a row each."""
    cores = sorted(os.sched_getaffinity(0))
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hundreds-")))
        os.sched_setaffinity(0, cores[:1])
        stopping = await stack.enter_async_context(AsyncExitStack())
        pid, ready = await stopping.enter_async_context(daemon(folder))
        os.sched_setaffinity(0, cores[1:])
        api, port = ready["api"], ready["media_port"]
        await call(api, "StartRecording", {"channel_id": CROWD, "expire_time": 0})
        crowd = await stopping.enter_async_context(publishing(ready["signaling"], CROWD, publishers, processes=1))
        while len(await call(api, "ListArchiving", {})) < publishers:  # noqa: ASYNC110  # there is no event for it
            await asyncio.sleep(0.2)
        await asyncio.sleep(SETTLE_S)
        for kind, (part, datagrams) in kinds().items():
            for rate in rates:
                before, dropped, cpu_s = await counters(api), kernel_drops(port), usage(pid).cpu_s
                thrown = await throw(port, datagrams, rate // part)
                cpu_s = usage(pid).cpu_s - cpu_s
                await asyncio.sleep(SETTLE_S)
                after = await counters(api)
                grown = {name: after[name] - before[name] for name in COUNTED}
                print(
                    f"{kind:20} {thrown / FLOOD_S:9.0f} {cpu_s / FLOOD_S:6.2f} {kernel_drops(port) - dropped:8}"
                    f" {grown['received_packets']:9} {grown['repaired_packets']:9} {grown['lost_packets']:6}",
                    flush=True,
                )
        await call(api, "StopRecording", {"channel_id": CROWD})
        await crowd.end()
        await stopping.aclose()
        found = look(folder / "archive", read_clip(VIDEO, AUDIO))
        print(f"{found.archives} archives, {len(found.faults)} with a gap")


if __name__ == "__main__":
    numbers = [int(text) for text in sys.argv[1:]] or [20, 20_000, 50_000, 100_000]
    print(machine())
    print(f"{'thrown':20} {'a second':>9} {'core':>6} {'dropped':>8} {'genuine':>9} {'repaired':>9} {'lost':>6}")
    asyncio.run(measure(numbers[0], numbers[1:]))
