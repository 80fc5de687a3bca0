"""One SQLite file and the thread that owns a connection to it. Concurrent transactions share a commit.

WAL, so that the outbox can use the same file; `synchronous=FULL`, so that a commit survives a loss of power
(https://www.sqlite.org/pragma.html#pragma_synchronous).

A commit waits for the disk. The transactions that are requested meanwhile are committed together after it, in their
order, each with a savepoint of its own. No caller returns before its commit is on the disk.
"""

import asyncio
import contextlib
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import msgspec

from rokuga.recorder.store import StoreError
from rokuga.recorder.store.private_files import make_private

T = TypeVar("T")

BUSY_S: Final = 10.0
"""How long a transaction waits for the lock of another process or connection."""

FAULTS: Final = (sqlite3.Error, msgspec.MsgspecError, UnicodeError, OverflowError)
"""Errors of SQLite, of a damaged row, and of a value that JSON or SQLite cannot represent."""


MAX_GROUP: Final = 100
"""Operations in one commit: other writers of the file wait for it."""


@dataclass(eq=False, slots=True)
class _Work:
    """One requested operation and its result.

    The caller may withdraw it until it has begun, and if it has `undo` until its commit has ended.
    """

    do: Callable[[sqlite3.Connection], Any]
    undo: Callable[[sqlite3.Connection], None] | None = None
    is_begun: bool = False
    is_over: bool = False
    is_withdrawn: bool = False
    result: Any = None
    error: BaseException | None = None


class Database:
    """Runs transactions in its thread, one after the other. All errors are raised as StoreError.

    `scripts` are the steps of this owner's schema, oldest first. The table `migrations` has the number of executed
    steps of each owner, so that several owners share a file (`user_version` would be one number for all).
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
        """Open or create the file, and update its schema. Raises StoreError."""
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
        """Run `work` atomically and return its result when the commit is on the disk.

        It may share the commit with other operations, whose errors do not affect it. Cancelling the caller does not
        cancel it.

        If it has not begun `within_s`, because the file is locked or the disk is slow, it is withdrawn: StoreError is
        raised and it is never executed. With an `undo` this is so also if its commit has begun: if `work` returned
        True and the commit succeeds later, `undo` runs in the next transaction, before any read. Without one, the
        caller waits for the commit.
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
        """Run `work`, which only reads, on one snapshot of the file."""

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
        """Return the result of an operation, or raise its error. The first one that waits executes the group."""
        if not mine.is_over:
            works = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_GROUP))]
            try:
                self._undo_withdrawn()
                self._transact("BEGIN IMMEDIATE", lambda connection: self._do_each(connection, works))
            except BaseException as error:
                for work in works:  # the transaction was rolled back, for all of them
                    work.error = error
            self._conclude(works)
        try:
            if mine.error is not None:
                raise mine.error
            return mine.result
        finally:
            mine.error = None  # its traceback holds this frame, and this frame the work

    def _conclude(self, works: Sequence[_Work]) -> None:
        """Mark operations as ended, and undo those that were withdrawn during their commit."""
        with self._withdrawing:
            for work in works:
                work.is_over = True
                if work.is_withdrawn and work.is_begun and work.result is True and work.undo is not None:
                    self._undoing.append(work.undo)
        with contextlib.suppress(*FAULTS):  # it is repeated before anything else is executed or read
            self._undo_withdrawn()

    def _undo_withdrawn(self) -> None:
        while self._undoing:
            self._transact("BEGIN IMMEDIATE", self._undoing[0])
            self._undoing.popleft()

    def _do_each(self, connection: sqlite3.Connection, works: Sequence[_Work]) -> None:
        """Execute operations one after the other; one that fails is rolled back to its savepoint."""
        for work in works:
            with self._withdrawing:
                work.is_begun = not work.is_withdrawn
            if not work.is_begun:
                continue
            connection.execute("SAVEPOINT work")
            try:
                work.result = work.do(connection)
            except Exception as error:
                if not connection.in_transaction:  # a full disk may have rolled back all of them
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
        make_private(self._path)
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
    """Retrieve the exception of an operation whose caller has returned, so that asyncio does not log it."""
    if not done.cancelled():
        done.exception()


def _statements(script: str) -> Sequence[str]:
    """Split a script into statements; `executescript` would commit in the middle of the migration."""
    statements, statement = [], ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            statements.append(statement)
            statement = ""
    return statements
