"""Release of cluster singletons once their events are settled, with a real outbox."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rokuga.recorder.store import MinorityError, StoreError
from rokuga.webhooks.config import WebhookConfig
from rokuga.webhooks.delivery import DeliveryResult, DeliveryState
from rokuga.webhooks.outbox import Outbox
from rokuga.webhooks.ownership import OwnershipReleaser
from tests.material import REPORT, STARTED, ManualClock
from tests.webhooks.delivering import no_log, outbox


@dataclass
class Ownership:
    """What one node owns; `faults` are raised first."""

    held: list[str] = field(default_factory=lambda: [STARTED.id, REPORT.id, "of an event that is not there yet"])
    faults: list[StoreError] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def release(self, event_id: str) -> None:
        """Release one."""
        if self.faults:
            raise self.faults.pop()
        self.held.remove(event_id)
        self.changed.set()

    def releases(self, opened: Outbox) -> OwnershipReleaser:
        """Return a releaser of these."""
        return OwnershipReleaser(opened, lambda: list(self.held), self.release)


@pytest.mark.parametrize("state", [DeliveryState.DELIVERED, DeliveryState.DEAD, DeliveryState.SKIPPED])
async def test_only_settled_events_are_released(tmp_path: Path, state: DeliveryState) -> None:
    """Whatever etcd says to it at first."""
    claims = Ownership(faults=[StoreError("no"), MinorityError("nobody")])
    async with outbox(tmp_path, WebhookConfig(url="http://x"), ManualClock()) as (store, opened):
        await store.append([STARTED, REPORT])
        await opened.ingest(no_log)
        async with claims.releases(opened):
            await opened.settle([DeliveryResult(1, state)])
            await claims.changed.wait()
        assert claims.held == [REPORT.id, "of an event that is not there yet"]


async def test_without_a_url_all_is_released(tmp_path: Path) -> None:
    claims = Ownership()
    async with outbox(tmp_path, WebhookConfig(), ManualClock()) as (store, opened):
        await store.append([STARTED, REPORT])
        async with claims.releases(opened):
            await opened.ingest(no_log)
            await claims.changed.wait()
        assert claims.held == ["of an event that is not there yet"]


async def test_what_was_delivered_last_is_released_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what a crash left so, or nobody had time for."""
    monkeypatch.setattr("rokuga.webhooks.ownership.RELEASE_S", 3600)
    claims = Ownership()
    async with outbox(tmp_path, WebhookConfig(), ManualClock()) as (store, opened):
        await store.append([STARTED])
        async with claims.releases(opened):
            await opened.ingest(no_log)
        assert claims.held == [REPORT.id, "of an event that is not there yet"]
