"""The request policies of both ports over real HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import pytest
import pytest_asyncio
import structlog
import websockets
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from rokuga.api.app import api_app, signaling_app
from rokuga.api.config.loader import DaemonConfig
from rokuga.api.context import AppContext
from rokuga.api.http.middleware import RefusedRequests, RequestPolicyMiddleware
from rokuga.api.http.request_policy import Refusal, RequestPolicy
from rokuga.recorder.clock import Clock
from rokuga.recorder.media import NS_PER_S
from tests.api.serving import served
from tests.fakes_recorder import FakeRecorder

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOKEN = "correct-horse-battery-staple"
STUDIO = "https://studio.example"
EVIL = "https://evil.example"
LIST = {"x-sora-target": "Sora_20161101.ListStartedRecording"}


@dataclass
class Servers:
    """The addresses of the servers."""

    api: str
    api_with_token: str
    signaling: str
    closed_signaling: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers() -> AsyncIterator[Servers]:
    config = DaemonConfig(api_cors_origin=STUDIO)
    secret = DaemonConfig(api_bearer_token=TOKEN, api_cors_origin=STUDIO, allowed_hosts=("rokuga",))
    closed = DaemonConfig(signaling_origins=(STUDIO,), allowed_hosts=("rokuga",))
    async with (
        served(api_app(AppContext(FakeRecorder(), config))) as api,
        served(api_app(AppContext(FakeRecorder(), secret))) as api_with_token,
        served(signaling_app(AppContext(FakeRecorder(), config))) as signaling,
        served(signaling_app(AppContext(FakeRecorder(), closed))) as closed_signaling,
    ):
        yield Servers(api, api_with_token, signaling, closed_signaling)


async def answer(
    address: str, headers: Mapping[str, str], method: str = "POST", path: str = "/", body: bytes = b""
) -> tuple[int, str]:
    """Send a raw request; return the status and the error type."""
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        length_of_body = {} if "transfer-encoding" in headers else {"content-length": str(len(body))}
        lines = {"host": address, **length_of_body, **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        status = int((await reader.readline()).split()[1])
        length = 0
        while (line := await reader.readline()).strip():
            name, _, value = line.decode().partition(":")
            length = int(value) if name.lower() == "content-length" else length
        answered = await reader.readexactly(length)
    finally:
        writer.close()
    return status, json.loads(answered)["error_type"] if status >= 400 and answered else ""


@pytest.mark.parametrize("path", ["/", "/metrics", "/livez", "/readyz", "/nothing"])
async def test_the_api_refuses_foreign_origins_and_hosts(servers: Servers, path: str) -> None:
    assert await answer(servers.api, {"origin": EVIL, **LIST}, path=path) == (403, "ORIGIN-NOT-ALLOWED")
    assert await answer(servers.api, {"host": "evil.example", **LIST}, path=path) == (421, "HOST-NOT-ALLOWED")


@pytest.mark.parametrize("path", ["/", "/admin", "/admin/archives", "/nothing"])
async def test_the_signalling_port_refuses_foreign_origins_and_hosts(servers: Servers, path: str) -> None:
    assert await answer(servers.signaling, {"origin": EVIL}, path=path) == (403, "ORIGIN-NOT-ALLOWED")
    assert await answer(servers.signaling, {"host": "evil.example"}, "GET", path) == (421, "HOST-NOT-ALLOWED")


async def test_programs_and_pages_of_allowed_origins_call_the_api(servers: Servers) -> None:
    for headers in ({}, {"origin": STUDIO}, {"origin": f"http://{servers.api}"}):
        assert await answer(servers.api, LIST | headers) == (200, "")
    named = {"host": "rokuga:3000", "authorization": f"Bearer {TOKEN}"}
    assert await answer(servers.api_with_token, LIST | named) == (200, "")


@pytest.mark.parametrize("header", ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"])
async def test_a_forwarded_request_needs_the_token(servers: Servers, header: str) -> None:
    """The proxy is on this machine, its client may be anywhere."""
    assert await answer(servers.api, LIST | {header: "127.0.0.1"}) == (403, "LOOPBACK-ONLY")
    shown = {header: "127.0.0.1", "authorization": f"Bearer {TOKEN}"}
    assert await answer(servers.api_with_token, LIST | shown) == (200, "")


async def test_a_preflight_of_a_foreign_origin_is_refused(servers: Servers) -> None:
    asks = {"access-control-request-method": "POST"}
    assert await answer(servers.api, {"origin": EVIL, **asks}, "OPTIONS") == (403, "ORIGIN-NOT-ALLOWED")
    assert await answer(servers.api_with_token, {"origin": STUDIO, **asks}, "OPTIONS") == (200, "")


async def test_requests_without_the_token_are_refused(servers: Servers) -> None:
    for wrong in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"}):
        for path in ("/", "/metrics"):
            assert await answer(servers.api_with_token, LIST | wrong, path=path) == (401, "UNAUTHORIZED")
    assert await answer(servers.api_with_token, LIST | {"authorization": f"Bearer {TOKEN}"}) == (200, "")


@pytest.mark.parametrize(
    "path", ["/archives/../../etc/passwd", "/archives/%2e%2e/%2E%2E/etc/passwd", "/archives/..%2f..%2fetc/passwd"]
)
async def test_paths_with_dots_are_refused(servers: Servers, path: str) -> None:
    for address in (servers.api, servers.signaling):
        assert await answer(address, {}, "GET", path) == (400, "MALFORMED-PATH")


async def test_pages_of_all_origins_publish(servers: Servers) -> None:
    """Pages that use an SDK are served from any origin, and call any host name."""
    async with websockets.connect(f"ws://{servers.signaling}/signaling", origin=websockets.Origin(EVIL)):
        pass


async def test_only_pages_of_the_configured_origins_publish(servers: Servers) -> None:
    url = f"ws://{servers.closed_signaling}/signaling"
    async with websockets.connect(url, origin=websockets.Origin(STUDIO)), websockets.connect(url):
        pass
    two_hosts = {"additional_headers": {"host": "evil.example"}, "origin": websockets.Origin("http://evil.example")}
    for foreign, status in (({"origin": websockets.Origin(EVIL)}, 403), (two_hosts, 400)):
        with pytest.raises(websockets.InvalidStatus) as raised:
            await websockets.connect(url, **foreign)
        assert raised.value.response.status_code == status


async def _echo_length(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def test_a_chunked_body_above_the_limit_is_refused() -> None:
    middleware = Middleware(
        RequestPolicyMiddleware,
        policy=RequestPolicy(None, max_body_bytes=8),
        exceptions={},
        refused=RefusedRequests(Clock()),
    )
    app = Starlette(routes=[Route("/", _echo_length, methods=["POST"])], middleware=[middleware])
    chunked = {"transfer-encoding": "chunked"}
    async with served(app) as address:
        assert await answer(address, {}, body=b"x" * 8) == (200, "")
        assert await answer(address, {}, body=b"x" * 9) == (413, "PAYLOAD-TOO-LARGE")
        assert await answer(address, chunked, body=b"8\r\nxxxxxxxx\r\n0\r\n\r\n") == (200, "")
        endless = b"8\r\nxxxxxxxx\r\n" * 1000
        assert await answer(address, chunked, body=endless) == (413, "PAYLOAD-TOO-LARGE")


async def test_a_thousand_refusals_in_a_second_are_one_log_line() -> None:
    now_ns = [0]
    refusals = RefusedRequests(Clock(monotonic_ns=lambda: now_ns[0]))
    scope = {"headers": [(b"origin", b"https://evil.example" + b"x" * 500)], "path": "/", "client": ("192.0.2.1", 1)}
    with structlog.testing.capture_logs() as lines:
        for _ in range(1000):
            refusals.add(Refusal.ORIGIN_NOT_ALLOWED, scope)
        now_ns[0] = NS_PER_S
        refusals.add(Refusal.HOST_NOT_ALLOWED, scope)
    assert [(line["reason"], line["unlogged"]) for line in lines] == [
        ("ORIGIN-NOT-ALLOWED", 0),
        ("HOST-NOT-ALLOWED", 999),
    ]
    assert len(lines[0]["origin"]) == 200
    assert refusals.counts == {Refusal.ORIGIN_NOT_ALLOWED: 1000, Refusal.HOST_NOT_ALLOWED: 1}
