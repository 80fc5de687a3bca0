"""A webhook consumer to develop against: prints what comes, checks every promise, and misbehaves if it is told to.

Ends with SIGINT, SIGTERM, or after so many reports; the exit code is 0 if no promise was broken, 1 otherwise.
"""

import argparse
import asyncio
import random
import signal
import sys
import time
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from rokuga.api.config.arguments import pause_s, share
from rokuga.devtools.serving import serving
from rokuga.webhooks.contract import CheckedPost, ContractChecker
from rokuga.webhooks.signature import signing_key

MAX_BODY_BYTES: Final = 16 * 1024 * 1024

LINGER_S: Final = 0.5
"""After the last report clients still leave: their events are taken, too."""


@dataclass(slots=True)
class FaultInjection:
    """How the sink treats who posts: shares of 0 to 1, seconds. What is answered badly is not post."""

    fail: float = 0.0
    reset: float = 0.0
    delay_s: float = 0.0
    chance: random.Random = field(default_factory=random.Random)


class Sink:
    """Takes POSTs at every path. `ended` is set once `reports` reports have come."""

    def __init__(self, checker: ContractChecker, manners: FaultInjection, reports: int | None = None) -> None:
        self.checker = checker
        self.ended = asyncio.Event()
        self._manners = manners
        self._reports = reports

    async def receive(self, request: web.Request) -> web.StreamResponse:
        """Take one event, or refuse it as the manners say. It is entered when it is answered with 200, not before."""
        body = await request.read()
        manners = self._manners
        if manners.delay_s:
            await asyncio.sleep(manners.delay_s)
        if manners.chance.random() < manners.reset:
            self.checker.refuse(body)
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)
        if manners.chance.random() < manners.fail:
            self.checker.refuse(body)
            print(f"  500       {request.headers.get('sora-event-webhook-type', '?')}")
            return web.Response(status=500, text="the sink fails on purpose")
        headers = {name.lower(): value for name, value in request.headers.items()}
        print(_line(self.checker.check(headers, body, int(time.time()))), flush=True)
        if self._reports is not None and self.checker.reports >= self._reports:
            self.ended.set()
        return web.Response()

    def verdict(self) -> int:
        """Print the sum of it; give the exit code."""
        checker = self.checker
        sums = f"{checker.events} events, {checker.repeats} came again, {checker.reports} reports"
        print(f"{sums}, {len(checker.faults)} faults")
        for recording_id in checker.open_recordings:
            print(f"  recording {recording_id} has no report yet")
        return 1 if checker.faults else 0


def _line(post: CheckedPost) -> str:
    about = f"{post.event_type:<24} {post.event_id}  {post.channel_id}"
    faults = "".join(f"\n    FAULT   {fault}" for fault in post.faults)
    return f"  {'again' if post.is_repeat else 'taken':<9} {about}{faults}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one")
    parser.add_argument("--fail", type=share, default=0.0, help="share of POSTs that are answered with 500")
    parser.add_argument("--reset", type=share, default=0.0, help="share of POSTs whose connection is reset")
    parser.add_argument("--delay", type=pause_s, default=0.0, help="wait so long before each answer, such as `2s`")
    parser.add_argument("--secret", help="the webhook secret: signatures have to be there and right")
    parser.add_argument("--reports", type=int, help="end after so many recording.report")
    parser.add_argument("--seed", type=int, help="makes the misbehaviour the same every time")


def run(arguments: argparse.Namespace) -> int:
    """Be a consumer; 0 if all was right, 1 if a promise was broken, 2 where it cannot begin."""
    try:
        key = None if arguments.secret is None else signing_key(arguments.secret)
        return asyncio.run(_serve(arguments, key))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2


async def _serve(arguments: argparse.Namespace, key: bytes | None) -> int:
    manners = FaultInjection(arguments.fail, arguments.reset, arguments.delay, random.Random(arguments.seed))
    sink = Sink(ContractChecker(key), manners, arguments.reports)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, sink.ended.set)
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.router.add_post("/{path:.*}", sink.receive)
    async with serving(app, arguments.host, arguments.port, grace_s=1.0) as address:
        print(f"listening on http://{address}/", flush=True)
        await sink.ended.wait()
        await asyncio.sleep(LINGER_S)
    return sink.verdict()
