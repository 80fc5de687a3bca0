"""Which store the daemon lives by: a file of its own, or one that it shares with the other nodes of a cluster."""

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

from rokuga.api.config import DaemonConfig
from rokuga.recorder.clock import Clock
from rokuga.recorder.identifiers import new_id
from rokuga.recorder.states import NodeState
from rokuga.recorder.store import RecordingStore
from rokuga.recorder.store.sqlite import SqliteStore


@contextlib.asynccontextmanager
async def open_store(config: DaemonConfig, path: Path, clock: Clock) -> AsyncIterator[RecordingStore]:
    """Open the store that the configuration asks for. Raises StoreError, OSError."""
    async with SqliteStore(path) as local:
        if not config.cluster.endpoints:
            yield local
            return
        from rokuga.recorder.store.etcd import EtcdStore  # one node loads nothing of a cluster
        from rokuga.recorder.store.etcd_client import Etcd

        node = NodeState(
            node_name=config.recorder.node_name,
            is_alive=True,
            version=config.version,
            signaling_url=config.cluster.signaling_url,
            api_url=config.cluster.api_url,
            since_wall_ns=clock.wall_ns(),
        )
        async with (
            Etcd(config.cluster) as etcd,
            EtcdStore(local, etcd, config.cluster.prefix, node, _instance(config.data_dir / "node-id")) as store,
        ):
            yield store


def _instance(file: Path) -> str:
    """Give the id of this node's disk; it is drawn once. Raises OSError."""
    try:
        return file.read_text("ascii").strip()
    except FileNotFoundError:
        pass
    draft = file.with_suffix(".part")
    draft.write_text(new_id(), "ascii")
    with contextlib.suppress(FileExistsError):
        os.link(draft, file)
    draft.unlink(missing_ok=True)
    return file.read_text("ascii").strip()
