"""Runs a short recording again and again, killed at the 1st, 2nd, ... time that it touches the disk or the store.

`python -m tests.recorder.archive.crashing FOLDER` makes FOLDER/1, FOLDER/2, ... up to the first run that comes to its
end. Each is a process of its own that ends as `kill -9` ends it; FOLDER/N/reached says how far its media came.
`python -m tests.recorder.archive.crashing FOLDER CRASHED` does the same with the start after a crash: each run begins
with a copy of CRASHED.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from rokuga.recorder.store.sqlite import SqliteStore
from tests.recorder.house import House, running

P = ParamSpec("P")
T = TypeVar("T")

DISK_CALLS = ("open", "pwrite", "fsync", "rename", "unlink", "mkdir", "ftruncate")
STORE_CALLS = ("start_recording", "stop_recording", "finish_recording", "save_archive", "append")
MEDIA_MS = 1700
SPLIT_S = 1


class Fate:
    """Kills this process the `last`th time that it is touched."""

    def __init__(self, last: int) -> None:
        self.left = last

    def touch(self) -> None:
        """Come one step nearer."""
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def before(self, call: Callable[P, T]) -> Callable[P, T]:
        """Touch before a call: what came after the call before it, is before this one."""

        def touching(*arguments: P.args, **named: P.kwargs) -> T:
            self.touch()
            return call(*arguments, **named)

        return touching

    def around(self, call: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        """Touch before and after a transaction."""

        async def touching(*arguments: P.args, **named: P.kwargs) -> T:
            self.touch()
            result = await call(*arguments, **named)
            self.touch()
            return result

        return touching


@contextlib.asynccontextmanager
async def fated(folder: Path, fate: Fate) -> AsyncIterator[House]:
    """Run a recorder that is killed when its fate comes."""
    async with SqliteStore(folder / "store.sqlite3") as store:
        patched: Any = store
        for name in STORE_CALLS:
            setattr(patched, name, fate.around(getattr(store, name)))
        for name in DISK_CALLS:
            setattr(os, name, fate.before(getattr(os, name)))
        async with running(folder, store=store) as house:
            yield house


async def record(folder: Path, fate: Fate) -> None:
    """Start, publish, stop: a whole file and two parts."""
    reached = os.open(folder / "reached", os.O_WRONLY | os.O_CREAT, 0o644)
    async with fated(folder, fate) as house:
        await house.start(split_duration=SPLIT_S)
        client = await house.enter(event_metadata_json='{"user":7}')
        for done_ms in range(100, MEDIA_MS + 1, 100):
            await client.play(100)
            await house.disk()
            os.write(reached, b"%6d" % done_ms)
            os.lseek(reached, 0, os.SEEK_SET)
        await house.stop()


async def start_again(folder: Path, fate: Fate) -> None:
    """Take up what a crash left, and end."""
    async with fated(folder, fate):
        pass


def main(folder: Path, crashed: Path | None) -> None:
    """Fork a run for each place to die at."""
    place = 0
    status = -1
    while status != 0:
        place += 1
        run = folder / str(place)
        if crashed is None:
            run.mkdir()
        else:
            shutil.copytree(crashed, run)
        process = os.fork()
        if process == 0:
            asyncio.run((record if crashed is None else start_again)(run, Fate(place)))
            os._exit(0)
        status = os.waitpid(process, 0)[1]
        if status not in {0, signal.SIGKILL}:
            raise SystemExit(f"the run to place {place} ended with {status}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
