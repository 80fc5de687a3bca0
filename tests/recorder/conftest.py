"""A recorder for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.recorder.house import House, running


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A recorder without a network, its files and its store in a folder of the test."""
    async with running(tmp_path) as started:
        yield started
