"""Routes of the schemas: /schemas lists the JSON Schemas, /schemas/NAME is one, /openapi.json describes the API."""

from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rokuga.api.targets.openapi import document
from rokuga.api.targets.recordings import RecordingLimits
from rokuga.webhooks.schemas import json_schemas

MEDIA_TYPE: Final = "application/schema+json"


def schema_routes(limits: RecordingLimits) -> list[Route]:
    """Return the routes. The documents are encoded once."""
    api = msgspec.json.encode(document(limits))
    encoded = {name: msgspec.json.encode(schema) for name, schema in json_schemas().items()}
    names = msgspec.json.encode(sorted(encoded))

    async def listing(_request: Request) -> Response:
        return Response(names, media_type="application/json")

    async def one(request: Request) -> Response:
        schema = encoded.get(request.path_params["name"])
        return Response(status_code=404) if schema is None else Response(schema, media_type=MEDIA_TYPE)

    async def openapi(_request: Request) -> Response:
        return Response(api, media_type="application/json")

    return [Route("/schemas", listing), Route("/schemas/{name}", one), Route("/openapi.json", openapi)]
