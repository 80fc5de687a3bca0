"""Finish files in progress and replace a damaged database after a crash, as a start of the daemon does.

FOLDER is an archive_dir, a data_dir, or the folder of one recording; a running daemon holds its lock. A damaged
database is renamed, and its readable rows are copied. No event is published: the next start of the daemon does that,
for the recordings in its database.
"""

import argparse
import sqlite3
import sys
import time
from pathlib import Path

from rokuga.recorder.archive.leftovers import Leftover, Outcome, recording_folders, repair_leftovers
from rokuga.recorder.archive.names import is_recording_folder
from rokuga.recorder.directory_lock import DirectoryFault, DirectoryLock, explained
from rokuga.recorder.store.damage import replace_damaged

DATABASE = "rokuga.sqlite3"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "folder", type=Path, metavar="FOLDER", help="an archive_dir, a data_dir, or a recording's folder"
    )


def run(arguments: argparse.Namespace) -> int:
    """Repair; return 0 if nothing needs attention, 1 if something does or the folder cannot be used."""
    folder: Path = arguments.folder
    is_recording = is_recording_folder(folder.absolute().name)
    lock = DirectoryLock(folder.absolute().parent if is_recording else folder)
    if not folder.is_dir():
        print(f"{folder}: there is no such folder", file=sys.stderr)
        return 1
    try:
        lock.check()
        lines = replace_damaged(folder / DATABASE, time.time_ns())
        folders = [folder] if is_recording else recording_folders(folder)
    except (DirectoryFault, sqlite3.Error) as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(explained(error, folder), file=sys.stderr)
        return 1
    else:
        found = [each for each_folder in folders for each in repair_leftovers(each_folder, time.time_ns())]
        print("\n".join([*lines, *map(str, found), _summary(found)]))
        return int(bool(lines) or any(each.outcome in {Outcome.SET_ASIDE, Outcome.FAULT} for each in found))
    finally:
        lock.release()


def _summary(found: list[Leftover]) -> str:
    finished = sum(each.outcome is Outcome.FINISHED for each in found)
    return f"{len(found)} files in progress, {finished} of them finished"
