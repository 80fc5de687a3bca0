"""The former names of `tests.support`, while tests are being renamed."""

from tests.support.clock import START_WALL_NS
from tests.support.clock import FakeClock as HandClock
from tests.support.peer import FakePeer as HandPeer
from tests.support.recorder import (
    AUDIO_MS,
    AVAILABLE,
    FAILED,
    OPUS_20_MS,
    PART,
    PARTS_END,
    REPORT,
    STARTED,
    VP8_FRAME,
    Client,
    Unit,
)
from tests.support.recorder import RecorderHarness as House
from tests.support.recorder import running_recorder as running

__all__ = [
    "AUDIO_MS",
    "AVAILABLE",
    "FAILED",
    "OPUS_20_MS",
    "PART",
    "PARTS_END",
    "REPORT",
    "STARTED",
    "START_WALL_NS",
    "VP8_FRAME",
    "Client",
    "HandClock",
    "HandPeer",
    "House",
    "Unit",
    "running",
]
