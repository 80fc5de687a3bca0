"""The five targets of the legacy recording API (Sora_20161101)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from rokuga.api.protocols import RecordingService
from rokuga.api.targets.errors import TargetError
from rokuga.api.targets.json_schema import COUNT, FLAG, IDS, TEXT, TRACKS, object_of
from rokuga.api.targets.schema import ID, Schema, Violation, violation
from rokuga.recorder.archive.disk import ArchiveError
from rokuga.recorder.codecs.table import CODECS
from rokuga.recorder.errors import RecordingAlreadyStarted, RecordingNotStarted
from rokuga.recorder.models import RecordingParameters, RecordingState
from rokuga.recorder.negotiation import TrackConfig
from rokuga.recorder.store import TooLargeError

Request = Mapping[str, Any]

_GIVEN: Final = {"channel_id": TEXT, "expire_time": COUNT, "recording_id": TEXT}
_OPTIONAL: Final = {"split_duration": COUNT, "metadata": {"description": "what StartRecording was given"}}

STARTED: Final = object_of(_GIVEN, {**_OPTIONAL, "split_only": FLAG})
RECORDING: Final = object_of({**_GIVEN, "created_at": COUNT, "split_only": FLAG}, {**_OPTIONAL, "expired_at": COUNT})
ARCHIVING: Final = object_of({**IDS, **TRACKS, "seconds": COUNT})

START_ERRORS: Final = ("STARTED-RECORDING", "ARCHIVE-DIR-UNAVAILABLE", "METADATA-TOO-LARGE")


@dataclass(frozen=True, slots=True)
class RecordingLimits:
    """The longest times of StartRecording, in seconds."""

    max_expire_time: int = 86400
    max_split_duration: int = 86400


def start_schema(limits: RecordingLimits) -> Schema:
    """Return the rules of StartRecording."""
    return Schema(
        properties={
            "channel_id": ID,
            "expire_time": {"type": "integer", "minimum": 0, "maximum": limits.max_expire_time},
            "split_duration": {"type": "integer", "minimum": 1, "maximum": limits.max_split_duration},
            "split_only": {"type": "boolean"},
            "metadata": {},
        },
        required=("channel_id", "expire_time"),
        more=_split_only_rules,
    )


def _split_only_rules(request: Request) -> Iterator[Violation]:
    if not request.get("split_only"):
        return
    if request["expire_time"] != 0:
        yield violation("not_in_enum", {"enum": [0]}, request["expire_time"], "expire_time")
    if "split_duration" not in request:
        yield violation("missing_dependency", {"dependencies": {"split_only": ["split_duration"]}}, request)


async def start(recorder: RecordingService, request: Request) -> Request:
    """StartRecording: returns the request's fields (metadata included) and the recording's id."""
    parameters = RecordingParameters(
        channel_id=request["channel_id"],
        expire_time=request["expire_time"],
        split_duration=request.get("split_duration"),
        split_only=request.get("split_only"),
        metadata_json=msgspec.json.encode(request["metadata"]).decode() if "metadata" in request else None,
    )
    try:
        state = await recorder.start_recording(parameters)
    except RecordingAlreadyStarted as error:
        raise TargetError("STARTED-RECORDING") from error
    except ArchiveError as error:
        reason = {"reason": error.reason, "errno": error.errno, "path": error.path}
        raise TargetError("ARCHIVE-DIR-UNAVAILABLE", reason) from error
    except TooLargeError as error:
        reason = {"size": error.size_bytes, "max_size": error.max_bytes}
        raise TargetError("METADATA-TOO-LARGE", reason) from error
    return {**_given(parameters), "recording_id": state.recording_id}


async def stop(recorder: RecordingService, request: Request) -> Request:
    """StopRecording: returns at once. The files are finished later and announced by events."""
    try:
        await recorder.stop_recording(request["channel_id"])
    except RecordingNotStarted as error:
        raise TargetError("NOT-STARTED-RECORDING") from error
    return {"channel_id": request["channel_id"]}


async def get_started(recorder: RecordingService, request: Request) -> Request:
    """GetStartedRecording."""
    try:
        return _state(recorder.recording(request["channel_id"]))
    except RecordingNotStarted as error:
        raise TargetError("NOT-STARTED-RECORDING") from error


async def list_started(recorder: RecordingService, _request: Request) -> list[Request]:
    """ListStartedRecording: the active recordings of all channels."""
    return [_state(state) for state in recorder.recordings()]


async def list_archiving(recorder: RecordingService, _request: Request) -> list[Request]:
    """ListArchiving: the connections that are being written, with the seconds since their archive began."""
    return [
        {
            "channel_id": archive.identity.channel_id,
            "client_id": archive.identity.client_id,
            "bundle_id": archive.identity.bundle_id,
            "connection_id": archive.identity.connection_id,
            "seconds": archive.seconds,
            "audio": track_object(archive.audio),
            "video": track_object(archive.video),
        }
        for archive in recorder.archives()
    ]


def track_object(track: TrackConfig | None) -> Request | bool:
    """Return a track as in ListArchiving: an object, or false."""
    if track is None:
        return False
    shown: dict[str, Any] = {"codec_type": track.codec_type}
    if track.bit_rate_kbps is not None:
        shown["bit_rate"] = track.bit_rate_kbps
    if track.params:
        shown[CODECS[track.codec_type].params_key] = dict(track.params)
    return shown


def _given(parameters: RecordingParameters) -> dict[str, Any]:
    """Return the fields of the request; keys that were absent stay absent."""
    given: dict[str, Any] = {"channel_id": parameters.channel_id, "expire_time": parameters.expire_time}
    if parameters.split_duration is not None:
        given["split_duration"] = parameters.split_duration
    if parameters.split_only is not None:
        given["split_only"] = parameters.split_only
    if parameters.metadata_json is not None:
        given["metadata"] = msgspec.Raw(parameters.metadata_json.encode())
    return given


def _state(state: RecordingState) -> Request:
    """Return an active recording. `split_only` is always present, `expired_at` only with a limit."""
    shown = {
        **_given(state.parameters),
        "split_only": bool(state.parameters.split_only),
        "recording_id": state.recording_id,
        "created_at": state.created_at,
    }
    if state.expired_at is not None:
        shown["expired_at"] = state.expired_at
    return shown
