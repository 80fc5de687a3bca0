"""List, show, retry and drop undelivered events. The daemon may be running: no lock is needed."""

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

from rokuga.api.config.arguments import add_config_argument
from rokuga.api.config.loader import ConfigError, DaemonConfig, load_config
from rokuga.recorder.clock import Clock
from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.store import StoreError
from rokuga.recorder.store.sqlite import SqliteStore
from rokuga.webhooks.delivery import Delivery, DeliveryState
from rokuga.webhooks.outbox import Outbox


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="list the newest events and their state")
    listing.add_argument("--state", choices=[state.value for state in DeliveryState])
    listing.add_argument("--limit", type=int, default=50)
    for name, summary in (("show", "print the body of an event"), ("drop", "delete an undelivered event")):
        actions.add_parser(name, help=summary).add_argument("event_id")
    retry = actions.add_parser("retry", help="retry one event now, or all that are pending, parked or dead")
    retry.add_argument("event_id", nargs="?")
    for action in actions.choices.values():
        add_config_argument(action)


def run(arguments: argparse.Namespace) -> int:
    """Run the action; return 0 if it applied to an event, 1 if not, 2 if there is no usable configuration."""
    try:
        config, _ = load_config(arguments.config, os.environ)
        return asyncio.run(_act(arguments, config))
    except (ConfigError, StoreError) as error:
        print(error, file=sys.stderr)
        return 2


async def _act(arguments: argparse.Namespace, config: DaemonConfig) -> int:
    path = config.data_dir / "rokuga.sqlite3"
    if not path.exists():
        print(f"{path}: there is no such file; data_dir says where the daemon keeps it", file=sys.stderr)
        return 1
    async with SqliteStore(path) as store, Outbox(path, store, config.webhooks, Clock()) as outbox:
        match arguments.action:
            case "list":
                state = DeliveryState(arguments.state) if arguments.state else None
                for entry in await outbox.deliveries(state, arguments.limit):
                    print(_line(entry))
                print(_summary(await outbox.counters(), config))
                return 0
            case "show":
                found = await outbox.delivery(arguments.event_id)
                print(found.body.decode() if found else "no such event")
                return 0 if found else 1
            case "retry":
                count = await outbox.retry(arguments.event_id)
            case _:
                count = await outbox.drop(arguments.event_id)
        print(f"{count} event{'' if count == 1 else 's'}")
        return 0 if count else 1


def _summary(counters: Mapping[str, int], config: DaemonConfig) -> str:
    """Return a line with the number of undelivered events by state, and the limits."""
    hours = config.webhooks.dead_max_age_ns / (3600 * NS_PER_S)
    return (
        f"{counters['outbox_pending']} pending; {counters['outbox_parked']} parked;"
        f" {counters['outbox_dead']} dead, kept for {hours:g} h; {config.webhooks.dead_max_number} of each at most;"
        f" {counters['outbox_pruned']} forgotten"
    )


def _line(entry: Delivery) -> str:
    due = ""
    if entry.state is DeliveryState.PENDING:
        due = f" due {datetime.fromtimestamp(entry.due_wall_ns / 1e9, UTC):%Y-%m-%dT%H:%M:%SZ}"
    error = f" ({entry.last_error})" if entry.last_error else ""
    return f"{entry.event_id} {entry.state:<9} {entry.type:<23} {entry.channel_id} x{entry.attempts}{due}{error}"
