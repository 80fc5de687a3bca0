"""`kill -9` at any moment: nothing lost, nothing out of order, repeats byte by byte the same."""

import asyncio
import random
import sys
from pathlib import Path

import pytest
from aiohttp import web

from tests.webhooks.consumer import Consumer, Post, consuming
from tests.webhooks.crashing import CHANNELS

ROOT = Path(__file__).parent.parent.parent
PER_ROUND = 200


class Rounds:
    """Starts the process again and again on the same file, and keeps what it committed."""

    def __init__(self, folder: Path, consumer: Consumer) -> None:
        self._folder = folder
        self._consumer = consumer
        self._next = 0
        self.committed: list[int] = []

    async def run(self, count: int, kill_after_posts: int | None) -> int:
        """Live once: until that many more POSTs arrived, or to the end. Gives the exit code."""
        arguments = [str(self._folder), self._consumer.url, str(self._next), str(count)]
        self._next += PER_ROUND
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.webhooks.crashing", *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        try:
            if kill_after_posts is not None:
                await self._consumer.wait(len(self._consumer.posts) + kill_after_posts)
                process.kill()
            self.committed += [int(line) for line in (await process.stdout.read()).split(b"\n")[:-1]]
            return await process.wait()
        finally:
            if process.returncode is None:
                process.kill()


async def crash(folder: Path, seed: int, rounds: int) -> None:
    """Kill it `rounds` times while a consumer fails at random, then let it end; check everything."""
    random_number = random.Random(seed)

    async def moody(_: Post, request: web.Request) -> web.StreamResponse:
        mood = random_number.random()
        if mood < 0.02:
            return web.Response(status=503)
        if mood < 0.04 and request.transport is not None:
            request.transport.abort()
        return web.Response()

    async with consuming(moody) as consumer:
        rounds_run = Rounds(folder, consumer)
        for _ in range(rounds):
            assert await rounds_run.run(PER_ROUND, kill_after_posts=random_number.randint(1, 150)) == -9
        assert await rounds_run.run(10, kill_after_posts=None) == 0

    bodies: dict[str, bytes] = {}
    seen: dict[str, list[int]] = {}
    for post in consumer.posts:
        told = post.event
        assert bodies.setdefault(told["id"], post.body) == post.body
        numbers = seen.setdefault(told["channel_id"], [])
        if post.number not in numbers:
            assert not numbers or numbers[-1] < post.number, "out of order"
            numbers.append(post.number)
    delivered = {number for numbers in seen.values() for number in numbers}
    assert len(rounds_run.committed) > 10
    assert set(rounds_run.committed) <= delivered, "a committed event was lost"
    assert len(delivered - set(rounds_run.committed)) <= rounds, "sent, though nobody committed it"
    assert len(seen) == CHANNELS


@pytest.mark.system
async def test_after_a_few_kills_every_event_is_delivered_in_order(tmp_path: Path) -> None:
    await crash(tmp_path, seed=1, rounds=3)


@pytest.mark.soak
async def test_after_many_kills_every_event_is_delivered_in_order(tmp_path: Path) -> None:
    await crash(tmp_path, seed=2, rounds=100)
