"""The API's framework: methods, headers, targets, paths and bodies, byte for byte."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import structlog
from starlette.applications import Starlette
from starlette.routing import Route

from rokuga.api.app import api_app
from rokuga.api.config.loader import DaemonConfig
from rokuga.api.context import AppContext
from rokuga.api.targets.dispatch import dispatch
from rokuga.api.targets.endpoint import ApiEndpoint
from rokuga.api.targets.recordings import RecordingLimits
from rokuga.api.targets.table import TargetName, targets
from rokuga.recorder.store import StoreError
from tests.api.serving import served
from tests.api.targets.caller import GET, GIVEN, LIST, ORIGIN, START, STOP, Caller, started
from tests.fakes_recorder import FakeRecorder

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_every_answer_has_the_four_cors_headers_where_an_origin_is_configured(caller: Caller) -> None:
    answers = [
        await caller.call(START, {"channel_id": "sora", "expire_time": 0}),
        await caller.call(START, {"channel_id": "sora", "expire_time": 0}),
        await caller.call(None),
        await caller.call(None, method="OPTIONS"),
    ]
    assert [status for status, _, _ in answers] == [200, 400, 400, 200]
    assert answers[3][1] == b""
    for _, _, headers in answers:
        assert {name: value for name, value in headers.items() if name.startswith("access-control")} == {
            "access-control-allow-headers": "Origin, X-Requested-With, Content-Type, Accept, x-sora-target",
            "access-control-allow-methods": "POST, OPTIONS",
            "access-control-allow-origin": ORIGIN,
            "access-control-max-age": "1000",
        }


async def test_without_an_origin_there_are_no_cors_headers_and_no_options() -> None:
    async with (
        served(api_app(AppContext(FakeRecorder(), DaemonConfig()))) as address,
        aiohttp.ClientSession() as session,
    ):
        caller = Caller(FakeRecorder(), session, f"http://{address}")
        status, body, headers = await caller.call(None, method="OPTIONS")
    assert (status, body) == (400, b'{"type":"UnexpectedMethod"}')
    assert not [name for name in headers if name.startswith("access-control")]


def of(operation: str, service: str = "Sora", version: str = "20161101") -> bytes:
    return f'{{"service":"{service}","version":"{version}","operation":"{operation}"}}'.encode()


@pytest.mark.parametrize(
    ("method", "target", "body", "status", "answer"),
    [
        ("GET", START, None, 400, b'{"type":"UnexpectedMethod"}'),
        ("PUT", None, {}, 400, b'{"type":"UnexpectedMethod"}'),
        ("DELETE", LIST, None, 400, b'{"type":"UnexpectedMethod"}'),
        ("PATCH", LIST, None, 400, b'{"type":"UnexpectedMethod"}'),
        ("POST", None, {}, 400, b'{"type":"MissingHeaderName"}'),
        ("POST", "", {}, 400, b'{"error_type":"MissingService"}'),
        ("POST", "StartRecording", {}, 400, b'{"error_type":"MissingService"}'),
        ("POST", "Sora_2016110.StartRecording", {}, 400, b'{"error_type":"MissingService"}'),
        ("POST", "Sora_20161101xStartRecording", {}, 400, b'{"error_type":"MissingService"}'),
        ("POST", "Sora_20161101.StartRecording2", {}, 400, b'{"error_type":"MissingService"}'),
        ("POST", "Sora_20161101.Nope", None, 400, b'{"error_type":"MissingTarget"}'),
        ("POST", "Sora_20161102.StartRecording", None, 400, b'{"error_type":"MissingTarget"}'),
        ("POST", "sora_20161101.StartRecording", None, 400, b'{"error_type":"MissingTarget"}'),
        (
            "POST",
            "Sora_20161101.Nope",
            {},
            400,
            b'{"error_type":"SchemaNotFound","error_reason":' + of("Nope") + b"}",
        ),
        (
            "POST",
            "Other_20231220.StartRecording",
            {},
            400,
            b'{"error_type":"SchemaNotFound","error_reason":' + of("StartRecording", "Other", "20231220") + b"}",
        ),
        ("POST", START, b"{", 400, b'{"error_type":"MalformedJSON"}'),
        ("POST", START, b"NaN", 400, b'{"error_type":"MalformedJSON"}'),
        ("POST", START, b"\xff", 400, b'{"error_type":"MalformedJSON"}'),
        ("POST", START, b'{"channel_id":"\xed\xa0\x80","expire_time":0}', 400, b'{"error_type":"MalformedJSON"}'),
        ("POST", START, b"[" * 100_000, 400, b'{"error_type":"MalformedJSON"}'),
        ("POST", START, b"[" * 129 + b"]" * 129, 400, b'{"error_type":"MalformedJSON"}'),
        ("POST", START, b"1" * 5000, 400, b'{"error_type":"MalformedJSON"}'),
        ("POST", "Sora_20161101.Nope", b"{", 400, b'{"error_type":"MalformedJSON"}'),
        ("POST", LIST, b"{", 400, b'{"error_type":"MalformedJSON"}'),
        (
            "POST",
            START,
            None,
            400,
            b'{"error_type":"MissingTargetFunction","error_reason":' + of("StartRecording") + b"}",
        ),
        ("POST", START, b" " * 8_000_001, 413, b'{"error_type":"PayloadTooLarge"}'),
    ],
)
async def test_errors_of_the_framework(
    caller: Caller, method: str, target: str | None, body: Any, status: int, answer: bytes
) -> None:
    """Status and body, byte for byte; a recording continues."""
    await started(caller, channel_id="sora", expire_time=0)
    got_status, got_body, headers = await caller.call(target, body, method=method)
    assert (got_status, got_body) == (status, answer)
    assert headers["content-type"] == "application/json"
    assert headers["content-length"] == str(len(answer))
    assert headers["server"] == "Rokuga"
    assert headers["date"].endswith("GMT")
    assert headers["access-control-allow-origin"] == ORIGIN
    assert (await caller.call(GET, {"channel_id": "sora"}))[0] == 200


async def test_two_targets_in_one_request_are_refused(caller: Caller) -> None:
    """A proxy cannot check another target than the one that is executed."""
    status, body, _ = await caller.call(LIST, more_headers=[("x-sora-target", START)])
    assert (status, body) == (400, b'{"error_type":"MissingService"}')


async def test_a_body_of_8_megabytes_is_accepted(caller: Caller) -> None:
    request = {"channel_id": "sora", "expire_time": 0, "metadata": ""}
    request["metadata"] = "x" * (8_000_000 - len(json.dumps(request)))
    assert (await caller.call(START, request))[0] == 200


async def test_a_body_of_unknown_length_is_cut_off_at_the_limit(caller: Caller) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(9):
            yield b" " * 1_000_000

    assert (await caller.call(START, chunks()))[:2] == (413, b'{"error_type":"PayloadTooLarge"}')


async def test_a_body_that_does_not_arrive_times_out() -> None:
    endpoint = ApiEndpoint(FakeRecorder(), targets(RecordingLimits()), None, "Rokuga", body_timeout_s=0.01)
    async with served(Starlette(routes=[Route("/", endpoint)])) as address:
        reader, writer = await asyncio.open_connection(*address.split(":"))
        writer.write(f"POST / HTTP/1.1\r\nHost: x\r\nx-sora-target: {START}\r\ncontent-length: 9\r\n\r\n{{".encode())
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert answer.endswith(b'\r\n\r\n{"error_type":"RequestTimeout"}')


@pytest.mark.parametrize("path", ["/x", "/index.html", "//", "/signaling"])
async def test_other_paths_are_404_and_empty(caller: Caller, path: str) -> None:
    status, body, headers = await caller.call(START, {}, path=path)
    assert (status, body, headers["content-length"], headers["server"]) == (404, b"", "0", "Rokuga")


async def test_an_internal_error_is_answered_without_details_and_logged_with_them(caller: Caller) -> None:
    caller.recorder.fault = RuntimeError("secret")
    with structlog.testing.capture_logs() as lines:
        assert (await caller.call(START, GIVEN))[:2] == (500, b'{"error_type":"HandlerException"}')
    [line] = lines
    assert (line["log_level"], line["exc_info"]) == ("error", True)


@pytest.mark.parametrize("name", targets(RecordingLimits()), ids=lambda name: name.operation)
async def test_every_target_answers_store_unavailable_on_store_errors(name: TargetName) -> None:
    """The error has a name, and the caller may retry."""

    class Unanswered(FakeRecorder):
        async def read_barrier(self) -> None:
            raise StoreError("etcd refuses kv/range")

    body = b'{"channel_id":"sora","expire_time":0,"client_id":"a","connection_id":"a"}'
    if not targets(RecordingLimits())[name].needs_body:
        body = b""
    recorder = Unanswered()
    answer = await dispatch(targets(RecordingLimits()), recorder, name, body)
    assert (answer.status, answer.body) == (503, b'{"error_type":"STORE-UNAVAILABLE"}')
    assert recorder.recordings() == []


@pytest.mark.parametrize("target", [START, STOP])
async def test_a_change_that_the_store_refuses_is_store_unavailable(caller: Caller, target: str) -> None:
    caller.recorder.fault = StoreError("database is locked")
    status, body, _ = await caller.call(target, GIVEN if target == START else {"channel_id": "sora"})
    assert (status, body) == (503, b'{"error_type":"STORE-UNAVAILABLE"}')
