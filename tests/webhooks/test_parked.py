"""What a consumer refuses for good is parked: it delays nothing, and is tried again now and then."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.store import Owner
from rokuga.webhooks.config import WebhookConfig
from rokuga.webhooks.delivery import DeliveryResult, DeliveryState
from rokuga.webhooks.retry_policy import Refused, Unreachable, is_parked
from tests.material import REPORT, event
from tests.webhooks.consumer import Answer, Post, consuming, ok, scripted
from tests.webhooks.delivering import CLOCK, CONFIG, Delivering, delivering, due, outbox, take
from tests.webhooks.old_database import story


def refusing(*types: str, status: int = 404) -> Answer:
    """Refuse some types of events, for as long as they are in the set that is given back."""

    async def answer(post: Post, _: web.Request) -> web.StreamResponse:
        return web.Response(status=status if post.event["type"] in types else 200)

    return answer


async def three_attempts(it: Delivering) -> None:
    """Let the pauses before the second and the third attempt go by."""
    await it.drained()
    await it.later(1)
    await it.later(5)


def types_of(posts: list[Post]) -> list[str]:
    """What came, each type once, by its first coming."""
    return list(dict.fromkeys(post.event["type"] for post in posts))


@pytest.mark.parametrize(
    ("status", "attempts", "expected"),
    [
        *((status, 3, True) for status in (400, 401, 403, 404, 405, 413, 415, 422, 499)),
        *((status, 3, False) for status in (301, 408, 425, 429, 500, 503)),
        (404, 2, False),
        (404, 9, True),
    ],
)
def test_only_client_errors_that_stay_are_refusals_for_good(status: int, attempts: int, expected: bool) -> None:
    assert is_parked(Refused(status), attempts) is expected
    assert not is_parked(Unreachable("timeout"), attempts)


async def test_a_type_that_is_refused_delays_its_connection_for_three_attempts_and_then_nothing(
    tmp_path: Path,
) -> None:
    """A consumer written for Sora answers 404 to what it does not know; the report comes, too.

    https://github.com/backstrokeapp/server/issues/6
    """
    async with consuming(refusing("archive.started")) as consumer:
        async with delivering(tmp_path, WebhookConfig(url=consumer.url)) as it:
            await it.append(*story("1"))
            await it.drained()
            assert "archive.available" not in types_of(consumer.posts)
            await it.later(1)
            await it.later(4.999)
            assert "archive.available" not in types_of(consumer.posts)
            await it.later(0.001)
            assert await it.outbox.counts() == {"parked": 2, "delivered": 8}
            assert (await it.outbox.counters())["outbox_parked"] == 2
        refused = [post for post in consumer.posts if post.event["type"] == "archive.started"]
        assert len(refused) == 2 * 3
        assert types_of(consumer.posts)[-1] == "recording.report"


async def test_a_type_that_is_refused_is_tried_once_a_minute_by_one_event(tmp_path: Path) -> None:
    async with consuming(refusing("archive.available")) as consumer:
        async with delivering(tmp_path, WebhookConfig(url=consumer.url)) as it:
            await it.append(*(event(1, f"channel {n}") for n in range(5)))
            await three_attempts(it)
            assert await it.outbox.counts() == {"parked": 5}
            before = len(consumer.posts)
            for minute in range(1, 11):
                await it.later(60)
                assert len(consumer.posts) == before + minute
            attempts = [entry.attempts for entry in await it.outbox.deliveries()]
            assert attempts == [5] * 5  # in turn


async def test_a_type_that_is_accepted_again_is_unparked_in_order(tmp_path: Path) -> None:
    """A proxy answered 404 while the consumer was deployed anew: nobody has to do anything."""
    is_deployed = False

    async def answer(post: Post, request: web.Request) -> web.StreamResponse:
        return await ok(post, request) if is_deployed else web.Response(status=404)

    async with consuming(answer) as consumer:
        async with delivering(tmp_path, WebhookConfig(url=consumer.url)) as it:
            await it.append(*(event(n) for n in range(20)))
            for _ in range(20):
                await three_attempts(it)
            assert await it.outbox.counts() == {"parked": 20}
            is_deployed = True
            consumer.posts.clear()
            await it.later(60)
            await it.drained()
            assert await it.outbox.counts() == {"delivered": 20}
        numbers = [post.number for post in consumer.posts]
        assert len(numbers) == 20
        assert numbers[1:] == sorted(numbers[1:])


async def test_a_parked_delivery_older_than_max_age_is_dead(tmp_path: Path) -> None:
    async with consuming(refusing("archive.available")) as consumer:
        config = WebhookConfig(url=consumer.url, max_age_ns=3600 * NS_PER_S)
        async with delivering(tmp_path, config) as it:
            await it.append(*(event(1, f"channel {n}") for n in range(5)))
            await three_attempts(it)
            await it.later(3540)
            assert (await it.outbox.counts())["parked"] == 4  # the one that was tried has no time for another pause
            await it.later(60)
            assert await it.outbox.counts() == {"dead": 5}


async def test_a_limited_number_of_attempts_is_not_used_up_by_what_is_parked(tmp_path: Path) -> None:
    async with consuming(refusing("archive.available")) as consumer:
        async with delivering(tmp_path, WebhookConfig(url=consumer.url, max_attempts=5)) as it:
            await it.append(event())
            await three_attempts(it)
            await it.later(60)
            assert len(consumer.posts) == 3


async def test_a_server_error_and_no_answer_are_waited_for(tmp_path: Path) -> None:
    async with consuming(scripted(500, 429, 425, 404, 200)) as consumer:
        async with delivering(tmp_path, WebhookConfig(url=consumer.url)) as it:
            await it.append(event(1), event(2))
            await three_attempts(it)
            assert await it.outbox.counts() == {"pending": 2}
            await it.later(30)
            assert await it.outbox.counts() == {"parked": 1, "delivered": 1}


async def test_an_operator_may_retry_and_drop_what_is_parked(tmp_path: Path) -> None:
    async with outbox(tmp_path, CONFIG, CLOCK) as (store, box):
        await take(store, box, event(1), event(2), event(3))
        await box.settle(
            [DeliveryResult(1, DeliveryState.PARKED, error="status 404"), DeliveryResult(2, DeliveryState.PARKED)]
        )
        assert [entry.seq for entry in await due(box)] == [3]
        assert await box.drop(event(2).id) == 1
        assert await box.retry(event(1).id) == 1
        assert [entry.seq for entry in await due(box)] == [1]
        await box.settle([DeliveryResult(1, DeliveryState.PARKED)])
        assert await box.retry() == 2
        assert [entry.seq for entry in await due(box)] == [1]


async def test_the_oldest_of_too_many_parked_deliveries_are_pruned(tmp_path: Path) -> None:
    """Those that are dead have a limit of their own."""
    async with outbox(tmp_path, replace(CONFIG, dead_max_number=3), CLOCK) as (store, box):
        await take(store, box, *(event(n) for n in range(9)))
        await box.settle([DeliveryResult(seq, DeliveryState.PARKED) for seq in range(1, 6)])
        await box.settle([DeliveryResult(seq, DeliveryState.DEAD) for seq in range(6, 9)])
        assert [entry.seq for entry in await box.deliveries(DeliveryState.PARKED)] == [5, 4, 3]
        assert await box.counts() == {"parked": 3, "dead": 3, "pending": 1}
        assert (await box.counters())["outbox_pruned"] == 2


async def test_deliveries_are_not_counted_at_every_event_once_the_limit_is_reached(tmp_path: Path) -> None:
    """A hundredth of it goes at a time."""
    async with outbox(tmp_path, replace(CONFIG, dead_max_number=200), CLOCK) as (store, box):
        await take(store, box, *(event(n) for n in range(210)))
        kept = []
        for seq in range(1, 206):
            await box.settle([DeliveryResult(seq, DeliveryState.PARKED)])
            kept.append((await box.counts())["parked"])
        assert kept[199:] == [200, 198, 199, 200, 198, 199]


async def test_a_parked_singleton_stays_this_node_s_after_its_release(tmp_path: Path) -> None:
    """The cluster was told that nobody else has to: so it is sent when the consumer takes it."""
    is_refusing = True
    answers = [Owner.SELF] * 3 + [Owner.NOBODY] * 9

    async def owner_of(_event_id: str) -> Owner:
        return answers.pop(0)

    async def answer(post: Post, request: web.Request) -> web.StreamResponse:
        return web.Response(status=403) if is_refusing else await ok(post, request)

    async with consuming(answer) as consumer:
        async with delivering(tmp_path, WebhookConfig(url=consumer.url), owner_of=owner_of) as it:
            await it.append(REPORT)
            await three_attempts(it)
            assert list(await it.outbox.settled_of([REPORT.id])) == [REPORT.id]
            is_refusing = False
            await it.outbox.retry(REPORT.id)
            await it.drained()
            assert await it.outbox.counts() == {"delivered": 1}


async def test_connections_of_one_channel_are_delivered_concurrently(tmp_path: Path) -> None:
    """A slow consumer of one large channel: a quarter of what may be in flight is its share."""
    gate = asyncio.Event()
    most = 0
    in_flight = 0

    async def slow(_: Post, __: web.Request) -> web.StreamResponse:
        nonlocal most, in_flight
        in_flight += 1
        most = max(most, in_flight)
        await gate.wait()
        in_flight -= 1
        return web.Response()

    async with consuming(slow) as consumer:
        async with delivering(tmp_path, WebhookConfig(url=consumer.url, max_in_flight=16)) as it:
            events = [each for n in range(30) for each in story(str(n))]
            await it.append(*(replace(each, channel_id="one") for each in events))
            await consumer.wait(4)
            await it.append(event(1, "another"))
            await consumer.wait(5)
            assert most == 5
            gate.set()
            await it.drained()
            assert await it.outbox.counts() == {"delivered": len(events) + 1}
