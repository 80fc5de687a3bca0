"""The end of a recording: after the last archive of all nodes, one node writes and publishes the report."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import structlog

from rokuga.recorder.archive.disk import ArchiveError, write_json
from rokuga.recorder.archive.names import report_names
from rokuga.recorder.archive.report import report_document
from rokuga.recorder.context import RecorderContext
from rokuga.recorder.events import Document, Event, EventType, event_id
from rokuga.recorder.models import ArchiveState, ArchiveStatus, RecordingStatus
from rokuga.recorder.recording import Recording
from rokuga.recorder.store import StoreError

log = structlog.get_logger()


async def finish_recording(context: RecorderContext, recording: Recording) -> None:
    """Wait for the archives of all nodes, then write and publish the report, unless another node does.

    Raises StoreError if the recorder ends first; the next start reports then.
    """
    recording_id = recording.recording_id
    await recording.wait_archives_closed()
    archives = await context.until_stored(
        lambda: context.store.archives(recording_id), "read the archives", recording_id=recording_id
    )
    if any(archive.status is ArchiveStatus.WRITING for archive in archives):
        log.error("the end of an archive is not stored; the next start recovers it", recording_id=recording_id)
        return
    reported = await context.until_stored(
        lambda: _claim_report(context, recording_id), "claim the report", recording_id=recording_id
    )
    events = [] if reported is None else [await _write_report(context, recording, reported)]
    await context.until_stored(
        lambda: context.store.finish_recording(recording_id, events), "store the report", recording_id=recording_id
    )
    context.on_committed(events)
    recording.state = replace(recording.state, status=RecordingStatus.FINISHED)


async def _claim_report(context: RecorderContext, recording_id: str) -> Sequence[ArchiveState] | None:
    """Wait for the other nodes, without a limit until the recorder ends. Raises StoreError."""
    claiming = asyncio.ensure_future(context.store.claim_report(recording_id))
    stopping = asyncio.ensure_future(context.stopping.wait())
    try:
        await asyncio.wait({claiming, stopping}, return_when=asyncio.FIRST_COMPLETED)
        async with asyncio.timeout(context.timeouts.other_nodes_s):
            return await claiming
    except TimeoutError as error:
        raise StoreError("the daemon ends before all other nodes have ended their archives") from error
    finally:
        claiming.cancel()
        stopping.cancel()


async def _write_report(context: RecorderContext, recording: Recording, archives: Sequence[ArchiveState]) -> Event:
    """Write the report file and return its event."""
    config = context.config
    document = report_document(str(config.archive_dir), config.label, config.node_name, recording.state, archives)
    document["file_written"] = await _write_file(context, recording, document)
    return Event(
        id=event_id(EventType.RECORDING_REPORT, recording.recording_id),
        type=EventType.RECORDING_REPORT,
        wall_ns=recording.wall_at(context.clock.monotonic_ns()),
        channel_id=recording.state.parameters.channel_id,
        document=document,
    )


async def _write_file(context: RecorderContext, recording: Recording, document: Document) -> bool:
    """Return False if the disk does not accept the file; its event is published all the same."""
    names = report_names(str(context.config.archive_dir), recording.recording_id)
    mode = context.config.archive_file_mode
    try:
        if (refusal := await recording.make_folder()) is not None:
            raise refusal
        await context.writer.submit(lambda: write_json(names, document, mode), in_pool=True)
    except ArchiveError as error:
        log.warning("report file not written", path=error.path, reason=error.reason)
        return False
    return True
