"""One soak: a daemon, publisher workers, a consumer, a recording driver, and the audits of events and files."""

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
from rokuga.devtools.soak import progress_table
from rokuga.devtools.soak.archive_audit import ArchiveAudit
from rokuga.devtools.soak.consumer import FailingConsumer, consuming
from rokuga.devtools.soak.daemon_process import DaemonProcess
from rokuga.devtools.soak.event_audit import Event, EventAudit, SendingInterval
from rokuga.devtools.soak.frame_ids import empty_sent_media
from rokuga.devtools.soak.plan import Plan, PlannedPublication, SoakOptions, make_plan
from rokuga.devtools.soak.process_usage import Sample, Usage, kernel_drops, loop_lag_ms, usage
from rokuga.devtools.soak.publisher_worker import read_sample
from rokuga.devtools.soak.recording_driver import RecordingDriver
from rokuga.devtools.soak.report import html, summary
from rokuga.devtools.soak.results import Fault, SoakResults
from rokuga.devtools.soak.worker_messages import SendingStarted, SentUnits, WorkerMessage, WorkerTask, WorkerTotals
from rokuga.recorder.media import NS_PER_S, Kind

SLOTS_PER_WORKER: Final = 25
LAST_EVENTS_TIMEOUT_S: Final = 90.0
"""A consumer that fails delays the other events of a channel."""
RESTART_DELAY_S: Final = 1.0
MAX_LINE_BYTES: Final = 1 << 24


class Soak:
    """One run. The daemon's files, its log and the report are written to `folder`."""

    def __init__(self, options: SoakOptions, folder: Path, *, keep: bool = False) -> None:
        self.results = SoakResults(options, _machine(), f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
        self._options = options
        self._folder = folder
        self._begin_wall_ns = 0
        self._events = EventAudit()
        self._archives = ArchiveAudit(self._events, options.loss, options.split_s, keep, self._fault)
        self._consumer = FailingConsumer(self._events, options.seed, self._receive, self._fault)
        self._totals: dict[int, WorkerTotals] = {}
        self._daemon = 0
        self._daemon_begin_s = 0.0
        self._is_up = asyncio.Event()
        self._has_event = asyncio.Event()
        self._clips: dict[tuple[str, tuple[Kind, ...]], Clip] = {}

    async def run(self) -> SoakResults:
        """Run to the end and return the results. Raises DaemonError if the daemon does not start."""
        options = self._options
        plan = make_plan(options, random.Random(options.seed).random)
        with (self._folder / "daemon.log").open("wb") as log:
            async with consuming(self._consumer), aiohttp.ClientSession() as session:
                daemon = DaemonProcess(self._folder, self._consumer.url, log)
                await self._start_daemon(daemon)
                try:
                    await self._run_plan(plan, daemon, session)
                finally:
                    code = await daemon.stop()
        if code != 0:
            self._fault("daemon", f"it ended with {code}")
        await self._archives.finish()
        self._check_end(daemon)
        self._write()
        return self.results

    async def _run_plan(self, plan: Plan, daemon: DaemonProcess, session: aiohttp.ClientSession) -> None:
        """Run the plan, whose time begins when the workers are ready; then wait for the last events."""
        async with contextlib.AsyncExitStack() as stack:
            slots = range(0, self._options.publishers, SLOTS_PER_WORKER)
            processes = [await stack.enter_async_context(_worker_process()) for _ in slots]
            self._begin_wall_ns = time.time_ns()
            driver = RecordingDriver(daemon.api_url, self._begin_wall_ns, self._events, session)
            async with self._watching(daemon, session), asyncio.TaskGroup() as tasks:
                for first, process in zip(slots, processes, strict=True):
                    own = range(first, first + SLOTS_PER_WORKER)
                    publications = [each for each in plan.publications if each.slot in own]
                    tasks.create_task(self._run_worker(process, publications, daemon.signaling_url))
                for recordings in plan.recordings:
                    tasks.create_task(driver.run(recordings))
                tasks.create_task(self._kill(plan.kills_ms, daemon))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_EVENTS_TIMEOUT_S):
                while self._events.outstanding():
                    self._has_event.clear()
                    await self._has_event.wait()
        self.results.seconds = self._now_s()

    async def _start_daemon(self, daemon: DaemonProcess) -> None:
        await daemon.start()
        self._daemon += 1
        self._daemon_begin_s = self._now_s()
        self._is_up.set()

    async def _kill(self, kills_ms: Sequence[int], daemon: DaemonProcess) -> None:
        """Kill the daemon as planned, and restart it."""
        for kill_ms in kills_ms:
            await asyncio.sleep(kill_ms / 1000 - self._now_s())
            self._is_up.clear()
            self._events.killed(time.time_ns())
            self.results.kills_s.append(self._now_s())
            await daemon.kill()
            await asyncio.sleep(RESTART_DELAY_S)
            await self._start_daemon(daemon)

    async def _run_worker(
        self, process: asyncio.subprocess.Process, publications: Sequence[PlannedPublication], url: str
    ) -> None:
        """Send a worker its task, and read its messages until it ends."""
        assert process.stdin is not None
        assert process.stdout is not None
        task = WorkerTask(url, self._begin_wall_ns, self._options.loss, publications)
        process.stdin.write(msgspec.json.encode(task))
        process.stdin.close()
        async for line in process.stdout:
            self._read_message(process.pid, msgspec.json.decode(line, type=WorkerMessage))
        if await process.wait():
            self._fault("publishers", f"their process ended with {process.returncode}")

    def _read_message(self, pid: int, message: WorkerMessage) -> None:
        sent_media = self._archives.sent
        match message:
            case SendingStarted():
                key = message.clip, tuple(message.kinds)
                clip = self._clips[key] = self._clips.get(key) or read_sample(*key)
                sent_media[message.connection_id] = empty_sent_media(
                    message.connection_id, message.channel_id, message.begin_wall_ns, clip
                )
                self.results.connections += 1
            case SentUnits():
                sent = sent_media[message.connection_id]
                for kind, track in sent.tracks.items():
                    track.extend(message.runs.get(kind, ()), message.units.get(kind, 0))
                sent.until_wall_ns, sent.is_over = message.until_wall_ns, message.is_over
                if message.reason and not self._was_killed_before(message.until_wall_ns):
                    self._fault(message.connection_id, f"its publisher was cut off: {message.reason}")
            case WorkerTotals():
                self._totals[pid] = message

    def _was_killed_before(self, wall_ns: int) -> bool:
        """Return whether a kill explains that a publisher was disconnected."""
        return any(abs(wall_ns - killed) < 40 * NS_PER_S for killed in self._events.kills_wall_ns)

    def _receive(self, event: Event) -> None:
        self.results.events += 1
        self.results.recordings += event["type"] == "recording.started"
        self.results.archives += event["type"] == "archive.started"
        self._archives.add(event)
        self._has_event.set()

    def _fault(self, where: str, what: str) -> None:
        self.results.faults.append(Fault(self._now_s(), where, what))
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
        """Add a sample each second in which the daemon runs, and show the progress."""
        before, before_s, pid = Usage(0.0, 0.0), 0.0, 0
        while True:
            await asyncio.sleep(1)
            await self._is_up.wait()
            try:
                lag_ms, answer_ms = await _loop_lag(daemon, session)
                now, now_s = usage(daemon.pid), self._now_s()
            except (OSError, aiohttp.ClientError, TimeoutError):
                continue
            if pid == daemon.pid:
                share = (now.cpu_s - before.cpu_s) / (now_s - before_s)
                self._sample(daemon, now_s, share, now.resident_mb, lag_ms, answer_ms)
                progress_table.show(self.results, is_first=len(self.results.samples) == 1)
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
        self.results.samples.append(
            Sample(
                at_s,
                self._daemon,
                at_s - self._daemon_begin_s,
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
        """Copy the counters of the audits and the consumer into the results."""
        results, events = self.results, self._events
        results.audit = self._archives.totals
        results.deliveries, results.repeats = events.deliveries, events.repeats
        results.failed_on_purpose = self._consumer.failed_on_purpose

    def _check_end(self, daemon: DaemonProcess) -> None:
        """Report missing events, errors in the log, files in progress and growing memory."""
        self._count()
        intervals = [
            SendingInterval(sent.connection_id, sent.channel_id, sent.begin_wall_ns, sent.until_wall_ns)
            for sent in self._archives.sent.values()
        ]
        for fault in self._events.finish(intervals):
            self._fault("events", fault)
        for fault in daemon.faults:
            self._fault("daemon.log", fault)
        for path in (self._folder / "archive").rglob(".*.part"):
            self._fault(path.name, "a file in progress is left")
        for trend in self.results.memory:
            if not trend.is_flat:
                change = f"up to {trend.deviation:.1%} from its mean, rises by {trend.rise:.1%}"
                self._fault("memory", f"daemon {trend.daemon} after its first 5 minutes: {change}")
        if not self._archives.totals.files:
            self._fault("soak", "no file was checked at all")

    def _write(self) -> None:
        """Write report.html and report.json."""
        results = self.results
        (self._folder / "report.html").write_text(html(results))
        found = {
            "date": results.date,
            "machine": results.machine,
            "options": results.options,
            "summary": summary(results),
            "memory": results.memory,
            "faults": results.faults,
            "samples": results.samples,
        }
        (self._folder / "report.json").write_bytes(msgspec.json.encode(found))


@contextlib.asynccontextmanager
async def _worker_process() -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a publisher worker while the context is open; it is ready when that begins."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "rokuga.devtools.soak.publisher_worker",
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


async def _loop_lag(daemon: DaemonProcess, session: aiohttp.ClientSession) -> tuple[float, float]:
    """Return the lag of the daemon's event loop, from /metrics, and the latency of that request, both in ms."""
    began_ns = time.monotonic_ns()
    async with session.get(f"{daemon.api_url}metrics", timeout=aiohttp.ClientTimeout(total=10)) as response:
        metrics = await response.text()
    return loop_lag_ms(metrics), (time.monotonic_ns() - began_ns) / 1e6


def _machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
