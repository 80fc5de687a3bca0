"""What files are called. Only ids of our own making become part of a path; whatever comes from outside is data.

Layout (Sora's): {archive_dir}/{recording_id}/archive-{connection_id}.webm and .json, and so on, flat.
"""

import re
from dataclasses import dataclass

OWN_ID = re.compile("[0-9A-HJKMNP-TV-Z]{26}")

IN_PROGRESS = re.compile(
    r"\.(?P<name>(?:(?:split-)?archive|split-archive-end|report)-[0-9A-HJKMNP-TV-Z]{26}(?:_[0-9]+)*\.(?:webm|json))\.part"
)
"""The in-progress name of any file of ours: group `name` is its final name."""


@dataclass(frozen=True, slots=True)
class FileNames:
    """One file that is announced: `path` is absolute, `name` as Sora writes it, with the recording's folder.

    The file has `in_progress_path` until it is whole: a dot file that no reader of archives takes for one.
    """

    path: str
    name: str
    in_progress_path: str


def recording_folder(archive_dir: str, recording_id: str) -> str:
    """Give the folder of a recording. Raises ValueError for an id that we did not make."""
    return f"{archive_dir}/{_own(recording_id)}"


def archive_names(
    archive_dir: str, recording_id: str, connection_id: str, extension: str, number: int = 1
) -> FileNames:
    """Name the whole file (extension webm) of a connection's archive `number` (from 1), or its metadata (json)."""
    suffix = f"_{number}" if number > 1 else ""
    return _names(archive_dir, recording_id, f"archive-{_own(connection_id)}{suffix}.{extension}")


def split_names(archive_dir: str, recording_id: str, connection_id: str, index: int, extension: str) -> FileNames:
    """Name part `index` (from 1) of a connection's archive or its metadata."""
    return _names(archive_dir, recording_id, f"split-archive-{_own(connection_id)}_{split_index(index)}.{extension}")


def split_end_names(archive_dir: str, recording_id: str, connection_id: str) -> FileNames:
    """Name the metadata that says which part was the last."""
    return _names(archive_dir, recording_id, f"split-archive-end-{_own(connection_id)}.json")


def report_names(archive_dir: str, recording_id: str) -> FileNames:
    """Name the report of a recording."""
    return _names(archive_dir, recording_id, f"report-{_own(recording_id)}.json")


def split_index(index: int) -> str:
    """Write the number of a part, from 1, as Sora does: 0001."""
    return f"{index:04d}"


def is_recording_folder(name: str) -> bool:
    """Return whether a folder has the name of a recording's."""
    return OWN_ID.fullmatch(name) is not None


def _names(archive_dir: str, recording_id: str, name: str) -> FileNames:
    folder = recording_folder(archive_dir, recording_id)
    return FileNames(f"{folder}/{name}", f"{recording_id}/{name}", f"{folder}/.{name}.part")


def _own(identifier: str) -> str:
    if not OWN_ID.fullmatch(identifier):
        raise ValueError(f"{identifier!r} is no id of ours")
    return identifier
