"""A daemon process, started as a user starts it, that is killed and restarted on the same ports."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from rokuga.devtools.loopback import loopback_environment
from rokuga.devtools.soak.consumer import RESPONSE_TIMEOUT_S

START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 60.0


class DaemonError(Exception):
    """The daemon did not become ready."""


class DaemonProcess:
    """One daemon process after the other. `faults` are log lines of level error, and lines that are no JSON."""

    def __init__(self, folder: Path, webhook_url: str, log: BinaryIO) -> None:
        self.folder = folder
        self.api_url = self.signaling_url = ""
        self.media_port = 0
        self.pid = 0
        self.faults: list[str] = []
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._settings = {
            "event_webhook_url": webhook_url,
            "webhook_response_timeout": f"{RESPONSE_TIMEOUT_S} s",
            "log_format": "json",
        }

    async def start(self) -> None:
        """Start the daemon and wait until it is ready. Raises DaemonError."""
        environment = os.environ | loopback_environment(self.folder, **self._settings)
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "rokuga", "run", env=environment, stderr=asyncio.subprocess.PIPE, limit=1 << 20
        )
        self.pid = self._process.pid
        ready = asyncio.Event()
        self._reading = asyncio.create_task(self._read(self._process, ready))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait([waiting, self._reading], timeout=START_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not ready.is_set():
            raise DaemonError(f"the daemon does not start: {self.faults}")

    async def kill(self) -> None:
        """Send SIGKILL, and wait for the process."""
        assert self._process is not None
        assert self._reading is not None
        self._process.kill()
        await self._process.wait()
        await self._reading

    async def stop(self) -> int | None:
        """Send SIGTERM and return the exit code, or None if the daemon had to be killed."""
        if self._process is None or self._reading is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                code: int | None = await self._process.wait()
        except TimeoutError:
            await self.kill()
            code = None
        await self._reading
        return code

    async def _read(self, process: asyncio.subprocess.Process, ready: asyncio.Event) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            self._log.write(line)
            self._read_line(line, ready)
        self._log.flush()

    def _read_line(self, line: bytes, ready: asyncio.Event) -> None:
        try:
            entry: Mapping[str, Any] = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.DecodeError:
            self.faults.append(line.decode(errors="replace").strip())
            return
        if entry.get("event") == "ready":
            self.api_url, self.signaling_url = entry["api"], entry["signaling"]
            self.media_port = entry["media_port"]
            self._settings["api_port"] = self.api_url.rstrip("/").rpartition(":")[2]
            self._settings["signaling_port"] = self.signaling_url.removesuffix("/signaling").rpartition(":")[2]
            self._settings["media_port"] = str(self.media_port)
            ready.set()
        elif entry.get("level") in {"error", "critical"}:
            self.faults.append(line.decode().strip())
