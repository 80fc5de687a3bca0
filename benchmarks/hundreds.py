"""Hundreds of publishers on one core: the daemon has one to itself; the load and whoever asks the API have another.

    python -m benchmarks.hundreds 200 60

They come 50 ms apart, publish for so many seconds together, and the recording is stopped while they still publish.
One more publishes to another channel, which is recorded on meanwhile. Every file is read to its end afterwards, and
compared with what was sent.
"""

import asyncio
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import aiohttp

from benchmarks.answers import Answer, Answers, asking
from benchmarks.crowd import AUDIO, VIDEO, publishing
from benchmarks.publishers import call, daemon, machine
from benchmarks.whole_files import look, read_clip
from rokuga.devtools.soak.process_usage import kernel_drops, usage

RESULTS: Final = Path(__file__).parent / "hundreds.json"
CROWD: Final = "crowd"
WITNESS: Final = "witness"
GRACE_S: Final = 60.0
"""How much longer than planned the ramp may take."""
LOOK_S: Final = 0.02
KEPT_FAULTS: Final = 5
"""How many faults are printed."""
AFTER_S: Final = 2.0
"""How long the other channel is recorded on after the end of the crowd's files."""


@dataclass(frozen=True, slots=True)
class Result:
    """What is kept of a run. `answers_ms` are median, 95 % and slowest answer by phase; `stop_ms` is StopRecording's.

    `finish_s` is the time from the request to stop until the report, `buffer_bytes` the fullest that the socket was
    seen, `loop_lag_ms` the latest that the event loop ever was.
    """

    date: str
    machine: str
    publishers: int
    seconds: float
    ramp_s: float
    packets_per_s: float
    cpu_ms: float
    core: float
    ramp_core: float
    load_ms: float
    load_late_ms: float
    answers_ms: dict[str, tuple[float, float, float]]
    slowest: Sequence[Answer]
    stop_ms: float
    finish_s: float
    loop_lag_ms: float
    resident_mb: float
    buffer_bytes: int
    kernel_drops: int
    lost_packets: int
    archives: int
    units: int
    faults: int
    first_faults: Sequence[str]


class Watch:
    """The daemon as seen from outside; its receive buffer is sampled continuously."""

    def __init__(self, pid: int, ready: Any) -> None:
        self.pid = pid
        self.api: str = ready["api"]
        self.port: int = ready["media_port"]
        self.buffer_bytes = 0

    async def look(self) -> None:
        """Sample the size of the receive buffer."""
        while True:
            self.buffer_bytes = max(self.buffer_bytes, _waiting(self.port))
            await asyncio.sleep(LOOK_S)

    async def archives(self) -> int:
        """Return how many publishers of the load are recorded."""
        return len([a for a in await call(self.api, "ListArchiving", {}) if a["channel_id"] == CROWD])

    async def worst_lag_ms(self) -> float:
        """Return the event-loop metrics of /metrics."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.api.rstrip('/')}/metrics") as answer:
            found = re.search(r"^rokuga_event_loop_max_lag_seconds (\S+)", await answer.text(), re.MULTILINE)
        return float(found[1]) * 1000 if found else -1.0


def _waiting(port: int) -> int:
    """Return the bytes in the receive buffers of a UDP port (proc_net_udp(5))."""
    rows = [row.split() for row in Path("/proc/net/udp").read_text().splitlines()[1:]]
    return sum(int(row[4].split(":")[1], 16) for row in rows if int(row[1].rsplit(":", 1)[1], 16) == port)


async def measure(publishers: int, seconds: float) -> Result:
    """Measure one run."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("the daemon and its load need a core each")
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hundreds-")))
        os.sched_setaffinity(0, cores[:1])  # what is started inherits it
        stopping = await stack.enter_async_context(AsyncExitStack())
        pid, ready = await stopping.enter_async_context(daemon(folder))
        os.sched_setaffinity(0, cores[1:2])
        result = await _run(Watch(pid, ready), ready["signaling"], folder, publishers, seconds)
        await stopping.aclose()
        found = look(folder / "archive", read_clip(VIDEO, AUDIO))
        return replace(
            result,
            lost_packets=found.lost_packets,
            archives=found.archives,
            units=found.units,
            faults=len(found.faults),
            first_faults=found.faults[:KEPT_FAULTS],
        )


async def _run(watch: Watch, url: str, folder: Path, publishers: int, seconds: float) -> Result:
    """Publish and record; the files are finished when this returns, and are not checked."""
    recordings = {
        channel: (await call(watch.api, "StartRecording", {"channel_id": channel, "expire_time": 0}))["recording_id"]
        for channel in (CROWD, WITNESS)
    }
    async with AsyncExitStack() as stack:
        looking = asyncio.create_task(watch.look())
        stack.callback(looking.cancel)
        answers = await stack.enter_async_context(asking(watch.api))
        witness = await stack.enter_async_context(publishing(url, WITNESS, 1))
        answers.phase, began_s, before = "ramp", time.monotonic(), usage(watch.pid)
        crowd = await stack.enter_async_context(publishing(url, CROWD, publishers))
        await _arrive(watch, publishers, began_s)
        ramp_s, arrived = time.monotonic() - began_s, usage(watch.pid)
        answers.phase = "all"
        load_s = crowd.cpu_s()
        await asyncio.sleep(seconds)
        after, load_s = usage(watch.pid), crowd.cpu_s() - load_s
        answers.phase, asked_s = "stop", time.monotonic()
        await call(watch.api, "StopRecording", {"channel_id": CROWD})
        stopped_s = time.monotonic()
        await _reported(folder, recordings[CROWD])
        reported_s = time.monotonic()
        answers.phase = "end"
        sent = await crowd.end()
        await asyncio.sleep(AFTER_S)
        await call(watch.api, "StopRecording", {"channel_id": WITNESS})
        await witness.end()
        await _reported(folder, recordings[WITNESS])
        lag_ms = await watch.worst_lag_ms()
        drops = kernel_drops(watch.port)
    cpu_s = after.cpu_s - arrived.cpu_s
    return Result(
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        machine=machine(),
        publishers=publishers,
        seconds=seconds,
        ramp_s=round(ramp_s, 1),
        packets_per_s=round(sent.packets_per_s),
        cpu_ms=round(cpu_s / seconds / publishers * 1000, 2),
        core=round(cpu_s / seconds, 2),
        ramp_core=round((arrived.cpu_s - before.cpu_s) / ramp_s, 2),
        load_ms=round(load_s / seconds / publishers * 1000, 2),
        load_late_ms=sent.max_late_ms,
        answers_ms=_percentiles(answers),
        slowest=sorted(answers.all, key=lambda answer: -answer.ms)[:5],
        stop_ms=round((stopped_s - asked_s) * 1000, 1),
        finish_s=round(reported_s - asked_s, 2),
        loop_lag_ms=round(lag_ms, 1),
        resident_mb=round(after.resident_mb),
        buffer_bytes=watch.buffer_bytes,
        kernel_drops=drops,
        lost_packets=0,
        archives=0,
        units=0,
        faults=0,
        first_faults=(),
    )


async def _arrive(watch: Watch, publishers: int, began_s: float) -> None:
    """Wait until all publishers are recorded."""
    while (count := await watch.archives()) < publishers:
        if time.monotonic() - began_s > publishers * 0.05 + GRACE_S:
            raise SystemExit(f"only {count} of {publishers} are recorded")
        await asyncio.sleep(0.25)


async def _reported(folder: Path, recording_id: str) -> None:
    """Wait for a recording's report, which comes after all of its files."""
    report = folder / "archive" / recording_id / f"report-{recording_id}.json"
    while not report.exists():  # noqa: ASYNC110  # there is no event for it
        await asyncio.sleep(LOOK_S)


def _percentiles(answers: Answers) -> dict[str, tuple[float, float, float]]:
    return {
        phase: (_ms(found, len(found) // 2), _ms(found, len(found) * 95 // 100), _ms(found, -1))
        for phase, found in answers.phases()
        if phase
    }


def _ms(found: Sequence[Answer], place: int) -> float:
    return round(found[place].ms, 1)


def show(result: Result) -> None:
    """Print one run."""
    for name, value in asdict(result).items():
        if name == "answers_ms":
            for phase, (median, most, worst) in value.items():
                print(f"{f'answers in {phase}':>16}  median {median} ms, 95 % {most} ms, slowest {worst} ms")
        elif name == "slowest":
            for phase, target, ms in value:
                print(f"{'slow':>16}  {target} in {phase}: {ms:.1f} ms")
        elif name == "first_faults":
            for fault in value:
                print(f"{'':>16}  {fault}")
        else:
            print(f"{name:>16}  {value}")


def keep(result: Result) -> None:
    """Store a run in the file of results, in place of the last one with as many publishers."""
    runs = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    runs = [run for run in runs if run["publishers"] != result.publishers] + [asdict(result)]
    RESULTS.write_text(json.dumps(sorted(runs, key=lambda run: run["publishers"]), indent=1) + "\n")


if __name__ == "__main__":
    numbers = dict(enumerate(map(int, sys.argv[1:])))
    measured = asyncio.run(measure(numbers.get(0, 200), numbers.get(1, 60)))
    show(measured)
    keep(measured)
    sys.exit(bool(measured.faults or measured.archives != measured.publishers + 1))
