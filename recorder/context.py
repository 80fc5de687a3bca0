"""What all parts of one recorder share: its configuration, store, clock, writer and a few of its functions."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from rokuga.recorder.archive.writer import WriterThread
from rokuga.recorder.clock import Clock
from rokuga.recorder.config import RecorderConfig
from rokuga.recorder.disk_space import DiskSpace
from rokuga.recorder.event_publisher import EventPublisher
from rokuga.recorder.events import Event
from rokuga.recorder.retry import RetryPolicy, retry
from rokuga.recorder.store import REQUEST_TIMEOUT_S, RecordingStore, StoreError

T = TypeVar("T")

STORE_RETRY: Final = RetryPolicy((StoreError,), first_pause_s=1.0)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `request_timeout_s` is the longest that a start, a stop or a connect may take; then it is refused.

    `other_nodes_s` is how long a recorder that ends waits for the archives of other nodes; then it reports without
    them.
    """

    request_timeout_s: float = REQUEST_TIMEOUT_S
    other_nodes_s: float = 1.0


DEFAULT_TIMEOUTS: Final = Timeouts()


@dataclass(frozen=True, slots=True)
class RecorderContext:
    """What all parts of one recorder share.

    `on_committed` is called with the events of each change that the store has committed. `make_id` returns a new id.
    `spawn` runs a coroutine as a task of the recorder. `stopping` is set once the recorder ends.
    """

    config: RecorderConfig
    store: RecordingStore
    clock: Clock
    writer: WriterThread
    disk_space: DiskSpace
    event_publisher: EventPublisher
    on_committed: Callable[[Sequence[Event]], None]
    make_id: Callable[[], str]
    spawn: Callable[[Coroutine[Any, Any, None]], None]
    stopping: asyncio.Event
    timeouts: Timeouts = DEFAULT_TIMEOUTS

    async def until_stored(self, operation: Callable[[], Awaitable[T]], name: str, **ids: str) -> T:
        """Repeat an operation of the store until it succeeds. Raises StoreError once the recorder ends."""
        return await retry(operation, STORE_RETRY, self.clock, name=name, stop=self.stopping, **ids)
