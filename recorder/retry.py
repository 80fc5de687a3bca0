"""Repeat an operation that fails for a reason outside this process: a full disk, a store or a server that is down."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import structlog

from rokuga.recorder.clock import Clock

log = structlog.get_logger()

T = TypeVar("T")

_MAX_EXPONENT: Final = 64
"""A larger one makes no pause longer, and overflows."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Which `errors` are retried, after which pauses, and what the log calls the resource that failed.

    Each pause is `factor` times the one before it, `max_pause_s` at most. Of `unlogged` errors nothing is logged:
    they are retried as well, and another place reports them.
    """

    errors: tuple[type[Exception], ...]
    first_pause_s: float = 1.0
    factor: float = 1.0
    max_pause_s: float = 30.0
    unlogged: tuple[type[Exception], ...] = ()
    resource: str = "store"

    def pause_s(self, failures: int) -> float:
        """Return the pause after so many failures in a row, 1 or more."""
        return min(self.first_pause_s * self.factor ** min(failures - 1, _MAX_EXPONENT), self.max_pause_s)


class Failures:
    """The failures in a row of one operation, for loops that `retry` does not fit: those that yield."""

    def __init__(self, policy: RetryPolicy, clock: Clock, name: str, **context: str) -> None:
        """`name` and `context` go into the log lines."""
        self._policy = policy
        self._clock = clock
        self._log = log.bind(operation=name, **context)
        self._count = 0
        self._is_logged = False

    async def pause(self, error: Exception, stop: asyncio.Event | None = None) -> None:
        """Log the first error, and wait until the next attempt is due, or `stop` is set."""
        self._count += 1
        if not self._is_logged and not isinstance(error, self._policy.unlogged):
            self._is_logged = True
            self._log.warning(f"{self._policy.resource} unavailable, retrying", reason=str(error))
        pause = self._clock.sleep(self._policy.pause_s(self._count))
        if stop is None:
            await pause
            return
        waits = [asyncio.ensure_future(pause), asyncio.ensure_future(stop.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def end(self) -> None:
        """Log that the operation succeeds again, if its failure was logged; the pauses begin anew."""
        if self._is_logged:
            self._log.info(f"{self._policy.resource} available again", failures=self._count)
        self._count, self._is_logged = 0, False


async def retry(
    operation: Callable[[], Awaitable[T]],
    policy: RetryPolicy,
    clock: Clock,
    *,
    name: str,
    stop: asyncio.Event | None = None,
    **context: str,
) -> T:
    """Return what `operation` returns, once it succeeds. End it by cancellation, or by `stop`.

    Once `stop` is set no pause is waited for, and an error of the policy is raised after one last attempt. Other
    errors are raised at once. `name` and `context` go into the log lines.
    """
    failures = Failures(policy, clock, name, **context)
    while True:
        try:
            result = await operation()
        except policy.errors as error:
            if stop is not None and stop.is_set():
                raise
            await failures.pause(error, stop)
        else:
            failures.end()
            return result
