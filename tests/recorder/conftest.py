"""A recorder for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.recorder import RecorderHarness, running_recorder


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[RecorderHarness]:
    """A recorder without a network; its files and its store are in a folder of the test."""
    async with running_recorder(tmp_path) as started:
        yield started
