"""One server for all tests of a module; its recorder is reset for each."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from rokuga.api.app import api_app
from rokuga.api.config.loader import DaemonConfig
from rokuga.api.context import AppContext
from tests.api.serving import served
from tests.api.targets.caller import ORIGIN, Caller
from tests.fakes_recorder import FakeRecorder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_caller() -> AsyncIterator[Caller]:
    recorder = FakeRecorder()
    app = api_app(AppContext(recorder, DaemonConfig(api_cors_origin=ORIGIN)))
    async with served(app) as address, aiohttp.ClientSession() as session:
        yield Caller(recorder, session, f"http://{address}")


@pytest.fixture
def caller(shared_caller: Caller) -> Caller:
    """One server for all tests; its recorder is reset for each."""
    shared_caller.recorder.__init__()  # type: ignore[misc]  # the app holds this very object
    return shared_caller
