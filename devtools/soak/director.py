"""Starts and stops recordings by the API, as planned, whatever becomes of the daemon meanwhile."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import aiohttp

from rokuga.devtools.soak.ledger import Ledger
from rokuga.devtools.soak.plan import Take
from rokuga.recorder.media import NS_PER_MS, NS_PER_S

AGAIN_S: Final = 0.3
CALL_S: Final = 20.0


class RecordingDriver:
    """One task per channel plays its takes."""

    def __init__(self, api_url: str, begin_wall_ns: int, ledger: Ledger, session: aiohttp.ClientSession) -> None:
        self._api_url = api_url
        self._begin_wall_ns = begin_wall_ns
        self._ledger = ledger
        self._session = session

    async def play(self, takes: Sequence[Take]) -> None:
        """Play one channel's takes, one after the other."""
        for take in takes:
            await self._until(take.begin_ms)
            recording_id = await self._start(take)
            if take.expires:
                self._ledger.stopped(recording_id, self._begin_wall_ns + take.end_ms * NS_PER_MS)
                await self._until_expired(take)
            else:
                await self._until(take.end_ms)
                await self._stop(take, recording_id)

    async def call(self, operation: str, body: Mapping[str, Any]) -> tuple[int, Any]:
        """Call a target until somebody answers; give status and body."""
        while True:
            try:
                async with (
                    asyncio.timeout(CALL_S),
                    self._session.post(
                        self._api_url, json=body, headers={"x-sora-target": f"Sora_20161101.{operation}"}
                    ) as answer,
                ):
                    return answer.status, await answer.json()
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(AGAIN_S)

    async def _until(self, wall_ms: int) -> None:
        left_ns = self._begin_wall_ns + wall_ms * NS_PER_MS - time.time_ns()
        await asyncio.sleep(max(left_ns, 0) / NS_PER_S)

    async def _start(self, take: Take) -> str:
        """Start the recording; a start whose answer a kill took away may have worked."""
        left_s = max((self._begin_wall_ns + take.end_ms * NS_PER_MS - time.time_ns()) // NS_PER_S, 1)
        body: dict[str, Any] = {"channel_id": take.channel_id, "expire_time": left_s if take.expires else 0}
        if take.split_s:
            body |= {"split_duration": take.split_s, "split_only": take.split_only}
        while True:
            status, answer = await self.call("StartRecording", body)
            if status != 200:
                status, answer = await self.call("GetStartedRecording", {"channel_id": take.channel_id})
            if status == 200:
                self._ledger.started(answer["recording_id"], take.channel_id, time.time_ns())
                return str(answer["recording_id"])
            await asyncio.sleep(AGAIN_S)

    async def _stop(self, take: Take, recording_id: str) -> None:
        """Stop the recording; one that is stopped already was so by a call whose answer was lost."""
        self._ledger.stopped(recording_id, time.time_ns())
        await self.call("StopRecording", {"channel_id": take.channel_id})

    async def _until_expired(self, take: Take) -> None:
        """Wait for the end that the recorder makes by itself."""
        await self._until(take.end_ms)
        while True:
            status, _ = await self.call("GetStartedRecording", {"channel_id": take.channel_id})
            if status != 200:
                return
            await asyncio.sleep(AGAIN_S)
