"""Repair of files in progress that a crash left and no database contains.

What can be played gets its final name, what is empty is removed, and what cannot be read is renamed to
`{name}.damaged-{date}`. Files with other names are left alone.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from rokuga.recorder.archive.container import Container, FinishedFile, Unplayable
from rokuga.recorder.archive.container_table import container_of_file
from rokuga.recorder.archive.disk import sync_folder
from rokuga.recorder.archive.names import IN_PROGRESS, is_recording_folder
from rokuga.recorder.directory_lock import aside_path


class Outcome(StrEnum):
    """The result of the repair of a file in progress."""

    FINISHED = "finished"
    REMOVED = "removed, it was empty"
    SET_ASIDE = "set aside, it cannot be read"
    FAULT = "left as it is"


@dataclass(frozen=True, slots=True)
class Leftover:
    """A file that was in progress, by its path after the repair; `reason` is why it failed, or ""."""

    path: Path
    outcome: Outcome
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.outcome}" + (f": {self.reason}" if self.reason else "")


def repair_leftovers(folder: Path, wall_ns: int) -> list[Leftover]:
    """Repair all files in progress in a recording's folder; an error of one does not affect the others.

    No archive may be written there meanwhile. Raises nothing: a folder that cannot be read is one FAULT, one that
    does not exist is empty.
    """
    try:
        names = sorted(path.name for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        return [Leftover(folder, Outcome.FAULT, str(error))]
    found = [match for name in names if (match := IN_PROGRESS.fullmatch(name)) is not None]
    return [_repair(folder / match[0], folder / match["name"], wall_ns) for match in found]


def recording_folders(archive_dir: Path) -> list[Path]:
    """Return the folders of recordings in archive_dir, the oldest first. Raises OSError."""
    return sorted(path for path in archive_dir.iterdir() if is_recording_folder(path.name))


def _repair(path: Path, final: Path, wall_ns: int) -> Leftover:
    try:
        container = container_of_file(final.name)
        if container is None:  # a document is renamed when it is complete: this one is not
            path.unlink()
            return Leftover(path, Outcome.REMOVED)
        return _repair_media(container, path, final, wall_ns)
    except Exception as error:  # whatever is in the file, the others are repaired
        return Leftover(path, Outcome.FAULT, str(error) or repr(error))


def _repair_media(container: Container, path: Path, final: Path, wall_ns: int) -> Leftover:
    file = container.repair(str(path))
    if isinstance(file, FinishedFile):
        target = aside_path(final, wall_ns) if final.exists() else final
        path.rename(target)
        sync_folder(str(final.parent))
        return Leftover(target, Outcome.FINISHED)
    if file is Unplayable.EMPTY:
        path.unlink()
        return Leftover(path, Outcome.REMOVED)
    aside = aside_path(final, wall_ns)
    path.rename(aside)
    return Leftover(aside, Outcome.SET_ASIDE)
