"""The table of metrics and its sources have the same names, and so have Sora's statistics."""

from pathlib import Path

import pytest

from rokuga.api.http.connection_limits import ConnectionCounts
from rokuga.api.http.middleware import RefusedRequests
from rokuga.api.monitoring.health import Disk, Health
from rokuga.api.monitoring.metrics import METRICS, read_all, total
from rokuga.api.store import cluster_numbers
from rokuga.api.targets.statistics import AVERAGES, SORA_NAMES, sora_statistics
from rokuga.recorder.clock import Clock
from rokuga.recorder.store import StoreError, StoreHealth
from rokuga.recorder.store.sqlite import SqliteStore
from rokuga.recorder.webrtc.transport.media_port import MediaPort
from rokuga.webhooks.auth import AuthWebhook
from rokuga.webhooks.config import WebhookConfig
from rokuga.webhooks.consumer import webhook_consumer
from rokuga.webhooks.dispatcher import Dispatcher
from rokuga.webhooks.outbox import Outbox
from tests.support.recorder import running_recorder


async def _nothing_free() -> int:
    return 0


async def test_every_number_has_a_row_and_every_row_a_source(tmp_path: Path) -> None:
    """A mapping has a label, an integer has none."""
    config, clock = WebhookConfig(log_dir=tmp_path), Clock()
    database = tmp_path / "other.sqlite3"
    auth = AuthWebhook("http://127.0.0.1:1/", config, clock)
    disk = Disk(_nothing_free, 0)
    await disk.measure()
    async with (
        running_recorder(tmp_path) as harness,
        SqliteStore(database) as store,
        Outbox(database, store, config, clock) as outbox,
    ):
        dispatcher, health = Dispatcher(outbox, webhook_consumer(config), config, clock), Health({}, clock)
        sources = [harness.recorder.counters, MediaPort().totals]
        sources += [
            each.counters
            for each in (dispatcher, auth, outbox, health, disk, ConnectionCounts(), RefusedRequests(clock))
        ]
        numbers = await read_all(sources)
    numbers |= cluster_numbers(StoreHealth(False, 0, 0, 0.0, 0.0, 0))
    assert numbers.keys() == METRICS.keys()
    assert {name: not isinstance(number, int) for name, number in numbers.items()} == {
        name: bool(counter.label) for name, counter in METRICS.items()
    }
    assert {total(number) for number in numbers.values()} == {0}
    assert set(sora_statistics(numbers)) == {*SORA_NAMES, *AVERAGES}


@pytest.mark.parametrize(
    "names", [*SORA_NAMES.values(), *[(sum_of, count) for sum_of, count, _ in AVERAGES.values()]]
)
def test_sora_s_names_refer_to_existing_metrics(names: tuple[str, ...]) -> None:
    assert set(names) <= METRICS.keys()


def test_an_average_of_nothing_is_0() -> None:
    numbers = {"connection_seconds": 0, "connections_destroyed": 0}
    assert sora_statistics(numbers)["average_duration_sec"] == 0


async def test_a_source_that_fails_is_left_out() -> None:
    """Other sources are still read."""

    async def locked() -> dict[str, int]:
        raise StoreError("database is locked")

    async def other() -> dict[str, int]:
        return {"plis": 1}

    assert await read_all([locked, other]) == {"plis": 1}
