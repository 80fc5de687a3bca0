"""Consumers of the event log: each reads it by a cursor of its own and delivers every event to its destinations.

`webhook_consumer` is the event webhook. Another consumer is another function like it, started by the daemon with a
`Dispatcher` of its own; another destination of the event webhook is a row of `WebhookConfig.destinations`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from rokuga.recorder.events import Event
from rokuga.webhooks.bodies import make_body
from rokuga.webhooks.config import WebhookConfig
from rokuga.webhooks.delivery import EVENT_WEBHOOK, Delivery
from rokuga.webhooks.log import WebhookLog
from rokuga.webhooks.post import Poster
from rokuga.webhooks.retry_policy import Outcome


class Sender(Protocol):
    """Delivers to one destination; a context that holds its connections."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    async def send(self, delivery: Delivery, now_wall_ns: int) -> Outcome:
        """Attempt a delivery once."""
        ...


class ConsumerLog(Protocol):
    """Log files of a consumer. Its methods touch the disk and are called in other threads."""

    def events(self, bodies: Sequence[bytes]) -> bool:
        """Write events by their bodies, before their deliveries are stored; return False where the disk refused."""
        ...

    def failure(self, delivery: Delivery, reason: str, wall_ns: int, next_wall_ns: int | None) -> None:
        """Write an attempt that failed, and when the next one is due (None: it was given up)."""
        ...

    @property
    def refused_lines(self) -> int:
        """Lines that the disk refused."""
        ...


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a consumer delivers to. `name` is stored with each delivery; those to a disabled one are skipped."""

    name: str
    sender: Sender
    is_enabled: bool = True


@dataclass(frozen=True, slots=True)
class Consumer:
    """A reader of the event log. `name` identifies its cursor and its deliveries in the database.

    `make_body(event, log_written)` returns what is sent; `log_written`: whether `log` has the event.
    """

    name: str
    destinations: Sequence[Destination]
    make_body: Callable[[Event, bool], bytes]
    log: ConsumerLog


def webhook_consumer(config: WebhookConfig) -> Consumer:
    """Return the event webhook. Raises ValueError for a secret that is not base64 behind `whsec_`."""

    def body(event: Event, log_written: bool) -> bytes:
        return make_body(event, config, log_written=log_written)

    destinations = [Destination(name, Poster(config, url or ""), bool(url)) for name, url in config.destinations]
    return Consumer(EVENT_WEBHOOK, destinations, body, WebhookLog(config.log_dir, redact=config.redact))
