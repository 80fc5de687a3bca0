"""The API as its callers see it, over real HTTP: every request of its page and every error of its framework."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import structlog
from starlette.applications import Starlette
from starlette.routing import Route

from rokuga.api.app import api_app
from rokuga.api.config import DaemonConfig
from rokuga.api.targets.endpoint import ApiEndpoint
from rokuga.api.targets.recordings import RecordingLimits
from rokuga.api.targets.table import targets
from rokuga.recorder.archive.writer import ArchiveError
from rokuga.recorder.connection import ArchiveProgress
from rokuga.recorder.negotiation import ConnectionIdentity, TrackConfig
from rokuga.recorder.states import RecordingParameters, RecordingState
from rokuga.recorder.store import TooLargeError
from tests.api.serving import served
from tests.fakes_recorder import FakeRecorder

START = "Sora_20161101.StartRecording"
STOP = "Sora_20161101.StopRecording"
GET = "Sora_20161101.GetStartedRecording"
LIST = "Sora_20161101.ListStartedRecording"
ARCHIVING = "Sora_20161101.ListArchiving"
pytestmark = pytest.mark.asyncio(loop_scope="module")

ORIGIN = "http://127.0.0.1:5000"


class Caller:
    """Somebody who calls the API."""

    def __init__(self, recorder: FakeRecorder, session: aiohttp.ClientSession, url: str) -> None:
        self.recorder = recorder
        self._session = session
        self._url = url

    async def call(
        self,
        target: str | None,
        body: Any = None,
        *,
        method: str = "POST",
        path: str = "/",
        more_headers: Iterable[tuple[str, str]] = (),
    ) -> tuple[int, bytes, dict[str, str]]:
        """Give status, body, headers. `body` is bytes or chunks as they are, or a value to be written as JSON."""
        data = body
        if not isinstance(body, AsyncIterator | None):
            data = io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
        headers = [("x-sora-target", target)] if target is not None else []
        headers += more_headers
        async with self._session.request(method, self._url + path, data=data, headers=headers) as response:
            named = {name.lower(): value for name, value in response.headers.items()}
            return response.status, await response.read(), named


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house() -> AsyncIterator[Caller]:
    recorder = FakeRecorder()
    app = api_app(recorder, DaemonConfig(api_cors_origin=ORIGIN))
    async with served(app) as address, aiohttp.ClientSession() as session:
        yield Caller(recorder, session, f"http://{address}")


@pytest.fixture
def caller(house: Caller) -> Caller:
    """One server for all tests, its recorder as new for each."""
    house.recorder.__init__()  # type: ignore[misc]  # the app holds this very object
    return house


async def started(caller: Caller, **request: Any) -> str:
    status, body, _ = await caller.call(START, request)
    assert status == 200
    return str(json.loads(body)["recording_id"])


@pytest.mark.parametrize(
    ("request_body", "length"),
    [
        ({"channel_id": "sora", "expire_time": 3600}, 84),
        ({"channel_id": "sora", "expire_time": 0}, 81),
        ({"channel_id": "sora", "expire_time": 0, "split_only": False}, 100),
        ({"channel_id": "sora", "expire_time": 0, "split_duration": 3600, "split_only": True}, 121),
    ],
)
async def test_start_answers_what_was_given_and_the_id(
    caller: Caller, request_body: dict[str, Any], length: int
) -> None:
    """The lengths are those of the API's page (82 for the second one there was edited by hand)."""
    status, body, headers = await caller.call(START, request_body)
    answer = json.loads(body)
    recording_id = answer.pop("recording_id")
    assert (status, answer) == (200, request_body)
    assert recording_id == caller.recorder.states["sora"].recording_id
    assert (
        body == json.dumps({**answer, "recording_id": recording_id}, separators=(",", ":"), sort_keys=True).encode()
    )
    assert headers["content-length"] == str(length)
    assert headers["content-type"] == "application/json"
    assert headers["server"].startswith("Rokuga")
    assert headers["date"].endswith("GMT")


@pytest.mark.parametrize("metadata", [None, False, 0, "", [], {"k": [1, 2.5, "ü"]}, 10**30])
async def test_metadata_is_any_json_and_comes_back(caller: Caller, metadata: Any) -> None:
    """A null that was given differs from nothing given."""
    status, body, _ = await caller.call(START, {"channel_id": "sora", "expire_time": 0, "metadata": metadata})
    assert status == 200
    assert json.loads(body)["metadata"] == metadata
    _, body, _ = await caller.call(GET, {"channel_id": "sora"})
    assert json.loads(body)["metadata"] == metadata


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
    async with served(api_app(FakeRecorder(), DaemonConfig())) as address, aiohttp.ClientSession() as session:
        caller = Caller(FakeRecorder(), session, f"http://{address}")
        status, body, headers = await caller.call(None, method="OPTIONS")
    assert (status, body) == (400, b'{"type":"UnexpectedMethod"}')
    assert not [name for name in headers if name.startswith("access-control")]


async def test_a_channel_is_recorded_once_at_a_time(caller: Caller) -> None:
    await started(caller, channel_id="sora", expire_time=0)
    status, body, headers = await caller.call(START, {"channel_id": "sora", "expire_time": 3600})
    assert (status, body, headers["content-length"]) == (400, b'{"error_type":"STARTED-RECORDING"}', "34")
    await started(caller, channel_id="other", expire_time=0)


async def test_stop_answers_the_channel_once(caller: Caller) -> None:
    await started(caller, channel_id="sora", expire_time=0)
    status, body, headers = await caller.call(STOP, {"channel_id": "sora"})
    assert (status, body, headers["content-length"]) == (200, b'{"channel_id":"sora"}', "21")
    status, body, _ = await caller.call(STOP, {"channel_id": "sora"})
    assert (status, body) == (400, b'{"error_type":"NOT-STARTED-RECORDING"}')


async def test_get_tells_the_recording(caller: Caller) -> None:
    status, body, headers = await caller.call(GET, {"channel_id": "sora"})
    assert (status, body, headers["content-length"]) == (400, b'{"error_type":"NOT-STARTED-RECORDING"}', "38")
    recording_id = await started(caller, channel_id="sora", expire_time=3600, split_duration=60, metadata={"k": 1})
    status, body, _ = await caller.call(GET, {"channel_id": "sora"})
    assert status == 200
    assert json.loads(body) == {
        "channel_id": "sora",
        "created_at": 1638234656,
        "expire_time": 3600,
        "expired_at": 1638238256,
        "recording_id": recording_id,
        "split_only": False,
        "split_duration": 60,
        "metadata": {"k": 1},
    }


async def test_a_recording_without_limit_has_no_expired_at(caller: Caller) -> None:
    await started(caller, channel_id="sora", expire_time=0)
    _, body, _ = await caller.call(GET, {"channel_id": "sora"})
    assert "expired_at" not in json.loads(body)


async def test_list_tells_every_recording_as_the_page_shows_it(caller: Caller) -> None:
    """The two recordings of the API's page, and its 307 bytes."""
    for channel_id, recording_id, created_at in (
        ("sora", "WWZ61PT4GS03F80F39MCPVSEQR", 1638234656),
        ("zakuro", "Z60BJP5YDN4PD0D7RGM4TFEE48", 1638234654),
    ):
        parameters = RecordingParameters(channel_id, 3600)
        state = RecordingState(recording_id, parameters, created_at * 10**9 + 123)
        caller.recorder.states[channel_id] = state
    status, body, headers = await caller.call(LIST)
    assert (status, headers["content-length"]) == (200, "307")
    assert json.loads(body) == [
        {
            "channel_id": "sora",
            "created_at": 1638234656,
            "expire_time": 3600,
            "expired_at": 1638238256,
            "recording_id": "WWZ61PT4GS03F80F39MCPVSEQR",
            "split_only": False,
        },
        {
            "channel_id": "zakuro",
            "created_at": 1638234654,
            "expire_time": 3600,
            "expired_at": 1638238254,
            "recording_id": "Z60BJP5YDN4PD0D7RGM4TFEE48",
            "split_only": False,
        },
    ]


async def test_archiving_tells_every_connection_that_is_written(caller: Caller) -> None:
    identity = ConnectionIdentity("sora", "S", "CLIENT", "BUNDLE", "CONNECTION")
    video = TrackConfig("VP9", 1000, {"profile_id": 0})
    caller.recorder.progress = [
        ArchiveProgress(identity, TrackConfig("OPUS"), video, 146),
        ArchiveProgress(identity, None, TrackConfig("H264", None, {"profile_level_id": "42e01f"}), 0),
        ArchiveProgress(identity, TrackConfig("OPUS", 64), None, 3),
    ]
    status, body, _ = await caller.call(ARCHIVING)
    names = {"channel_id": "sora", "client_id": "CLIENT", "bundle_id": "BUNDLE", "connection_id": "CONNECTION"}
    assert status == 200
    assert json.loads(body) == [
        {
            **names,
            "seconds": 146,
            "audio": {"codec_type": "OPUS"},
            "video": {"bit_rate": 1000, "codec_type": "VP9", "vp9_params": {"profile_id": 0}},
        },
        {
            **names,
            "seconds": 0,
            "audio": False,
            "video": {"codec_type": "H264", "h264_params": {"profile_level_id": "42e01f"}},
        },
        {**names, "seconds": 3, "audio": {"bit_rate": 64, "codec_type": "OPUS"}, "video": False},
    ]


async def test_nothing_recorded_is_an_empty_list(caller: Caller) -> None:
    for target in (LIST, ARCHIVING):
        assert (await caller.call(target))[:2] == (200, b"[]")
        assert (await caller.call(target, {}))[:2] == (200, b"[]")


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
    """Status and body to the byte; and what is recorded goes on."""
    await started(caller, channel_id="sora", expire_time=0)
    got_status, got_body, headers = await caller.call(target, body, method=method)
    assert (got_status, got_body) == (status, answer)
    assert headers["content-type"] == "application/json"
    assert headers["content-length"] == str(len(answer))
    assert headers["server"] == "Rokuga"
    assert headers["date"].endswith("GMT")
    assert headers["access-control-allow-origin"] == ORIGIN
    assert (await caller.call(GET, {"channel_id": "sora"}))[0] == 200


async def test_two_targets_in_one_request_are_none(caller: Caller) -> None:
    """Nobody can have one thing checked on the way here and another one done."""
    status, body, _ = await caller.call(LIST, more_headers=[("x-sora-target", START)])
    assert (status, body) == (400, b'{"error_type":"MissingService"}')


async def test_a_body_of_8_megabytes_is_taken(caller: Caller) -> None:
    request = {"channel_id": "sora", "expire_time": 0, "metadata": ""}
    request["metadata"] = "x" * (8_000_000 - len(json.dumps(request)))
    assert (await caller.call(START, request))[0] == 200


async def test_a_body_of_unknown_length_is_cut_off_at_the_limit(caller: Caller) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(9):
            yield b" " * 1_000_000

    assert (await caller.call(START, chunks()))[:2] == (413, b'{"error_type":"PayloadTooLarge"}')


async def test_a_body_that_does_not_come_is_not_waited_for() -> None:
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


GIVEN = {"channel_id": "sora", "expire_time": 0}


@pytest.mark.parametrize(
    ("target", "request_body", "error", "path", "schema"),
    [
        (START, {"expire_time": 0}, "missing_required_property", [], {"required": ["channel_id"]}),
        (START, {"channel_id": "sora"}, "missing_required_property", [], {"required": ["expire_time"]}),
        (START, {**GIVEN, "channel_id": 1}, "wrong_type", ["channel_id"], None),
        (START, {**GIVEN, "channel_id": None}, "wrong_type", ["channel_id"], None),
        (START, {**GIVEN, "channel_id": ""}, "wrong_length", ["channel_id"], None),
        (START, {**GIVEN, "channel_id": "x" * 256}, "wrong_length", ["channel_id"], None),
        (START, {**GIVEN, "channel_id": "録" * 86}, "wrong_length", ["channel_id"], None),
        (START, {**GIVEN, "expire_time": True}, "wrong_type", ["expire_time"], None),
        (START, {**GIVEN, "expire_time": 1.0}, "wrong_type", ["expire_time"], None),
        (START, {**GIVEN, "expire_time": "0"}, "wrong_type", ["expire_time"], None),
        (START, {**GIVEN, "expire_time": -1}, "not_in_range", ["expire_time"], None),
        (START, {**GIVEN, "expire_time": 86401}, "not_in_range", ["expire_time"], None),
        (START, {**GIVEN, "expire_time": 10**40}, "not_in_range", ["expire_time"], None),
        (START, {**GIVEN, "split_duration": 0}, "not_in_range", ["split_duration"], None),
        (START, {**GIVEN, "split_duration": 86401}, "not_in_range", ["split_duration"], None),
        (START, {**GIVEN, "split_duration": False}, "wrong_type", ["split_duration"], None),
        (START, {**GIVEN, "split_only": 1}, "wrong_type", ["split_only"], None),
        (START, {**GIVEN, "split_only": "true"}, "wrong_type", ["split_only"], None),
        (
            START,
            {"channel_id": "sora", "expire_time": 60, "split_only": True, "split_duration": 60},
            "not_in_enum",
            ["expire_time"],
            {"enum": [0]},
        ),
        (
            START,
            {**GIVEN, "split_only": True},
            "missing_dependency",
            [],
            {"dependencies": {"split_only": ["split_duration"]}},
        ),
        (START, [], "wrong_type", [], {"type": "object"}),
        (START, "sora", "wrong_type", [], {"type": "object"}),
        (LIST, [1], "wrong_type", [], {"type": "object"}),
        (STOP, {}, "missing_required_property", [], {"required": ["channel_id"]}),
        (GET, {"channel_id": {}}, "wrong_type", ["channel_id"], None),
    ],
)
async def test_a_broken_rule_is_named_with_its_property(
    caller: Caller, target: str, request_body: Any, error: str, path: list[str], schema: Any
) -> None:
    """400 InvalidJSON; each reason in the shape of jesse_error.erl."""
    status, body, _ = await caller.call(target, request_body)
    answer = json.loads(body)
    assert (status, answer["error_type"]) == (400, "InvalidJSON")
    [reason] = answer["error_reason"]
    assert list(reason) == ["invalid", "error", "schema", "data", "path"]
    assert (reason["invalid"], reason["error"], reason["path"]) == ("data", error, path)
    assert reason["data"] == (request_body[path[0]] if path else request_body)
    assert schema in (None, reason["schema"])
    assert not caller.recorder.states


async def test_every_broken_rule_is_told_at_once(caller: Caller) -> None:
    _, body, _ = await caller.call(START, {"channel_id": "", "split_only": 0})
    assert [reason["error"] for reason in json.loads(body)["error_reason"]] == [
        "missing_required_property",
        "wrong_length",
        "wrong_type",
    ]


async def test_limits_are_inclusive_and_unknown_keys_are_welcome(caller: Caller) -> None:
    await started(caller, channel_id="x" * 255, expire_time=86400, split_duration=86400, split_only=False, more={})
    await started(caller, channel_id="録" * 85, expire_time=0, split_duration=1, split_only=True)


@pytest.mark.parametrize(
    "channel_id",
    ["../../tmp/pwn", "/etc/x", "..", "a/b", "%2e%2e%2f", "a\0b", "a\nb", "-rf", "CON", "x" * 255],
)
async def test_d39_a_channel_id_is_data_and_comes_back_as_it_is(caller: Caller, channel_id: str) -> None:
    await started(caller, channel_id=channel_id, expire_time=0)
    assert json.loads((await caller.call(GET, {"channel_id": channel_id}))[1])["channel_id"] == channel_id
    assert json.loads((await caller.call(STOP, {"channel_id": channel_id}))[1]) == {"channel_id": channel_id}


async def test_a_fault_of_ours_is_told_without_its_details_and_logged_with_them(caller: Caller) -> None:
    caller.recorder.fault = RuntimeError("secret")
    with structlog.testing.capture_logs() as lines:
        assert (await caller.call(START, GIVEN))[:2] == (500, b'{"error_type":"HandlerException"}')
    [line] = lines
    assert (line["log_level"], line["exc_info"]) == ("error", True)


async def test_metadata_that_a_cluster_cannot_share_is_told_with_the_limit(caller: Caller) -> None:
    caller.recorder.fault = TooLargeError(1_048_600, 1_048_576)
    status, body, _ = await caller.call(START, GIVEN)
    assert status == 400
    assert json.loads(body) == {
        "error_type": "METADATA-TOO-LARGE",
        "error_reason": {"size": 1_048_600, "max_size": 1_048_576},
    }


async def test_a_disk_that_takes_no_recording_is_told_at_once(caller: Caller) -> None:
    caller.recorder.fault = ArchiveError("No space left on device", 28, "archive/X")
    status, body, _ = await caller.call(START, GIVEN)
    assert status == 400
    assert json.loads(body) == {
        "error_type": "ARCHIVE-DIR-UNAVAILABLE",
        "error_reason": {"reason": "No space left on device", "errno": 28, "path": "archive/X"},
    }
