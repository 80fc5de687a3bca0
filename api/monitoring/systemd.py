"""Notifications to systemd: ready, watchdog, stopping (sd_notify(3)). Without NOTIFY_SOCKET none is sent."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self

import structlog

log = structlog.get_logger()

US_PER_S: Final = 1_000_000


class Systemd:
    """The service manager, if it started us. Until the context ends, its watchdog is notified by the event loop.

    A part that is stuck while the event loop runs does not end the daemon: /readyz reports it.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        path = environment.get("NOTIFY_SOCKET", "")
        self._address = f"\0{path[1:]}" if path.startswith("@") else path
        self._watchdog_s = _watchdog_s(environment) if path else None
        self._watchdog: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._watchdog_s is not None:
            self._watchdog = asyncio.create_task(self._notify_watchdog(self._watchdog_s / 2))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watchdog

    def notify(self, state: str) -> None:
        """Send a state such as `READY=1`. A failure is only logged: systemd acts on missing notifications."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
                sender.sendto(state.encode(), self._address)
        except OSError as error:
            log.warning("notifying systemd failed", state=state, reason=str(error))

    async def _notify_watchdog(self, pause_s: float) -> None:
        while True:
            self.notify("WATCHDOG=1")
            await asyncio.sleep(pause_s)


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    """Return the watchdog's timeout, None without one or where it is for another process."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = environment.get("WATCHDOG_USEC", "")
    return int(microseconds) / US_PER_S if microseconds.isdecimal() and int(microseconds) else None
