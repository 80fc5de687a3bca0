"""The API as an OpenAPI 3.1 document, written from its table; `api/openapi.json` is the result.

All targets are POST / and differ in a header, which OpenAPI cannot tell apart: each is a path of its own behind a `#`
that no client sends, as is the custom for such APIs. Lengths in the schemas count characters, the API counts bytes.
"""

from collections.abc import Mapping
from typing import Any, Final

from rokuga.api.targets.recordings import RecordingLimits
from rokuga.api.targets.table import Target, TargetName, targets
from rokuga.recorder.codecs.table import CODECS
from rokuga.recorder.media import Kind

Schema = dict[str, Any]

TEXT: Final[Schema] = {"type": "string"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
FLAG: Final[Schema] = {"type": "boolean"}


def _object(required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    return {"type": "object", "required": sorted(required), "properties": {**required, **(optional or {})}}


def _array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _track(kind: Kind) -> Schema:
    rows = [row for row in CODECS.values() if row.kind == kind]
    shown = _object(
        {"codec_type": {"enum": [row.name for row in rows]}},
        {"bit_rate": {**COUNT, "description": "kbps"}, **{row.params_key: {"type": "object"} for row in rows}},
    )
    return {"oneOf": [{"const": False}, shown]}


TRACKS: Final = {"audio": _track("audio"), "video": _track("video")}
NAMES: Final = dict.fromkeys(("channel_id", "client_id", "bundle_id", "connection_id"), TEXT)
GIVEN: Final = {"channel_id": TEXT, "expire_time": COUNT, "recording_id": TEXT}
SPLITS: Final = {"split_duration": COUNT, "metadata": {"description": "what StartRecording was given"}}
RECORDING: Final = _object({**GIVEN, "created_at": COUNT, "split_only": FLAG}, {**SPLITS, "expired_at": COUNT})
CONNECTION: Final = _object(
    {
        **NAMES,
        **TRACKS,
        **dict.fromkeys(("multistream", "simulcast", "spotlight"), FLAG),
        "session_id": TEXT,
        "role": {"enum": ["sendrecv", "sendonly", "recvonly"]},
        "created_time": COUNT,
    }
)
NODE: Final = _object(
    {"node_name": TEXT, "connected": FLAG},
    {
        **dict.fromkeys(("mode", "member_since", "sora_version", "cluster_signaling_url", "cluster_api_url"), TEXT),
        "temporary_node": FLAG,
    },
)
LICENSE: Final = _object(
    {
        **dict.fromkeys(("expired_at", "product_name", "serial_code", "type"), TEXT),
        "max_connections": COUNT,
        "max_nodes": {"type": ["integer", "null"]},
    }
)
STATS: Final[Schema] = {**_object({"version": TEXT}), "additionalProperties": COUNT}

ANSWERS: Final[Mapping[str, tuple[Schema, tuple[str, ...]]]] = {
    "StartRecording": (
        _object(GIVEN, {**SPLITS, "split_only": FLAG}),
        ("STARTED-RECORDING", "ARCHIVE-DIR-UNAVAILABLE", "METADATA-TOO-LARGE"),
    ),
    "StopRecording": (_object({"channel_id": TEXT}), ("NOT-STARTED-RECORDING",)),
    "GetStartedRecording": (RECORDING, ("NOT-STARTED-RECORDING",)),
    "ListStartedRecording": (_array(RECORDING), ()),
    "ListArchiving": (_array(_object({**NAMES, **TRACKS, "seconds": COUNT})), ()),
    "GetStatsReport": (STATS, ()),
    "GetLicense": (LICENSE, ()),
    "ListClusterNodes": (_array(NODE), ()),
    "ListConnections": (_array(CONNECTION), ()),
    "ListChannelConnections": (_array(CONNECTION), ()),
    "DisconnectChannel": (_object({"channel_id": TEXT}), ("CHANNEL-NOT-FOUND",)),
    "DisconnectClient": (_object({"channel_id": TEXT, "client_id": TEXT}), ("CLIENT-NOT-FOUND",)),
    "DisconnectConnection": (_object({"channel_id": TEXT, "connection_id": TEXT}), ("CONNECTION-NOT-FOUND",)),
    "RequestKeyFrame": (_object({"channel_id": TEXT, "connection_id": TEXT}), ("CONNECTION-NOT-FOUND",)),
}
"""What each operation answers, and the `error_type` of its own refusals."""

FRAMEWORK: Final = (
    "InvalidJSON",
    "MalformedJSON",
    "MissingService",
    "MissingTarget",
    "MissingTargetFunction",
    "NOT-CLUSTER-MAJORITY",
    "SchemaNotFound",
)


def document(limits: RecordingLimits | None = None) -> Schema:
    """Give the document, with these limits or the default ones."""
    table = targets(limits or RecordingLimits())
    return {
        "openapi": "3.1.0",
        "info": {"title": "Rokuga", "version": "1", "description": __doc__},
        "servers": [{"url": "http://127.0.0.1:3000"}],
        "security": [{}, {"bearer": []}],
        "paths": {f"/#x-sora-target={_header(name)}": _path(name, table[name]) for name in table},
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": "api_bearer_token"}},
            "schemas": {
                "Error": _object({"error_type": TEXT}, {"error_reason": {"description": "what is behind it"}}),
                "Unread": {
                    **_object({"type": {"enum": ["UnexpectedMethod", "MissingHeaderName"]}}),
                    "description": "a request that names no target",
                },
            },
        },
    }


def _header(name: TargetName) -> str:
    return f"{name.service}_{name.version}.{name.operation}"


def _path(name: TargetName, target: Target) -> Schema:
    answer, refusals = ANSWERS[name.operation]
    rules = target.schema
    body: Schema = {"type": "object", "properties": dict(rules.properties)}
    if rules.required:
        body["required"] = list(rules.required)
    parameter = {"name": "x-sora-target", "in": "header", "required": True, "schema": {"const": _header(name)}}
    return {
        "post": {
            "operationId": name.operation,
            "tags": [f"{name.service}_{name.version}"],
            "parameters": [parameter],
            "requestBody": {"required": target.needs_body, "content": _json(body)},
            "responses": {
                "200": {"description": "It is done.", "content": _json(answer)},
                "400": _refusal("It is refused.", [*refusals, *FRAMEWORK]),
                "408": _refusal("The body did not come.", ["RequestTimeout"]),
                "413": _refusal("The body is longer than 8,000,000 bytes.", ["PayloadTooLarge"]),
                "500": _refusal("A fault of ours.", ["HandlerException"]),
                "503": _refusal("The store does not answer; nothing has changed.", ["STORE-UNAVAILABLE"]),
            },
        }
    }


def _refusal(description: str, types: list[str]) -> Schema:
    told = {"allOf": [{"$ref": "#/components/schemas/Error"}, {"properties": {"error_type": {"enum": types}}}]}
    shapes = [told, {"$ref": "#/components/schemas/Unread"}] if len(types) > 1 else [told]
    return {"description": description, "content": _json({"oneOf": shapes} if len(shapes) > 1 else told)}


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}
