"""Cores that are kept awake while something is measured, by a process on each that gives way to all others.

A core that slept is slow for some milliseconds after, by its clock or by what its host did meanwhile, and CPU time
counts that as work. The same loop over packets took 13 us for each without pauses, 20 with sleeps of 10 ms between
them, and 13 with the same sleeps and such a process beside.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

SPIN: Final = """
import os, sys
core, parent = map(int, sys.argv[1:])
os.sched_setaffinity(0, {core})
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
while os.getppid() == parent:
    for _ in range(100_000):
        pass
"""


@contextlib.contextmanager
def awake() -> Iterator[None]:
    """Keep every core of this process busy at the lowest priority, while the context is open."""
    command = [sys.executable, "-c", SPIN]
    cores = sorted(os.sched_getaffinity(0))
    spinning = [subprocess.Popen([*command, str(core), str(os.getpid())]) for core in cores]
    try:
        yield
    finally:
        for process in spinning:
            process.terminate()
            process.wait()
