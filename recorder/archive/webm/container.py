"""WebM as a container of the recorder."""

import os
from typing import Final

from rokuga.recorder.archive.container import FinishedFile, Unplayable
from rokuga.recorder.archive.webm import repair
from rokuga.recorder.archive.webm.muxer import WebmMuxer
from rokuga.recorder.negotiation import TrackConfig


class WebmContainer:
    """WebM in the layout of Sora's own files."""

    name: Final = "webm"
    suffix: Final = "webm"
    media_type: Final = "video/webm"

    def open(
        self, path: str, audio: TrackConfig | None, video: TrackConfig | None, start_wall_ns: int, mode: int
    ) -> WebmMuxer:
        """See `Container.open`."""
        return WebmMuxer(path, audio, video, os.urandom(16), start_wall_ns, mode)

    def repair(self, path: str) -> FinishedFile | Unplayable:
        """See `Container.repair`."""
        return repair.repair(path)

    def inspect(self, path: str) -> FinishedFile | None:
        """See `Container.inspect`."""
        return repair.inspect(path)
