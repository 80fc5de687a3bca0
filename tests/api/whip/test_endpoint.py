"""The two WHIP resources: publish, trickle, delete."""

import pytest
from yarl import URL

from rokuga.recorder.negotiation import TrackConfig
from tests.api.whip.whip_server import CAPTURES, FRAGMENT, OFFER, SDP, TRICKLE, serving_whip, until


@pytest.mark.parametrize("name", CAPTURES)
async def test_captured_requests_of_real_clients_are_answered(name: str) -> None:
    """The requests of a captured session in order, with the entity tag where the client sends it."""
    async with serving_whip() as server:
        location = etag = ""
        for said in CAPTURES[name]:
            headers = {
                key.replace("-", "_"): etag if key in {"if-match", "etag"} else value
                for key, value in said["headers"].items()
            }
            reply = await server.send(said["method"], location or "/whip/lab", said["body"], **headers)
            assert reply.status == {"POST": 201, "PATCH": 204, "DELETE": 200}[said["method"]]
            location, etag = reply.headers.get("location", location), reply.headers.get("etag", etag)
        assert server.connection.close_reason == "TYPE-DISCONNECT"
        assert server.connection.offers == [CAPTURES[name][0]["body"]]


async def test_an_offer_makes_a_session() -> None:
    """201, an answer, an unguessable URL, a strong entity tag, all readable by pages."""
    async with serving_whip() as server:
        reply = await server.publish(user_agent="OBS 30")
        assert reply.status == 201
        assert reply.headers["content-type"] == "application/sdp"
        assert reply.body.startswith(b"v=0\r\n")
        assert len(reply.headers["location"].removeprefix("../whip-session/")) >= 32
        assert reply.headers["etag"].startswith('"')
        assert reply.headers["accept-patch"] == TRICKLE["content_type"]
        assert {"Location", "ETag", "Link"} <= set(reply.headers["access-control-expose-headers"].split(", "))
        [request] = server.recorder.requests
        assert (request.channel_id, request.role) == ("lab", "sendonly")
        assert (request.audio, request.video) == (TrackConfig("OPUS"), TrackConfig("VP9"))
        assert request.connection_id is not None
        assert request.connection_id not in reply.headers["location"]


@pytest.mark.parametrize(
    ("path", "channel_id"),
    [("lab", "lab"), ("a%2Fb", "a/b"), ("a/b", "a/b"), ("%E9%8C%B2%E7%94%BB", "録画"), ("sora%3Fx%23y", "sora?x#y")],
)
async def test_a_channel_may_have_any_name(path: str, channel_id: str) -> None:
    async with serving_whip() as server:
        async with server.http.post(
            URL(f"{server.base}/whip/{path}", encoded=True), data=OFFER, headers=SDP
        ) as answer:
            assert answer.status == 201
        assert server.connection.identity.channel_id == channel_id


async def test_the_other_members_of_the_channel_are_notified() -> None:
    """A WHIP publisher is a member from DTLS until it ends."""
    async with serving_whip() as server:
        server.recorder.answer_connects = False
        reply = await server.publish()
        assert server.channels.counts("lab") == {}
        server.connection.connected.set()
        await until(lambda: server.channels.counts("lab") == {"sendonly": 1})
        await server.send("DELETE", reply.headers["location"])
        await until(lambda: server.channels.counts("lab") == {})


async def test_a_session_ends_with_its_connection() -> None:
    """A connection that the API or a media timeout ends leaves no session."""
    async with serving_whip() as server:
        location = (await server.publish()).headers["location"]
        server.connection.stop("DISCONNECTED-API")
        await until(lambda: server.channels.counts("lab") == {})
        assert (await server.send("DELETE", location)).problem["status"] == 404


async def test_sessions_end_with_the_daemon() -> None:
    async with serving_whip() as server:
        await server.publish()
    assert server.connection.close_reason == "SHUTDOWN"


async def test_an_internal_error_ends_one_session_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_member: object) -> None:
        raise KeyError("ours")

    async with serving_whip() as server:
        other = (await server.publish(channel="other")).headers["location"]
        await until(lambda: server.channels.counts("other") == {"sendonly": 1})
        with monkeypatch.context() as patched:
            patched.setattr(server.channels, "add", broken)
            await server.publish()
            await until(lambda: server.recorder.people[1].close_reason == "INTERNAL-ERROR")
        assert (await server.publish()).status == 201
        assert (await server.send("DELETE", other)).status == 200


async def test_trickled_candidates_are_accepted_and_an_ice_restart_is_not() -> None:
    """204 for candidates of the session; 422 for an ICE restart, which is not supported (RFC 9725 section 4.3)."""
    offer = str(CAPTURES["medooze"][0]["body"])
    async with serving_whip() as server:
        reply = await server.publish(offer)
        location, etag = reply.headers["location"], reply.headers["etag"]
        for condition in ({}, {"if_match": etag}, {"if_match": "*"}, {"if_match": f'"x", {etag}'}):
            taken = await server.send("PATCH", location, FRAGMENT, **TRICKLE, **condition)
            assert (taken.status, taken.body, taken.headers.get("etag")) == (204, b"", None)
        restart = await server.send("PATCH", location, FRAGMENT.replace("IVts", "NeWs"), **TRICKLE, if_match="*")
        assert restart.problem["status"] == 422


async def test_delete_ends_a_session_whatever_the_condition() -> None:
    """DELETE ignores If-Match."""
    async with serving_whip() as server:
        location = (await server.publish()).headers["location"]
        assert (await server.send("DELETE", location, if_match='"stale"')).status == 200
        await until(lambda: server.channels.counts("lab") == {})
        for method in ("DELETE", "PATCH"):
            assert (await server.send(method, location)).problem["status"] == 404
