"""Features that not every machine has: mounts, network namespaces, IPv6.

A test that needs one is skipped without it; with SKIP_NOTHING set, as by `.ci/run`, it fails instead.
"""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest


def lacks(what: str) -> NoReturn:
    """Skip the test, or fail it with SKIP_NOTHING; `what` is the reason."""
    if os.environ.get("SKIP_NOTHING"):
        pytest.fail(f"nothing may be skipped here, but {what}")
    pytest.skip(what)  # `what` is the reason, from the test that needs it


@contextlib.contextmanager
def mounted(folder: Path, *what: str | Path) -> Iterator[Path]:
    """Create a folder and mount a file system there; `what` are arguments of mount(8)."""
    folder.mkdir(parents=True)
    if subprocess.run(["mount", *what, folder], check=False, capture_output=True).returncode:
        lacks("a disk of its own takes the right to mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@contextlib.contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """Mount a file system of this size in memory."""
    with mounted(folder, "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs"):
        yield folder
