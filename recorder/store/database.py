"""One SQLite file and the one thread that owns a connection to it.

WAL, so that the outbox reads and writes beside the store; `synchronous=FULL`, so that what was committed survives a
loss of power (https://www.sqlite.org/pragma.html#pragma_synchronous).

A commit waits for the disk. What is asked for meanwhile is committed together after it, in the order in which it was
asked for, and nobody is told of success before that commit is on the disk.
"""

import asyncio
import contextlib
import errno
import os
import sqlite3
import stat
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import msgspec

from rokuga.recorder.directories import explained
from rokuga.recorder.store import StoreError

T = TypeVar("T")

FILE_MODE: Final = 0o600
"""Events and recordings are nobody else's business."""

BUSY_S: Final = 10.0
"""How long a transaction waits for another one's end."""

FAULTS: Final = (sqlite3.Error, msgspec.MsgspecError, UnicodeError, OverflowError)
"""What SQLite, a damaged row, or a value that neither JSON nor SQLite can hold may raise."""


MAX_TOGETHER: Final = 100
"""Works in one transaction: other writers of the file wait for its end."""


@dataclass(eq=False, slots=True)
class _Work:
    """What somebody wants to do in a transaction, and what became of it.

    Whoever waits for it may withdraw it until it has begun, and with `undo` until it is over.
    """

    do: Callable[[sqlite3.Connection], Any]
    undo: Callable[[sqlite3.Connection], None] | None = None
    is_begun: bool = False
    is_over: bool = False
    is_withdrawn: bool = False
    result: Any = None
    error: BaseException | None = None


class Database:
    """Runs transactions in its thread, one after the other. All faults are StoreError.

    `scripts` are the steps of this owner's schema, oldest first; what was done is kept in the table `migrations`
    under `owner`, so that several owners share a file (`user_version` has room for one).
    """

    def __init__(self, path: Path, owner: str, scripts: Sequence[str], busy_s: float = BUSY_S) -> None:
        self._path = path
        self._owner = owner
        self._scripts = scripts
        self._busy_s = busy_s
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"{owner}-database")
        self._connection: sqlite3.Connection | None = None
        self._waiting: deque[_Work] = deque()
        self._undoing: deque[Callable[[sqlite3.Connection], None]] = deque()
        self._withdrawing = threading.Lock()

    async def __aenter__(self) -> Self:
        """Open or make the file, and bring its schema up to date. Raises StoreError."""
        try:
            await self._call(self._open)
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._end()

    async def transact(
        self,
        work: Callable[[sqlite3.Connection], T],
        *,
        within_s: float | None = None,
        undo: Callable[[sqlite3.Connection], None] | None = None,
    ) -> T:
        """Run `work` in a transaction: all of it is kept, or nothing. A cancelled caller does not stop it.

        Returns when it is on the disk. It may share the transaction with others, whose faults are not its own.

        What has not begun `within_s`, for the file is locked or the disk slow, is withdrawn: StoreError, and it never
        happens. With an `undo` this holds for work whose commit has begun, too: if it returned True and the disk
        takes it later, it is undone in the next transaction, before anybody reads it. Without, its end is waited for.
        """
        mine = _Work(work, undo)
        self._waiting.append(mine)
        doing: asyncio.Future[T] = asyncio.ensure_future(self._call(lambda: self._outcome(mine)))
        try:
            if within_s is not None:
                await asyncio.wait({doing}, timeout=within_s)
                if not doing.done() and self._withdraw(mine):
                    doing.add_done_callback(_retrieve)
                    raise StoreError(f"{self._path}: did not answer within {within_s:g} s")
            return await asyncio.shield(doing)
        finally:
            del doing  # as in _call

    def _withdraw(self, work: _Work) -> bool:
        with self._withdrawing:
            work.is_withdrawn = not work.is_over and (not work.is_begun or work.undo is not None)
            return work.is_withdrawn

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work`, which only reads, on one state of the file; it waits for no writer."""

        def read() -> T:
            self._undo_withdrawn()
            return self._transact("BEGIN", work)

        return await self._call(read)

    async def _call(self, work: Callable[[], T]) -> T:
        try:
            future = asyncio.get_running_loop().run_in_executor(self._thread, work)
        except RuntimeError as error:  # the thread has ended
            raise StoreError(f"{self._path}: not open") from error
        try:
            return await asyncio.shield(future)
        except FAULTS as error:
            raise StoreError(f"{self._path}: {error}") from error
        finally:
            del future  # it holds the error, whose traceback holds this frame

    async def _end(self) -> None:
        try:
            await self._call(self._close)
        finally:
            await asyncio.to_thread(self._thread.shutdown)

    def _outcome(self, mine: _Work) -> Any:
        """Give what became of a work, or raise it: the first of those that wait does as many as may be together."""
        if not mine.is_over:
            works = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_TOGETHER))]
            try:
                self._undo_withdrawn()
                self._transact("BEGIN IMMEDIATE", lambda connection: self._do_each(connection, works))
            except BaseException as error:
                for work in works:  # nothing is kept, of none
                    work.error = error
            self._conclude(works)
        try:
            if mine.error is not None:
                raise mine.error
            return mine.result
        finally:
            mine.error = None  # its traceback holds this frame, and this frame the work

    def _conclude(self, works: Sequence[_Work]) -> None:
        """Say what became of works, and undo those that were withdrawn during their commit."""
        with self._withdrawing:
            for work in works:
                work.is_over = True
                if work.is_withdrawn and work.is_begun and work.result is True and work.undo is not None:
                    self._undoing.append(work.undo)
        with contextlib.suppress(*FAULTS):  # it is tried again before anything else is done or read
            self._undo_withdrawn()

    def _undo_withdrawn(self) -> None:
        while self._undoing:
            self._transact("BEGIN IMMEDIATE", self._undoing[0])
            self._undoing.popleft()

    def _do_each(self, connection: sqlite3.Connection, works: Sequence[_Work]) -> None:
        """Do works one after the other; where one fails, what it did is undone, and nothing else."""
        for work in works:
            with self._withdrawing:
                work.is_begun = not work.is_withdrawn
            if not work.is_begun:
                continue
            connection.execute("SAVEPOINT work")
            try:
                work.result = work.do(connection)
            except Exception as error:
                if not connection.in_transaction:  # a full disk may have ended it, for all
                    raise
                work.error = error
                connection.execute("ROLLBACK TO work")
            connection.execute("RELEASE work")

    def _transact(self, begin: str, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._connection
        if connection is None:
            raise StoreError(f"{self._path}: not open")
        connection.execute(begin)
        try:
            result = work(connection)
            connection.execute("COMMIT")
        except BaseException:
            if (
                connection.in_transaction
            ):  # a full disk may have ended it (https://www.sqlite.org/lang_transaction.html)
                connection.execute("ROLLBACK")
            raise
        return result

    def _open(self) -> None:
        _make_private(self._path)
        self._connection = connection = sqlite3.connect(
            self._path, timeout=self._busy_s, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        self._transact("BEGIN IMMEDIATE", self._migrate)

    def _migrate(self, connection: sqlite3.Connection) -> None:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS migrations (owner TEXT PRIMARY KEY, done INTEGER NOT NULL) STRICT"
        )
        row = connection.execute("SELECT done FROM migrations WHERE owner = ?", (self._owner,)).fetchone()
        done = row[0] if row else 0
        if done > len(self._scripts):
            raise StoreError(f"{self._path} was written by a newer version")
        for script in self._scripts[done:]:
            for statement in _statements(script):
                connection.execute(statement)
        connection.execute("REPLACE INTO migrations VALUES (?, ?)", (self._owner, len(self._scripts)))

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _retrieve(done: "asyncio.Future[Any]") -> None:
    """Look at the error of a work that nobody waits for any more."""
    if not done.cancelled():
        done.exception()


def _make_private(path: Path) -> None:
    """Make the file if it is missing, and have it and its companions be its owner's alone. Raises StoreError.

    SQLite gives its `-wal` and `-shm` the permissions of the file. No file that exists is opened: closing it would
    drop the locks that other connections of this process have on it (https://www.sqlite.org/howtocorrupt.html
    section 2.2).
    """
    try:
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE))
        if not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    except OSError as error:
        raise StoreError(str(explained(error, path))) from error
    for name in companions(path):
        with contextlib.suppress(OSError):  # it is not there, or another user's who lets us write
            if stat.S_IMODE(name.stat().st_mode) & ~FILE_MODE:
                name.chmod(FILE_MODE)


def append_private(path: Path, data: bytes) -> None:
    """Append to a file that only its owner may read, and fsync it. Raises StoreError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            os.write(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StoreError(str(explained(error, path))) from error


def companions(path: Path) -> tuple[Path, Path, Path]:
    """Give the files that make up a database: itself, its write-ahead log, and the log's index."""
    return path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")


def last_written_wall_ns(path: Path) -> int:
    """Give when the file or its write-ahead log was last written; 0 if there is none. Ask before it is opened."""
    times = [0]
    for name in companions(path)[:2]:
        with contextlib.suppress(OSError):
            times.append(name.stat().st_mtime_ns)
    return max(times)


def _statements(script: str) -> Sequence[str]:
    """Take a script apart; `executescript` would commit in the middle of the migration."""
    statements, statement = [], ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            statements.append(statement)
            statement = ""
    return statements
