"""The legacy recording API over HTTP: every request of its documentation, and every violation."""

import json
from typing import Any

import pytest

from rokuga.recorder.archive.disk import ArchiveError
from rokuga.recorder.connection import ArchiveProgress
from rokuga.recorder.models import RecordingParameters, RecordingState
from rokuga.recorder.negotiation import ConnectionIdentity, TrackConfig
from rokuga.recorder.store import TooLargeError
from tests.api.targets.caller import ARCHIVING, GET, GIVEN, LIST, START, STOP, Caller, started

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("request_body", "length"),
    [
        ({"channel_id": "sora", "expire_time": 3600}, 84),
        ({"channel_id": "sora", "expire_time": 0}, 81),
        ({"channel_id": "sora", "expire_time": 0, "split_only": False}, 100),
        ({"channel_id": "sora", "expire_time": 0, "split_duration": 3600, "split_only": True}, 121),
    ],
)
async def test_start_returns_the_request_and_the_id(
    caller: Caller, request_body: dict[str, Any], length: int
) -> None:
    """The lengths are those of the API's documentation (its 82 for the second one was edited by hand)."""
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
async def test_metadata_is_any_json_and_is_returned(caller: Caller, metadata: Any) -> None:
    """null differs from an absent key."""
    status, body, _ = await caller.call(START, {"channel_id": "sora", "expire_time": 0, "metadata": metadata})
    assert status == 200
    assert json.loads(body)["metadata"] == metadata
    _, body, _ = await caller.call(GET, {"channel_id": "sora"})
    assert json.loads(body)["metadata"] == metadata


async def test_a_channel_is_recorded_once_at_a_time(caller: Caller) -> None:
    await started(caller, channel_id="sora", expire_time=0)
    status, body, headers = await caller.call(START, {"channel_id": "sora", "expire_time": 3600})
    assert (status, body, headers["content-length"]) == (400, b'{"error_type":"STARTED-RECORDING"}', "34")
    await started(caller, channel_id="other", expire_time=0)


async def test_stop_returns_the_channel_once(caller: Caller) -> None:
    await started(caller, channel_id="sora", expire_time=0)
    status, body, headers = await caller.call(STOP, {"channel_id": "sora"})
    assert (status, body, headers["content-length"]) == (200, b'{"channel_id":"sora"}', "21")
    status, body, _ = await caller.call(STOP, {"channel_id": "sora"})
    assert (status, body) == (400, b'{"error_type":"NOT-STARTED-RECORDING"}')


async def test_get_returns_the_recording(caller: Caller) -> None:
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


async def test_list_returns_every_recording_in_the_documented_form(caller: Caller) -> None:
    """The two recordings of the API's documentation, with its 307 bytes."""
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


async def test_list_archiving_returns_every_connection_that_is_written(caller: Caller) -> None:
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
async def test_a_violation_has_its_rule_and_property(
    caller: Caller, target: str, request_body: Any, error: str, path: list[str], schema: Any
) -> None:
    """400 InvalidJSON; each reason has the form of jesse_error.erl."""
    status, body, _ = await caller.call(target, request_body)
    answer = json.loads(body)
    assert (status, answer["error_type"]) == (400, "InvalidJSON")
    [reason] = answer["error_reason"]
    assert list(reason) == ["invalid", "error", "schema", "data", "path"]
    assert (reason["invalid"], reason["error"], reason["path"]) == ("data", error, path)
    assert reason["data"] == (request_body[path[0]] if path else request_body)
    assert schema in (None, reason["schema"])
    assert not caller.recorder.states


async def test_all_violations_are_returned(caller: Caller) -> None:
    _, body, _ = await caller.call(START, {"channel_id": "", "split_only": 0})
    assert [reason["error"] for reason in json.loads(body)["error_reason"]] == [
        "missing_required_property",
        "wrong_length",
        "wrong_type",
    ]


async def test_limits_are_inclusive_and_unknown_keys_are_allowed(caller: Caller) -> None:
    await started(caller, channel_id="x" * 255, expire_time=86400, split_duration=86400, split_only=False, more={})
    await started(caller, channel_id="録" * 85, expire_time=0, split_duration=1, split_only=True)


@pytest.mark.parametrize(
    "channel_id",
    ["../../tmp/pwn", "/etc/x", "..", "a/b", "%2e%2e%2f", "a\0b", "a\nb", "-rf", "CON", "x" * 255],
)
async def test_a_channel_id_is_data_and_is_returned_unchanged(caller: Caller, channel_id: str) -> None:
    await started(caller, channel_id=channel_id, expire_time=0)
    assert json.loads((await caller.call(GET, {"channel_id": channel_id}))[1])["channel_id"] == channel_id
    assert json.loads((await caller.call(STOP, {"channel_id": channel_id}))[1]) == {"channel_id": channel_id}


async def test_metadata_that_a_cluster_cannot_share_is_refused_with_the_limit(caller: Caller) -> None:
    caller.recorder.fault = TooLargeError(1_048_600, 1_048_576)
    status, body, _ = await caller.call(START, GIVEN)
    assert status == 400
    assert json.loads(body) == {
        "error_type": "METADATA-TOO-LARGE",
        "error_reason": {"size": 1_048_600, "max_size": 1_048_576},
    }


async def test_an_unusable_disk_refuses_a_start_at_once(caller: Caller) -> None:
    caller.recorder.fault = ArchiveError("No space left on device", 28, "archive/X")
    status, body, _ = await caller.call(START, GIVEN)
    assert status == 400
    assert json.loads(body) == {
        "error_type": "ARCHIVE-DIR-UNAVAILABLE",
        "error_reason": {"reason": "No space left on device", "errno": 28, "path": "archive/X"},
    }
