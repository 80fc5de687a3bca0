"""The JSON Schemas over HTTP: `GET /schemas` lists their names, `GET /schemas/NAME` gives one."""

from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rokuga.webhooks.schemas import json_schemas

MEDIA_TYPE: Final = "application/schema+json"


def schema_routes() -> list[Route]:
    """Give the routes; schemas are written once, since they never change."""
    written = {name: msgspec.json.encode(schema) for name, schema in json_schemas().items()}
    names = msgspec.json.encode(sorted(written))

    async def listing(_request: Request) -> Response:
        return Response(names, media_type="application/json")

    async def one(request: Request) -> Response:
        schema = written.get(request.path_params["name"])
        return Response(status_code=404) if schema is None else Response(schema, media_type=MEDIA_TYPE)

    return [Route("/schemas", listing), Route("/schemas/{name}", one)]
