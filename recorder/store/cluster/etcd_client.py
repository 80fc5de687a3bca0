"""A client of etcd's JSON gateway (etcd.io/docs/v3.4/dev-guide/api_grpc_gateway).

Every call has the header `hasleader`: a server without a leader refuses it at once. Calls are sent to one endpoint
until it fails, then to the next, all within one timeout. A request that a reused connection closes without an answer
is no failure of the endpoint: servers and proxies close idle connections, and may do so while a request is in flight
(RFC 9112 section 9.3.1). It is sent once more, on a new connection.
"""

import asyncio
import io
import ssl
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import msgspec

from rokuga.recorder.config import ClusterConfig
from rokuga.recorder.store import MinorityError, StoreError
from rokuga.recorder.store.cluster.etcd_login import Login, is_auth_disabled, needs_login
from rokuga.recorder.store.cluster.etcd_tls import tls_context
from rokuga.recorder.store.cluster.etcd_wire import (
    Json,
    KeyValue,
    change,
    decode_answer,
    headers_of,
    key_value,
    range_end_of,
    to_base64,
)

BUDGET_S: Final = 2.0
"""Timeout of a call, over all endpoints."""

TRY_S: Final = 0.7
"""Timeout of a call at one endpoint: after a server that hangs there is time for two others."""

MAX_LINE_BYTES: Final = 8 << 20
"""Maximum of a line of a watch, which contains all events of one transaction."""

SILENT_S: Final = 3.0
"""Timeout of a watch: every node that is up writes every second."""

PAGE: Final = 1000
"""Keys that one request reads."""

_TRANSIENT: Final = frozenset({1, 4, 13, 14})
"""gRPC codes after which the next endpoint is tried: cancelled, deadline exceeded, internal, unavailable
(https://grpc.io/docs/guides/status-codes/)."""


class UnknownOutcome(MinorityError):
    """No endpoint answered in time: the request may have been executed, or may be executed later."""


@dataclass(slots=True)
class RequestCounts:
    """Calls that were answered, calls that were not, and the seconds that the answered ones took."""

    answered: int = 0
    failed: int = 0
    seconds: float = 0.0
    slowest_s: float = 0.0


@dataclass(slots=True)
class _FailedRequest:
    """The last failure of a call; `is_unknown` if a server may have executed the request all the same."""

    reason: str = "no answer in time"
    is_unknown: bool = True


@dataclass(slots=True)
class _Trace:
    """Whether a request was sent on a reused connection."""

    is_reused: bool = False


class Etcd:
    """Client of one etcd cluster. An async context."""

    def __init__(self, config: ClusterConfig, budget_s: float = BUDGET_S, try_s: float = TRY_S) -> None:
        self._config = config
        self._budget_s = budget_s
        self._try_s = try_s
        self._place = 0
        self._login = Login()
        self._logging_in = asyncio.Lock()
        self.counts = RequestCounts()

    async def __aenter__(self) -> Self:
        """Open the sessions. Raises StoreError if a certificate cannot be read."""
        try:
            tls = tls_context(self._config)
        except (OSError, ssl.SSLError) as error:
            raise StoreError(f"the certificates for etcd: {error}") from error
        trust = tls if tls is not None else True
        tracing = aiohttp.TraceConfig()
        tracing.on_connection_reuseconn.append(_note_reuse)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trust, limit=0), trace_configs=[tracing]
        )
        self._fresh = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trust, limit=0, force_close=True), read_bufsize=MAX_LINE_BYTES
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._session.close()
        await self._fresh.close()

    @property
    def endpoint(self) -> str:
        """The endpoint to which calls are sent."""
        return self._config.endpoints[self._place % len(self._config.endpoints)]

    async def call(self, path: str, body: Json) -> Any:
        """POST to `/v3/{path}`. Raises MinorityError, UnknownOutcome; StoreError if etcd refuses the call."""
        loop = asyncio.get_running_loop()
        begin_s = loop.time()
        failure = _FailedRequest()
        try:
            async with asyncio.timeout(self._budget_s):
                answer = await self._try_all(path, body, failure)
        except TimeoutError:
            self.counts.failed += 1
            kind = UnknownOutcome if failure.is_unknown else MinorityError
            raise kind(f"etcd: {failure.reason}") from None
        except StoreError:
            self.counts.failed += 1
            raise
        took_s = loop.time() - begin_s
        self.counts.answered += 1
        self.counts.seconds += took_s
        self.counts.slowest_s = max(self.counts.slowest_s, took_s)
        return answer

    async def _try_all(self, path: str, body: Json, failure: _FailedRequest) -> Any:
        """Try one endpoint after the other. Raises MinorityError if none has a leader."""
        leaderless: set[str] = set()
        was_unknown = has_logged_in = False
        while True:
            endpoint = self.endpoint
            try:
                async with asyncio.timeout(self._try_s):
                    token = await self._token(endpoint)
                    status, answer = await self._post(endpoint, path, body, token)
            except aiohttp.ClientConnectorError as error:
                failure.reason, failure.is_unknown = str(error), was_unknown
                leaderless.add(endpoint)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                failure.reason, was_unknown = f"{endpoint}: {error or 'no answer in time'}", True
                failure.is_unknown = True
            else:
                if status == 200 and ("header" in answer or "result" in answer):
                    self._login.confirm()
                    return answer
                code, reason = answer.get("code"), str(answer.get("message") or answer.get("error"))
                if needs_login(answer):
                    self._reject(token, reason, is_new=has_logged_in)
                    has_logged_in = True
                    continue
                if code not in _TRANSIENT:
                    raise StoreError(f"etcd refuses {path}: {reason}")
                failure.reason = f"{endpoint}: {reason}"
                is_leaderless = "no leader" in reason
                was_unknown = was_unknown or not is_leaderless
                failure.is_unknown = was_unknown
                if is_leaderless:
                    leaderless.add(endpoint)
            if len(leaderless) == len(self._config.endpoints) and not was_unknown:
                raise MinorityError(f"etcd: {failure.reason}")
            self._place += 1
            await asyncio.sleep(0.02)

    async def _post(self, endpoint: str, path: str, body: Json, token: str | None) -> tuple[int, Any]:
        """POST once, or twice if a reused connection is closed without an answer."""
        url, data = f"{endpoint}/v3/{path}", msgspec.json.encode(body)
        headers = headers_of(token)
        trace = _Trace()
        try:
            async with self._session.post(
                url, data=io.BytesIO(data), headers=headers, trace_request_ctx=trace
            ) as got:
                return got.status, decode_answer(await got.read())
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientConnectionResetError):
            if not trace.is_reused:
                raise
        async with self._fresh.post(url, data=io.BytesIO(data), headers=headers) as response:
            return response.status, decode_answer(await response.read())

    async def _token(self, endpoint: str) -> str | None:
        """Return the token to send, None without a user, empty if etcd needs none. Raises StoreError.

        Concurrent calls that need a new token share one login.
        """
        if self._config.user is None:
            return None
        async with self._logging_in:
            if self._login.token is None:
                now_s = asyncio.get_running_loop().time()
                if not self._login.may_try(now_s):
                    raise StoreError(self._login.fault)
                body = {"name": self._config.user, "password": self._config.password or ""}
                status, answer = await self._post(endpoint, "auth/authenticate", body, None)
                if is_auth_disabled(answer):
                    self._login.accept("")
                elif status != 200 and answer.get("code") not in _TRANSIENT:
                    self._login.fail(f"etcd refuses {self._config.user}: {answer.get('message')}", now_s)
                    raise StoreError(self._login.fault)
                elif token := answer.get("token"):
                    self._login.accept(str(token))
            return self._login.token

    def _reject(self, token: str | None, reason: str, *, is_new: bool) -> None:
        """Make the next attempt log in. Raises StoreError without a user, and if a new token was rejected."""
        if self._config.user is None:
            raise StoreError(
                f"etcd refuses a call without a user ({reason}): set cluster_user and cluster_password, and restart"
            )
        self._login.reject(token)
        if is_new:
            fault = f"etcd does not accept the token that it gave {self._config.user}: {reason}"
            self._login.fail(fault, asyncio.get_running_loop().time())
            raise StoreError(fault)

    async def get(self, key: str) -> KeyValue | None:
        """Return one key, by a linearizable read, or None."""
        answer = await self.call("kv/range", {"key": to_base64(key)})
        return next(map(key_value, answer.get("kvs", ())), None)

    async def list(self, prefix: str) -> tuple[int, Sequence[KeyValue]]:
        """Return a revision, and all keys with a prefix as of that revision."""
        found: list[KeyValue] = []
        revision, begin = 0, prefix
        while True:
            answer = await self.call(
                "kv/range",
                {
                    "key": to_base64(begin),
                    "range_end": range_end_of(prefix),
                    "limit": str(PAGE),
                    "revision": str(revision),
                },
            )
            revision = revision or int(answer["header"]["revision"])
            found += map(key_value, answer.get("kvs", ()))
            if not answer.get("more"):
                return revision, found
            begin = found[-1].key + "\0"

    async def transact(self, compare: Sequence[Json], success: Sequence[Json], failure: Sequence[Json] = ()) -> Any:
        """Execute `success` if all comparisons hold, else `failure`; return the answer, with `succeeded` if so."""
        return await self.call("kv/txn", {"compare": compare, "success": success, "failure": failure})

    async def grant(self, ttl_s: int) -> str:
        """Create a lease and return its id."""
        return str((await self.call("lease/grant", {"TTL": str(ttl_s), "ID": "0"}))["ID"])

    async def keep_alive(self, lease: str) -> bool:
        """Renew a lease; False if it has expired."""
        answer = await self.call("lease/keepalive", {"ID": lease})
        return int(answer.get("result", {}).get("TTL", 0)) > 0

    async def revoke(self, lease: str) -> None:
        """End a lease, which deletes its keys."""
        await self.call("lease/revoke", {"ID": lease})

    async def watch(self, prefix: str, revision: int) -> AsyncGenerator[Sequence[KeyValue], None]:
        """Yield the changes from `revision` on, those of one transaction together.

        Raises MinorityError when the endpoint fails, loses its leader or has compacted the revision: list again, and
        watch from there. An answer without changes is skipped: its revision may be newer than changes still to come.
        """
        request = {
            "create_request": {
                "key": to_base64(prefix),
                "range_end": range_end_of(prefix),
                "start_revision": str(revision),
            }
        }
        endpoint = self.endpoint
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._try_s, sock_read=SILENT_S)
        try:
            headers = headers_of(await self._token(endpoint))
            async with self._fresh.post(
                f"{endpoint}/v3/watch", data=msgspec.json.encode(request), headers=headers, timeout=timeout
            ) as stream:
                async for line in stream.content:
                    answer = decode_answer(line)
                    result = answer.get("result")
                    if result is None or result.get("canceled"):
                        raise MinorityError(f"etcd ended a watch: {line[:200].decode(errors='replace')}")
                    if events := result.get("events"):
                        yield [change(event) for event in events]
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise MinorityError(f"etcd: the watch of {endpoint} broke: {error}") from error
        raise MinorityError(f"etcd: {endpoint} ended the watch")


async def _note_reuse(_session: aiohttp.ClientSession, context: Any, _parameters: object) -> None:
    context.trace_request_ctx.is_reused = True
