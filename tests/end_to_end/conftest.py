"""A consumer and a daemon for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.end_to_end.daemon import Consumer, Daemon, consuming, running


@pytest.fixture
async def consumer() -> AsyncIterator[Consumer]:
    """A webhook consumer that accepts every event."""
    async with consuming() as started:
        yield started


@pytest.fixture
async def daemon(tmp_path: Path, consumer: Consumer) -> AsyncIterator[Daemon]:
    """A daemon that posts its events to the consumer, and logs no error."""
    async with running(tmp_path, consumer.url) as started:
        yield started
    assert not started.faults()
