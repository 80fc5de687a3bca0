"""What both webhooks are sent with: the request target as it is configured, and connections that die between uses."""

from pathlib import Path

import pytest

from rokuga.recorder.clock import Clock
from rokuga.webhooks.auth import AuthWebhook, NoAnswer
from rokuga.webhooks.config import WebhookConfig
from rokuga.webhooks.delivery import Delivery, DeliveryState
from rokuga.webhooks.post import Poster
from rokuga.webhooks.retry_policy import Delivered, Unreachable
from tests.material import WALL_NS, event
from tests.webhooks.delivering import delivering
from tests.webhooks.raw_server import OK, Request, serving_bytes

ENTRY = Delivery(1, "E", "archive.available", "sora", "S", "C", b"{}", WALL_NS, DeliveryState.PENDING)
CLOCK = Clock(wall_ns=lambda: WALL_NS)
NOWHERE = Path("/dev/null/log")


def refusing_the_first(request: Request) -> bytes:
    """Answer 500 to the first request of all, 200 to the others."""
    if (request.connection, request.number) == (1, 1):
        return b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"
    return OK


def closing_at_the_second(request: Request) -> bytes | None:
    """Answer the first request of each connection, close it at the second."""
    return OK if request.number == 1 else None


@pytest.mark.parametrize(
    "target",
    [
        "/hook/a%2Fb/%7Eme?sig=a%2Fb%2Bc%3D%3D&e=%c3%a9&q=%28x%29&k=a%20b",
        "/%41/../b/./c//d",
        "/d?",
        "/?x=%zz&y=%&z=+;'()*!",
        '/"<>\\^`{|}',
    ],
)
async def test_the_request_target_is_sent_as_it_is_configured_at_every_attempt(tmp_path: Path, target: str) -> None:
    """https://github.com/aio-libs/aiohttp/issues/7222: signed URLs break when their escapes are rewritten."""
    async with serving_bytes(refusing_the_first) as server:
        async with delivering(tmp_path, WebhookConfig(url=f"{server.origin}{target}")) as it:
            await it.append(event())
            await it.drained()
            await it.later(1)
            assert await it.outbox.counts() == {"delivered": 1}
        assert [request.line for request in server.requests] == [f"POST {target} HTTP/1.1"] * 2


async def test_the_authentication_webhook_asks_at_the_target_that_is_configured() -> None:
    target = "/auth/a%2Fb/%7Eme?sig=a%2Fb%2Bc%3D%3D&e=%c3%a9&q=%28x%29&k=a%20b"
    async with (
        serving_bytes(lambda _: OK) as server,
        AuthWebhook(f"{server.origin}{target}", WebhookConfig(log_dir=NOWHERE), CLOCK) as webhook,
    ):
        await webhook.ask("CONNECTION", {})
    assert server.requests[0].line == f"POST {target} HTTP/1.1"


async def test_an_event_whose_kept_connection_dies_is_sent_again_at_once_on_a_new_one() -> None:
    """A server that closes an idle connection just then is no failure: neither an attempt nor a pause."""
    async with (
        serving_bytes(closing_at_the_second) as server,
        Poster(WebhookConfig(), server.origin) as poster,
    ):
        assert [await poster.send(ENTRY, WALL_NS) for _ in range(3)] == [Delivered(200)] * 3
    places = [(request.connection, request.number) for request in server.requests]
    assert places == [(1, 1), (1, 2), (2, 1), (3, 1)]


async def test_no_attempt_is_counted_where_a_kept_connection_dies(tmp_path: Path) -> None:
    async with (
        serving_bytes(closing_at_the_second) as server,
        delivering(tmp_path, WebhookConfig(url=server.origin, max_attempts=1)) as it,
    ):
        await it.append(*(event(number) for number in range(6)))
        await it.drained()
        assert await it.outbox.counts() == {"delivered": 6}
        assert (it.dispatcher.delivered, it.dispatcher.failed) == (6, 0)


async def test_a_question_whose_kept_connection_dies_is_asked_again_at_once() -> None:
    async with (
        serving_bytes(closing_at_the_second) as server,
        AuthWebhook(server.origin, WebhookConfig(log_dir=NOWHERE), CLOCK) as webhook,
    ):
        for _ in range(3):
            assert (await webhook.ask("CONNECTION", {}))["allowed"] is True
        assert (await webhook.counters())["auth_webhook_failed"] == 0


async def test_a_request_that_dies_on_a_new_connection_is_an_attempt_that_failed() -> None:
    """Once: what comes at the repeat is the outcome."""
    async with (
        serving_bytes(lambda request: OK if request.connection == request.number == 1 else None) as server,
        Poster(WebhookConfig(), server.origin) as poster,
    ):
        assert await poster.send(ENTRY, WALL_NS) == Delivered(200)
        assert isinstance(await poster.send(ENTRY, WALL_NS), Unreachable)
        assert len(server.requests) == 3
    async with serving_bytes(lambda _: None) as server:
        async with AuthWebhook(server.origin, WebhookConfig(log_dir=NOWHERE), CLOCK) as webhook:
            with pytest.raises(NoAnswer):
                await webhook.ask("CONNECTION", {})
        assert len(server.requests) == 1


async def test_an_answer_that_began_on_a_kept_connection_is_not_asked_for_again() -> None:
    async with (
        serving_bytes(lambda request: OK if request.number == 1 else b"HTTP/1.1 2") as server,
        Poster(WebhookConfig(response_timeout_ns=200_000_000), server.origin) as poster,
    ):
        assert await poster.send(ENTRY, WALL_NS) == Delivered(200)
        assert await poster.send(ENTRY, WALL_NS) == Unreachable("timeout")
        assert len(server.requests) == 2
