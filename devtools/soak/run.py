"""One soak, wired: a daemon, publishers' processes, a consumer, a director; who is watched and checked by whom."""

import asyncio
import contextlib
import os
import platform
import random
import sys
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import aiohttp
import msgspec

from rokuga.devtools.publisher.clip import Clip
from rokuga.devtools.soak import table
from rokuga.devtools.soak.cast import read_sample
from rokuga.devtools.soak.consumer import Consumer, consuming
from rokuga.devtools.soak.daemon_process import DaemonProcess
from rokuga.devtools.soak.director import RecordingDriver
from rokuga.devtools.soak.figures import Fault, Figures
from rokuga.devtools.soak.inspector import Inspector
from rokuga.devtools.soak.ledger import Event, Ledger, NodePresence
from rokuga.devtools.soak.lines import Began, Line, Order, Sent, Totals
from rokuga.devtools.soak.marks import publication
from rokuga.devtools.soak.plan import Options, Plan, Role, make_plan
from rokuga.devtools.soak.report import html, summary
from rokuga.devtools.soak.watch import Sample, Usage, kernel_drops, loop_lag_ms, usage
from rokuga.recorder.media import NS_PER_S, Kind

SEATS_PER_PROCESS: Final = 25
LAST_EVENTS_S: Final = 90.0
"""How long they may take: a consumer that fails holds its channel up."""
DOWN_S: Final = 1.0
MAX_LINE_BYTES: Final = 1 << 24


class Soak:
    """Everything of one run. `folder` gets the daemon's files, its log and the report."""

    def __init__(self, options: Options, folder: Path, *, keep: bool = False) -> None:
        self.figures = Figures(options, _machine(), f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
        self._options = options
        self._folder = folder
        self._begin_wall_ns = 0
        self._ledger = Ledger()
        self._inspector = Inspector(self._ledger, options.loss, options.split_s, keep, self._fault)
        self._consumer = Consumer(self._ledger, options.seed, self._take, self._fault)
        self._totals: dict[int, Totals] = {}
        self._life = 0
        self._life_begin_s = 0.0
        self._is_up = asyncio.Event()
        self._news = asyncio.Event()
        self._clips: dict[tuple[str, tuple[Kind, ...]], Clip] = {}

    async def run(self) -> Figures:
        """Play it to the end; give the figures. Raises DaemonError where the daemon does not start."""
        options = self._options
        plan = make_plan(options, random.Random(options.seed).random)
        with (self._folder / "daemon.log").open("wb") as log:
            async with consuming(self._consumer), aiohttp.ClientSession() as session:
                daemon = DaemonProcess(self._folder, self._consumer.url, log)
                await self._begin_life(daemon)
                try:
                    await self._play(plan, daemon, session)
                finally:
                    code = await daemon.stop()
        if code != 0:
            self._fault("daemon", f"it ended with {code}")
        await self._inspector.finish()
        self._settle(daemon)
        self._write()
        return self.figures

    async def _play(self, plan: Plan, daemon: DaemonProcess, session: aiohttp.ClientSession) -> None:
        """Play the plan, its time counted from when the publishers' processes are ready; wait for the last events."""
        async with contextlib.AsyncExitStack() as stack:
            places = range(0, self._options.publishers, SEATS_PER_PROCESS)
            processes = [await stack.enter_async_context(_cast_process()) for _ in places]
            self._begin_wall_ns = time.time_ns()
            director = RecordingDriver(daemon.api_url, self._begin_wall_ns, self._ledger, session)
            async with self._watching(daemon, session), asyncio.TaskGroup() as tasks:
                for place, process in zip(places, processes, strict=True):
                    seats = range(place, place + SEATS_PER_PROCESS)
                    roles = [role for role in plan.roles if role.seat in seats]
                    tasks.create_task(self._cast(process, roles, daemon.signaling_url))
                for takes in plan.takes:
                    tasks.create_task(director.play(takes))
                tasks.create_task(self._kill(plan.kills_ms, daemon))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_EVENTS_S):
                while self._ledger.owed():
                    self._news.clear()
                    await self._news.wait()
        self.figures.seconds = self._now_s()

    async def _begin_life(self, daemon: DaemonProcess) -> None:
        await daemon.start()
        self._life += 1
        self._life_begin_s = self._now_s()
        self._is_up.set()

    async def _kill(self, kills_ms: Sequence[int], daemon: DaemonProcess) -> None:
        """Kill the daemon as planned; start it again a moment later."""
        for kill_ms in kills_ms:
            await asyncio.sleep(kill_ms / 1000 - self._now_s())
            self._is_up.clear()
            self._ledger.killed(time.time_ns())
            self.figures.kills_s.append(self._now_s())
            await daemon.kill()
            await asyncio.sleep(DOWN_S)
            await self._begin_life(daemon)

    async def _cast(self, process: asyncio.subprocess.Process, roles: Sequence[Role], url: str) -> None:
        """Order one process of publishers what to play; take what it tells."""
        assert process.stdin is not None
        assert process.stdout is not None
        order = Order(url, self._begin_wall_ns, self._options.loss, roles)
        process.stdin.write(msgspec.json.encode(order))
        process.stdin.close()
        async for line in process.stdout:
            self._hear(process.pid, msgspec.json.decode(line, type=Line))
        if await process.wait():
            self._fault("publishers", f"their process ended with {process.returncode}")

    def _hear(self, pid: int, line: Line) -> None:
        publications = self._inspector.publications
        match line:
            case Began():
                key = line.clip, tuple(line.kinds)
                clip = self._clips[key] = self._clips.get(key) or read_sample(*key)
                publications[line.connection_id] = publication(
                    line.connection_id, line.channel_id, line.begin_wall_ns, clip
                )
                self.figures.connections += 1
            case Sent():
                sent = publications[line.connection_id]
                for kind, track in sent.tracks.items():
                    track.grow(line.runs.get(kind, ()), line.units.get(kind, 0))
                sent.until_wall_ns, sent.is_over = line.until_wall_ns, line.is_over
                if line.reason and not self._was_killed_before(line.until_wall_ns):
                    self._fault(line.connection_id, f"its publisher was cut off: {line.reason}")
            case Totals():
                self._totals[pid] = line

    def _was_killed_before(self, wall_ns: int) -> bool:
        """Whether a kill explains that a publisher was cut off."""
        return any(abs(wall_ns - killed) < 40 * NS_PER_S for killed in self._ledger.kills_wall_ns)

    def _take(self, event: Event) -> None:
        self.figures.events += 1
        self.figures.recordings += event["type"] == "recording.started"
        self.figures.archives += event["type"] == "archive.started"
        self._inspector.take(event)
        self._news.set()

    def _fault(self, where: str, what: str) -> None:
        self.figures.faults.append(Fault(self._now_s(), where, what))
        print(f"FAULT  {where}: {what}", file=sys.stderr, flush=True)

    def _now_s(self) -> float:
        return (time.time_ns() - self._begin_wall_ns) / NS_PER_S if self._begin_wall_ns else 0.0

    @contextlib.asynccontextmanager
    async def _watching(self, daemon: DaemonProcess, session: aiohttp.ClientSession) -> AsyncIterator[None]:
        watching = asyncio.create_task(self._watch(daemon, session))
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.wait([watching])

    async def _watch(self, daemon: DaemonProcess, session: aiohttp.ClientSession) -> None:
        """Take a sample each second in which the daemon is there, and show the table."""
        before, before_s, pid = Usage(0.0, 0.0), 0.0, 0
        while True:
            await asyncio.sleep(1)
            await self._is_up.wait()
            try:
                lag_ms, answer_ms = await _ask(daemon, session)
                now, now_s = usage(daemon.pid), self._now_s()
            except (OSError, aiohttp.ClientError, TimeoutError):
                continue
            if pid == daemon.pid:
                share = (now.cpu_s - before.cpu_s) / (now_s - before_s)
                self._sample(daemon, now_s, share, now.resident_mb, lag_ms, answer_ms)
                table.show(self.figures, is_first=len(self.figures.samples) == 1)
            before, before_s, pid = now, now_s, daemon.pid

    def _sample(
        self,
        daemon: DaemonProcess,
        at_s: float,
        share: float,
        resident_mb: float,
        lag_ms: float,
        answer_ms: float,
    ) -> None:
        totals = self._totals.values()
        self.figures.samples.append(
            Sample(
                at_s,
                self._life,
                at_s - self._life_begin_s,
                sum(total.sending for total in totals),
                share,
                resident_mb,
                lag_ms,
                answer_ms,
                sum(total.packets for total in totals),
                sum(total.dropped for total in totals),
                sum(total.retransmissions for total in totals),
                kernel_drops(daemon.media_port),
            )
        )
        self._count()

    def _count(self) -> None:
        """Bring the figures up to date that others count."""
        figures, ledger = self.figures, self._ledger
        figures.tally = self._inspector.tally
        figures.deliveries, figures.repeats = ledger.deliveries, ledger.repeats
        figures.failed_on_purpose = self._consumer.failed_on_purpose

    def _settle(self, daemon: DaemonProcess) -> None:
        """Say what is owed, and what was left behind."""
        self._count()
        present = [
            NodePresence(sent.connection_id, sent.channel_id, sent.begin_wall_ns, sent.until_wall_ns)
            for sent in self._inspector.publications.values()
        ]
        for fault in self._ledger.settle(present):
            self._fault("events", fault)
        for fault in daemon.faults:
            self._fault("daemon.log", fault)
        for path in (self._folder / "archive").rglob(".*.part"):
            self._fault(path.name, "a file in progress is left")
        for life in self.figures.lives:
            if not life.is_flat:
                change = f"up to {life.deviation:.1%} from its mean, rises by {life.rise:.1%}"
                self._fault("memory", f"daemon {life.life} after its first 5 minutes: {change}")
        if not self._inspector.tally.files:
            self._fault("soak", "no file was checked at all")

    def _write(self) -> None:
        """Write the report."""
        figures = self.figures
        (self._folder / "report.html").write_text(html(figures))
        found = {
            "date": figures.date,
            "machine": figures.machine,
            "options": figures.options,
            "summary": summary(figures),
            "memory": figures.lives,
            "faults": figures.faults,
            "samples": figures.samples,
        }
        (self._folder / "report.json").write_bytes(msgspec.json.encode(found))


@contextlib.asynccontextmanager
async def _cast_process() -> AsyncIterator[asyncio.subprocess.Process]:
    """Start a process for publishers; it is ready."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "rokuga.devtools.soak.cast",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=MAX_LINE_BYTES,
    )
    try:
        assert process.stdout is not None
        await process.stdout.readline()
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _ask(daemon: DaemonProcess, session: aiohttp.ClientSession) -> tuple[float, float]:
    """Give the lag of the daemon's event loop, by its own account, and how long it took to tell it, in ms."""
    began_ns = time.monotonic_ns()
    async with session.get(f"{daemon.api_url}metrics", timeout=aiohttp.ClientTimeout(total=10)) as answer:
        metrics = await answer.text()
    return loop_lag_ms(metrics), (time.monotonic_ns() - began_ns) / 1e6


def _machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
