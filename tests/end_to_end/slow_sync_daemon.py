"""A daemon with slow fsync in its archive: `python -m tests.end_to_end.slow_sync_daemon SECONDS run`.

Each sync of a file or folder under an `archive` folder takes so long, several of them at the same time, as on a disk
whose journal commits them together. Writes are not slower.
"""

import functools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rokuga.cli.__main__ import main


def slow(sync: Callable[[int], None], seconds: float, descriptor: int) -> None:
    """Sync a file, slowly if it belongs to an archive."""
    if "archive" in Path(f"/proc/self/fd/{descriptor}").readlink().parts:
        time.sleep(seconds)
    sync(descriptor)


if __name__ == "__main__":
    for name in ("fsync", "fdatasync"):
        setattr(os, name, functools.partial(slow, getattr(os, name), float(sys.argv[1])))
    sys.exit(main(sys.argv[2:]))
