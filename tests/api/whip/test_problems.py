"""Invalid requests are answered with a problem document (RFC 9457), and change nothing."""

import asyncio

import pytest

from rokuga.api.config.loader import DaemonConfig
from rokuga.api.whip.endpoint import MAX_BODY_BYTES
from tests.api.whip.whip_server import FRAGMENT, OFFER, TRICKLE, serving_whip


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (FRAGMENT, {"if_match": '"stale"', **TRICKLE}, 412),
        (FRAGMENT, {"content_type": "application/sdp"}, 415),
        (FRAGMENT, {}, 415),
        ("", TRICKLE, 400),
        ("a=candidate:1 1 udp 1 192.0.2.1 1 typ host", TRICKLE, 400),
        (b"\xff\xfe", TRICKLE, 400),
        ("x" * (MAX_BODY_BYTES + 1), TRICKLE, 413),
    ],
)
async def test_an_invalid_patch_changes_nothing(body: str | bytes, headers: dict[str, str], status: int) -> None:
    async with serving_whip() as server:
        location = (await server.publish()).headers["location"]
        refused = await server.send("PATCH", location, body, **headers)
        assert refused.problem["status"] == status
        assert not server.connection.closed.is_set()


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
        (OFFER + "a=rtcp-fb:* nack\r\n" * 33, 422),
        ("v=0\r\n" * 5000, 422),
    ],
)
async def test_an_unusable_offer_is_a_client_error(offer: str | bytes, status: int) -> None:
    async with serving_whip() as server:
        refused = await server.publish(offer)
        assert refused.problem["status"] == status
        assert refused.problem["detail"]
        assert not server.recorder.requests


async def test_a_client_that_disconnects_during_its_offer_is_ignored() -> None:
    async with serving_whip() as server:
        address, port = server.base.removeprefix("http://").split(":")
        _reader, writer = await asyncio.open_connection(address, int(port))
        writer.write(
            b"POST /whip/lab HTTP/1.1\r\nhost: x\r\ncontent-type: application/sdp\r\ncontent-length: 900\r\n\r\nv=0"
        )
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert (await server.publish()).status == 201


@pytest.mark.parametrize("headers", [{}, {"content_type": "application/json"}, {"content_type": "text/plain"}])
async def test_another_content_type_is_refused_with_the_accepted_one(headers: dict[str, str]) -> None:
    async with serving_whip() as server:
        refused = await server.send("POST", "/whip/lab", OFFER, **headers)
        assert refused.problem["status"] == 415
        assert refused.headers["accept-post"] == "application/sdp"


@pytest.mark.parametrize(("path", "status"), [("/whip/", 404), ("/whip/" + "x" * 256, 400)])
async def test_an_empty_or_long_channel_is_refused(path: str, status: int) -> None:
    async with serving_whip() as server:
        refused = await server.send("POST", path, OFFER, content_type="application/sdp")
        assert refused.problem["status"] == status


async def test_an_offer_that_the_recorder_refuses_ends_the_connection() -> None:
    async with serving_whip() as server:
        server.recorder.answer_fault = "the bundle is odd"
        refused = await server.publish()
        assert (refused.status, refused.problem["detail"]) == (422, "the bundle is odd")
        assert server.connection.closed.is_set()


async def test_a_stopping_recorder_refuses_clients() -> None:
    async with serving_whip() as server:
        server.recorder.refusal = "SHUTDOWN"
        refused = await server.publish()
        assert (refused.problem["status"], refused.problem["detail"]) == (503, "SHUTDOWN")
        assert refused.headers["retry-after"]


async def test_an_internal_error_is_500() -> None:
    async with serving_whip() as server:
        server.recorder.connect_fault = KeyError("secret")
        refused = await server.publish()
        assert (refused.status, refused.problem["detail"]) == (500, "INTERNAL-ERROR")


@pytest.mark.parametrize(
    ("path", "own", "accepts"), [("/whip/lab", "POST", "accept-post"), ("/whip-session/x", "PATCH", "accept-patch")]
)
async def test_preflights_and_get_need_no_token(path: str, own: str, accepts: str) -> None:
    """OPTIONS lists the methods, GET and HEAD are empty, others are refused (RFC 9725 sections 4.2, 4.6)."""
    async with serving_whip(DaemonConfig(whip_bearer_token="s3cret")) as server:
        preflight = await server.send(
            "OPTIONS", path, origin="https://page.example", access_control_request_method=own
        )
        assert preflight.status == 204
        assert own in preflight.headers["access-control-allow-methods"].split(", ")
        allowed = preflight.headers["access-control-allow-headers"].lower().split(", ")
        assert {"authorization", "content-type", "if-match"} <= set(allowed)
        assert preflight.headers[accepts]
        for method in ("GET", "HEAD"):
            reply = await server.send(method, path)
            assert (reply.status, reply.body) == (204, b"")
        refused = await server.send("PUT", path)
        assert refused.problem["status"] == 405
        assert own in refused.headers["allow"]
