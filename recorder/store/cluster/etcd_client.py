"""A client of etcd's JSON gateway (etcd.io/docs/v3.4/dev-guide/api_grpc_gateway), what the store needs of it.

Every call carries `hasleader`: a server without a leader refuses it at once instead of letting it wait. Calls go to
one endpoint until it fails, then to the next, all within one time budget. A request that dies unanswered on a
connection that was used before is no failure of the endpoint: servers and proxies close idle connections, and may do
so while a request is on its way (RFC 9112 section 9.3.1). It is sent once more, on a new connection.
"""

import asyncio
import io
import ssl
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import msgspec

from rokuga.recorder.config import ClusterConfig
from rokuga.recorder.store import MinorityError, StoreError
from rokuga.recorder.store.cluster.etcd_login import Login, needs_no_login, wants_login
from rokuga.recorder.store.cluster.etcd_wire import Json, KeyValue, change, end_of, key_value, wire

BUDGET_S: Final = 2.0
"""For one call over all endpoints."""

TRY_S: Final = 0.7
"""For one endpoint: a server that hangs leaves time for two others."""

HAS_LEADER: Final = {"Grpc-Metadata-hasleader": "true"}
MAX_LINE_BYTES: Final = 8 << 20
"""A line of a watch holds all events of one transaction."""

SILENT_S: Final = 3.0
"""A watch that is silent for so long is dead: every node that is up writes every second."""

PAGE: Final = 1000
"""Keys that are read at a time."""

_PASSING: Final = frozenset({1, 4, 13, 14})
"""gRPC codes of what passes, or what another endpoint may not say: cancelled, deadline, internal, unavailable
(https://grpc.io/docs/guides/status-codes/)."""


class UnknownOutcome(MinorityError):
    """No endpoint answered in time: what was asked for may have happened, or may yet."""


@dataclass(slots=True)
class RequestCounts:
    """What calls took, for monitoring: how many were answered, how many were not, and the seconds of all."""

    answered: int = 0
    failed: int = 0
    seconds: float = 0.0
    slowest_s: float = 0.0


@dataclass(slots=True)
class _Failure:
    """The last thing that went wrong within a budget; `is_unknown` where a server may have acted all the same."""

    reason: str = "no answer in time"
    is_unknown: bool = True


@dataclass(slots=True)
class _Use:
    """Whether a request went over a connection that was used before."""

    is_reused: bool = False


class Etcd:
    """A session with one etcd cluster."""

    def __init__(self, config: ClusterConfig, budget_s: float = BUDGET_S, try_s: float = TRY_S) -> None:
        self._config = config
        self._budget_s = budget_s
        self._try_s = try_s
        self._place = 0
        self._login = Login()
        self._logging_in = asyncio.Lock()
        self.counts = RequestCounts()

    async def __aenter__(self) -> Self:
        """Open. Raises StoreError where a certificate cannot be read."""
        try:
            tls = _tls(self._config)
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
        """The endpoint that calls go to now."""
        return self._config.endpoints[self._place % len(self._config.endpoints)]

    async def call(self, path: str, body: Json) -> Any:
        """POST `/v3/{path}`. Raises MinorityError, UnknownOutcome; StoreError where etcd refuses the call."""
        loop = asyncio.get_running_loop()
        begin_s = loop.time()
        failure = _Failure()
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

    async def _try_all(self, path: str, body: Json, failure: _Failure) -> Any:
        """Ask one endpoint after the other. Raises MinorityError when each has said that it has no leader."""
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
                if wants_login(answer):
                    self._reject(token, reason, is_new=has_logged_in)
                    has_logged_in = True
                    continue
                if code not in _PASSING:
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
        """POST once, or twice where a connection that was used before is closed instead of an answer."""
        url, data = f"{endpoint}/v3/{path}", msgspec.json.encode(body)
        headers = _headers(token)
        use = _Use()
        try:
            async with self._session.post(url, data=io.BytesIO(data), headers=headers, trace_request_ctx=use) as got:
                return got.status, _decode(await got.read())
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientConnectionResetError):
            if not use.is_reused:
                raise
        async with self._fresh.post(url, data=io.BytesIO(data), headers=headers) as got:
            return got.status, _decode(await got.read())

    async def _token(self, endpoint: str) -> str | None:
        """Return the token to send, None without a user, empty where etcd needs none. Raises StoreError.

        Calls that need a new one wait for the login of the first of them.
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
                if needs_no_login(answer):
                    self._login.accept("")
                elif status != 200 and answer.get("code") not in _PASSING:
                    self._login.fail(f"etcd refuses {self._config.user}: {answer.get('message')}", now_s)
                    raise StoreError(self._login.fault)
                elif token := answer.get("token"):
                    self._login.accept(str(token))
            return self._login.token

    def _reject(self, token: str | None, reason: str, *, is_new: bool) -> None:
        """Have the next try log in. Raises StoreError without a user, and where a new token was not accepted."""
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
        """Read one key, linearizably."""
        answer = await self.call("kv/range", {"key": wire(key)})
        return next(map(key_value, answer.get("kvs", ())), None)

    async def list(self, prefix: str) -> tuple[int, Sequence[KeyValue]]:
        """Read all keys with a prefix, as of one revision, which is given too."""
        found: list[KeyValue] = []
        revision, begin = 0, prefix
        while True:
            answer = await self.call(
                "kv/range",
                {"key": wire(begin), "range_end": end_of(prefix), "limit": str(PAGE), "revision": str(revision)},
            )
            revision = revision or int(answer["header"]["revision"])
            found += map(key_value, answer.get("kvs", ()))
            if not answer.get("more"):
                return revision, found
            begin = found[-1].key + "\0"

    async def transact(self, compare: Sequence[Json], success: Sequence[Json], failure: Sequence[Json] = ()) -> Any:
        """Do `success` if all of `compare` holds, else `failure`; give the whole answer, `succeeded` in it if so."""
        return await self.call("kv/txn", {"compare": compare, "success": success, "failure": failure})

    async def grant(self, ttl_s: int) -> str:
        """Make a lease; give its id."""
        return str((await self.call("lease/grant", {"TTL": str(ttl_s), "ID": "0"}))["ID"])

    async def keep_alive(self, lease: str) -> bool:
        """Renew a lease; False if it is gone."""
        answer = await self.call("lease/keepalive", {"ID": lease})
        return int(answer.get("result", {}).get("TTL", 0)) > 0

    async def revoke(self, lease: str) -> None:
        """End a lease, and the keys that hang on it."""
        await self.call("lease/revoke", {"ID": lease})

    async def watch(self, prefix: str, revision: int) -> AsyncGenerator[Sequence[KeyValue], None]:
        """Give what changes from `revision` on, until the endpoint fails, loses its leader or has forgotten it.

        All changes of one transaction come together. An answer without changes says nothing of how far the watch is:
        the first carries the newest revision, whatever there is still to come.

        Raises MinorityError then: list again, and watch from there.
        """
        request = {
            "create_request": {"key": wire(prefix), "range_end": end_of(prefix), "start_revision": str(revision)}
        }
        endpoint = self.endpoint
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._try_s, sock_read=SILENT_S)
        try:
            headers = _headers(await self._token(endpoint))
            async with self._fresh.post(
                f"{endpoint}/v3/watch", data=msgspec.json.encode(request), headers=headers, timeout=timeout
            ) as stream:
                async for line in stream.content:
                    answer = _decode(line)
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


def _headers(token: str | None) -> Mapping[str, str]:
    return HAS_LEADER | ({"Authorization": token} if token else {})


def _decode(line: bytes) -> Any:
    try:
        answer = msgspec.json.decode(line)
    except msgspec.DecodeError:
        answer = None
    return answer if isinstance(answer, dict) else {"code": 14, "error": repr(line[:200])}


def _tls(config: ClusterConfig) -> ssl.SSLContext | None:
    if config.ca_file is None and config.client_cert is None:
        return None
    context = ssl.create_default_context(cafile=config.ca_file)
    if config.client_cert is not None:
        context.load_cert_chain(config.client_cert, config.client_key)
    return context
