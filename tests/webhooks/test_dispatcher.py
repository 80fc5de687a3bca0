"""The task that delivers: a real store, a real consumer, a clock that stands still."""

import asyncio
import sqlite3
from collections import Counter
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from rokuga.recorder.store import MinorityError, Owner, StoreError
from rokuga.webhooks.config import WebhookConfig
from rokuga.webhooks.delivery import DeliveryState
from tests.material import REPORT, STARTED, event
from tests.webhooks.consumer import Post, consuming, scripted
from tests.webhooks.delivering import SHORT_NS, delivering


async def test_what_was_stored_is_delivered_in_order(tmp_path: Path) -> None:
    async with consuming() as consumer, delivering(tmp_path, WebhookConfig(url=consumer.url)) as it:
        await it.append(*(event(n, f"channel {n % 3}") for n in range(30)))
        await it.drained()
        assert await it.outbox.counts() == {"delivered": 30}
        assert (it.dispatcher.delivered, it.dispatcher.failed) == (30, 0)
    for channel in range(3):
        assert [post.number for post in consumer.of(f"channel {channel}")] == list(range(channel, 30, 3))


async def test_what_was_stored_before_the_start_is_delivered(tmp_path: Path) -> None:
    async with consuming() as consumer:
        config = WebhookConfig(url=consumer.url)
        async with delivering(tmp_path, config) as it:
            await it.store.append([event(1)])
        async with delivering(tmp_path, config) as it:
            await it.drained()
    assert {post.number for post in consumer.posts} == {1}


async def test_without_a_url_every_event_is_a_line_of_the_log(tmp_path: Path) -> None:
    async with delivering(tmp_path, WebhookConfig()) as it:
        await it.append(event(1), event(2))
        await it.drained()
        assert await it.outbox.counts() == {"unsent": 2}
    assert len((await asyncio.to_thread((tmp_path / "log/event_webhook.jsonl").read_bytes)).splitlines()) == 2


async def test_a_refused_event_is_tried_again_later_and_what_follows_waits(tmp_path: Path) -> None:
    async with (
        consuming(scripted(503, 500, 200)) as consumer,
        delivering(tmp_path, WebhookConfig(url=consumer.url)) as it,
    ):
        await it.append(event(1), event(2))
        await it.drained()
        assert len(consumer.posts) == 1
        await it.later(0.999)
        assert len(consumer.posts) == 1
        await it.later(0.001)
        assert len(consumer.posts) == 2
        await it.later(5)
        assert [post.number for post in consumer.posts] == [1, 1, 1, 2]
    errors = (await asyncio.to_thread((tmp_path / "log/event_webhook_error.jsonl").read_bytes)).splitlines()
    reasons = [msgspec.json.decode(line)["reason"] for line in errors]
    assert reasons == ["status 503", "status 500"]


@pytest.mark.parametrize(
    ("status", "config"), [(410, WebhookConfig()), (500, WebhookConfig(max_attempts=1))], ids=["gone", "one attempt"]
)
async def test_a_given_up_event_is_dead_and_the_channel_goes_on(
    tmp_path: Path, status: int, config: WebhookConfig
) -> None:
    async with consuming(scripted(status, 200)) as consumer:
        async with delivering(tmp_path, replace(config, url=consumer.url)) as it:
            await it.append(event(1), event(2))
            await it.drained()
            assert [post.number for post in consumer.posts] == [1, 2]
            dead = await it.outbox.deliveries(DeliveryState.DEAD)
            assert [(entry.event_id, entry.attempts) for entry in dead] == [(event(1).id, 1)]


async def test_retry_after_is_waited_for(tmp_path: Path) -> None:
    answers = [web.Response(status=429, headers={"retry-after": "100"}), web.Response()]

    async def answer(_: Post, __: web.Request) -> web.StreamResponse:
        return answers.pop(0)

    async with consuming(answer) as consumer, delivering(tmp_path, WebhookConfig(url=consumer.url)) as it:
        await it.append(event())
        await it.drained()
        await it.later(99)
        assert len(consumer.posts) == 1
        await it.later(1)
        assert len(consumer.posts) == 2


async def test_after_a_day_an_event_is_given_up(tmp_path: Path) -> None:
    async with consuming(scripted(500)) as consumer, delivering(tmp_path, WebhookConfig(url=consumer.url)) as it:
        await it.append(event())
        await it.drained()
        for _ in range(40):
            await it.later(3600)
        assert await it.outbox.counts() == {"dead": 1}
        assert 20 < len(consumer.posts) < 35
        assert len({post.body for post in consumer.posts}) == 1


async def test_a_consumer_that_comes_back_gets_its_backlog_at_once(tmp_path: Path) -> None:
    """Whatever the pauses had grown to: one event that is taken brings the others of all channels with it."""
    is_away = True

    async def answer(_: Post, __: web.Request) -> web.StreamResponse:
        return web.Response(status=503 if is_away else 200)

    async with consuming(answer) as consumer, delivering(tmp_path, WebhookConfig(url=consumer.url)) as it:
        await it.append(*(event(n, f"channel {n % 10}") for n in range(30)))
        await it.drained()
        for pause_s in (1, 5, 30, 120):
            await it.later(pause_s)
        is_away = False
        await it.append(event(30, "another"))
        await it.drained()
        assert await it.outbox.counts() == {"delivered": 31}
    for channel in range(10):
        numbers = [post.number for post in consumer.of(f"channel {channel}")]
        assert list(dict.fromkeys(numbers)) == list(range(channel, 30, 10))


@pytest.mark.parametrize(("max_attempts", "asked"), [(None, 3), (20, 0)])
async def test_a_consumer_that_is_away_is_asked_once_a_minute_by_the_oldest_event(
    tmp_path: Path, max_attempts: int | None, asked: int
) -> None:
    """With a number of attempts that is limited it is not, as that would use them up."""
    async with consuming(scripted(503)) as consumer:
        config = WebhookConfig(url=consumer.url, max_attempts=max_attempts)
        async with delivering(tmp_path, config) as it:
            await it.append(event(1, "a"), event(1, "b"))
            await it.drained()
            for pause_s in (1, 5, 30, 120, 600):
                await it.later(pause_s)
            before = len(consumer.posts)
            for _ in range(3):
                await it.later(60)
                await it.later(1)
            assert len(consumer.of("a")) - len(consumer.of("b")) == len(consumer.posts) - before == asked


async def test_a_refused_event_is_not_retried_earlier_because_others_are_accepted(tmp_path: Path) -> None:
    async def answer(post: Post, _: web.Request) -> web.StreamResponse:
        return web.Response(status=500 if post.event["channel_id"] == "bad" else 200)

    async with consuming(answer) as consumer, delivering(tmp_path, WebhookConfig(url=consumer.url)) as it:
        await it.append(event(1, "bad"))
        await it.drained()
        for pause_s in (1, 5, 20):
            await it.later(pause_s)
            await it.append(event(pause_s, "good"))
            await it.drained()
        assert len(consumer.of("bad")) == 3


async def test_max_in_flight_holds_with_one_delivery_of_a_connection_at_a_time(tmp_path: Path) -> None:
    in_flight: Counter[str] = Counter()
    peaks: Counter[str] = Counter()
    gate = asyncio.Event()

    async def answer(post: Post, _: web.Request) -> web.StreamResponse:
        for name in ("all", post.event["channel_id"]):
            in_flight[name] += 1
            peaks[name] = max(peaks[name], in_flight[name])
        await gate.wait()
        for name in ("all", post.event["channel_id"]):
            in_flight[name] -= 1
        return web.Response()

    async with (
        consuming(answer) as consumer,
        delivering(tmp_path, WebhookConfig(url=consumer.url, max_in_flight=3)) as it,
    ):
        await it.append(*(event(n, f"channel {n % 10}") for n in range(40)))
        await consumer.wait(3)
        gate.set()
        await it.drained()
        assert len(consumer.posts) == 40
    assert peaks.pop("all") == 3
    assert set(peaks.values()) == {1}


async def test_events_are_delivered_although_the_log_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    for name in ("event_webhook.jsonl", "event_webhook_error.jsonl"):
        (tmp_path / "log" / name).symlink_to("/dev/full")
    async with (
        consuming(scripted(500, 200)) as consumer,
        delivering(tmp_path, WebhookConfig(url=consumer.url)) as it,
    ):
        await it.append(event(1))
        await it.drained()
        await it.later(1)
        assert await it.outbox.counts() == {"delivered": 1}
        assert consumer.posts[0].event["log_written"] is False


async def test_a_database_that_fails_for_a_while_delays_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outcome of a post cannot be stored: the channel waits, and the event is not sent again."""
    monkeypatch.setattr("rokuga.webhooks.dispatcher.RETRY_S", 0.01)
    gate = asyncio.Event()

    async def answer(_: Post, __: web.Request) -> web.StreamResponse:
        await gate.wait()
        return web.Response()

    async with consuming(answer) as consumer, delivering(tmp_path, WebhookConfig(url=consumer.url)) as it:
        await it.append(event(1), event(2))
        await consumer.wait(1)
        other = sqlite3.connect(tmp_path / "x.sqlite3", isolation_level=None)
        other.execute("ALTER TABLE deliveries RENAME TO away")
        gate.set()
        assert not await it.dispatcher.drain(SHORT_NS)
        other.execute("ALTER TABLE away RENAME TO deliveries")
        other.close()
        await it.drained()
        assert [post.number for post in consumer.posts] == [1, 2]


async def test_an_internal_error_fails_the_attempt_and_not_the_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    async with consuming() as consumer, delivering(tmp_path, WebhookConfig(url=consumer.url)) as it:
        with monkeypatch.context() as patch:
            patch.setattr("rokuga.webhooks.post.Poster.send", fail)
            await it.append(event())
            await it.drained()
        assert "a fault of ours" in (await it.outbox.deliveries())[0].last_error
        await it.later(1)
        assert await it.outbox.counts() == {"delivered": 1}


async def test_an_entry_that_an_operator_retries_is_sent_though_it_waits(tmp_path: Path) -> None:
    async with (
        consuming(scripted(500, 200)) as consumer,
        delivering(tmp_path, WebhookConfig(url=consumer.url)) as it,
    ):
        await it.append(event())
        await it.drained()
        await it.outbox.retry(event().id)
        await it.drained()
        assert await it.outbox.counts() == {"delivered": 1}


async def test_a_singleton_of_another_node_waits_and_is_skipped_once_that_node_delivered_it(tmp_path: Path) -> None:
    """Nor does it while nobody can be asked. Waiting is no attempt; what follows in the recording waits, too."""
    answers: list[Owner | StoreError] = [MinorityError("no majority"), Owner.OTHER, Owner.NOBODY]
    asked = []

    async def owner_of(event_id: str) -> Owner:
        asked.append(event_id)
        if isinstance(answer := answers.pop(0), StoreError):
            raise answer
        return answer

    async with consuming() as consumer:
        async with delivering(tmp_path, WebhookConfig(url=consumer.url, max_attempts=1), owner_of=owner_of) as it:
            await it.append(REPORT, event(1, document={"number": 1, "recording_id": "RECORDING"}))
            await it.drained()
            entry = await it.outbox.delivery(REPORT.id)
            assert entry is not None
            assert (entry.state, entry.attempts, entry.last_error) == ("pending", 0, "no majority")
            await it.later(2)
            assert not consumer.posts
            await it.later(2)
            assert [post.number for post in consumer.posts] == [1]
            assert await it.outbox.counts() == {"unsent": 1, "delivered": 1}
    assert asked == [REPORT.id] * 3


async def test_a_singleton_that_this_node_owns_is_delivered(tmp_path: Path) -> None:
    async def owner_of(_event_id: str) -> Owner:
        return Owner.SELF

    async with (
        consuming() as consumer,
        delivering(tmp_path, WebhookConfig(url=consumer.url), owner_of=owner_of) as it,
    ):
        await it.append(STARTED, REPORT)
        await it.drained()
        assert await it.outbox.counts() == {"delivered": 2}
