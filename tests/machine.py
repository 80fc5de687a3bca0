"""What only some machines have, or allow: disks to mount, networks to make, IPv6.

A test that needs it is skipped elsewhere; but where SKIP_NOTHING is set, as by `.ci/run`, it fails: a machine that is
to run everything does not pass with less.
"""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest


def lacks(what: str) -> NoReturn:
    """Skip the test, or fail it where nothing may be skipped: the machine lacks this."""
    if os.environ.get("SKIP_NOTHING"):
        pytest.fail(f"nothing may be skipped here, but {what}")
    pytest.skip(what)


@contextlib.contextmanager
def mounted(folder: Path, *what: str | Path) -> Iterator[Path]:
    """Have a disk at a folder, which is made; `what` is as mount(8) takes it."""
    folder.mkdir(parents=True)
    if subprocess.run(["mount", *what, folder], check=False, capture_output=True).returncode:
        lacks("a disk of its own takes the right to mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@contextlib.contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """Have a disk of this size at a folder, in memory."""
    with mounted(folder, "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs"):
        yield folder
