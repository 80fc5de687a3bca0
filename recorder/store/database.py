"""One SQLite file and the one thread that owns a connection to it.

WAL, so that the outbox reads and writes beside the store; `synchronous=FULL`, so that what was committed survives a
loss of power (https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from rokuga.recorder.store import StoreError

T = TypeVar("T")

BUSY_S: Final = 10.0
"""How long a transaction waits for another one's end."""


class Database:
    """Runs transactions in its thread, one after the other. All faults are StoreError.

    `scripts` are the steps of this owner's schema, oldest first; what was done is kept in the table `migrations`
    under `owner`, so that several owners share a file.
    """

    def __init__(self, path: Path, owner: str, scripts: Sequence[str]) -> None:
        self._path = path
        self._owner = owner
        self._scripts = scripts
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"{owner}-database")
        self._connection: sqlite3.Connection | None = None

    async def __aenter__(self) -> Self:
        try:
            await self._call(self._open)
        except StoreError:
            self._thread.shutdown()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._call(self._close)
        await asyncio.to_thread(self._thread.shutdown)

    async def transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in one transaction: all of it is kept, or nothing. A cancelled caller does not stop it."""
        return await self._call(lambda: self._transact(work))

    async def _call(self, work: Callable[[], T]) -> T:
        future = asyncio.get_running_loop().run_in_executor(self._thread, work)
        try:
            return await asyncio.shield(future)
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {error}") from error

    def _transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._connection
        if connection is None:
            raise StoreError(f"{self._path}: not open")
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(connection)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        return result

    def _open(self) -> None:
        connection = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        self._connection = connection
        self._transact(self._migrate)

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


def _statements(script: str) -> Sequence[str]:
    """Take a script apart; `executescript` would commit in the middle of the migration."""
    statements, statement = [], ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            statements.append(statement)
            statement = ""
    return statements
