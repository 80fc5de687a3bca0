"""The order of deliveries: the rules, and heads in SQL that say the same whatever comes, leaves and returns."""

import itertools
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rokuga.recorder.events import Event, EventType, event_id
from rokuga.webhooks.blocking import (
    CONNECTIONS,
    NEVER_POSTPONED,
    NEXT_DUE,
    NEXT_OF_CONNECTION,
    NEXT_OF_RECORDING,
    POSTPONED,
    UPDATE_ONE,
)
from rokuga.webhooks.delivery import DeliveryResult, DeliveryState
from rokuga.webhooks.order import Subject, follows
from rokuga.webhooks.outbox import Outbox
from tests.material import WALL_NS, identity
from tests.webhooks.delivering import CLOCK, CONFIG, KEY, due, outbox, take

PLACES = st.builds(
    Subject,
    st.just("sora"),
    st.sampled_from(["", "A", "B", "C"]),
    st.sampled_from(["", "1", "2"]),
)


def told(number: int, place: Subject) -> Event:
    """An event at a place."""
    return Event(
        id=event_id(EventType.ARCHIVE_STARTED, str(number)),
        type=EventType.ARCHIVE_STARTED if place.connection_id else EventType.RECORDING_STARTED,
        wall_ns=WALL_NS,
        channel_id=place.channel_id,
        document={"number": number} | ({"recording_id": place.recording_id} if place.recording_id else {}),
        connection=identity(place.channel_id, place.connection_id) if place.connection_id else None,
    )


@pytest.mark.parametrize(
    ("later", "earlier", "expected"),
    [
        (("A", "1"), ("A", "1"), True),
        (("A", "2"), ("A", "1"), True),
        (("A", ""), ("A", "1"), True),
        (("B", "1"), ("A", "1"), False),
        (("A", "1"), ("", "1"), True),
        (("", "1"), ("A", "1"), True),
        (("", "1"), ("", "1"), True),
        (("", "1"), ("A", "2"), False),
        (("", "1"), ("A", ""), False),
        (("A", ""), ("", "1"), False),
        (("", "2"), ("", "1"), False),
        (("", ""), ("", ""), False),
    ],
)
def test_order_is_that_of_connections_and_recordings(
    later: tuple[str, str], earlier: tuple[str, str], expected: bool
) -> None:
    """Pairs of connection and recording, of one channel."""
    assert follows(Subject("sora", *later), Subject("sora", *earlier)) is expected


def test_connection_ids_are_compared_within_their_channel() -> None:
    assert not follows(Subject("one", "A", ""), Subject("other", "A", ""))


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["come", "come", "settle", "retry", "drop", "unpark"]), PLACES, st.integers(0, 9)),
    max_size=30,
)
LEAVING = [DeliveryState.DELIVERED, DeliveryState.PARKED, DeliveryState.DEAD, DeliveryState.SKIPPED]


async def act(box: Outbox, action: str, number: int) -> None:
    """Do something to an entry of those that there are."""
    entries = list(await box.deliveries())
    if not entries:
        return
    entry = entries[number % len(entries)]
    match action:
        case "settle":
            await box.settle([DeliveryResult(entry.seq, LEAVING[number % len(LEAVING)])])
        case "retry":
            await box.retry(entry.event_id if number else None)
        case "drop":
            await box.drop(entry.event_id)
        case "unpark":
            await box.unpark(KEY, entry.type, 1 + number)


@given(ACTIONS)
@settings(max_examples=60, deadline=None)
async def test_sql_blocks_the_same_deliveries_as_the_pure_rules(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, Subject, int]]
) -> None:
    config = CONFIG.__class__(url=CONFIG.url, max_in_flight=1000)
    async with outbox(tmp_path_factory.mktemp("outbox"), config, CLOCK) as (store, box):
        for step, (action, place, number) in enumerate(actions):
            if action == "come":
                await take(store, box, told(step, place))
            else:
                await act(box, action, number)
            waiting = [
                (entry.seq, Subject(entry.channel_id, entry.connection_id, entry.recording_id))
                for entry in reversed(await box.deliveries(DeliveryState.PENDING))
            ]
            blocked = {
                later for (_, before), (later, after) in itertools.combinations(waiting, 2) if follows(after, before)
            }
            assert [entry.seq for entry in await due(box)] == [seq for seq, _ in waiting if seq not in blocked]


@pytest.mark.parametrize(
    ("query", "values", "index"),
    [
        (NEVER_POSTPONED, KEY, "deliveries_due"),
        (POSTPONED, (*KEY, 5), "deliveries_due"),
        (NEXT_DUE, (*KEY, 1, 2), "deliveries_due"),
        (NEXT_OF_CONNECTION, (*KEY, "a", "b", 3), "deliveries_connections"),
        (NEXT_OF_RECORDING, (*KEY, "a", "b", 3), "deliveries_recordings"),
        (CONNECTIONS, (*KEY, "a"), "deliveries_recordings"),
        (UPDATE_ONE, (1,), "deliveries_connections"),
    ],
)
async def test_each_query_seeks_in_an_index_and_sorts_nothing(
    tmp_path: Path, query: str, values: tuple[str | int, ...], index: str
) -> None:
    async with outbox(tmp_path, CONFIG, CLOCK):
        connection = sqlite3.connect(tmp_path / "x.sqlite3")
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}", values)]
        connection.close()
    assert any(index in step for step in plan)
    assert all("SEARCH" in step for step in plan if "deliveries" in step)
    assert not any("TEMP B-TREE" in step for step in plan)


async def steps_of(box: Outbox, limit: int) -> int:
    """Count SQLite's own steps for what is due."""
    counted = 0

    def count() -> int:
        nonlocal counted
        counted += 1
        return 0

    await box._database.read(lambda connection: connection.set_progress_handler(count, 1))
    await due(box, limit=limit)
    await box._database.read(lambda connection: connection.set_progress_handler(None, 1))
    return counted


@pytest.mark.parametrize("connections", [1, 1000])
async def test_what_is_due_costs_the_same_however_much_waits(
    tmp_path_factory: pytest.TempPathFactory, connections: int
) -> None:
    """A hundred times the entries, in one connection or in many: the same steps."""

    async def steps(entries: int) -> int:
        async with outbox(tmp_path_factory.mktemp("outbox"), CONFIG, CLOCK) as (store, box):
            await take(store, box, *(told(n, Subject("sora", f"C{n % connections}", "1")) for n in range(entries)))
            return await steps_of(box, 5)

    assert await steps(4000) <= 1.1 * await steps(max(40, 5 * (connections > 1)))
