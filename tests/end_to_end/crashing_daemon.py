"""A daemon that kills itself at a step: `python -m tests.end_to_end.crashing_daemon STEP N FOLDER run`.

It sends itself SIGKILL when it reaches the step for the Nth time since its start; an unknown step is never reached.
In FOLDER it stores, for each archive, the time of the newest frame that is older than a second, in ns from the start
of the archive.
"""

import functools
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from sqlite3 import Connection
from typing import Any, Final

from rokuga.cli.__main__ import main
from rokuga.recorder import recording, recording_report
from rokuga.recorder.archive import disk, journal_writer, media_file, recovery
from rokuga.recorder.archive.archiver import Archiver
from rokuga.recorder.archive.media_file import MediaFile
from rokuga.recorder.archive.webm import repair
from rokuga.recorder.media import Frame
from rokuga.recorder.store.cluster.ownership import Ownership
from rokuga.recorder.store.cluster.store import EtcdStore
from rokuga.recorder.store.database import Database
from rokuga.webhooks.post import Poster

STEPS: Final = tuple(
    f"{moment} {step}"
    for step in ("put", "close", "fsync", "fdatasync", "rename", "json", "commit", "post")
    for moment in ("before", "after", *(("within",) if step in {"put", "commit"} else ()))
)

MAX_LOST_NS: Final = 1_000_000_000
"""Media that arrived so shortly before a crash may be missing from the file."""


class CrashPoint:
    """Counts how often a step is reached, and kills the process at the chosen one."""

    def __init__(self, step: str, count: int) -> None:
        self._step = step
        self._remaining = count

    def reach(self, step: str) -> None:
        """Kill the process, if this is the step and the count."""
        if step == self._step:
            self._remaining -= 1
            if not self._remaining:
                os.kill(os.getpid(), signal.SIGKILL)

    def around(self, step: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """Return the work with a step before and one after it."""

        @functools.wraps(work)
        def done(*arguments: Any, **options: Any) -> Any:
            self.reach(f"before {step}")
            result = work(*arguments, **options)
            self.reach(f"after {step}")
            return result

        return done

    def around_async(self, step: str, work: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """Return the coroutine function with a step before and one after it."""

        async def done(*arguments: Any, **options: Any) -> Any:
            self.reach(f"before {step}")
            result = await work(*arguments, **options)
            self.reach(f"after {step}")
            return result

        return done

    def write_all(self, descriptor: int, data: bytes, offset: int) -> None:
        """Write all data, with a step after the first half."""
        half = len(data) // 2
        write_all(descriptor, data[:half], offset)
        self.reach("within put")
        write_all(descriptor, data[half:], offset + half)

    def transacting(self, run: Callable[..., Any]) -> Callable[..., Any]:
        """Return the method with steps before, in and after a transaction; one that only reads has none."""

        def transact(database: Database, begin: str, work: Callable[[Connection], Any]) -> Any:
            def work_and_reach(connection: Connection) -> Any:
                result = work(connection)
                self.reach("within commit")
                return result

            if begin == "BEGIN":
                return run(database, begin, work)
            return self.around("commit", run)(database, begin, work_and_reach)

        return transact


write_all = media_file.write_all


def replace(places: Sequence[Any], name: str, make: Callable[[Any], Any]) -> None:
    """Replace a function in all modules or classes that call it."""
    for place in places:
        setattr(place, name, make(getattr(place, name)))


def add_steps(crash: CrashPoint) -> None:
    """Add the steps to the daemon."""
    replace([media_file, disk, repair], "write_all", lambda _: crash.around("put", crash.write_all))
    replace([MediaFile], "close", functools.partial(crash.around, "close"))
    replace([os], "fsync", functools.partial(crash.around, "fsync"))
    replace([os], "fdatasync", functools.partial(crash.around, "fdatasync"))
    replace([os], "rename", functools.partial(crash.around, "rename"))
    replace([journal_writer, recovery, recording_report], "write_json", functools.partial(crash.around, "json"))
    replace([Poster], "send", functools.partial(crash.around_async, "post"))
    replace([Database], "_transact", crash.transacting)
    add_node_steps(crash)


def add_node_steps(crash: CrashPoint) -> None:
    """Add the steps of a cluster node: a start or stop in etcd, the claim and the commit of a report."""
    replace([EtcdStore], "_transact", functools.partial(crash.around_async, "decide"))
    replace([Ownership], "claim_report", functools.partial(crash.around_async, "claim"))
    replace([EtcdStore], "finish_recording", functools.partial(crash.around_async, "finish"))


class ObservedArchiver:
    """An archiver whose progress is stored, as of a second ago: newer media may be lost in a crash."""

    def __init__(self, folder: Path, archiver: Archiver) -> None:
        state = archiver.state
        path = folder / f"{state.recording_id}-{state.connection.connection_id}"
        self._archiver = archiver
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
        self._arrivals: deque[tuple[int, int]] = deque()
        self._video_has_begun = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._archiver, name)

    def write(self, frame: Frame) -> None:
        """Write a frame, and store its time if the archive contains it."""
        is_writing = self._archiver.is_writing
        self._archiver.write(frame)
        self._video_has_begun = self._video_has_begun or (frame.kind == "video" and frame.unit.is_keyframe)
        if is_writing and (frame.kind == "audio" or self._video_has_begun):
            self._store_progress(time.monotonic_ns(), frame.time_ns - self._archiver.start_ns)

    def _store_progress(self, now_ns: int, offset_ns: int) -> None:
        self._arrivals.append((now_ns, offset_ns))
        while now_ns - self._arrivals[0][0] >= MAX_LOST_NS:
            os.pwrite(self._descriptor, f"{self._arrivals.popleft()[1]:020}".encode(), 0)


if __name__ == "__main__":
    add_steps(CrashPoint(sys.argv[1], int(sys.argv[2])))
    replace(
        [recording], "Archiver", lambda make: lambda *of, **by: ObservedArchiver(Path(sys.argv[3]), make(*of, **by))
    )
    sys.exit(main(sys.argv[4:]))
