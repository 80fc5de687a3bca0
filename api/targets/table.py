"""Every target of the API: who handles it, and what its request must look like. To add one, add a row."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Self

from rokuga.api.monitoring.counters import Source
from rokuga.api.protocols import RecordingService
from rokuga.api.targets import cluster, connections, recordings, statistics
from rokuga.api.targets.answer import Json
from rokuga.api.targets.recordings import RecordingLimits
from rokuga.api.targets.schema import ID, Schema

_NAME: Final = re.compile("([a-zA-Z]+)_([0-9]{8})[.]([a-zA-Z]+)")

Handler = Callable[[RecordingService, Mapping[str, Any]], Awaitable[Json]]


class TargetName(NamedTuple):
    """`Sora_20161101.StartRecording`, taken apart."""

    service: str
    version: str
    operation: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Take it apart. Raises ValueError where it is no such name."""
        match = _NAME.fullmatch(text)
        if not match:
            raise ValueError(f"{text!r} names no target")
        return cls(*match.groups())


@dataclass(frozen=True, slots=True)
class Target:
    """One row. A target that needs no body takes an object all the same."""

    handle: Handler
    schema: Schema = field(default_factory=Schema)

    @property
    def needs_body(self) -> bool:
        """Whether there is anything that a caller has to tell."""
        return bool(self.schema.required)


def _naming(*names: str) -> Schema:
    """Give the rules of a target that is told ids, and may be told why."""
    return Schema({**dict.fromkeys(names, ID), "reason": {}}, names)


def targets(
    limits: RecordingLimits, version: str = "", counters: Sequence[Source] = ()
) -> Mapping[TargetName, Target]:
    """Give the table. `counters` are where GetStatsReport has its numbers from."""
    rows = {
        "Sora_20161101.StartRecording": Target(recordings.start, recordings.start_schema(limits)),
        "Sora_20161101.StopRecording": Target(recordings.stop, _naming("channel_id")),
        "Sora_20161101.GetStartedRecording": Target(recordings.get_started, _naming("channel_id")),
        "Sora_20161101.ListStartedRecording": Target(recordings.list_started),
        "Sora_20161101.ListArchiving": Target(recordings.list_archiving),
        "Sora_20171010.GetStatsReport": Target(statistics.stats_report(version, counters)),
        "Sora_20171218.GetLicense": Target(statistics.get_license),
        "Sora_20211215.ListClusterNodes": Target(cluster.list_nodes),
        "Sora_20201013.ListConnections": Target(connections.list_all),
        "Sora_20201013.ListChannelConnections": Target(connections.list_channel, _naming("channel_id")),
        "Sora_20151104.DisconnectChannel": Target(connections.disconnect_channel, _naming("channel_id")),
        "Sora_20151104.DisconnectClient": Target(connections.disconnect_client, _naming("channel_id", "client_id")),
        "Sora_20151104.DisconnectConnection": Target(
            connections.disconnect_connection, _naming("channel_id", "connection_id")
        ),
        "Sora_20241218.RequestKeyFrame": Target(connections.request_keyframe, _naming("channel_id", "connection_id")),
    }
    return {TargetName.parse(name): target for name, target in rows.items()}
