"""Requests that the recorder refuses. The API answers with the names of these errors."""


class RecordingAlreadyStarted(Exception):
    """The channel is being recorded."""


class RecordingNotStarted(Exception):
    """The channel is not being recorded."""


class ConnectionRefused(Exception):
    """No connection is made; `reason` is sent to the client."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
