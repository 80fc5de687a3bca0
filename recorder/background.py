"""Work that runs in the background of a context."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import structlog

log = structlog.get_logger()


@asynccontextmanager
async def background(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run all of the work until the context ends, then cancel it and wait.

    What the work raises ends the context, as an ExceptionGroup; what the context raises is not changed.
    """
    tasks = asyncio.TaskGroup()
    await tasks.__aenter__()
    running = [tasks.create_task(each) for each in work]
    try:
        yield
    finally:
        for task in running:
            task.cancel()
        await tasks.__aexit__(None, None, None)


async def log_exceptions(work: Coroutine[Any, Any, None]) -> None:
    """Await the work; an exception is logged and ends nothing but this work."""
    try:
        await work
    except Exception:
        log.exception("internal error")
