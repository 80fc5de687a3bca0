"""Withdraws starts whose outcome was unknown when the caller was refused.

A request whose answer is lost may be executed now, later, or never. The caller was answered that nothing was started,
so nothing may be: a recording that was started is removed with the claim of its recording.started, and a key marks it
as finished, so that a delayed request does not start it.
"""

import asyncio
from collections.abc import Sequence

from rokuga.recorder.clock import Clock
from rokuga.recorder.events import EventType, event_id
from rokuga.recorder.models import Change, RecordingState, RecordingStatus
from rokuga.recorder.retry import retry
from rokuga.recorder.store.cluster.etcd_client import Etcd
from rokuga.recorder.store.cluster.etcd_retry import ETCD_RETRY
from rokuga.recorder.store.cluster.etcd_wire import absent, delete, put, unchanged
from rokuga.recorder.store.cluster.ownership import FINISHED_S, Ownership
from rokuga.recorder.store.cluster.shared_state import Keys, decode_shared


class Withdrawals:
    """The refused starts of one node. They are remembered until it ends, because its watch may be late."""

    def __init__(self, etcd: Etcd, keys: Keys, ownership: Ownership, clock: Clock) -> None:
        self._etcd = etcd
        self._keys = keys
        self._ownership = ownership
        self._clock = clock
        self._undecided: set[str] = set()
        self._refused: set[str] = set()
        self._waiting: list[RecordingState] = []
        self._added = asyncio.Event()

    def hold_back(self, recording_id: str) -> None:
        """Hide a start from this node until it is decided: the watch may be faster than the answer."""
        self._undecided.add(recording_id)

    def decided(self, recording_id: str) -> None:
        """Stop hiding a start whose outcome is known, unless it was added."""
        self._undecided.discard(recording_id)

    def add(self, recording: RecordingState) -> None:
        """Withdraw a start as soon as possible; it stays hidden."""
        self._refused.add(recording.recording_id)
        self._waiting.append(recording)
        self._added.set()

    def without_refused(self, changes: Sequence[Change]) -> Sequence[Change]:
        """Return the changes without the starts that are hidden."""
        hidden = self._undecided | self._refused
        return [
            change
            for change in changes
            if change.recording.status is not RecordingStatus.ACTIVE or change.recording.recording_id not in hidden
        ]

    async def run(self) -> None:
        """Withdraw what is added, with retries; ends by cancellation."""
        while True:
            await self._added.wait()
            self._added.clear()
            await retry(self._withdraw_all, ETCD_RETRY, self._clock, name="withdraw a refused start")

    async def _withdraw_all(self) -> None:
        while self._waiting:
            if await self._withdraw(self._waiting[0]):
                self._waiting.pop(0)

    async def _withdraw(self, recording: RecordingState) -> bool:
        """Withdraw one start; False if the recording changed meanwhile. Raises StoreError."""
        keys, recording_id = self._keys, recording.recording_id
        found = await self._etcd.get(keys.recording(recording_id))
        mark = await self._ownership.mark(keys.finished(recording_id), FINISHED_S)
        if found is None:
            answer = await self._etcd.transact([absent(keys.recording(recording_id))], [mark])
        elif decode_shared(found).recording.status is not RecordingStatus.ACTIVE:
            return True  # another call has stopped it: it ends as any other
        else:
            answer = await self._etcd.transact(
                [unchanged(found)],
                [
                    delete(keys.recording(recording_id)),
                    delete(keys.channel(recording.parameters.channel_id)),
                    delete(keys.claim(event_id(EventType.RECORDING_STARTED, recording_id))),
                    put(keys.revision_counter, recording_id.encode()),
                    mark,
                ],
            )
        return bool(answer.get("succeeded"))
