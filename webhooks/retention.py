"""How much the outbox keeps of what is delivered, skipped, dead or parked. Each method is a part of a transaction."""

import sqlite3
from collections import Counter
from collections.abc import Iterable
from typing import Final

from rokuga.webhooks.config import WebhookConfig
from rokuga.webhooks.delivery import DeliveryState

KEEP_DELIVERED: Final = 10_000
"""Delivered and skipped deliveries are kept, for the operator, while they are among so many newest ones."""

KEEP_DELIVERED_BYTES: Final = 64 << 20
"""And while their bodies and those of newer ones are no larger: 10,000 of usual events have a tenth of it."""

PRUNE_AFTER_BYTES: Final = 4 << 20
"""Sizes are added up again after so many more bytes, since that reads all of them."""

PRUNE_DELIVERED: Final = (
    "DELETE FROM deliveries WHERE state IN ('delivered', 'unsent') AND seq <= (SELECT max(seq) FROM deliveries) - ?"
)
PRUNE_BY_SIZE: Final = """
DELETE FROM deliveries WHERE state IN ('delivered', 'unsent') AND seq <= (
  SELECT max(seq) FROM (
    SELECT seq, sum(length(body)) OVER (ORDER BY seq DESC) AS bytes
    FROM deliveries WHERE state IN ('delivered', 'unsent')
  ) WHERE bytes > ?
)
"""
PRUNE_OLD: Final = "DELETE FROM deliveries INDEXED BY deliveries_dead WHERE state = 'dead' AND created_uptime_ns < ?"
PRUNE_SURPLUS: Final = """
DELETE FROM deliveries WHERE state = ?1 AND seq <= (
  SELECT seq FROM deliveries INDEXED BY deliveries_states WHERE state = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2
)
"""


class Retention:
    """Deletes what is beyond the limits, and counts dead and parked deliveries that it deletes."""

    def __init__(self, config: WebhookConfig) -> None:
        self._config = config
        self._headroom = dict.fromkeys((DeliveryState.DEAD, DeliveryState.PARKED), 0)
        self._unpruned_bytes = PRUNE_AFTER_BYTES  # the first call prunes what an earlier process left

    def prune_delivered(self, connection: sqlite3.Connection) -> None:
        """Delete delivered and skipped deliveries that are not among the newest."""
        connection.execute(PRUNE_DELIVERED, (KEEP_DELIVERED,))

    def prune_by_size(self, connection: sqlite3.Connection, added_bytes: int) -> None:
        """Delete the oldest delivered and skipped deliveries until the rest is small enough."""
        self._unpruned_bytes += added_bytes
        if self._unpruned_bytes >= PRUNE_AFTER_BYTES:
            connection.execute(PRUNE_BY_SIZE, (KEEP_DELIVERED_BYTES,))
            self._unpruned_bytes = 0

    def prune_old(self, connection: sqlite3.Connection, uptime_ns: int) -> int:
        """Delete dead deliveries that are too old; return how many."""
        return _prune(connection, PRUNE_OLD, uptime_ns - self._config.dead_max_age_ns)

    def prune_surplus(self, connection: sqlite3.Connection, added: Iterable[DeliveryState]) -> int:
        """Delete the oldest of too many dead or parked deliveries, a hundredth at a time; return how many.

        They are counted only when there may be too many: a destination may refuse many a second.
        """
        pruned, limit = 0, self._config.dead_max_number
        for state, count in Counter(each for each in added if each in self._headroom).items():
            self._headroom[state] -= count
            if self._headroom[state] < 0:
                if (surplus := count_of(connection, state) - limit) > 0:
                    kept = limit - limit // 100
                    pruned += _prune(connection, PRUNE_SURPLUS, state, kept)
                    self._headroom[state] = limit - kept
                else:
                    self._headroom[state] = -surplus
        return pruned


def count_of(connection: sqlite3.Connection, state: DeliveryState) -> int:
    """Return the number of deliveries of a state."""
    return int(connection.execute("SELECT count(*) FROM deliveries WHERE state = ?", (state,)).fetchone()[0])


def _prune(connection: sqlite3.Connection, statement: str, *values: int | str) -> int:
    pruned = connection.execute(statement, values).rowcount
    if pruned:
        connection.execute("UPDATE outbox_totals SET pruned = pruned + ?", (pruned,))
    return pruned
