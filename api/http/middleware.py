"""ASGI middleware that applies the request policy of a port: what it refuses reaches no application."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import structlog
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rokuga.api.http.address_text import Network
from rokuga.api.http.forwarded import caller
from rokuga.api.http.json_response import failure
from rokuga.api.http.request_policy import Refusal, RequestPolicy, is_below
from rokuga.api.monitoring.metrics import Numbers
from rokuga.recorder.clock import Clock
from rokuga.recorder.media import NS_PER_S

log = structlog.get_logger()

SERVER: Final = "Rokuga"
"""The `server` header. Without a version: GetStatsReport and /metrics have it, and need the token."""

CALLER: Final = "rokuga.caller"
"""The key of an ASGI scope that holds the request's Caller."""

MAX_LOGGED: Final = 200
"""Characters of a client's text that a log line repeats."""


class RefusedRequests:
    """Counts refused requests, and logs at most one a second."""

    def __init__(self, clock: Clock) -> None:
        self.counts: Counter[Refusal] = Counter()
        self._clock = clock
        self._next_line_ns = clock.monotonic_ns()
        self._unlogged = 0

    async def counters(self) -> Numbers:
        """Return the counts by the error type of the answer, by their name in the table of metrics."""
        return {"requests_refused": {error_type(refusal): self.counts[refusal] for refusal in Refusal}}

    def add(self, refusal: Refusal, scope: Scope) -> None:
        """Count one."""
        self.counts[refusal] += 1
        now_ns = self._clock.monotonic_ns()
        if now_ns < self._next_line_ns:
            self._unlogged += 1
            return
        headers = {name.decode("latin-1"): value.decode("latin-1")[:MAX_LOGGED] for name, value in scope["headers"]}
        log.warning(
            "request refused",
            reason=error_type(refusal),
            path=scope["path"][:MAX_LOGGED],
            host=headers.get("host"),
            origin=headers.get("origin"),
            client=scope["client"][0] if scope.get("client") else None,
            unlogged=self._unlogged,
        )
        self._next_line_ns, self._unlogged = now_ns + NS_PER_S, 0


class RequestPolicyMiddleware:
    """ASGI middleware. `exceptions` are the policies of some paths and of all below them, instead of `policy`.

    It sets `client` in the scope to the address that `trusted` proxies report, and CALLER to the Caller.
    Without `trusts_loopback` no request counts as one from this machine.
    """

    def __init__(
        self,
        app: ASGIApp,
        policy: RequestPolicy,
        exceptions: Mapping[str, RequestPolicy],
        refused: RefusedRequests,
        trusted: Sequence[Network] = (),
        trusts_loopback: bool = True,
    ) -> None:
        self._app = app
        self._policy = policy
        self._exceptions = exceptions
        self._refused = refused
        self._trusted = trusted
        self._trusts_loopback = trusts_loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the application, or refuse it."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        headers = defaultdict[str, list[str]](list)
        for name, value in scope["headers"]:
            headers[name.decode("latin-1")].append(value.decode("latin-1"))
        policy = self._policy_of(scope["path"])
        client = scope.get("client")
        sender = caller(client[0] if client else None, headers, self._trusted)
        scope[CALLER] = sender
        if client and sender.address != client[0]:
            scope["client"] = None if sender.address is None else (sender.address, 0)
        is_local = sender.is_local and self._trusts_loopback
        refusal = policy.refusal(scope.get("method", "GET"), scope["path"], headers, is_local=is_local)
        if refusal is None:
            refusal = await self._forward(scope, receive, send, policy.max_body_bytes)
        if refusal is not None:
            self._refused.add(refusal, scope)
            await _refuse(refusal, scope, receive, send)

    def _policy_of(self, path: str) -> RequestPolicy:
        return next((policy for base, policy in self._exceptions.items() if is_below(path, base)), self._policy)

    async def _forward(
        self, scope: Scope, receive: Receive, send: Send, max_body_bytes: int | None
    ) -> Refusal | None:
        """Run the application. Return a refusal if a body without a length is too large and nothing was answered."""
        if scope["type"] != "http" or max_body_bytes is None:
            await self._app(scope, receive, send)
            return None
        body = _LimitedBody(receive, send, max_body_bytes)
        try:
            await self._app(scope, body.receive, body.send)
        except _BodyTooLarge:
            return None if body.is_answered else Refusal.PAYLOAD_TOO_LARGE
        return None


class _BodyTooLarge(Exception):
    """A body is longer than the policy allows."""


class _LimitedBody:
    """Counts the bytes of a body as they are read, and notes whether the response has begun."""

    def __init__(self, receive: Receive, send: Send, max_bytes: int) -> None:
        self._receive = receive
        self._send = send
        self._left_bytes = max_bytes
        self.is_answered = False

    async def receive(self) -> Message:
        """Receive a message. Raises _BodyTooLarge."""
        message = await self._receive()
        self._left_bytes -= len(message.get("body", b""))
        if self._left_bytes < 0:
            raise _BodyTooLarge
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the response."""
        self.is_answered = True
        await self._send(message)


def error_type(refusal: Refusal) -> str:
    """Return the `error_type` of a refusal, in the form of Sora's."""
    return refusal.name.replace("_", "-")


async def _refuse(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    """Send an error, or close a WebSocket before its handshake, which the server answers with 403."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": error_type(refusal)})
        return
    reason = None if refusal.reason is None else {"request": refusal.reason}
    response = failure(error_type(refusal), reason, status=refusal.status)
    headers = {"content-type": "application/json", "server": SERVER}
    if refusal is Refusal.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    await Response(response.body, response.status, headers)(scope, receive, send)
