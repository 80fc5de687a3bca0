"""Schemas of every webhook body and every JSON file: strict types, no other fields.

Fields are those of Sora's own types (sora-server-sdk-ts types/webhook/event_recording_webhook.d.ts and
event_webhook.d.ts, 2023.2); ours are `format`, `reason`, `errno`, `path`, and what is in `stats`. A schema is
composed of groups of fields, as the documents are. The JSON Schemas in `json_schemas/` are generated from here.
"""

from typing import Annotated, Any, Final, Literal, Union

import msgspec
from msgspec import UNSET, Meta, UnsetType

from rokuga.recorder.archive.container_table import CONTAINERS, SUFFIX_PATTERN
from rokuga.recorder.codecs.table import CODECS, Codec
from rokuga.recorder.media import Kind

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

Id = Annotated[str, Meta(pattern="^[0-9A-HJKMNP-TV-Z]{25}[048CGMRW]$")]
"""A UUID in Clockwork Base32."""
Timestamp = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")]
Index = Annotated[str, Meta(pattern=r"^\d{4,}$")]
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(gt=0)]
Text = Annotated[str, Meta(min_length=1)]
Path = Annotated[str, Meta(pattern="^/")]
Name = Annotated[str, Meta(pattern=rf"^[0-9A-Z]{{26}}/[\w-]+\.({SUFFIX_PATTERN}|json)$")]
"""A file name with its folder, as Sora 2020.3 wrote it."""

Fields = dict[str, Any]


class OptionalField:
    """A field that may be absent; it is never null."""

    def __init__(self, schema: Any) -> None:
        self.schema = schema


def struct(name: str, fields: Fields, tag: str | None = None) -> Any:
    """Return a schema of these fields that allows no others; with a tag, `type` has to be that."""
    listed = [
        (key, Union[field.schema, UnsetType], UNSET) if isinstance(field, OptionalField) else (key, field)  # noqa: UP007 - values
        for key, field in fields.items()
    ]
    tagged = {} if tag is None else {"tag_field": "type", "tag": tag}
    return msgspec.defstruct(name, listed, kw_only=True, forbid_unknown_fields=True, **tagged)  # type: ignore[arg-type]  # made here


CLIENT: Final[Fields] = {"client_id": Text, "bundle_id": Text, "connection_id": Id}
IDENTITY: Final[Fields] = {"recording_id": Id, "channel_id": Text, "session_id": Id, **CLIENT}


PARAMS: Final[dict[type, Any]] = {int: Count, str: Text, bool: bool}
"""Schemas of the types of a codec's parameters."""


def _params(codec: Codec) -> Any:
    """Return the schema of a codec's parameters. They are absent as a whole, so that a single one is never absent."""
    fields = {name: PARAMS[kind] for name, kind in codec.params.items()}
    if len(fields) > 1:
        fields = {name: OptionalField(field) for name, field in fields.items()}
    return struct(f"{codec.name.title()}Params", fields)


def _track(kind: Kind) -> Fields:
    """Describe one kind of media, with the parameters of each of its codecs that has any."""
    rows = [row for row in CODECS.values() if row.kind == kind]
    return {
        kind: bool,
        f"{kind}_codec_type": OptionalField(Literal[tuple(row.name for row in rows)]),
        f"{kind}_bit_rate": OptionalField(Positive),
        **{f"{kind}_{row.params_key}": OptionalField(_params(row)) for row in rows if row.params},
    }


TRACKS: Final[Fields] = {**_track("audio"), **_track("video")}
START: Final[Fields] = {"start_time": Positive, "start_time_offset": Count, "start_timestamp": Timestamp}
STOP: Final[Fields] = {"stop_time": Positive, "stop_time_offset": Count, "stop_timestamp": Timestamp}
FILE: Final[Fields] = {"file_path": Path, "filename": Name}
METADATA_FILE: Final[Fields] = {"metadata_file_path": Path, "metadata_filename": Name}

GAP = struct("Gap", {"offset_ms": Count, "duration_ms": Count})
COUNTERS = dict[str, Count | str | list[GAP] | None]  # type: ignore[valid-type]  # made above
STATS = struct(
    "Stats",
    {
        "audio": OptionalField(COUNTERS),
        "video": OptionalField(COUNTERS),
        "total_audio_empty_payload": OptionalField(Count),
        "total_audio_sender_report": OptionalField(Count),
        "total_video_sender_report": OptionalField(Count),
        "total_pli_trigger": OptionalField(Count),
        "total_stored_audio_packet": OptionalField(Count),
        "total_stored_video_packet": OptionalField(Count),
        "total_stored_video_keyframe_head": OptionalField(Count),
        "total_video_frame": OptionalField(Count),
        "is_recovered": OptionalField(bool),
    },
)

RECORDING: Final[Fields] = {
    "channel_id": Text,
    "recording_id": Id,
    "metadata": OptionalField(Any),
    "split_only": bool,
    "split_duration": OptionalField(Positive),
    "created_at": Positive,
    "expire_time": Count,
    "expired_at": OptionalField(Positive),
    "start_timestamp": Timestamp,
}
PLACE: Final[Fields] = {"label": Text, "node_name": Text}
REPORTED: Final[Fields] = {
    **PLACE,
    **CLIENT,
    **{key: OptionalField(field) for key, field in {**FILE, **METADATA_FILE, "size": Positive}.items()},
    "start_time_offset": Count,
    "start_timestamp": Timestamp,
    "stop_time_offset": Count,
    "stop_timestamp": Timestamp,
    "split_last_index": OptionalField(Index),
}
AVAILABLE: Final[Fields] = {
    **IDENTITY,
    **TRACKS,
    **START,
    **STOP,
    **FILE,
    **METADATA_FILE,
    "created_at": Positive,
    "format": Literal[*CONTAINERS],
    "size": Positive,
    "reason": OptionalField(Text),
    "video_height": OptionalField(Positive),
    "video_width": OptionalField(Positive),
    "stats": STATS,
}
ENDED: Final[Fields] = {**IDENTITY, **TRACKS, **START, **STOP, **FILE, "stats": STATS}
CONNECTION: Final[Fields] = {
    **TRACKS,
    "role": Literal["sendonly", "sendrecv", "recvonly"],
    "minutes": Count,
    "channel_connections": Count,
    "channel_sendrecv_connections": Count,
    "channel_sendonly_connections": Count,
    "channel_recvonly_connections": Count,
    "created_time": Positive,
    "created_timestamp": Timestamp,
    "total_received_bytes": Count,
    "total_sent_bytes": Count,
}

DATA: Final[dict[str, Any]] = {
    name: struct(name.title(), fields)
    for name, fields in {
        "recording.started": RECORDING,
        "recording.report": {
            **RECORDING,
            **FILE,
            "file_written": bool,
            "stop_timestamp": Timestamp,
            "archives": list[struct("Reported", REPORTED)],  # type: ignore[misc]  # made here
            "failed_archives": list[struct("ReportedFailed", {**PLACE, **CLIENT})],  # type: ignore[misc]  # made here
        },
        "archive.started": {**IDENTITY, **TRACKS, **START, "created_at": Positive},
        "archive.available": AVAILABLE,
        "archive.failed": {**ENDED, "reason": Text, "errno": OptionalField(Positive), "path": OptionalField(Path)},
        "split-archive.available": {**AVAILABLE, "split_index": Index},
        "split-archive.end": {**ENDED, "split_last_index": Index},
        "connection.created": CONNECTION,
        "connection.destroyed": {
            **CONNECTION,
            "destroyed_time": Positive,
            "destroyed_timestamp": Timestamp,
            "reason": Text,
            "disconnect_api_reason": OptionalField(str),
            "type_disconnect_reason": OptionalField(str),
        },
    }.items()
}
"""The documents by their type of event: contents of the JSON files and `data` of the events."""

ENVELOPE: Final[Fields] = {
    "id": Id,
    "timestamp": Timestamp,
    "log_written": bool,
    "version": str,
    **PLACE,
    "channel_id": Text,
}
IDS: Final[Fields] = {"session_id": Id, **CLIENT, "event_metadata": OptionalField(Any)}
FLAGS: Final[Fields] = {"multistream": bool, "simulcast": bool, "spotlight": bool, "role": Text}


def _envelope(event_type: str) -> Fields:
    match event_type.partition(".")[0]:
        case "recording":
            return ENVELOPE
        case "connection":
            return {**ENVELOPE, **IDS, **FLAGS}
        case _:
            return {**ENVELOPE, **IDS}


BODIES: Final[dict[str, Any]] = {
    name: struct(f"{name.title()}Body", {**_envelope(name), "data": data}, tag=name) for name, data in DATA.items()
}


def check_body(body: bytes) -> None:
    """Check the body of a webhook. Raises msgspec.ValidationError."""
    msgspec.json.decode(body, type=Union[tuple(BODIES.values())])  # noqa: UP007 - of values


FILES: Final[dict[str, str]] = {
    "archive-": "archive.available",
    "split-archive-end-": "split-archive.end",
    "split-archive-": "split-archive.available",
    "report-": "recording.report",
}
"""The document in a JSON file by the beginning of its name; the first that matches."""


def check_file(name: str, data: bytes) -> None:
    """Check a JSON file of this name. Raises msgspec.ValidationError."""
    event_type = next(event_type for start, event_type in FILES.items() if name.startswith(start))
    msgspec.json.decode(data, type=DATA[event_type])


def json_schemas() -> dict[str, Fields]:
    """Return the JSON Schemas of all webhook bodies and JSON files, by the names of their own files."""
    files = {f"file-{start.removesuffix('-')}.json": DATA[event_type] for start, event_type in FILES.items()}
    bodies = {f"webhook-{event_type}.json": body for event_type, body in BODIES.items()}
    return {name: {"$schema": DIALECT, **msgspec.json.schema(schema)} for name, schema in {**files, **bodies}.items()}
