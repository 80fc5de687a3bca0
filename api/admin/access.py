"""Access to the page and to /admin: by default from this machine only, and with a password if one is configured.

The port's request policy has checked Host and Origin before. A forwarded request never counts as local. With a
proxy configured no request does, since some proxies forward without any header: then the password or the API's token
is required.
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

PAGE_HEADERS: Final = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; media-src 'self' blob:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; object-src 'none'",
    "cross-origin-resource-policy": "same-origin",
}
"""Headers of the page's responses, besides those of all responses."""

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
    """The rules. `basic_auth` is `user:password`, `token` is the API's.

    With `is_behind_proxy`, a request from loopback does not count as one of this machine.
    """

    loopback_only: bool = True
    basic_auth: str | None = None
    token: str | None = None
    is_behind_proxy: bool = False

    def refusal(self, credentials: list[str], *, is_local: bool) -> JsonResponse | None:
        """Return the response of a refusal, None where a request with these Authorization headers is allowed."""
        is_authorized = self._is_authorized(credentials)
        if self.loopback_only and not self.is_behind_proxy and not is_local:
            return LOOPBACK_ONLY
        if self.basic_auth is not None:
            return None if is_authorized else UNAUTHORIZED
        if self.loopback_only and self.is_behind_proxy and not is_authorized:
            return NO_PASSWORD
        return None

    def _is_authorized(self, credentials: list[str]) -> bool:
        if self.token is not None and has_bearer_token(credentials, self.token):
            return True
        return self.basic_auth is not None and _has_password(credentials, self.basic_auth.encode())


class AdminAccessMiddleware:
    """ASGI middleware, behind RequestPolicyMiddleware."""

    def __init__(self, app: ASGIApp, policy: AdminAccessPolicy) -> None:
        self._app = app
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the application, or refuse it."""
        credentials = Headers(scope=scope).getlist("authorization")
        refusal = self._policy.refusal(credentials, is_local=CALLER in scope and scope[CALLER].is_local)
        if refusal is None or scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {**PAGE_HEADERS, "content-type": "application/json"}
        if refusal is UNAUTHORIZED:
            headers["www-authenticate"] = 'Basic realm="Rokuga", charset="UTF-8"'
        await Response(refusal.body, refusal.status, headers)(scope, receive, send)


def _has_password(credentials: list[str], expected: bytes) -> bool:
    matches = [_BASIC.fullmatch(each) for each in credentials]
    if len(matches) != 1 or matches[0] is None:
        return False
    return hmac.compare_digest(base64.b64decode(matches[0][1]), expected)
