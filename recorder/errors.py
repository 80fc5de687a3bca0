"""What the recorder refuses, by the name that its fronts answer with."""


class RecordingAlreadyStarted(Exception):
    """The channel is being recorded."""


class RecordingNotStarted(Exception):
    """The channel is not being recorded."""


class ConnectionRefused(Exception):
    """The connection cannot be had; `reason` says why, for the client to read."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
