"""The store of the daemon: a SQLite file, and in a cluster etcd beside it."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from rokuga.api.config.loader import DaemonConfig
from rokuga.api.monitoring.health import Probe
from rokuga.api.monitoring.metrics import Numbers, Source
from rokuga.recorder.clock import Clock
from rokuga.recorder.directory_lock import aside_path
from rokuga.recorder.identifiers import new_id
from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.models import NodeState
from rokuga.recorder.store import Owner, RecordingStore, StoreHealth
from rokuga.recorder.store.damage import replace_damaged
from rokuga.recorder.store.sqlite import SqliteStore
from rokuga.webhooks.outbox import Outbox
from rokuga.webhooks.ownership import OwnershipReleaser
from rokuga.webhooks.unreported import read_unreported

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class OpenStore:
    """A store, with the probes, metrics and nodes of its cluster, if there is one.

    `owner_of` and `releases` let one node of a cluster deliver the events of the whole cluster. `notes` list what
    was found damaged.
    """

    store: RecordingStore
    notes: Sequence[str] = ()
    probes: Mapping[str, Probe] = field(default_factory=dict)
    counters: Sequence[Source] = ()
    nodes_up: Callable[[], Iterable[NodeState]] = tuple
    owner_of: Callable[[str], Awaitable[Owner]] | None = None
    releases: Callable[[Outbox], contextlib.AbstractAsyncContextManager[object]] = contextlib.nullcontext


@contextlib.asynccontextmanager
async def open_store(
    config: DaemonConfig, path: Path, clock: Clock, connections: Callable[[], int]
) -> AsyncIterator[OpenStore]:
    """Open the store that the configuration asks for; `path` is the database.

    A damaged database is moved aside, and what can be read of it is kept: the caller has locked data_dir. Other nodes
    receive the number of `connections`. Raises StoreError, OSError.
    """
    notes = await asyncio.to_thread(replace_damaged, path, clock.wall_ns())
    is_lost = bool(notes) or not await asyncio.to_thread(path.exists)
    async with SqliteStore(path) as local:
        notes += await _repair(local, config, path, clock, is_lost=is_lost)
        if not config.cluster.endpoints:
            yield OpenStore(local, notes)
            return
        async with _cluster_store(config, local, clock, connections, notes) as opened:
            yield opened


async def _repair(
    local: SqliteStore, config: DaemonConfig, path: Path, clock: Clock, *, is_lost: bool
) -> Sequence[str]:
    """Move unreadable rows aside, and restore recordings from the event log file. Return notes for the operator."""
    notes = []
    rows = aside_path(path.with_name(f"{path.name}.rows"), clock.wall_ns())
    if count := await local.move_unreadable_rows(rows):
        notes.append(f"{path}: {count} rows cannot be read; they are now in {rows.name}")
        log.error("rows of the database cannot be read", path=str(path), rows=count, moved_to=str(rows))
    if is_lost and (count := await _restore_recordings(local, config.webhooks.log_dir)):
        notes.append(f"{path}: {count} recordings were taken up from the log of events")
        log.warning("recordings restored from the event log", recordings=count)
    return notes


@contextlib.asynccontextmanager
async def _cluster_store(
    config: DaemonConfig, local: SqliteStore, clock: Clock, connections: Callable[[], int], notes: Sequence[str]
) -> AsyncIterator[OpenStore]:
    from rokuga.recorder.store.cluster.etcd_client import Etcd  # a single node loads nothing of a cluster
    from rokuga.recorder.store.cluster.store import EtcdStore

    node = NodeState(
        node_name=config.recorder.node_name,
        is_alive=True,
        version=config.version,
        signaling_url=config.cluster.signaling_url,
        api_url=config.cluster.api_url,
        since_wall_ns=clock.wall_ns(),
    )
    instance = _instance_id(config.data_dir / "node-id")
    async with (
        Etcd(config.cluster) as etcd,
        EtcdStore(
            local,
            etcd,
            config.cluster.prefix,
            node,
            instance,
            ttl_s=config.cluster.node_timeout_s,
            connections=connections,
        ) as store,
    ):

        async def probe() -> str | None:
            return None if store.health.has_majority else "this node sees no majority"

        async def counters() -> Numbers:
            return cluster_numbers(store.health)

        def releases(outbox: Outbox) -> OwnershipReleaser:
            return OwnershipReleaser(outbox, ownership.owned_events, ownership.release)

        ownership = store.ownership
        yield OpenStore(store, notes, {"cluster": probe}, [counters], store.nodes_up, ownership.owner_of, releases)


async def _restore_recordings(store: SqliteStore, log_dir: Path) -> int:
    """Store the recordings that have no report in the event log file. Return their number. Raises StoreError.

    Recovery then finishes and announces what is in their folders, as after a crash.
    """
    count = 0
    for each in await asyncio.to_thread(read_unreported, log_dir):
        recording_id = each.recording.recording_id
        known = {archive.connection.connection_id for archive in await store.archives(recording_id)}
        is_known = recording_id in {other.recording_id for other in await store.unfinished_recordings()}
        if not is_known and not await store.start_recording(each.recording, []):
            continue  # it is finished, or its channel has a newer one
        for connection_id, archive in each.archives.items():
            if connection_id not in known:
                await store.save_archive(archive, [])
        count += not is_known
    return count


def cluster_numbers(health: StoreHealth) -> Numbers:
    """Return the metrics of a cluster by their names in the table of metrics."""
    return {
        "cluster_majority": int(health.has_majority),
        "cluster_nodes": health.nodes,
        "cluster_requests": {"answered": health.requests_answered, "failed": health.requests_failed},
        "cluster_request_ns": int(health.request_seconds * NS_PER_S),
        "cluster_slowest_request_ns": int(health.slowest_request_s * NS_PER_S),
    }


def _instance_id(file: Path) -> str:
    """Return the id of this node's data_dir; it is generated once. Raises OSError."""
    try:
        return file.read_text("ascii").strip()
    except FileNotFoundError:
        pass
    draft = file.with_suffix(".part")
    draft.write_text(new_id(), "ascii")
    draft.chmod(0o600)
    with contextlib.suppress(FileExistsError):
        os.link(draft, file)
    draft.unlink(missing_ok=True)
    return file.read_text("ascii").strip()
