"""A daemon that kills itself at a step of its way: `python -m tests.end_to_end.dying STEP N FOLDER run`.

It dies as by `kill -9` when it comes to the step for the Nth time, counted from its start; with a step of another
name it lives on. Under FOLDER it keeps, for each archive, how far its media had come a second ago: the time of a
frame in ns from the archive's start.
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
"""Media that came so shortly before a crash may be missing from the file."""


class Death:
    """Counts the steps, and ends the process at the one that was asked for."""

    def __init__(self, step: str, count: int) -> None:
        self._step = step
        self._left = count

    def at(self, step: str) -> None:
        """Die here, if it is the time."""
        if step == self._step:
            self._left -= 1
            if not self._left:
                os.kill(os.getpid(), signal.SIGKILL)

    def around(self, step: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """Die before or after some work."""

        @functools.wraps(work)
        def done(*arguments: Any, **options: Any) -> Any:
            self.at(f"before {step}")
            result = work(*arguments, **options)
            self.at(f"after {step}")
            return result

        return done

    def around_async(self, step: str, work: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """Die before or after some work that is awaited."""

        async def done(*arguments: Any, **options: Any) -> Any:
            self.at(f"before {step}")
            result = await work(*arguments, **options)
            self.at(f"after {step}")
            return result

        return done

    def write_all(self, descriptor: int, data: bytes, offset: int) -> None:
        """Write all of it; die when half of it is written, too."""
        half = len(data) // 2
        write_all(descriptor, data[:half], offset)
        self.at("within put")
        write_all(descriptor, data[half:], offset + half)

    def transacting(self, run: Callable[..., Any]) -> Callable[..., Any]:
        """Die before, in or after a transaction. One that only reads is no step."""

        def transact(database: Database, begin: str, work: Callable[[Connection], Any]) -> Any:
            def work_and_die(connection: Connection) -> Any:
                result = work(connection)
                self.at("within commit")
                return result

            if begin == "BEGIN":
                return run(database, begin, work)
            return self.around("commit", run)(database, begin, work_and_die)

        return transact


write_all = media_file.write_all


def replace(places: Sequence[Any], name: str, make: Callable[[Any], Any]) -> None:
    """Put something else in the place of a function, wherever it is called from."""
    for place in places:
        setattr(place, name, make(getattr(place, name)))


def arm(death: Death) -> None:
    """Put the steps into the daemon."""
    replace([media_file, disk, repair], "write_all", lambda _: death.around("put", death.write_all))
    replace([MediaFile], "close", functools.partial(death.around, "close"))
    replace([os], "fsync", functools.partial(death.around, "fsync"))
    replace([os], "fdatasync", functools.partial(death.around, "fdatasync"))
    replace([os], "rename", functools.partial(death.around, "rename"))
    replace([journal_writer, recovery, recording_report], "write_json", functools.partial(death.around, "json"))
    replace([Poster], "send", functools.partial(death.around_async, "post"))
    replace([Database], "_transact", death.transacting)
    arm_node(death)


def arm_node(death: Death) -> None:
    """Put in the steps of a node of a cluster: a start or stop in etcd, the claim and the commit of a report."""
    replace([EtcdStore], "_transact", functools.partial(death.around_async, "decide"))
    replace([Ownership], "report", functools.partial(death.around_async, "claim"))
    replace([EtcdStore], "finish_recording", functools.partial(death.around_async, "finish"))


class Watched:
    """An archive whose media is noted, as of a second ago: from there on a crash may cost it."""

    def __init__(self, folder: Path, archiver: Archiver) -> None:
        state = archiver.state
        path = folder / f"{state.recording_id}-{state.connection.connection_id}"
        self._archiver = archiver
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
        self._came: deque[tuple[int, int]] = deque()
        self._video_has_begun = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._archiver, name)

    def write(self, frame: Frame) -> None:
        """Pass a frame on; note it if it is one that the archive keeps."""
        is_writing = self._archiver.is_writing
        self._archiver.write(frame)
        self._video_has_begun = self._video_has_begun or (frame.kind == "video" and frame.unit.is_keyframe)
        if is_writing and (frame.kind == "audio" or self._video_has_begun):
            self._note(time.monotonic_ns(), frame.time_ns - self._archiver.start_ns)

    def _note(self, now_ns: int, offset_ns: int) -> None:
        self._came.append((now_ns, offset_ns))
        while now_ns - self._came[0][0] >= MAX_LOST_NS:
            os.pwrite(self._descriptor, f"{self._came.popleft()[1]:020}".encode(), 0)


if __name__ == "__main__":
    arm(Death(sys.argv[1], int(sys.argv[2])))
    replace([recording], "Archiver", lambda make: lambda *of, **by: Watched(Path(sys.argv[3]), make(*of, **by)))
    sys.exit(main(sys.argv[4:]))
