"""The finished files in `archive_dir`. They are read from the disk each time, since customers move files away.

A name of a request must match the pattern of our names, and is opened relative to the directory's descriptor without
following symbolic links: it cannot become another path.
"""

import contextlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rokuga.api.http import json_text
from rokuga.recorder.archive.container_table import SUFFIX_PATTERN, container_of_file
from rokuga.recorder.archive.names import OWN_ID
from rokuga.recorder.media import NS_PER_S

MAX_FILES: Final = 500
"""The newest files of a recording that are listed; a day of parts of ten seconds has more."""

MAX_METADATA_BYTES: Final = 16 * 1024 * 1024
"""Larger metadata files are not read: they are not ours."""

_FILE_NAME: Final = re.compile(
    rf"(?:archive-{OWN_ID.pattern}(?:_[0-9]{{1,9}})?[.](?:{SUFFIX_PATTERN}|json)"
    rf"|split-archive-{OWN_ID.pattern}_[0-9]{{4,9}}[.](?:{SUFFIX_PATTERN}|json)"
    rf"|split-archive-end-{OWN_ID.pattern}[.]json|report-{OWN_ID.pattern}[.]json)"
)

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class NoSuchFile(LookupError):
    """There is no finished file with this name."""


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """A finished file. The caller closes the descriptor."""

    descriptor: int
    name: str
    size_bytes: int
    modified_ns: int
    inode: int

    @property
    def etag(self) -> str:
        """A strong entity tag: a finished file does not change, and another one has another inode or time."""
        return f'"{self.inode:x}-{self.size_bytes:x}-{self.modified_ns:x}"'

    @property
    def modified_s(self) -> int:
        """When it was written, in Unix seconds."""
        return self.modified_ns // NS_PER_S


class ArchiveFolder:
    """Reads the directory. All methods block: call them in a thread."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self, recording_id: str, name: str) -> OpenedFile:
        """Open a finished file. Raises NoSuchFile for every failure."""
        if not _FILE_NAME.fullmatch(name):
            raise NoSuchFile(name)
        try:
            with self._recording(recording_id) as folder:
                descriptor = os.open(name, _FILE, dir_fd=folder)
        except OSError as error:
            raise NoSuchFile(name) from error
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise NoSuchFile(name)
        return OpenedFile(descriptor, name, status.st_size, status.st_mtime_ns, status.st_ino)

    def recordings(self, limit: int) -> tuple[Sequence[dict[str, Any]], bool]:
        """Return the recordings that have files, the newest change first, and whether there are more.

        Each has `recording_id`, `report` (the content of its report file, null before it is written), `files`, newest
        first, and `more_files`.
        """
        found: list[tuple[int, str]] = []
        with contextlib.suppress(OSError), os.scandir(self._path) as entries:
            for entry in entries:
                if OWN_ID.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                    with contextlib.suppress(OSError):
                        found.append((entry.stat(follow_symlinks=False).st_mtime_ns, entry.name))
        newest = sorted(found, reverse=True)
        shown = [self.recording(recording_id) for _, recording_id in newest[:limit]]
        return [recording for recording in shown if recording is not None], len(newest) > limit

    def recording(self, recording_id: str) -> dict[str, Any] | None:
        """Return one recording as in `recordings`; None where it has no directory."""
        try:
            with self._recording(recording_id) as folder:
                names = [
                    name
                    for name in os.listdir(folder)  # noqa: PTH208  # a descriptor, not a path
                    if _FILE_NAME.fullmatch(name)
                ]
                report = f"report-{recording_id}.json"
                media = {name for name in names if container_of_file(name) is not None}
                listed = [file for file in (_listed(folder, name, names) for name in media) if file is not None]
                listed.sort(key=lambda file: (file["modified_ms"], file["filename"]), reverse=True)
                return {
                    "recording_id": recording_id,
                    "report": _metadata(folder, report) if report in names else None,
                    "files": listed[:MAX_FILES],
                    "more_files": len(listed) > MAX_FILES,
                }
        except OSError:
            return None

    @contextlib.contextmanager
    def _recording(self, recording_id: str) -> Iterator[int]:
        """Yield the descriptor of a recording's directory. Raises OSError, NoSuchFile for an invalid id."""
        if not OWN_ID.fullmatch(recording_id):
            raise NoSuchFile(recording_id)
        parent = os.open(self._path, _DIRECTORY)
        try:
            folder = os.open(recording_id, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        finally:
            os.close(parent)
        try:
            yield folder
        finally:
            os.close(folder)


def _listed(folder: int, name: str, names: Sequence[str]) -> dict[str, Any] | None:
    """Return a media file with its metadata; None where it is missing, or not a regular file."""
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    metadata_name = f"{name.rpartition('.')[0]}.json"
    has_metadata = metadata_name in names
    return {
        "filename": name,
        "size": status.st_size,
        "modified_ms": status.st_mtime_ns // 1_000_000,
        "metadata_filename": metadata_name if has_metadata else None,
        "metadata": _metadata(folder, metadata_name) if has_metadata else None,
    }


def _metadata(folder: int, name: str) -> Any:
    """Return the content of a JSON file; None where it is unreadable or invalid."""
    try:
        descriptor = os.open(name, _FILE, dir_fd=folder)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_METADATA_BYTES:
            return None
        try:
            return json_text.decode(file.read())
        except (OSError, json_text.JsonError):
            return None
