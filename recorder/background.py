"""Work that runs beside a context, from its beginning to its end."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def background(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run all of it until the context ends, then cancel it and wait.

    What the work raises ends the context, as an ExceptionGroup; what the context raises is left as it is.
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
