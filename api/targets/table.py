"""Every target of the API: who handles it, and what its request must look like. To add one, add a row."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rokuga.api.ports import RecordingService
from rokuga.api.targets import recordings
from rokuga.api.targets.answer import Json
from rokuga.api.targets.recordings import RecordingLimits
from rokuga.api.targets.schema import ID, Schema

Handler = Callable[[RecordingService, Mapping[str, Any]], Awaitable[Json]]


class TargetName(NamedTuple):
    """`Sora_20161101.StartRecording`, taken apart."""

    service: str
    version: str
    operation: str


@dataclass(frozen=True, slots=True)
class Target:
    """One row. A target without a body in the documentation takes an object all the same."""

    handle: Handler
    schema: Schema = field(default_factory=Schema)
    needs_body: bool = True


_CHANNEL = Schema({"channel_id": ID}, ("channel_id",))


def targets(limits: RecordingLimits) -> Mapping[TargetName, Target]:
    """Give the table."""
    return {
        TargetName("Sora", "20161101", "StartRecording"): Target(recordings.start, recordings.start_schema(limits)),
        TargetName("Sora", "20161101", "StopRecording"): Target(recordings.stop, _CHANNEL),
        TargetName("Sora", "20161101", "GetStartedRecording"): Target(recordings.get_started, _CHANNEL),
        TargetName("Sora", "20161101", "ListStartedRecording"): Target(recordings.list_started, needs_body=False),
        TargetName("Sora", "20161101", "ListArchiving"): Target(recordings.list_archiving, needs_body=False),
    }
