"""Names of files and folders, in Sora's layout. Only ids that this project made become part of a path.

    {archive_dir}/{recording_id}/archive-{connection_id}.webm             the whole file, and .json beside it
    {archive_dir}/{recording_id}/archive-{connection_id}_2.webm           of the connection's second archive
    {archive_dir}/{recording_id}/split-archive-{connection_id}_0001.webm  a part, and .json beside it
    {archive_dir}/{recording_id}/split-archive-end-{connection_id}.json
    {archive_dir}/{recording_id}/report-{recording_id}.json

A file is called `.{name}.part` until it is complete: readers of archives ignore it.
"""

import re
from dataclasses import dataclass

from rokuga.recorder.archive.container_table import SUFFIX_PATTERN

OWN_ID = re.compile("[0-9A-HJKMNP-TV-Z]{26}")

IN_PROGRESS = re.compile(
    rf"\.(?P<name>(?:(?:split-)?archive|split-archive-end|report)-{OWN_ID.pattern}(?:_[0-9]+)*"
    rf"\.(?:{SUFFIX_PATTERN}|json))\.part"
)
"""The in-progress name of any file; group `name` is its final name."""


@dataclass(frozen=True, slots=True)
class FileNames:
    """One file: its absolute `path`, and its `name` with the folder, as Sora writes it.

    It has `in_progress_path` until it is complete.
    """

    path: str
    name: str
    in_progress_path: str


def recording_folder(archive_dir: str, recording_id: str) -> str:
    """Return the folder of a recording. Raises ValueError for an id that is not an own one."""
    return f"{archive_dir}/{_own(recording_id)}"


def archive_names(archive_dir: str, recording_id: str, connection_id: str, suffix: str, number: int = 1) -> FileNames:
    """Return the names of the whole file, or with suffix json of its metadata, of a connection's archive `number`."""
    numbered = f"_{number}" if number > 1 else ""
    return _names(archive_dir, recording_id, f"archive-{_own(connection_id)}{numbered}.{suffix}")


def split_names(archive_dir: str, recording_id: str, connection_id: str, index: int, suffix: str) -> FileNames:
    """Return the names of part `index` (from 1), or with suffix json of its metadata."""
    return _names(archive_dir, recording_id, f"split-archive-{_own(connection_id)}_{split_index(index)}.{suffix}")


def split_end_names(archive_dir: str, recording_id: str, connection_id: str) -> FileNames:
    """Return the names of the document of split-archive.end."""
    return _names(archive_dir, recording_id, f"split-archive-end-{_own(connection_id)}.json")


def report_names(archive_dir: str, recording_id: str) -> FileNames:
    """Return the names of a recording's report."""
    return _names(archive_dir, recording_id, f"report-{_own(recording_id)}.json")


def split_index(index: int) -> str:
    """Return the number of a part, from 1, as Sora writes it: 0001."""
    return f"{index:04d}"


def is_recording_folder(name: str) -> bool:
    """Return whether a folder's name is a recording's."""
    return OWN_ID.fullmatch(name) is not None


def _names(archive_dir: str, recording_id: str, name: str) -> FileNames:
    folder = recording_folder(archive_dir, recording_id)
    return FileNames(f"{folder}/{name}", f"{recording_id}/{name}", f"{folder}/.{name}.part")


def _own(identifier: str) -> str:
    if not OWN_ID.fullmatch(identifier):
        raise ValueError(f"{identifier!r} is no id of ours")
    return identifier
