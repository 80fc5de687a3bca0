"""How many files and sockets the process may have open (getrlimit(2), RLIMIT_NOFILE)."""

import resource
from typing import Final

MOST: Final = 1 << 20
"""More than any daemon needs, where there is no limit at all."""
OTHERS: Final = 1000
"""Archives that are written, sockets of media, databases."""


def raise_open_files_limit() -> int:
    """Raise the limit as far as an ordinary process may, and give it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return MOST if soft == resource.RLIM_INFINITY else soft


def open_files_warning(limit: int, max_connections: int) -> str | None:
    """Say what is wrong with a limit if each of two ports may have so many connections; None where it is enough."""
    needed = 2 * max_connections + OTHERS
    if limit >= needed:
        return None
    return f"only {limit} files may be open, and max_connections = {max_connections} needs {needed}: raise ulimit -n"
