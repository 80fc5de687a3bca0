"""A process with many publishers: it publishes what it is sent, and reports each second which units it has sent.

    python -m rokuga.devtools.soak.publisher_worker < task.json

A publisher that loses the daemon connects again until its planned end.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from rokuga.devtools.publisher.clip import Clip, read_clip
from rokuga.devtools.publisher.publisher import Publication, PublishOptions, publish
from rokuga.devtools.publisher.sender import Counts
from rokuga.devtools.soak.frame_ids import with_frame_ids
from rokuga.devtools.soak.plan import PlannedPublication
from rokuga.devtools.soak.worker_messages import SendingStarted, SentUnits, WorkerMessage, WorkerTask, WorkerTotals
from rokuga.recorder.media import NS_PER_MS, NS_PER_S, Kind
from rokuga.recorder.webrtc.dtls.transport import Certificate
from rokuga.recorder.webrtc.outgoing.peer import PublishError

RECONNECT_S: Final = 0.5
REPORT_S: Final = 1.0
MIN_REMAINING_S: Final = 0.5
"""A publisher does not connect again for less."""


def read_sample(name: str, kinds: tuple[Kind, ...]) -> Clip:
    """Read one of the clips that are shipped, and add frame ids."""
    return with_frame_ids(read_clip(Path(str(resources.files("rokuga").joinpath(f"samples/{name}.webm"))), kinds))


@dataclass(slots=True)
class PublisherWorker:
    """All publishers of this process."""

    task: WorkerTask
    certificate: Certificate
    clips: dict[tuple[str, tuple[Kind, ...]], Clip] = field(default_factory=dict)
    active: dict[str, Publication] = field(default_factory=dict)
    ended: Counts = field(default_factory=Counts)
    refused: int = 0

    async def run(self) -> None:
        """Run all publications of the task to their end."""
        reporting = asyncio.create_task(self._report_each_second())
        try:
            async with asyncio.TaskGroup() as tasks:
                for planned in self.task.publications:
                    tasks.create_task(self._run_one(planned))
        finally:
            reporting.cancel()
        self._report_totals()

    def _remaining_s(self, wall_ms: int) -> float:
        """Return the seconds until so many ms after the start of the soak."""
        return (self.task.begin_wall_ns + wall_ms * NS_PER_MS - time.time_ns()) / NS_PER_S

    async def _run_one(self, planned: PlannedPublication) -> None:
        """Publish until the planned end, over as many connections as that needs."""
        await asyncio.sleep(max(self._remaining_s(planned.begin_ms), 0))
        kinds = tuple(planned.kinds)
        key = planned.clip, kinds
        clip = self.clips[key] = self.clips.get(key) or read_sample(*key)
        while self._remaining_s(planned.end_ms) > MIN_REMAINING_S:
            publication = Publication()
            reason = await self._publish(planned, clip, publication)
            if publication.sending.is_set():
                self._report_end(publication, reason)
            if reason:
                self.refused += not publication.sending.is_set()
                await asyncio.sleep(RECONNECT_S)

    async def _publish(self, planned: PlannedPublication, clip: Clip, publication: Publication) -> str:
        """Publish over one connection; return the reason of an end before the planned one, "" otherwise."""
        options = PublishOptions(
            Path(), self.task.url, planned.channel_id, loop=True, kinds=planned.kinds, loss=self.task.loss
        )
        publishing = asyncio.create_task(publish(options, clip, self.certificate, publication))
        beginning = asyncio.create_task(publication.sending.wait())
        try:
            await asyncio.wait([publishing, beginning], return_when=asyncio.FIRST_COMPLETED)
            if publication.sending.is_set():
                self._report_start(planned, publication)
            await asyncio.wait([publishing], timeout=max(self._remaining_s(planned.end_ms), 0))
            if planned.disconnect == "abrupt" and not publishing.done():
                publishing.cancel()
                await asyncio.wait([publishing])
                return ""
            publication.stop.set()
            await publishing
        except PublishError as error:
            return str(error)
        finally:
            beginning.cancel()
            publishing.cancel()
        return ""

    def _report_start(self, planned: PlannedPublication, publication: Publication) -> None:
        self.active[publication.connection_id] = publication
        write_message(
            SendingStarted(
                publication.connection_id,
                planned.channel_id,
                planned.clip,
                planned.kinds,
                publication.started_wall_ns,
            )
        )

    def _report_end(self, publication: Publication, reason: str) -> None:
        if self.active.pop(publication.connection_id, None) is not None:
            write_message(_sent_units(publication, is_over=True, reason=reason))
            _add(self.ended, publication.counts)

    async def _report_each_second(self) -> None:
        while True:
            await asyncio.sleep(REPORT_S)
            for publication in self.active.values():
                write_message(_sent_units(publication))
            self._report_totals()

    def _report_totals(self) -> None:
        total = Counts()
        for counts in (self.ended, *(publication.counts for publication in self.active.values())):
            _add(total, counts)
        write_message(
            WorkerTotals(
                len(self.active),
                total.packets,
                total.dropped,
                total.retransmissions,
                total.keyframe_requests,
                self.refused,
            )
        )


def _add(total: Counts, counts: Counts) -> None:
    total.packets += counts.packets
    total.dropped += counts.dropped
    total.retransmissions += counts.retransmissions
    total.keyframe_requests += counts.keyframe_requests


def _sent_units(publication: Publication, *, is_over: bool = False, reason: str = "") -> SentUnits:
    units: Mapping[Kind, int] = {kind: publication.counts.units[kind] for kind in publication.runs}
    until_wall_ns = publication.started_wall_ns + publication.counts.media_ns
    return SentUnits(publication.connection_id, until_wall_ns, units, publication.runs, is_over, reason)


def write_message(message: WorkerMessage) -> None:
    """Write one line to standard output, and flush it."""
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()


async def main() -> None:
    """Report readiness, read the task from standard input, and run it."""
    write_message(WorkerTotals())
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=WorkerTask)
    await PublisherWorker(task, Certificate.make()).run()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(main())
