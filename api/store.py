"""Which store the daemon lives by: a file of its own, or one that it shares with the other nodes of a cluster."""

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
from rokuga.recorder.directories import aside_path
from rokuga.recorder.identifiers import new_id
from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.models import NodeState
from rokuga.recorder.store import Owner, RecordingStore, StoreHealth
from rokuga.recorder.store.damage import replace_damaged
from rokuga.recorder.store.sqlite import SqliteStore
from rokuga.webhooks.outbox import Outbox
from rokuga.webhooks.releases import Releases
from rokuga.webhooks.unreported import read_unreported

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class OpenStore:
    """A store, and what can be asked of the cluster behind it, if there is one.

    `whose` and `releases` keep what is told once for all nodes from being told twice, or not at all.
    """

    store: RecordingStore
    probes: Mapping[str, Probe] = field(default_factory=dict)
    counters: Sequence[Source] = ()
    nodes_up: Callable[[], Iterable[NodeState]] = tuple
    whose: Callable[[str], Awaitable[Owner]] | None = None
    releases: Callable[[Outbox], contextlib.AbstractAsyncContextManager[object]] = contextlib.nullcontext
    notes: Sequence[str] = ()
    """What was damaged, for the operator."""


@contextlib.asynccontextmanager
async def open_store(
    config: DaemonConfig, path: Path, clock: Clock, connections: Callable[[], int]
) -> AsyncIterator[OpenStore]:
    """Open the store that the configuration asks for. Other nodes are told our `connections`.

    What is damaged is moved aside, and what can be read of it is kept: the caller owns data_dir. Raises StoreError,
    OSError.
    """
    notes = await asyncio.to_thread(replace_damaged, path, clock.wall_ns())
    is_lost = bool(notes) or not await asyncio.to_thread(path.exists)
    async with SqliteStore(path) as local:
        rows = aside_path(path.with_name(f"{path.name}.rows"), clock.wall_ns())
        if count := await local.set_unreadable_aside(rows):
            notes.append(f"{path}: {count} rows cannot be read; they are now in {rows.name}")
            log.error("rows of the database cannot be read", path=str(path), rows=count, moved_to=str(rows))
        if is_lost and (count := await _rebuild(local, config.webhooks.log_dir)):
            notes.append(f"{path}: {count} recordings were taken up from the log of events")
            log.warning("recordings were taken up from the log of events", recordings=count)
        if not config.cluster.endpoints:
            yield OpenStore(local, notes=notes)
            return
        from rokuga.recorder.store.cluster.etcd_client import Etcd
        from rokuga.recorder.store.cluster.store import EtcdStore  # one node loads nothing of a cluster

        node = NodeState(
            node_name=config.recorder.node_name,
            is_alive=True,
            version=config.version,
            signaling_url=config.cluster.signaling_url,
            api_url=config.cluster.api_url,
            since_wall_ns=clock.wall_ns(),
        )
        instance = _instance(config.data_dir / "node-id")
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

            def releases(outbox: Outbox) -> Releases:
                return Releases(outbox, ownership.owned_events, ownership.release)

            ownership = store.ownership
            yield OpenStore(
                store, {"cluster": probe}, [counters], store.nodes_up, ownership.owner_of, releases, notes
            )


async def _rebuild(store: SqliteStore, log_dir: Path) -> int:
    """Store the recordings that the log of events has without a report; return how many. Raises StoreError.

    They go on, as after a crash: what lies in their folders is finished and announced.
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
    """Give what monitors read of a cluster, by the names of the daemon's table of counters."""
    return {
        "cluster_majority": int(health.has_majority),
        "cluster_nodes": health.nodes,
        "cluster_requests": {"answered": health.requests_answered, "failed": health.requests_failed},
        "cluster_request_ns": int(health.request_seconds * NS_PER_S),
        "cluster_slowest_request_ns": int(health.slowest_request_s * NS_PER_S),
    }


def _instance(file: Path) -> str:
    """Give the id of this node's disk; it is drawn once. Raises OSError."""
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
