"""The JSON Schemas and the OpenAPI document over HTTP."""

import aiohttp
import msgspec

from rokuga.api.app import api_app
from rokuga.api.config.loader import DaemonConfig
from rokuga.api.context import AppContext
from rokuga.api.targets.openapi import document
from rokuga.api.targets.recordings import RecordingLimits
from rokuga.webhooks.schemas import json_schemas
from tests.api.serving import served
from tests.fakes_recorder import FakeRecorder


async def test_every_schema_is_listed_and_served() -> None:
    """Each with its media type; an unknown name is 404."""
    async with (
        served(api_app(AppContext(FakeRecorder(), DaemonConfig()))) as address,
        aiohttp.ClientSession() as session,
    ):
        async with session.get(f"http://{address}/schemas") as answer:
            names = await answer.json()
        assert names == sorted(json_schemas())
        for name in names:
            async with session.get(f"http://{address}/schemas/{name}") as answer:
                assert answer.headers["content-type"] == "application/schema+json"
                assert msgspec.json.decode(await answer.read()) == json_schemas()[name]
        async with session.get(f"http://{address}/schemas/nothing.json") as answer:
            assert answer.status == 404


async def test_the_api_is_described_with_the_limits_in_force() -> None:
    """`/openapi.json` has the configured limits."""
    config = DaemonConfig(recording_max_expire_time=77)
    async with (
        served(api_app(AppContext(FakeRecorder(), config))) as address,
        aiohttp.ClientSession() as session,
        session.get(f"http://{address}/openapi.json") as answer,
    ):
        given = await answer.json()
    limits = RecordingLimits(77, config.recording_max_split_duration)
    assert given == msgspec.json.decode(msgspec.json.encode(document(limits)))
    assert given != msgspec.json.decode(msgspec.json.encode(document()))
