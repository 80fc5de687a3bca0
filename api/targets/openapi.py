"""The API as an OpenAPI 3.1 document, generated from the table of targets.

`GET /openapi.json` serves it with the limits in force; `rokuga schemas FOLDER` writes it with the default ones.
"""

from typing import Any, Final

from rokuga.api.targets.json_schema import TEXT, JsonSchema, object_of
from rokuga.api.targets.recordings import RecordingLimits
from rokuga.api.targets.table import Target, TargetName, targets

DESCRIPTION: Final = """The API as an OpenAPI 3.1 document, written from its table.

All targets are POST / and differ in a header, which OpenAPI cannot tell apart: each is a path of its own behind a `#`
that no client sends, as is the custom for such APIs. Lengths in the schemas count characters, the API counts bytes.
"""

FRAMEWORK_ERRORS: Final = (
    "InvalidJSON",
    "MalformedJSON",
    "MissingService",
    "MissingTarget",
    "MissingTargetFunction",
    "NOT-CLUSTER-MAJORITY",
    "SchemaNotFound",
)
"""The `error_type` of refusals that every target has."""


def document(limits: RecordingLimits | None = None) -> JsonSchema:
    """Return the document, with these limits or the default ones."""
    table = targets(limits or RecordingLimits())
    return {
        "openapi": "3.1.0",
        "info": {"title": "Rokuga", "version": "1", "description": DESCRIPTION},
        "servers": [{"url": "http://127.0.0.1:3000"}],
        "security": [{}, {"bearer": []}],
        "paths": {f"/#x-sora-target={name.header}": _path(name, target) for name, target in table.items()},
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": "api_bearer_token"}},
            "schemas": {
                "Error": object_of({"error_type": TEXT}, {"error_reason": {"description": "what is behind it"}}),
                "Unread": {
                    **object_of({"type": {"enum": ["UnexpectedMethod", "MissingHeaderName"]}}),
                    "description": "a request that names no target",
                },
            },
        },
    }


def _path(name: TargetName, target: Target) -> JsonSchema:
    rules = target.schema
    body: JsonSchema = {"type": "object", "properties": dict(rules.properties)}
    if rules.required:
        body["required"] = list(rules.required)
    parameter = {"name": "x-sora-target", "in": "header", "required": True, "schema": {"const": name.header}}
    return {
        "post": {
            "operationId": name.operation,
            "tags": [f"{name.service}_{name.version}"],
            "parameters": [parameter],
            "requestBody": {"required": target.needs_body, "content": _json(body)},
            "responses": {
                "200": {"description": "It is done.", "content": _json(target.response)},
                "400": _refusal("It is refused.", [*target.errors, *FRAMEWORK_ERRORS]),
                "408": _refusal("The body did not come.", ["RequestTimeout"]),
                "413": _refusal("The body is longer than 8,000,000 bytes.", ["PayloadTooLarge"]),
                "500": _refusal("A fault of ours.", ["HandlerException"]),
                "503": _refusal("The store does not answer; nothing has changed.", ["STORE-UNAVAILABLE"]),
            },
        }
    }


def _refusal(description: str, types: list[str]) -> JsonSchema:
    error = {"allOf": [{"$ref": "#/components/schemas/Error"}, {"properties": {"error_type": {"enum": types}}}]}
    schema: Any = {"oneOf": [error, {"$ref": "#/components/schemas/Unread"}]} if len(types) > 1 else error
    return {"description": description, "content": _json(schema)}


def _json(schema: JsonSchema) -> JsonSchema:
    return {"application/json": {"schema": schema}}
