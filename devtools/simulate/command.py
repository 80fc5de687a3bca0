"""Simulate a scenario and post its events: the bodies and files are real, WebRTC is not used."""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from rokuga.api.config.values import http_url
from rokuga.devtools.simulate.scenario import SCENARIOS
from rokuga.devtools.simulate.simulation import SimulationError, simulate
from rokuga.recorder.archive.disk import ArchiveError
from rokuga.recorder.events import Event
from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.store import StoreError
from rokuga.webhooks.bodies import make_body
from rokuga.webhooks.config import WebhookConfig
from rokuga.webhooks.delivery import Delivery, DeliveryState
from rokuga.webhooks.post import Poster
from rokuga.webhooks.retry_policy import Delivered

FIRST_RETRY_S: Final = 0.05
"""The delay before the first retry; each later one is twice as long."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "scenarios:\n" + "\n".join(f"  {name:<30} {row.summary}" for name, row in SCENARIOS.items())
    parser.add_argument("scenario", choices=SCENARIOS, metavar="SCENARIO")
    parser.add_argument("--url", type=_url, required=True, help="webhook URL of the consumer")
    parser.add_argument(
        "--archive-dir", type=Path, help="where the files are written (default: a new temporary folder)"
    )
    parser.add_argument("--seed", default="0", help="seed of the ids")
    parser.add_argument("--speed", type=_speed, default=1.0, help="factor over real time; `inf` does not wait")
    parser.add_argument("--attempts", type=int, default=8, help="attempts to deliver each event")
    parser.add_argument("--secret", help="sign as Standard Webhooks does")
    parser.add_argument("--version", default="", help="the `version` of the bodies")


def run(arguments: argparse.Namespace) -> int:
    """Return 0 if the consumer accepted every event, 1 if not, 2 if the scenario cannot be simulated."""
    archive_dir = (arguments.archive_dir or Path(tempfile.mkdtemp(prefix="rokuga-simulation-"))).absolute()
    config = WebhookConfig(
        url=arguments.url, secret=arguments.secret, version=arguments.version, max_attempts=arguments.attempts
    )
    try:
        with tempfile.TemporaryDirectory(prefix="rokuga-simulation-") as data_dir:
            scenario = SCENARIOS[arguments.scenario]
            events = simulate(scenario, archive_dir, Path(data_dir), f"{arguments.scenario} {arguments.seed}")
        lost = asyncio.run(_deliver(scenario.deliver(events), config, arguments.speed))
    except (SimulationError, StoreError, ArchiveError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{len(events)} events; the files are in {os.fspath(archive_dir)}")
    return 1 if lost else 0


async def _deliver(events: Iterable[Event], config: WebhookConfig, speed: float) -> int:
    """Post each event at its time; return how many the consumer did not accept."""
    lost, last_wall_ns = 0, None
    async with Poster(config, config.url or "") as poster:
        for seq, event in enumerate(events, 1):
            delay_ns = event.wall_ns - last_wall_ns if last_wall_ns is not None else 0
            last_wall_ns = event.wall_ns
            await asyncio.sleep(max(delay_ns, 0) / NS_PER_S / speed)
            lost += not await _post(poster, _entry(seq, event, config), config.max_attempts or 1)
    return lost


async def _post(poster: Poster, entry: Delivery, attempts: int) -> bool:
    """Post one event until it is accepted or the attempts are used up; return whether it is accepted."""
    for attempt in range(attempts):
        outcome = await poster.send(entry, time.time_ns())
        print(f"  {entry.type:<24} {entry.channel_id:<12} {outcome}", flush=True)
        if isinstance(outcome, Delivered):
            return True
        await asyncio.sleep(FIRST_RETRY_S * 2**attempt)
    return False


def _entry(seq: int, event: Event, config: WebhookConfig) -> Delivery:
    connection = event.connection
    return Delivery(
        seq=seq,
        event_id=event.id,
        type=event.type,
        channel_id=event.channel_id,
        session_id=connection.session_id if connection else "",
        connection_id=connection.connection_id if connection else "",
        body=make_body(event, config, log_written=False),
        created_wall_ns=event.wall_ns,
        state=DeliveryState.PENDING,
        attempts=0,
        due_wall_ns=event.wall_ns,
        last_error="",
    )


def _url(text: str) -> str:
    try:
        return http_url(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} {error}") from error


def _speed(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value
