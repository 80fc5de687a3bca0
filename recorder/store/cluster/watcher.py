"""Keeps this node's copy of the shared state current: lists it, watches it, lists it again when the watch breaks."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence

from rokuga.recorder.clock import Clock
from rokuga.recorder.models import Change, RecordingState
from rokuga.recorder.retry import Failures
from rokuga.recorder.store import StoreError
from rokuga.recorder.store.cluster.etcd_client import Etcd
from rokuga.recorder.store.cluster.etcd_retry import ETCD_RETRY
from rokuga.recorder.store.cluster.shared_state import ClusterView, SharedRecording


class Watcher:
    """Keeps a view current while its `changes` are consumed.

    `mirror` stores changes in this node's file before they are yielded. `fail_over` claims the starts of dead nodes
    and returns the ids of their recordings.
    """

    def __init__(
        self,
        etcd: Etcd,
        view: ClusterView,
        mirror: Callable[[Sequence[Change]], Awaitable[None]],
        fail_over: Callable[[], Awaitable[Sequence[str]]],
        clock: Clock,
    ) -> None:
        self._etcd = etcd
        self._view = view
        self._mirror = mirror
        self._fail_over = fail_over
        self._clock = clock
        self._revision = 0
        self._news = asyncio.Condition()
        self._waiting: dict[str, asyncio.Event] = {}

    async def wait_for_revision(self, revision: int) -> None:
        """Wait until all changes up to a revision of etcd are applied."""
        async with self._news:
            await self._news.wait_for(lambda: self._revision >= revision)

    @contextlib.contextmanager
    def report_progress(self, recording_id: str) -> Iterator[asyncio.Event]:
        """Provide an event that is set whenever a change may affect the report of a recording."""
        news = self._waiting.setdefault(recording_id, asyncio.Event())
        try:
            yield news
        finally:
            self._waiting.pop(recording_id, None)

    async def changes(self, known: Sequence[RecordingState]) -> AsyncGenerator[Sequence[Change], None]:
        """Yield all changes without end. A recording that is in `known` and not in etcd has ended meanwhile."""
        for recording in known:
            self._view.recordings[recording.recording_id] = SharedRecording(recording)
        failures = Failures(ETCD_RETRY, self._clock, "watch the shared state")
        while True:
            try:
                async with contextlib.aclosing(self._watch()) as watching:
                    async for changes in watching:
                        failures.end()
                        yield changes
            except StoreError as error:
                await failures.pause(error)

    async def _watch(self) -> AsyncGenerator[Sequence[Change], None]:
        """List the shared state, then yield its changes. Raises StoreError when the watch breaks."""
        now_s = asyncio.get_running_loop().time
        revision, found = await self._etcd.list(self._view.live)
        changes = self._view.replace(found, now_s())
        await self._mirror(changes)
        yield changes
        await self._advance(revision, None)
        async with contextlib.aclosing(self._etcd.watch(self._view.live, revision + 1)) as watching:
            async for found in watching:
                concerned = self._view.affected(found)
                changes = self._view.apply(found, now_s())
                await self._mirror(changes)
                if changes:
                    yield changes
                await self._advance(max(each.modified for each in found), concerned)
                if claimed := await self._fail_over():
                    yield self._starts(claimed)

    def _starts(self, recording_ids: Iterable[str]) -> Sequence[Change]:
        """Return the changes that make this node publish the starts of these recordings."""
        known = [self._view.recordings[each] for each in recording_ids if each in self._view.recordings]
        return [Change(shared.recording, is_start_owned=True) for shared in known]

    async def _advance(self, revision: int, concerned: Iterable[str] | None) -> None:
        """Set the revision, and wake those that wait to report these recordings, or all (None)."""
        async with self._news:
            self._revision = revision
            self._news.notify_all()
        for recording_id in self._waiting if concerned is None else concerned:
            if recording_id in self._waiting:
                self._waiting[recording_id].set()
