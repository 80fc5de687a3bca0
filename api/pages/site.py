"""Serves the page and its modules, which are read once at the start."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from rokuga.api.admin.access import PAGE_HEADERS
from rokuga.recorder.codecs.table import DEFAULT_CODECS, names_of

_TYPES: Final[Mapping[str, str]] = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of the page."""

    body: bytes
    content_type: str
    etag: str


class Site:
    """GET / is index.html, GET /pages/{name} any file of the page."""

    def __init__(self) -> None:
        self._assets = {
            item.name: _asset(item.name, item.read_bytes())
            for item in resources.files("rokuga.api.pages").iterdir()
            if item.name.rpartition(".")[2] in _TYPES
        }

    def body(self, name: str) -> bytes:
        """Return a file of the page as it is sent. Raises KeyError."""
        return self._assets[name].body

    async def respond(self, request: Request) -> Response:
        """Handle GET or HEAD; 304 where the client has the file."""
        asset = self._assets.get(request.path_params.get("name", "index.html"))
        if asset is None:
            return Response(status_code=404, headers=PAGE_HEADERS)
        headers = {**PAGE_HEADERS, "etag": asset.etag, "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == asset.etag:
            return Response(status_code=304, headers=headers)
        return Response(asset.body, 200, {**headers, "content-type": asset.content_type})


def _asset(name: str, body: bytes) -> Asset:
    if name == "index.html":
        options = "".join(f"<option>{codec}</option>" for codec in names_of("video"))
        body = body.replace(b"<!-- video codecs -->", options.encode())
        body = body.replace(b"<!-- audio codec -->", DEFAULT_CODECS["audio"].encode())
    etag = f'"{hashlib.sha256(body).hexdigest()[:24]}"'
    return Asset(body, _TYPES[name.rpartition(".")[2]], etag)
