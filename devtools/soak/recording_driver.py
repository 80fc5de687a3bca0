"""Starts and stops the planned recordings over the API, also while the daemon is killed and started again."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import aiohttp

from rokuga.devtools.soak.event_audit import EventAudit
from rokuga.devtools.soak.plan import PlannedRecording
from rokuga.recorder.media import NS_PER_MS, NS_PER_S

RETRY_S: Final = 0.3
CALL_TIMEOUT_S: Final = 20.0


class RecordingDriver:
    """Makes the recordings of each channel, one task per channel, and informs the audit of each start and stop."""

    def __init__(self, api_url: str, begin_wall_ns: int, audit: EventAudit, session: aiohttp.ClientSession) -> None:
        self._api_url = api_url
        self._begin_wall_ns = begin_wall_ns
        self._audit = audit
        self._session = session

    async def run(self, recordings: Sequence[PlannedRecording]) -> None:
        """Make the recordings of one channel, one after the other."""
        for planned in recordings:
            await self._sleep_until(planned.begin_ms)
            recording_id = await self._start(planned)
            if planned.expires:
                self._audit.stopped(recording_id, self._begin_wall_ns + planned.end_ms * NS_PER_MS)
                await self._wait_expired(planned)
            else:
                await self._sleep_until(planned.end_ms)
                await self._stop(planned, recording_id)

    async def call(self, operation: str, body: Mapping[str, Any]) -> tuple[int, Any]:
        """Call a target, again and again until the daemon responds; return status and body."""
        while True:
            try:
                async with (
                    asyncio.timeout(CALL_TIMEOUT_S),
                    self._session.post(
                        self._api_url, json=body, headers={"x-sora-target": f"Sora_20161101.{operation}"}
                    ) as response,
                ):
                    return response.status, await response.json()
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(RETRY_S)

    async def _sleep_until(self, wall_ms: int) -> None:
        remaining_ns = self._begin_wall_ns + wall_ms * NS_PER_MS - time.time_ns()
        await asyncio.sleep(max(remaining_ns, 0) / NS_PER_S)

    async def _start(self, planned: PlannedRecording) -> str:
        """Start the recording and return its id. A start whose response was lost in a kill may have succeeded."""
        remaining_s = max((self._begin_wall_ns + planned.end_ms * NS_PER_MS - time.time_ns()) // NS_PER_S, 1)
        body: dict[str, Any] = {
            "channel_id": planned.channel_id,
            "expire_time": remaining_s if planned.expires else 0,
        }
        if planned.split_s:
            body |= {"split_duration": planned.split_s, "split_only": planned.split_only}
        while True:
            status, response = await self.call("StartRecording", body)
            if status != 200:
                status, response = await self.call("GetStartedRecording", {"channel_id": planned.channel_id})
            if status == 200:
                self._audit.started(response["recording_id"], planned.channel_id, time.time_ns())
                return str(response["recording_id"])
            await asyncio.sleep(RETRY_S)

    async def _stop(self, planned: PlannedRecording, recording_id: str) -> None:
        """Stop the recording. If it is stopped already, a kill has cost the response to an earlier call."""
        self._audit.stopped(recording_id, time.time_ns())
        await self.call("StopRecording", {"channel_id": planned.channel_id})

    async def _wait_expired(self, planned: PlannedRecording) -> None:
        """Wait until the recorder has ended the recording by its expire_time."""
        await self._sleep_until(planned.end_ms)
        while True:
            status, _ = await self.call("GetStartedRecording", {"channel_id": planned.channel_id})
            if status != 200:
                return
            await asyncio.sleep(RETRY_S)
