"""The door of a front: nothing that its rules refuse is seen by anything behind it."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import structlog
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rokuga.api.http.authority import Network
from rokuga.api.http.forwarded import caller
from rokuga.api.http.json_response import failure
from rokuga.api.http.request_policy import Refusal, Rules, is_below
from rokuga.api.monitoring.metrics import Numbers
from rokuga.recorder.clock import Clock
from rokuga.recorder.media import NS_PER_S

log = structlog.get_logger()

SERVER: Final = "Rokuga"
"""The `server` header. No version: nobody needs it who may not have it from GetStatsReport."""

CALLER: Final = "rokuga.caller"
"""The key of an ASGI scope under which there is its Caller."""

MAX_LOGGED: Final = 200
"""Characters of what a stranger said that a log line repeats."""


class Refusals:
    """Counts what was refused. A page that tries a thousand times a second gets one log line in it."""

    def __init__(self, clock: Clock) -> None:
        self.counts: Counter[Refusal] = Counter()
        self._clock = clock
        self._next_line_ns = clock.monotonic_ns()
        self._untold = 0

    async def counters(self) -> Numbers:
        """Give the requests that were refused, by the error type of the answer."""
        return {"requests_refused": {error_type(refusal): self.counts[refusal] for refusal in Refusal}}

    def note(self, refusal: Refusal, scope: Scope) -> None:
        """Count one."""
        self.counts[refusal] += 1
        now_ns = self._clock.monotonic_ns()
        if now_ns < self._next_line_ns:
            self._untold += 1
            return
        said = {name.decode("latin-1"): value.decode("latin-1")[:MAX_LOGGED] for name, value in scope["headers"]}
        log.warning(
            "request refused",
            reason=error_type(refusal),
            path=scope["path"][:MAX_LOGGED],
            host=said.get("host"),
            origin=said.get("origin"),
            client=scope["client"][0] if scope.get("client") else None,
            untold=self._untold,
        )
        self._next_line_ns, self._untold = now_ns + NS_PER_S, 0


class RequestPolicyMiddleware:
    """ASGI middleware. `exceptions` are the rules of some paths and of all below them, in place of `rules`.

    What it lets through says who calls: `client` is whom `trusted` proxies name, CALLER what is known of it. Without
    `knows_local` nothing counts as coming from this machine.
    """

    def __init__(
        self,
        app: ASGIApp,
        rules: Rules,
        exceptions: Mapping[str, Rules],
        refusals: Refusals,
        trusted: Sequence[Network] = (),
        knows_local: bool = True,
    ) -> None:
        self._app = app
        self._rules = rules
        self._exceptions = exceptions
        self._refusals = refusals
        self._trusted = trusted
        self._knows_local = knows_local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        headers = defaultdict[str, list[str]](list)
        for name, value in scope["headers"]:
            headers[name.decode("latin-1")].append(value.decode("latin-1"))
        rules = self._rules_of(scope["path"])
        client = scope.get("client")
        who = caller(client[0] if client else None, headers, self._trusted)
        scope[CALLER] = who
        if client and who.address != client[0]:
            scope["client"] = None if who.address is None else (who.address, 0)
        is_local = who.is_local and self._knows_local
        refusal = rules.refusal(scope.get("method", "GET"), scope["path"], headers, is_local=is_local)
        if refusal is None:
            refusal = await self._pass(scope, receive, send, rules.max_body_bytes)
        if refusal is not None:
            self._refusals.note(refusal, scope)
            await _refuse(refusal, scope, receive, send)

    def _rules_of(self, path: str) -> Rules:
        return next((rules for base, rules in self._exceptions.items() if is_below(path, base)), self._rules)

    async def _pass(self, scope: Scope, receive: Receive, send: Send, max_body_bytes: int | None) -> Refusal | None:
        """Let a request through; a body that gives no length may still turn out too large."""
        if scope["type"] != "http" or max_body_bytes is None:
            await self._app(scope, receive, send)
            return None
        body = _Body(receive, send, max_body_bytes)
        try:
            await self._app(scope, body.receive, body.send)
        except _BodyTooLarge:
            return None if body.is_answered else Refusal.PAYLOAD_TOO_LARGE
        return None


class _BodyTooLarge(Exception):
    """More has come than the rules allow."""


class _Body:
    """Counts a body as it is read, and sees whether the answer has begun."""

    def __init__(self, receive: Receive, send: Send, most_bytes: int) -> None:
        self._receive = receive
        self._send = send
        self._left_bytes = most_bytes
        self.is_answered = False

    async def receive(self) -> Message:
        """Give what comes. Raises _BodyTooLarge."""
        message = await self._receive()
        self._left_bytes -= len(message.get("body", b""))
        if self._left_bytes < 0:
            raise _BodyTooLarge
        return message

    async def send(self, message: Message) -> None:
        """Pass an answer on."""
        self.is_answered = True
        await self._send(message)


def error_type(refusal: Refusal) -> str:
    """Give the word of the answer, in the form of Sora's own."""
    return refusal.name.replace("_", "-")


async def _refuse(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    """JsonResponse, or refuse the handshake of a WebSocket, which the server answers with 403."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": error_type(refusal)})
        return
    reason = None if refusal.reason is None else {"request": refusal.reason}
    answer = failure(error_type(refusal), reason, status=refusal.status)
    headers = {"content-type": "application/json", "server": SERVER}
    if refusal is Refusal.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    await Response(answer.body, answer.status, headers)(scope, receive, send)
