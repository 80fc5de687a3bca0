"""A customer's consumer on loopback, which does with each POST what the test wants."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from rokuga.devtools.serving import serving


@dataclass(frozen=True)
class Post:
    """What arrived."""

    body: bytes
    headers: Mapping[str, str]

    @property
    def event(self) -> dict[str, Any]:
        """The body, read."""
        event: dict[str, Any] = msgspec.json.decode(self.body)
        return event

    @property
    def number(self) -> Any:
        """The number of an event of tests/material.py."""
        return self.event["data"]["number"]


Answer = Callable[[Post, web.Request], Awaitable[web.StreamResponse]]


async def ok(_: Post, __: web.Request) -> web.StreamResponse:
    """Answer 200."""
    return web.Response()


@dataclass
class Consumer:
    """Keeps every POST in the order of arrival, then lets `answer` answer it."""

    answer: Answer = ok
    url: str = ""
    posts: list[Post] = field(default_factory=list)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Take one POST."""
        post = Post(await request.read(), request.headers.copy())
        async with self._news:
            self.posts.append(post)
            self._news.notify_all()
        return await self.answer(post, request)

    async def wait(self, count: int, channel_id: str | None = None) -> list[Post]:
        """Wait until so many POSTs (of a channel) are there; give them."""
        async with self._news:
            await self._news.wait_for(lambda: len(self.of(channel_id)) >= count)
        return self.of(channel_id)

    def of(self, channel_id: str | None) -> list[Post]:
        """Give the POSTs of a channel, or all."""
        return [post for post in self.posts if channel_id in {None, post.event["channel_id"]}]


@contextlib.asynccontextmanager
async def consuming(answer: Answer = ok, tls: ssl.SSLContext | None = None) -> AsyncIterator[Consumer]:
    """Run a consumer on a free port."""
    consumer = Consumer(answer)
    app = web.Application()
    app.router.add_post("/hook", consumer.take)
    async with serving(app, tls=tls, grace_s=0.01) as address:
        port = address.rpartition(":")[2]
        consumer.url = f"https://localhost:{port}/hook" if tls else f"http://{address}/hook"
        yield consumer


def hanging(until: asyncio.Event) -> Answer:
    """Answer 200, but not before this."""

    async def answer(_: Post, __: web.Request) -> web.StreamResponse:
        await until.wait()
        return web.Response()

    return answer


def scripted(*statuses: int) -> Answer:
    """Answer with these statuses in turn, then with the last one for ever."""
    left = list(statuses)

    async def answer(_: Post, __: web.Request) -> web.StreamResponse:
        return web.Response(status=left.pop(0) if len(left) > 1 else left[0])

    return answer
