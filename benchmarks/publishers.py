"""What a recorded publisher costs: the daemon in one process, N publishers in another, real ICE, DTLS and SRTP.

    python -m benchmarks.publishers [awake] 1 20 60

CPU is user and system time of the daemon, in ms per publisher and second, over a window in which all publish. The
machine's speed is in it: the floor is what a daemon costs that reads and decrypts the same load and lets it fall
(`floor.py`), and the ratio to it is what can be compared between machines and days. `awake` keeps the cores from
sleeping between the packets (`awake.py`).
"""

import asyncio
import contextlib
import json
import os
import platform
import re
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.awake import awake
from benchmarks.clip import make_clip
from benchmarks.stages import stages
from rokuga.api.compiled import is_compiled
from rokuga.devtools.loopback import loopback_environment
from rokuga.devtools.soak.process_usage import kernel_drops, usage

ROOT = Path(__file__).parent.parent
POLL_S = 0.2
SETTLE_S = 3.0
WINDOW_S = 8.0
ANSWERS_S = 4.0
TITLES = (
    *("publishers", "packets/s", "CPU ms/s", "floor ms/s", "ratio", "API ms", "idle MB", "MB each", "lost"),
    *("dropped", "archives"),
)
RESULTS = Path(__file__).parent / "publishers.json"


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the table. `kernel_drops` are datagrams that found the socket's buffer full.

    `floor_ms` is what the same load costs a daemon that lets it fall, `longest_answer_ms` how long the API's slowest
    answer took: the longest stall of the loop is in it.
    """

    publishers: int
    packets_per_s: float
    cpu_ms: float
    floor_ms: float
    ratio: float
    longest_answer_ms: float
    idle_mb: float
    mb_per_publisher: float
    lost_packets: int
    kernel_drops: int
    archives: int


@contextlib.asynccontextmanager
async def daemon(folder: Path, module: str = "rokuga.api") -> AsyncIterator[tuple[int, Mapping[str, Any]]]:
    """Start a daemon on free ports; yield its process id and addresses."""
    environment = os.environ | loopback_environment(folder, log_format="json")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, "run", cwd=ROOT, env=environment, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    ready: Mapping[str, Any] = {}
    while ready.get("event") != "ready":
        ready = json.loads(await process.stderr.readline())
    draining = asyncio.create_task(process.stderr.read())
    try:
        yield process.pid, ready
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()
        await draining


async def call(url: str, operation: str, body: Mapping[str, Any]) -> Any:
    """Call the API; return its response."""
    headers = {"x-sora-target": f"Sora_20161101.{operation}"}
    async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as answer:
        answer.raise_for_status()
        return await answer.json()


async def longest_answer_ms(url: str, seconds: float) -> float:
    """Call the API twenty times a second; return the slowest response time."""
    longest_s, end_s = 0.0, time.monotonic() + seconds
    headers = {"x-sora-target": "Sora_20171101.GetStatsAllConnections"}
    async with aiohttp.ClientSession() as session:
        while (begin_s := time.monotonic()) < end_s:
            async with session.post(url, headers=headers) as answer:
                await answer.read()
            longest_s = max(longest_s, time.monotonic() - begin_s)
            await asyncio.sleep(0.05)
    return round(longest_s * 1000, 1)


@dataclass(frozen=True, slots=True)
class Load:
    """The results of one daemon."""

    cpu_ms: float
    idle_mb: float
    loaded_mb: float
    longest_answer_ms: float
    kernel_drops: int
    packets_per_s: float
    lost_packets: int
    archives: int


async def load(module: str, clip: Path, publishers: int) -> Load:
    """Publish the clip in a loop from so many clients at once, to a daemon that is run by this module."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with daemon(folder, module) as (pid, ready):
            idle = usage(pid)
            await call(ready["api"], "StartRecording", {"channel_id": "bench", "expire_time": 0})
            seconds = publishers * 0.05 + SETTLE_S + WINDOW_S + ANSWERS_S + 6
            command = [
                "-m",
                "rokuga.api",
                "publish",
                clip,
                "--url",
                ready["signaling"],
                "--channel",
                "bench",
                "--loop",
            ]
            sending = await asyncio.create_subprocess_exec(
                sys.executable,
                *command,
                "--count",
                str(publishers),
                "--seconds",
                str(seconds),
                cwd=ROOT,
                stdout=asyncio.subprocess.PIPE,
            )
            while len(await call(ready["api"], "ListArchiving", {"channel_id": "bench"})) < publishers:  # noqa: ASYNC110  # there is no event for it
                await asyncio.sleep(POLL_S)
            await asyncio.sleep(SETTLE_S)
            before = usage(pid)
            await asyncio.sleep(WINDOW_S)
            after = usage(pid)
            longest_ms = await longest_answer_ms(ready["api"], ANSWERS_S)
            drops = kernel_drops(ready["media_port"])
            out, _ = await sending.communicate()
            await call(ready["api"], "StopRecording", {"channel_id": "bench"})
        documents = [json.loads(path.read_text()) for path in (folder / "archive").rglob("archive-*.json")]
        sent = sum(int(count) for count in re.findall(r"in (\d+) packets", out.decode()))
        return Load(
            cpu_ms=round((after.cpu_s - before.cpu_s) / WINDOW_S / publishers * 1000, 2),
            idle_mb=idle.resident_mb,
            loaded_mb=after.resident_mb,
            longest_answer_ms=longest_ms,
            kernel_drops=drops,
            packets_per_s=round(sent / publishers / seconds, 1),
            lost_packets=sum(d["stats"][kind]["lost_packets"] for d in documents for kind in ("audio", "video")),
            archives=len(documents),
        )


async def measure(clip: Path, publishers: int) -> Result:
    """Measure the floor and the daemon, one after the other."""
    floor = await load("benchmarks.floor", clip, publishers)
    real = await load("rokuga.api", clip, publishers)
    return Result(
        publishers=publishers,
        packets_per_s=real.packets_per_s,
        cpu_ms=real.cpu_ms,
        floor_ms=floor.cpu_ms,
        ratio=round(real.cpu_ms / floor.cpu_ms, 2),
        longest_answer_ms=real.longest_answer_ms,
        idle_mb=round(real.idle_mb),
        mb_per_publisher=round((real.loaded_mb - real.idle_mb) / publishers, 2),
        lost_packets=real.lost_packets,
        kernel_drops=real.kernel_drops,
        archives=real.archives,
    )


def machine() -> str:
    """Return a description of machine and interpreter, and whether the code is compiled."""
    form = "compiled" if is_compiled() else "pure"
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {form}"


async def main(counts: list[int], is_awake: bool) -> None:
    """Measure each count, print a table, and store the figures."""
    about = f"{machine()}, {'cores kept awake' if is_awake else 'cores that sleep'}"
    date = f"{datetime.now(UTC):%Y-%m-%d}"
    print(f"{date}  {about}")
    results = []
    with tempfile.TemporaryDirectory() as folder, awake() if is_awake else contextlib.nullcontext():
        table = await stages()
        for stage, us in table.items():
            print(f"{stage:12} {us:6.2f} us a packet")
        print("  ".join(TITLES))
        clip = Path(folder, "clip.webm")
        make_clip(clip)
        for count in counts:
            result = await measure(clip, count)
            results.append(asdict(result))
            cells = zip(TITLES, astuple(result), strict=True)
            print("  ".join(f"{value!s:>{len(title)}}" for title, value in cells), flush=True)
    RESULTS.write_text(
        json.dumps({"date": date, "machine": about, "us_per_packet": table, "runs": results}, indent=1) + "\n"
    )


if __name__ == "__main__":
    asyncio.run(main([int(word) for word in sys.argv[1:] if word != "awake"] or [1, 20, 60], "awake" in sys.argv))
