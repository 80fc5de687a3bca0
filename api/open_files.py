"""The limit on open files and sockets of the process (getrlimit(2), RLIMIT_NOFILE)."""

import resource
from typing import Final

MAX_LIMIT: Final = 1 << 20
"""Used where the limit is infinite."""
RESERVED: Final = 1000
"""Descriptors for archives, media sockets and databases."""


def raise_open_files_limit() -> int:
    """Raise the soft limit up to the hard one, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_LIMIT if hard == resource.RLIM_INFINITY else min(hard, MAX_LIMIT)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return MAX_LIMIT if soft == resource.RLIM_INFINITY else soft


def open_files_warning(limit: int, max_connections: int) -> str | None:
    """Return a warning if the limit is too low for two ports with `max_connections` each, None otherwise."""
    needed = 2 * max_connections + RESERVED
    if limit >= needed:
        return None
    return f"only {limit} files may be open, and max_connections = {max_connections} needs {needed}: raise ulimit -n"
