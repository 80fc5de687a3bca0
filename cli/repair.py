"""Repair by hand what a crash or a bad disk left, as a start of the daemon does.

It needs the lock of FOLDER, which a daemon holds while it runs. FOLDER is an archive_dir, a data_dir, or the folder
of one recording. Files in progress are finished; a damaged database is moved aside, and what can be read of it kept.
Nothing is announced: the next start of the daemon does that, for the recordings that its database knows.
"""

import argparse
import sqlite3
import sys
import time
from pathlib import Path

from rokuga.recorder.archive.leftovers import Leftover, Outcome, recording_folders, repair_leftovers
from rokuga.recorder.archive.names import is_recording_folder
from rokuga.recorder.directories import DirectoryFault, DirectoryLock, explained
from rokuga.recorder.store.damage import replace_damaged

DATABASE = "rokuga.sqlite3"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "folder", type=Path, metavar="FOLDER", help="an archive_dir, a data_dir, or a recording's folder"
    )


def run(arguments: argparse.Namespace) -> int:
    """Repair; 0 if nothing is left to be looked at by a person, 1 if something is or the folder cannot be used."""
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
        found = [each for place in folders for each in repair_leftovers(place, time.time_ns())]
        print("\n".join([*lines, *map(str, found), _summary(found)]))
        return int(bool(lines) or any(each.outcome in {Outcome.SET_ASIDE, Outcome.FAULT} for each in found))
    finally:
        lock.release()


def _summary(found: list[Leftover]) -> str:
    finished = sum(each.outcome is Outcome.FINISHED for each in found)
    return f"{len(found)} files in progress, {finished} of them finished"
