"""Who may see the page and what it shows: this machine only unless told otherwise, with a password if there is one.

The guard of the port sees to Host and Origin before. What a proxy passes on never comes from this machine; and where
the configuration speaks of a proxy, nothing does for sure: a request that a proxy passes on can look like one of its
own. Then a password or the API's token is what lets somebody in.
"""

import base64
import hmac
import re
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from rokuga.api.http.json_response import JsonResponse, failure
from rokuga.api.http.middleware import CALLER
from rokuga.api.http.request_policy import has_bearer_token

SAFE_HEADERS: Final = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; media-src 'self' blob:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; object-src 'none'",
    "cross-origin-resource-policy": "same-origin",
}
"""What answers of the page have beside the headers of all answers."""

LOOPBACK_ONLY: Final = failure(
    "LOOPBACK-ONLY",
    {
        "admin_loopback_address_only": "is true: the page is for this machine only, "
        "and what has come through a proxy may be of another"
    },
    status=403,
)
NO_PASSWORD: Final = failure(
    "LOOPBACK-ONLY",
    {
        "admin_basic_auth": "is not set: with allowed_hosts or trusted_proxies "
        "the page is for who has a password, from this machine as well"
    },
    status=403,
)
UNAUTHORIZED: Final = failure("UNAUTHORIZED", status=401)

_BASIC: Final = re.compile(r"basic +((?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class AdminAccessPolicy:
    """What is wanted of who comes. `basic_auth` is `user:password`, `token` the API's.

    With `is_behind_proxy`, to come from this machine says nothing.
    """

    loopback_only: bool = True
    basic_auth: str | None = None
    token: str | None = None
    is_behind_proxy: bool = False

    def refusal(self, credentials: list[str], *, is_local: bool) -> JsonResponse | None:
        """Say why a request may not pass, None where it may; `credentials` are its Authorization headers."""
        has_right = self._has_right(credentials)
        if self.loopback_only and not self.is_behind_proxy and not is_local:
            return LOOPBACK_ONLY
        if self.basic_auth is not None:
            return None if has_right else UNAUTHORIZED
        if self.loopback_only and self.is_behind_proxy and not has_right:
            return NO_PASSWORD
        return None

    def _has_right(self, credentials: list[str]) -> bool:
        if self.token is not None and has_bearer_token(credentials, self.token):
            return True
        return self.basic_auth is not None and _has_password(credentials, self.basic_auth.encode())


class AdminAccessMiddleware:
    """ASGI middleware, behind a Guard."""

    def __init__(self, app: ASGIApp, door: AdminAccessPolicy) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        credentials = Headers(scope=scope).getlist("authorization")
        refusal = self._door.refusal(credentials, is_local=CALLER in scope and scope[CALLER].is_local)
        if refusal is None or scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {**SAFE_HEADERS, "content-type": "application/json"}
        if refusal is UNAUTHORIZED:
            headers["www-authenticate"] = 'Basic realm="Rokuga", charset="UTF-8"'
        await Response(refusal.body, refusal.status, headers)(scope, receive, send)


def _has_password(credentials: list[str], expected: bytes) -> bool:
    matches = [_BASIC.fullmatch(each) for each in credentials]
    if len(matches) != 1 or matches[0] is None:
        return False
    return hmac.compare_digest(base64.b64decode(matches[0][1]), expected)
