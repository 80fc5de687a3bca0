"""After a start: end the archives of a recording that the previous run was writing."""

import structlog

from rokuga.recorder.archive.journal import unfinished
from rokuga.recorder.archive.leftovers import Outcome, repair_leftovers
from rokuga.recorder.archive.recovery import Recovery
from rokuga.recorder.context import RecorderContext
from rokuga.recorder.models import ArchiveState
from rokuga.recorder.recording import Recording, log_failed_archives
from rokuga.recorder.store import StoreError

log = structlog.get_logger()


async def recover_archives(context: RecorderContext, recording: Recording) -> list[str]:
    """End all archives that the previous run was writing; return a line on each file that could not be recovered."""
    recording_id, notes = recording.recording_id, []
    for archive in unfinished(await context.store.archives(recording_id)):
        notes += await _recover(context, recording, archive)
    archives = await context.store.archives(recording_id)
    recording.continue_after(max((each.stop_wall_ns or each.start_wall_ns for each in archives), default=0))
    folder, wall_ns = context.config.archive_dir / recording_id, context.clock.wall_ns()
    found = await context.writer.submit(lambda: repair_leftovers(folder, wall_ns))
    return notes + [str(each) for each in found if each.outcome in {Outcome.SET_ASIDE, Outcome.FAULT}]


async def _recover(context: RecorderContext, recording: Recording, archive: ArchiveState) -> list[str]:
    """End one archive; it is a failed one if a fault of ours keeps it from being finished."""
    recovery = Recovery(context.config, recording.state, archive, context.clock.wall_ns())
    try:
        await context.store.save_archive(await context.writer.submit(recovery.finish_files), [])
        ended, events = await context.writer.submit(recovery.announce)
    except StoreError:
        raise
    except Exception as error:
        log.exception("archive not recovered", connection_id=archive.connection.connection_id)
        ended, events = recovery.give_up(repr(error))
    log_failed_archives(ended, events)
    await context.store.save_archive(ended, events)
    context.on_committed(events)
    return recovery.notes
