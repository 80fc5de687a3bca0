"""Parts of JSON Schema of which the targets' responses are made up, for the OpenAPI document."""

from collections.abc import Mapping
from typing import Any, Final

from rokuga.recorder.codecs.table import CODECS
from rokuga.recorder.media import Kind

JsonSchema = dict[str, Any]

TEXT: Final[JsonSchema] = {"type": "string"}
COUNT: Final[JsonSchema] = {"type": "integer", "minimum": 0}
FLAG: Final[JsonSchema] = {"type": "boolean"}


def object_of(required: Mapping[str, JsonSchema], optional: Mapping[str, JsonSchema] | None = None) -> JsonSchema:
    """Return the schema of an object with these properties."""
    return {"type": "object", "required": sorted(required), "properties": {**required, **(optional or {})}}


def texts(*names: str) -> JsonSchema:
    """Return the schema of an object with these properties, all of them strings."""
    return object_of(dict.fromkeys(names, TEXT))


def array_of(items: JsonSchema) -> JsonSchema:
    """Return the schema of an array."""
    return {"type": "array", "items": items}


def track_schema(kind: Kind) -> JsonSchema:
    """Return the schema of an audio or video track: an object, or false."""
    rows = [row for row in CODECS.values() if row.kind == kind]
    shown = object_of(
        {"codec_type": {"enum": [row.name for row in rows]}},
        {"bit_rate": {**COUNT, "description": "kbps"}, **{row.params_key: {"type": "object"} for row in rows}},
    )
    return {"oneOf": [{"const": False}, shown]}


TRACKS: Final = {"audio": track_schema("audio"), "video": track_schema("video")}
IDS: Final = dict.fromkeys(("channel_id", "client_id", "bundle_id", "connection_id"), TEXT)
