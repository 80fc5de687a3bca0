"""A process full of publishers: plays the roles that it is given, and tells each second what was sent.

    python -m rokuga.devtools.soak.cast < order.json

Where the daemon is gone, a publisher comes again until its life is over.
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
from rokuga.devtools.soak.lines import Began, Line, Order, Sent, Totals
from rokuga.devtools.soak.marks import with_marks
from rokuga.devtools.soak.plan import Role
from rokuga.recorder.media import NS_PER_MS, NS_PER_S, Kind
from rokuga.recorder.webrtc.dtls.transport import Certificate
from rokuga.recorder.webrtc.outgoing.peer import PublishError

AGAIN_S: Final = 0.5
TELL_S: Final = 1.0
LEAST_S: Final = 0.5
"""Nobody comes again for less."""


def read_sample(name: str, kinds: tuple[Kind, ...]) -> Clip:
    """Read one of the clips that are shipped, with marks."""
    return with_marks(read_clip(Path(str(resources.files("rokuga").joinpath(f"samples/{name}.webm"))), kinds))


@dataclass(slots=True)
class PublisherWorker:
    """All publishers of this process."""

    order: Order
    certificate: Certificate
    clips: dict[tuple[str, tuple[Kind, ...]], Clip] = field(default_factory=dict)
    on_stage: dict[str, Publication] = field(default_factory=dict)
    gone: Counts = field(default_factory=Counts)
    refused: int = 0

    async def play(self) -> None:
        """Play all roles to their end."""
        telling = asyncio.create_task(self._tell_each_second())
        try:
            async with asyncio.TaskGroup() as tasks:
                for role in self.order.roles:
                    tasks.create_task(self._live(role))
        finally:
            telling.cancel()
        self._tell_totals()

    def _left_s(self, wall_ms: int) -> float:
        """Give the seconds until so many ms after the soak's start."""
        return (self.order.begin_wall_ns + wall_ms * NS_PER_MS - time.time_ns()) / NS_PER_S

    async def _live(self, role: Role) -> None:
        """Live one life, over as many connections as it takes."""
        await asyncio.sleep(max(self._left_s(role.begin_ms), 0))
        kinds = tuple(role.kinds)
        key = role.clip, kinds
        clip = self.clips[key] = self.clips.get(key) or read_sample(*key)
        while self._left_s(role.end_ms) > LEAST_S:
            publication = Publication()
            reason = await self._publish(role, clip, publication)
            if publication.sending.is_set():
                self._tell_end(publication, reason)
            if reason:
                self.refused += not publication.sending.is_set()
                await asyncio.sleep(AGAIN_S)

    async def _publish(self, role: Role, clip: Clip, publication: Publication) -> str:
        """Publish to the end of the life; give the reason of an end before it."""
        options = PublishOptions(
            Path(), self.order.url, role.channel_id, loop=True, kinds=role.kinds, loss=self.order.loss
        )
        publishing = asyncio.create_task(publish(options, clip, self.certificate, publication))
        beginning = asyncio.create_task(publication.sending.wait())
        try:
            await asyncio.wait([publishing, beginning], return_when=asyncio.FIRST_COMPLETED)
            if publication.sending.is_set():
                self._tell_begin(role, publication)
            await asyncio.wait([publishing], timeout=max(self._left_s(role.end_ms), 0))
            if role.leaves == "cut" and not publishing.done():
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

    def _tell_begin(self, role: Role, publication: Publication) -> None:
        self.on_stage[publication.connection_id] = publication
        tell(Began(publication.connection_id, role.channel_id, role.clip, role.kinds, publication.started_wall_ns))

    def _tell_end(self, publication: Publication, reason: str) -> None:
        if self.on_stage.pop(publication.connection_id, None) is not None:
            tell(_sent(publication, is_over=True, reason=reason))
            _add(self.gone, publication.counts)

    async def _tell_each_second(self) -> None:
        while True:
            await asyncio.sleep(TELL_S)
            for publication in self.on_stage.values():
                tell(_sent(publication))
            self._tell_totals()

    def _tell_totals(self) -> None:
        total = Counts()
        for counts in (self.gone, *(publication.counts for publication in self.on_stage.values())):
            _add(total, counts)
        tell(
            Totals(
                len(self.on_stage),
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


def _sent(publication: Publication, *, is_over: bool = False, reason: str = "") -> Sent:
    units: Mapping[Kind, int] = {kind: publication.counts.units[kind] for kind in publication.runs}
    until_wall_ns = publication.started_wall_ns + publication.counts.media_ns
    return Sent(publication.connection_id, until_wall_ns, units, publication.runs, is_over, reason)


def tell(line: Line) -> None:
    """Write a line."""
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


async def main() -> None:
    """Say that we are ready; play what standard input orders."""
    tell(Totals())
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    await PublisherWorker(order, Certificate.make()).play()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(main())
