"""A webhook consumer for development: it prints and checks every event, and can inject faults.

It ends with SIGINT, SIGTERM, or after --reports; the exit code is 0 if every event was correct, 1 otherwise.
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

from rokuga.api.config.arguments import pause_s, ratio
from rokuga.devtools.serving import serving
from rokuga.webhooks.contract import CheckedPost, ContractChecker
from rokuga.webhooks.signature import signing_key

MAX_BODY_BYTES: Final = 16 * 1024 * 1024

LINGER_S: Final = 0.5
"""After the last report connections still end: their events are received, too."""


@dataclass(slots=True)
class FaultInjection:
    """The shares (0 to 1) of requests that fail or are reset, and a delay. Only accepted events are recorded."""

    fail: float = 0.0
    reset: float = 0.0
    delay_s: float = 0.0
    generator: random.Random = field(default_factory=random.Random)


class Sink:
    """Receives POST requests at every path. `ended` is set after so many `reports`."""

    def __init__(self, checker: ContractChecker, faults: FaultInjection, reports: int | None = None) -> None:
        self.checker = checker
        self.ended = asyncio.Event()
        self._faults = faults
        self._reports = reports

    async def receive(self, request: web.Request) -> web.StreamResponse:
        """Accept one event, or inject a fault. An event is recorded when the response is 200, not before."""
        body = await request.read()
        faults = self._faults
        if faults.delay_s:
            await asyncio.sleep(faults.delay_s)
        if faults.generator.random() < faults.reset:
            self.checker.refuse(body)
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)
        if faults.generator.random() < faults.fail:
            self.checker.refuse(body)
            print(f"  500       {request.headers.get('sora-event-webhook-type', '?')}")
            return web.Response(status=500, text="the sink fails on purpose")
        headers = {name.lower(): value for name, value in request.headers.items()}
        print(_line(self.checker.check(headers, body, int(time.time()))), flush=True)
        if self._reports is not None and self.checker.reports >= self._reports:
            self.ended.set()
        return web.Response()

    def verdict(self) -> int:
        """Print a summary; return the exit code."""
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
    parser.add_argument("--port", type=int, default=8080, help="0 for a free port")
    parser.add_argument("--fail", type=ratio, default=0.0, help="share of requests with a response of 500")
    parser.add_argument("--reset", type=ratio, default=0.0, help="share of requests whose connection is reset")
    parser.add_argument("--delay", type=pause_s, default=0.0, help="delay before each response, such as `2s`")
    parser.add_argument("--secret", help="the webhook secret; signatures are then required and checked")
    parser.add_argument("--reports", type=int, help="end after so many recording.report events")
    parser.add_argument("--seed", type=int, help="seed of the injected faults")


def run(arguments: argparse.Namespace) -> int:
    """Run the sink; return 0 if every event was correct, 1 if not, 2 if it cannot start."""
    try:
        key = None if arguments.secret is None else signing_key(arguments.secret)
        return asyncio.run(_serve(arguments, key))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2


async def _serve(arguments: argparse.Namespace, key: bytes | None) -> int:
    faults = FaultInjection(arguments.fail, arguments.reset, arguments.delay, random.Random(arguments.seed))
    sink = Sink(ContractChecker(key), faults, arguments.reports)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, sink.ended.set)
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.router.add_post("/{path:.*}", sink.receive)
    async with serving(app, arguments.host, arguments.port, grace_s=1.0) as address:
        print(f"listening on http://{address}/", flush=True)
        await sink.ended.wait()
        await asyncio.sleep(LINGER_S)
    return sink.verdict()
