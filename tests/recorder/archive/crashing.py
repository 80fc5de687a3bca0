"""Runs a short recording repeatedly, killed before its 1st, 2nd, ... call of the disk or the store.

`python -m tests.recorder.archive.crashing FOLDER` makes FOLDER/1, FOLDER/2, ... up to the first run that
ends by itself. Each is a process of its own that is killed as by `kill -9`; FOLDER/N/reached has the ms of its media.
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
from tests.support.recorder import RecorderHarness, running_recorder

P = ParamSpec("P")
T = TypeVar("T")

DISK_CALLS = ("open", "pwrite", "fsync", "rename", "unlink", "mkdir", "ftruncate")
STORE_CALLS = ("start_recording", "stop_recording", "finish_recording", "save_archive", "append")
MEDIA_MS = 1700
SPLIT_S = 1


class KillSwitch:
    """Kills this process at the `last`th step."""

    def __init__(self, last: int) -> None:
        self.left = last

    def step(self) -> None:
        """Count a step."""
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def before(self, call: Callable[P, T]) -> Callable[P, T]:
        """Count a step before each call."""

        def counted(*arguments: P.args, **named: P.kwargs) -> T:
            self.step()
            return call(*arguments, **named)

        return counted

    def around(self, call: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        """Count a step before and after each transaction."""

        async def counted(*arguments: P.args, **named: P.kwargs) -> T:
            self.step()
            result = await call(*arguments, **named)
            self.step()
            return result

        return counted


@contextlib.asynccontextmanager
async def running_until(folder: Path, kill_switch: KillSwitch) -> AsyncIterator[RecorderHarness]:
    """Run a recorder that is killed at the step."""
    async with SqliteStore(folder / "store.sqlite3") as store:
        patched: Any = store
        for name in STORE_CALLS:
            setattr(patched, name, kill_switch.around(getattr(store, name)))
        for name in DISK_CALLS:
            setattr(os, name, kill_switch.before(getattr(os, name)))
        async with running_recorder(folder, store=store) as harness:
            yield harness


async def record(folder: Path, kill_switch: KillSwitch) -> None:
    """Start, publish, stop: a whole file and two parts."""
    reached = os.open(folder / "reached", os.O_WRONLY | os.O_CREAT, 0o644)
    async with running_until(folder, kill_switch) as harness:
        await harness.start(split_duration=SPLIT_S)
        client = await harness.connect(event_metadata_json='{"user":7}')
        for done_ms in range(100, MEDIA_MS + 1, 100):
            await client.play(100)
            await harness.drain()
            os.write(reached, b"%6d" % done_ms)
            os.lseek(reached, 0, os.SEEK_SET)
        await harness.stop()


async def start_again(folder: Path, kill_switch: KillSwitch) -> None:
    """Recover after a crash, and end."""
    async with running_until(folder, kill_switch):
        pass


def main(folder: Path, crashed: Path | None) -> None:
    """Fork a run for each step."""
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
            asyncio.run((record if crashed is None else start_again)(run, KillSwitch(place)))
            os._exit(0)
        status = os.waitpid(process, 0)[1]
        if status not in {0, signal.SIGKILL}:
            raise SystemExit(f"the run to place {place} ended with {status}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
