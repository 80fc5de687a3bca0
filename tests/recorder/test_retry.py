"""`retry`: which errors are retried, after which pauses, how often it logs, and how it ends."""

import asyncio
from collections.abc import Callable

import pytest
import structlog

from rokuga.recorder.retry import Failures, RetryPolicy, retry
from tests.support.clock import FakeClock

POLICY = RetryPolicy(
    (ConnectionError, TimeoutError), first_pause_s=0.5, factor=2, max_pause_s=3, unlogged=(TimeoutError,)
)


class Operation:
    """Raises the given errors, one after the other, and then returns how often it was called."""

    def __init__(self, *errors: Exception) -> None:
        self.calls = 0
        self._errors = list(errors)

    async def __call__(self) -> int:
        """Fail or return."""
        self.calls += 1
        if self._errors:
            raise self._errors.pop(0)
        return self.calls


async def test_an_operation_is_repeated_after_growing_pauses_until_it_succeeds() -> None:
    operation, clock = Operation(*[ConnectionError("refused")] * 5), FakeClock()
    result = asyncio.create_task(retry(operation, POLICY, clock.clock(), name="test"))
    assert [await clock.next_sleep() for _ in range(5)] == [0.5, 1, 2, 3, 3]
    assert await result == 6


async def test_an_outage_is_logged_once_at_its_first_failure_and_once_at_its_end() -> None:
    operation, clock = Operation(*[ConnectionError("refused")] * 3), FakeClock()
    with structlog.testing.capture_logs() as logs:
        result = asyncio.create_task(retry(operation, POLICY, clock.clock(), name="append", recording_id="R"))
        for _ in range(3):
            await clock.next_sleep()
        await result
    assert logs == [
        {
            "event": "store unavailable, retrying",
            "log_level": "warning",
            "operation": "append",
            "reason": "refused",
            "recording_id": "R",
        },
        {
            "event": "store available again",
            "log_level": "info",
            "operation": "append",
            "failures": 3,
            "recording_id": "R",
        },
    ]


async def test_an_error_that_another_place_reports_is_retried_without_a_log_line() -> None:
    operation, clock = Operation(TimeoutError(), TimeoutError()), FakeClock()
    with structlog.testing.capture_logs() as logs:
        result = asyncio.create_task(retry(operation, POLICY, clock.clock(), name="test"))
        for _ in range(2):
            await clock.next_sleep()
        await result
    assert logs == []


async def test_an_error_that_the_policy_does_not_name_is_raised_at_once() -> None:
    operation = Operation(ValueError("a fault of ours"))
    with pytest.raises(ValueError, match="of ours"):
        await retry(operation, POLICY, FakeClock().clock(), name="test")
    assert operation.calls == 1


async def test_a_retry_ends_by_cancellation() -> None:
    operation, clock = Operation(*[ConnectionError()] * 9), FakeClock()
    result = asyncio.create_task(retry(operation, POLICY, clock.clock(), name="test"))
    await clock.next_sleep()
    result.cancel()
    with pytest.raises(asyncio.CancelledError):
        await result


async def test_stop_ends_the_pause_and_allows_one_more_attempt() -> None:
    """The error of that attempt is raised; a caller that ends does not wait for a store that is down."""
    operation, clock, stop = Operation(*[ConnectionError("still down")] * 9), FakeClock(), asyncio.Event()
    result = asyncio.create_task(retry(operation, POLICY, clock.clock(), name="test", stop=stop))
    await clock.next_sleep()
    await clock.sleeping()
    stop.set()
    with pytest.raises(ConnectionError, match="still down"):
        await result
    assert operation.calls == 3


@pytest.mark.parametrize("failures", [10, 100_000])
async def test_the_pause_never_exceeds_its_maximum(failures: int) -> None:
    assert POLICY.pause_s(failures) == 3


async def test_a_loop_that_yields_reports_its_failures_by_itself() -> None:
    """A watch succeeds with each item that it yields; its pauses begin anew then."""
    clock = FakeClock()
    failures = Failures(POLICY, clock.clock(), name="watch")
    pauses: list[float] = []
    steps: list[Callable[[], None] | None] = [None, None, failures.end, None]
    for step in steps:
        if step is not None:
            step()
            continue
        waiting = asyncio.create_task(failures.pause(ConnectionError()))
        pauses.append(await clock.next_sleep())
        await waiting
    assert pauses == [0.5, 1, 0.5]
