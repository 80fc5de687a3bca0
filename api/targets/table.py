"""Every target of the API, one row each: its handler, its request and its response.

A new target is a handler and a row; the OpenAPI document and the checks of requests follow from the row.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Self

from rokuga.api.http.json_response import Json
from rokuga.api.monitoring.metrics import Source
from rokuga.api.protocols import RecordingService
from rokuga.api.targets import cluster, connections, recordings, statistics
from rokuga.api.targets.json_schema import JsonSchema, array_of, texts
from rokuga.api.targets.recordings import RecordingLimits
from rokuga.api.targets.schema import ID, Schema

_NAME: Final = re.compile("([a-zA-Z]+)_([0-9]{8})[.]([a-zA-Z]+)")

Handler = Callable[[RecordingService, Mapping[str, Any]], Awaitable[Json]]


class TargetName(NamedTuple):
    """The parts of a name such as `Sora_20161101.StartRecording`."""

    service: str
    version: str
    operation: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Split a name. Raises ValueError where the text is not one."""
        match = _NAME.fullmatch(text)
        if not match:
            raise ValueError(f"{text!r} names no target")
        return cls(*match.groups())

    @property
    def header(self) -> str:
        """The name as `x-sora-target` has it."""
        return f"{self.service}_{self.version}.{self.operation}"


@dataclass(frozen=True, slots=True)
class Target:
    """One row. `response` is the JSON Schema of a 200; `errors` are the values of `error_type` of this target alone.

    A target that needs no body accepts an object nevertheless.
    """

    handle: Handler
    response: JsonSchema
    errors: tuple[str, ...] = ()
    schema: Schema = field(default_factory=Schema)

    @property
    def needs_body(self) -> bool:
        """Whether the request has required properties."""
        return bool(self.schema.required)


def _ids(*names: str) -> Schema:
    """Return the rules of a request that has these ids, and optionally a `reason`."""
    return Schema({**dict.fromkeys(names, ID), "reason": {}}, names)


def targets(
    limits: RecordingLimits, version: str = "", counters: Sequence[Source] = ()
) -> Mapping[TargetName, Target]:
    """Return the table. GetStatsReport reads `counters` and reports `version`."""
    channel, client, connection = ("channel_id",), ("channel_id", "client_id"), ("channel_id", "connection_id")
    recording, connected = recordings.RECORDING, connections.CONNECTION
    rows = {
        "Sora_20161101.StartRecording": Target(
            recordings.start, recordings.STARTED, recordings.START_ERRORS, recordings.start_schema(limits)
        ),
        "Sora_20161101.StopRecording": Target(
            recordings.stop, texts(*channel), ("NOT-STARTED-RECORDING",), _ids(*channel)
        ),
        "Sora_20161101.GetStartedRecording": Target(
            recordings.get_started, recording, ("NOT-STARTED-RECORDING",), _ids(*channel)
        ),
        "Sora_20161101.ListStartedRecording": Target(recordings.list_started, array_of(recording)),
        "Sora_20161101.ListArchiving": Target(recordings.list_archiving, array_of(recordings.ARCHIVING)),
        "Sora_20171010.GetStatsReport": Target(statistics.stats_report(version, counters), statistics.STATS),
        "Sora_20171218.GetLicense": Target(statistics.get_license, statistics.LICENSE),
        "Sora_20211215.ListClusterNodes": Target(cluster.list_nodes, array_of(cluster.NODE)),
        "Sora_20201013.ListConnections": Target(connections.list_all, array_of(connected)),
        "Sora_20201013.ListChannelConnections": Target(
            connections.list_channel, array_of(connected), schema=_ids(*channel)
        ),
        "Sora_20151104.DisconnectChannel": Target(
            connections.disconnect_channel, texts(*channel), ("CHANNEL-NOT-FOUND",), _ids(*channel)
        ),
        "Sora_20151104.DisconnectClient": Target(
            connections.disconnect_client, texts(*client), ("CLIENT-NOT-FOUND",), _ids(*client)
        ),
        "Sora_20151104.DisconnectConnection": Target(
            connections.disconnect_connection, texts(*connection), ("CONNECTION-NOT-FOUND",), _ids(*connection)
        ),
        "Sora_20241218.RequestKeyFrame": Target(
            connections.request_keyframe, texts(*connection), ("CONNECTION-NOT-FOUND",), _ids(*connection)
        ),
    }
    return {TargetName.parse(name): target for name, target in rows.items()}
