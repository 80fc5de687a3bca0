"""WHIP over real HTTP, in front of a recorder without media."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from rokuga.api.app import signaling_app
from rokuga.api.config import DaemonConfig
from rokuga.api.signaling.channels import Channels
from rokuga.api.whip.endpoint import MAX_BODY_BYTES
from rokuga.api.whip.sessions import Sessions
from rokuga.recorder.clock import Clock
from rokuga.recorder.media import NS_PER_MS
from rokuga.recorder.negotiation import TrackConfig
from rokuga.webhooks.auth import AuthWebhook
from rokuga.webhooks.config import WebhookConfig
from tests.api.serving import served
from tests.fakes_recorder import FakeConnection, FakeRecorder
from tests.webhooks.consumer import Answer, Consumer, Post, consuming

VECTORS = Path(__file__).parent.parent.parent / "vectors" / "whip"
PLAYBOOKS = {
    path.stem: [json.loads(line) for line in path.read_text().splitlines()]
    for path in sorted(VECTORS.glob("*.jsonl"))
}
OFFER = str(PLAYBOOKS["chromium"][0]["body"])
SDP = {"content-type": "application/sdp"}
TRICKLE = {"content-type": "application/trickle-ice-sdpfrag"}
FRAGMENT = str(PLAYBOOKS["medooze"][1]["body"])


@dataclass
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def problem(self) -> Any:
        """The body of a refusal, which is a whole one."""
        assert self.headers["content-type"] == "application/problem+json"
        problem = json.loads(self.body)
        assert set(problem) == {"type", "title", "status", "detail"}
        assert problem["status"] == self.status
        return problem


@dataclass
class House:
    """A front, its recorder, and a client of HTTP."""

    recorder: FakeRecorder
    channels: Channels
    base: str
    http: aiohttp.ClientSession

    async def send(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """Send a request; every answer may be read by pages of all origins."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.request(method, self.base + path, data=body, headers=names) as answer:
            reply = Reply(answer.status, answer.headers, await answer.read())
        assert reply.headers["access-control-allow-origin"] == "*"
        assert reply.headers["server"] == "Rokuga"
        return reply

    async def publish(self, offer: Any = OFFER, channel: str = "lab", **headers: str) -> Reply:
        """Post an offer."""
        return await self.send("POST", f"/whip/{channel}", offer, content_type="application/sdp", **headers)

    @property
    def person(self) -> FakeConnection:
        """The only connection that there ever was."""
        [person] = self.recorder.people
        return person


@asynccontextmanager
async def house(config: DaemonConfig | None = None, gatekeeper: AuthWebhook | None = None) -> AsyncIterator[House]:
    recorder, channels = FakeRecorder(), Channels(Clock())
    async with Sessions(channels) as sessions:
        app = signaling_app(recorder, config or DaemonConfig(), channels, gatekeeper, whip_sessions=sessions)
        async with served(app) as address, aiohttp.ClientSession(skip_auto_headers=["content-type"]) as http:
            yield House(recorder, channels, f"http://{address}", http)


@pytest.mark.parametrize("name", PLAYBOOKS)
async def test_what_every_client_says_is_answered_well(name: str) -> None:
    """The requests of a captured session, in their order; the entity tag is put where the client puts it."""
    async with house() as front:
        location = etag = ""
        for said in PLAYBOOKS[name]:
            headers = {
                key.replace("-", "_"): etag if key in {"if-match", "etag"} else value
                for key, value in said["headers"].items()
            }
            reply = await front.send(said["method"], location or "/whip/lab", said["body"], **headers)
            assert reply.status == {"POST": 201, "PATCH": 204, "DELETE": 200}[said["method"]]
            location, etag = reply.headers.get("location", location), reply.headers.get("etag", etag)
        assert front.person.close_reason == "TYPE-DISCONNECT"
        assert front.person.offers == [PLAYBOOKS[name][0]["body"]]


async def test_an_offer_makes_a_session() -> None:
    """201, an answer, a URL that cannot be guessed, a strong entity tag, all readable for pages."""
    async with house() as front:
        reply = await front.publish(user_agent="OBS 30")
        assert reply.status == 201
        assert reply.headers["content-type"] == "application/sdp"
        assert reply.body.startswith(b"v=0\r\n")
        assert len(reply.headers["location"].removeprefix("/whip-session/")) >= 32
        assert reply.headers["etag"].startswith('"')
        assert reply.headers["accept-patch"] == TRICKLE["content-type"]
        assert {"Location", "ETag", "Link"} <= set(reply.headers["access-control-expose-headers"].split(", "))
        [request] = front.recorder.requests
        assert (request.channel_id, request.role) == ("lab", "sendonly")
        assert (request.audio, request.video) == (TrackConfig("OPUS"), TrackConfig("VP9"))
        assert request.connection_id is not None
        assert request.connection_id not in reply.headers["location"]


@pytest.mark.parametrize(
    ("path", "channel_id"),
    [("lab", "lab"), ("a%2Fb", "a/b"), ("a/b", "a/b"), ("%E9%8C%B2%E7%94%BB", "録画"), ("sora%3Fx%23y", "sora?x#y")],
)
async def test_a_channel_may_have_any_name(path: str, channel_id: str) -> None:
    async with house() as front:
        async with front.http.post(URL(f"{front.base}/whip/{path}", encoded=True), data=OFFER, headers=SDP) as answer:
            assert answer.status == 201
        assert front.person.identity.channel_id == channel_id


async def test_the_others_in_the_channel_are_told() -> None:
    """A publisher by WHIP is a member like any other, from its first media to its end."""
    async with house() as front:
        front.recorder.answer_connects = False
        reply = await front.publish()
        assert front.channels.counts("lab") == {}
        front.person.connected.set()
        await until(lambda: front.channels.counts("lab") == {"sendonly": 1})
        await front.send("DELETE", reply.headers["location"])
        await until(lambda: front.channels.counts("lab") == {})


async def until(holds: Any) -> None:
    """Wait for what the front's own tasks do."""
    while not holds():  # noqa: ASYNC110  # nothing tells of it but what it changes
        await asyncio.sleep(0)


async def test_a_session_ends_with_its_connection() -> None:
    """What the API ends, or media that stops, leaves no session behind."""
    async with house() as front:
        location = (await front.publish()).headers["location"]
        front.person.stop("DISCONNECTED-API")
        await until(lambda: front.channels.counts("lab") == {})
        assert (await front.send("DELETE", location)).problem["status"] == 404


async def test_the_end_of_the_daemon_ends_the_sessions() -> None:
    async with house() as front:
        await front.publish()
    assert front.person.close_reason == "SHUTDOWN"


async def test_a_fault_of_one_session_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_member: object) -> None:
        raise KeyError("ours")

    async with house() as front:
        other = (await front.publish(channel="other")).headers["location"]
        await until(lambda: front.channels.counts("other") == {"sendonly": 1})
        with monkeypatch.context() as patched:
            patched.setattr(front.channels, "enter", broken)
            await front.publish()
            await until(lambda: front.recorder.people[1].close_reason == "INTERNAL-ERROR")
        assert (await front.publish()).status == 201
        assert (await front.send("DELETE", other)).status == 200


async def test_trickled_candidates_are_taken_and_a_restart_is_not() -> None:
    """204 for what belongs to the session; 422 for a restart of ICE, which we do not have (RFC 9725 section 4.3)."""
    offer = str(PLAYBOOKS["medooze"][0]["body"])
    async with house() as front:
        reply = await front.publish(offer)
        location, etag = reply.headers["location"], reply.headers["etag"]
        for condition in ({}, {"if_match": etag}, {"if_match": "*"}, {"if_match": f'"x", {etag}'}):
            taken = await front.send("PATCH", location, FRAGMENT, **_typed(condition))
            assert (taken.status, taken.body, taken.headers.get("etag")) == (204, b"", None)
        restart = await front.send("PATCH", location, FRAGMENT.replace("IVts", "NeWs"), **_typed({"if_match": "*"}))
        assert restart.problem["status"] == 422


def _typed(headers: Mapping[str, str]) -> dict[str, str]:
    return {"content_type": TRICKLE["content-type"], **headers}


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (FRAGMENT, {"if_match": '"stale"', **_typed({})}, 412),
        (FRAGMENT, {"content_type": "application/sdp"}, 415),
        (FRAGMENT, {}, 415),
        ("", _typed({}), 400),
        ("a=candidate:1 1 udp 1 192.0.2.1 1 typ host", _typed({}), 400),
        (b"\xff\xfe", _typed({}), 400),
        ("x" * (MAX_BODY_BYTES + 1), _typed({}), 413),
    ],
)
async def test_a_patch_that_is_not_right_changes_nothing(
    body: str | bytes, headers: dict[str, str], status: int
) -> None:
    async with house() as front:
        location = (await front.publish()).headers["location"]
        refused = await front.send("PATCH", location, body, **headers)
        assert refused.problem["status"] == status
        assert not front.person.closed.is_set()


async def test_a_session_that_is_deleted_is_gone_whatever_the_condition() -> None:
    """If-Match does not matter to DELETE."""
    async with house() as front:
        location = (await front.publish()).headers["location"]
        assert (await front.send("DELETE", location, if_match='"stale"')).status == 200
        await until(lambda: front.channels.counts("lab") == {})
        for method in ("DELETE", "PATCH"):
            assert (await front.send(method, location)).problem["status"] == 404


@pytest.mark.parametrize(
    ("offer", "status"),
    [
        ("", 400),
        ("hello", 400),
        (b"\xff\xfe\xfd", 400),
        (OFFER[:200], 422),
        (OFFER.replace("a=fingerprint", "a=x"), 400),
        (OFFER.replace("a=mid:1", "a=mid:0"), 400),
        (OFFER.replace("a=sendonly", "a=recvonly"), 422),
        (OFFER.replace("VP9/90000", "VP7/90000"), 422),
        (OFFER.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP"), 422),
        (OFFER + "m=video" + OFFER.split("m=video")[1].replace("a=mid:1", "a=mid:2"), 422),
        (OFFER + "a=x\r\n" * MAX_BODY_BYTES, 413),
        ("v=0\r\n" + "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n" * 1800, 422),
        ("\0" * 1000, 400),
    ],
)
async def test_an_offer_of_no_use_is_a_problem_of_the_client(offer: str | bytes, status: int) -> None:
    async with house() as front:
        refused = await front.publish(offer)
        assert refused.problem["status"] == status
        assert refused.problem["detail"]
        assert not front.recorder.requests


async def test_a_client_cut_off_in_its_offer_does_no_harm() -> None:
    async with house() as front:
        address, port = front.base.removeprefix("http://").split(":")
        _reader, writer = await asyncio.open_connection(address, int(port))
        writer.write(
            b"POST /whip/lab HTTP/1.1\r\nhost: x\r\ncontent-type: application/sdp\r\ncontent-length: 900\r\n\r\nv=0"
        )
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert (await front.publish()).status == 201


@pytest.mark.parametrize("headers", [{}, {"content_type": "application/json"}, {"content_type": "text/plain"}])
async def test_another_type_is_refused_with_the_right_one(headers: dict[str, str]) -> None:
    async with house() as front:
        refused = await front.send("POST", "/whip/lab", OFFER, **headers)
        assert refused.problem["status"] == 415
        assert refused.headers["accept-post"] == "application/sdp"


@pytest.mark.parametrize(("path", "status"), [("/whip/", 404), ("/whip/" + "x" * 256, 400)])
async def test_a_channel_has_a_name_that_is_not_too_long(path: str, status: int) -> None:
    async with house() as front:
        refused = await front.send("POST", path, OFFER, content_type="application/sdp")
        assert refused.problem["status"] == status


async def test_what_the_recorder_finds_wrong_ends_the_connection() -> None:
    async with house() as front:
        front.recorder.answer_fault = "the bundle is odd"
        refused = await front.publish()
        assert (refused.status, refused.problem["detail"]) == (422, "the bundle is odd")
        assert front.person.closed.is_set()


async def test_a_recorder_that_ends_takes_nobody() -> None:
    async with house() as front:
        front.recorder.refusal = "SHUTDOWN"
        refused = await front.publish()
        assert (refused.problem["status"], refused.problem["detail"]) == (503, "SHUTDOWN")
        assert refused.headers["retry-after"]


async def test_a_fault_of_ours_is_told_as_ours() -> None:
    async with house() as front:
        front.recorder.connect_fault = KeyError("secret")
        refused = await front.publish()
        assert (refused.status, refused.problem["detail"]) == (500, "INTERNAL-ERROR")


@pytest.mark.parametrize(
    ("path", "own", "accepts"), [("/whip/lab", "POST", "accept-post"), ("/whip-session/x", "PATCH", "accept-patch")]
)
async def test_preflights_and_questions_are_answered_without_a_token(path: str, own: str, accepts: str) -> None:
    """OPTIONS says what may be done, GET and HEAD are empty, the rest is not allowed (RFC 9725 sections 4.2, 4.6)."""
    async with house(DaemonConfig(whip_bearer_token="s3cret")) as front:
        preflight = await front.send(
            "OPTIONS", path, origin="https://page.example", access_control_request_method=own
        )
        assert preflight.status == 204
        assert own in preflight.headers["access-control-allow-methods"].split(", ")
        allowed = preflight.headers["access-control-allow-headers"].lower().split(", ")
        assert {"authorization", "content-type", "if-match"} <= set(allowed)
        assert preflight.headers[accepts]
        for method in ("GET", "HEAD"):
            reply = await front.send(method, path)
            assert (reply.status, reply.body) == (204, b"")
        refused = await front.send("PUT", path)
        assert refused.problem["status"] == 405
        assert own in refused.headers["allow"]


async def test_nobody_comes_in_without_the_token() -> None:
    async with house(DaemonConfig(whip_bearer_token="s3cret")) as front:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic s3cret"}):
            refused = await front.publish(**headers)
            assert refused.problem["status"] == 401
            assert refused.headers["www-authenticate"].startswith("Bearer")
        assert not front.recorder.requests
        assert (await front.publish(authorization="Bearer s3cret")).status == 201


async def test_a_session_belongs_to_the_token_that_it_came_with() -> None:
    """Whoever learns the URL alone can neither patch nor delete."""
    async with house() as front:
        location = (await front.publish(authorization="Bearer mine")).headers["location"]
        for headers in ({}, {"authorization": "Bearer yours"}):
            assert (await front.send("DELETE", location, **headers)).problem["status"] == 401
            assert (await front.send("PATCH", location, FRAGMENT, **headers)).problem["status"] == 401
        assert not front.person.closed.is_set()
        assert (await front.send("DELETE", location, authorization="Bearer mine")).status == 200


@asynccontextmanager
async def gate(answer: Answer) -> AsyncIterator[tuple[House, Consumer]]:
    webhooks = WebhookConfig(response_timeout_ns=500 * NS_PER_MS, log_dir=Path("/dev/null/log"))
    async with consuming(answer) as consumer, AuthWebhook(consumer.url, webhooks, Clock()) as webhook:
        async with house(DaemonConfig(auth_webhook_url=consumer.url), webhook) as front:
            yield front, consumer


def says(document: Any, status: int = 200) -> Answer:
    async def answer(_: Post, __: web.Request) -> web.StreamResponse:
        return web.json_response(document, status=status)

    return answer


async def test_the_webhook_is_asked_as_for_signalling() -> None:
    answer = {"allowed": True, "client_id": "alice", "video_bit_rate": 800, "event_metadata": 7}
    async with gate(says(answer)) as (front, consumer):
        reply = await front.publish(authorization="Bearer t0ken", user_agent="OBS 30")
        assert reply.status == 201
        [post] = consumer.posts
        asked = post.event
        assert (asked["role"], asked["channel_id"], asked["metadata"]) == (
            "sendonly",
            "lab",
            {"access_token": "t0ken"},
        )
        assert (asked["audio_codec_type"], asked["video_codec_type"]) == ("OPUS", "VP9")
        assert asked["sora_client"] == {"raw": "WHIP", "environment": "OBS 30"}
        assert asked["connection_id"] == front.person.identity.connection_id
        assert front.person.identity.client_id == "alice"
        assert front.recorder.requests[-1].event_metadata_json == "7"
        assert front.person.video == TrackConfig("VP9", 800)


async def test_the_webhook_may_leave_out_a_kind() -> None:
    async with gate(says({"allowed": True, "video": False})) as (front, _consumer):
        assert (await front.publish()).status == 201
        assert front.person.video is None


async def hanging(_: Post, __: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    return web.Response()


@pytest.mark.parametrize(
    ("answer", "status", "detail"),
    [
        (says({"allowed": False, "reason": "over quota"}), 403, "over quota"),
        (says({"allowed": False, "reason": "録" * 100}), 403, "録" * 100),
        (says({"allowed": False}), 403, "AUTH-WEBHOOK-DENIED"),
        (says({"allowed": True}, 500), 503, "AUTH-WEBHOOK-FAILED: status 500"),
        (
            says({"allowed": True, "video_codec_type": "AV1"}),
            503,
            "AUTH-WEBHOOK-FAILED: AV1 is allowed and not offered",
        ),
        (hanging, 503, "AUTH-WEBHOOK-FAILED: timeout"),
    ],
)
async def test_whom_the_webhook_does_not_allow_gets_no_connection(answer: Answer, status: int, detail: str) -> None:
    async with gate(answer) as (front, _consumer):
        refused = await front.publish()
        assert (refused.status, refused.problem["detail"]) == (status, detail)
        assert not front.recorder.requests


async def test_a_client_that_leaves_while_it_is_asked_about_is_not_connected() -> None:
    go_on = asyncio.Event()

    async def slow(_: Post, __: web.Request) -> web.StreamResponse:
        await go_on.wait()
        return web.json_response({"allowed": True})

    async with gate(slow) as (front, consumer):
        leaving = asyncio.create_task(front.publish())
        await consumer.wait(1)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        await front.send("GET", "/whip/lab")
        go_on.set()
        assert (await front.publish()).status == 201
        assert len(front.recorder.requests) == 1


async def test_pages_of_other_origins_are_refused_where_origins_are_configured() -> None:
    """The same policy as for signalling, for the endpoint and the sessions."""
    config = DaemonConfig(signaling_origins=("https://page.example",))
    async with house(config) as front:
        welcome = await front.publish(origin="https://page.example")
        assert welcome.status == 201
        for method, path in (("POST", "/whip/lab"), ("DELETE", welcome.headers["location"])):
            headers = {"origin": "https://evil.example", "content-type": "application/sdp"}
            async with front.http.request(method, front.base + path, data=OFFER, headers=headers) as answer:
                assert answer.status == 403
        assert not front.person.closed.is_set()
