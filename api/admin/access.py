"""Who may see the page and what it shows: this machine only unless told otherwise, with a password if there is one.

The guard of the port sees to Host and Origin before.
"""

import base64
import binascii
import hmac
import ipaddress
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from rokuga.api.targets.answer import Answer, failure

SAFE_HEADERS: Final = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; media-src 'self' blob:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; object-src 'none'",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
}

LOOPBACK_ONLY: Final = failure(
    "LOOPBACK-ONLY", {"admin_loopback_address_only": "is true: the page is for this machine only"}, status=403
)
UNAUTHORIZED: Final = failure("UNAUTHORIZED", status=401)


class Access:
    """ASGI middleware. `basic_auth` is `user:password`."""

    def __init__(self, app: ASGIApp, *, loopback_only: bool, basic_auth: str | None) -> None:
        self._app = app
        self._loopback_only = loopback_only
        self._basic_auth = basic_auth.encode() if basic_auth is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        refusal = self._refusal(scope)
        if refusal is None or scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {**SAFE_HEADERS, "content-type": "application/json"}
        if refusal is UNAUTHORIZED:
            headers["www-authenticate"] = 'Basic realm="Rokuga", charset="UTF-8"'
        await Response(refusal.body, refusal.status, headers)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Answer | None:
        if self._loopback_only and not _is_loopback((scope.get("client") or ("",))[0]):
            return LOOPBACK_ONLY
        if self._basic_auth is not None and not _has_password(
            Headers(scope=scope).get("authorization", ""), self._basic_auth
        ):
            return UNAUTHORIZED
        return None


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _has_password(header: str, expected: bytes) -> bool:
    scheme, _, encoded = header.partition(" ")
    try:
        given = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return False
    return scheme.lower() == "basic" and hmac.compare_digest(given, expected)
