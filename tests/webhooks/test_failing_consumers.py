"""Consumers that are slow, hang, fail or reset connections: what they delay, and what is repeated."""

import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from rokuga.recorder.events import Event, EventType, event_id
from rokuga.recorder.media import NS_PER_MS, NS_PER_S
from rokuga.webhooks.config import WebhookConfig
from tests.material import WALL_NS, event, identity
from tests.webhooks.consumer import Answer, Post, consuming, ok, scripted
from tests.webhooks.delivering import delivering

SHORT_NS = 200 * NS_PER_MS


def about(event_type: EventType, connection_id: str, second: int) -> Event:
    """An event about one of a client's connections."""
    return Event(
        id=event_id(event_type, "RECORDING", connection_id),
        type=event_type,
        wall_ns=WALL_NS + second * NS_PER_S,
        channel_id="sora",
        document={"recording_id": "RECORDING", "connection_id": connection_id, "number": second},
        connection=identity(connection_id=connection_id),
    )


async def test_late_events_of_a_lost_connection_arrive_in_order_and_name_it(tmp_path: Path) -> None:
    """A's archive ends after B's has started; the consumer is slow and refuses A's first event once.

    B's events are delivered meanwhile, A's in their order afterwards.
    """
    story = [
        about(EventType.ARCHIVE_STARTED, "A", 0),
        about(EventType.ARCHIVE_STARTED, "B", 1),
        about(EventType.ARCHIVE_AVAILABLE, "A", 2),
        about(EventType.ARCHIVE_AVAILABLE, "B", 9),
    ]
    gate = asyncio.Event()
    fail_then_work = scripted(503, 200)

    async def slow(post: Post, request: web.Request) -> web.StreamResponse:
        await gate.wait()
        return await fail_then_work(post, request)

    async with consuming(slow) as consumer, delivering(tmp_path, WebhookConfig(url=consumer.url)) as it:
        for each in story:
            await it.append(each)
        await consumer.wait(1)
        gate.set()
        await it.drained()
        await it.later(1)
    for connection_id in "AB":
        expected = [one for one in story if one.document["connection_id"] == connection_id]
        came = [post for post in consumer.posts if post.event["connection_id"] == connection_id]
        assert list(dict.fromkeys(post.event["type"] for post in came)) == [one.type for one in expected]
        seconds = [post.event["timestamp"][17:19] for post in came]
        assert sorted(set(seconds)) == [f"{one.document['number']:02}" for one in expected]
    assert len(consumer.posts) == len(story) + 1
    for post in consumer.posts:
        assert post.event["data"]["connection_id"] == post.event["connection_id"]
        assert post.headers["sora-connection-id"] == post.event["connection_id"]
        assert post.event["data"]["recording_id"] == "RECORDING"


async def test_a_consumer_that_hangs_with_one_channel_delays_no_other_channel(tmp_path: Path) -> None:
    """50 archives of a channel end together and their POSTs hang; another channel starts and ends meanwhile."""
    gate = asyncio.Event()

    async def hang(post: Post, _: web.Request) -> web.StreamResponse:
        if post.event["channel_id"] == "slow":
            await gate.wait()
        return web.Response()

    async with consuming(hang) as consumer, delivering(tmp_path, WebhookConfig(url=consumer.url)) as it:
        await it.append(*(event(n, "slow") for n in range(50)))
        await consumer.wait(1, "slow")
        await it.append(*(event(n, "quick") for n in range(20)))
        await consumer.wait(20, "quick")
        assert len(consumer.of("slow")) == 1
        gate.set()
        await it.drained()
        for channel_id, count in (("slow", 50), ("quick", 20)):
            assert [post.number for post in consumer.of(channel_id)] == list(range(count))


async def test_channels_that_hang_delay_others_for_one_timeout_at_most(tmp_path: Path) -> None:
    """More channels hang than may be in flight: another one is delivered when the first ones time out."""
    never = asyncio.Event()

    async def hang(post: Post, _: web.Request) -> web.StreamResponse:
        if post.event["channel_id"] != "quick":
            await never.wait()
        return web.Response()

    async with consuming(hang) as consumer:
        config = WebhookConfig(url=consumer.url, max_in_flight=4, response_timeout_ns=SHORT_NS)
        async with delivering(tmp_path, config) as it:
            await it.append(*(event(0, f"slow {n}") for n in range(4)))
            await consumer.wait(4)
            await it.append(event(0, "quick"))
            await consumer.wait(1, "quick")
        never.set()


def aborting(times: int) -> Answer:
    """Read the body, then reset the connection, so many times."""
    left = times

    async def answer(_: Post, request: web.Request) -> web.StreamResponse:
        nonlocal left
        left -= 1
        if left >= 0:
            assert request.transport is not None
            request.transport.abort()
        return web.Response()

    return answer


def late(times: int) -> Answer:
    """Do not respond before the end of the test, so many times; then respond 200."""
    left = times

    async def answer(_: Post, __: web.Request) -> web.StreamResponse:
        nonlocal left
        left -= 1
        if left >= 0:
            await asyncio.Event().wait()
        return web.Response()

    return answer


@pytest.mark.parametrize(
    ("answer", "posts"),
    [(ok, 1), (late(2), 3), (aborting(2), 3), (scripted(500, 500, 200), 3)],
    ids=["in time", "late", "reset", "500 twice"],
)
async def test_repeats_are_the_same_bytes_and_end_with_the_first_2xx(
    tmp_path: Path, answer: Answer, posts: int
) -> None:
    async with consuming(answer) as consumer:
        async with delivering(tmp_path, WebhookConfig(url=consumer.url, response_timeout_ns=SHORT_NS)) as it:
            await it.append(event())
            await it.drained()
            for _ in range(6):
                await it.later(3600)
            assert await it.outbox.counts() == {"delivered": 1}
        assert len(consumer.posts) == posts
        assert len({post.body for post in consumer.posts}) == 1


@pytest.mark.parametrize("max_attempts", [1, 3])
async def test_no_more_attempts_are_made_than_configured(tmp_path: Path, max_attempts: int) -> None:
    async with consuming(scripted(500)) as consumer:
        async with delivering(tmp_path, WebhookConfig(url=consumer.url, max_attempts=max_attempts)) as it:
            await it.append(event())
            await it.drained()
            for _ in range(6):
                await it.later(3600)
            assert await it.outbox.counts() == {"dead": 1}
        assert len(consumer.posts) == max_attempts
