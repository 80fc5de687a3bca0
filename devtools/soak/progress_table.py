"""The progress of a soak: a table that is overwritten on a terminal, or else a line every 30 s."""

import sys
from collections.abc import Sequence
from typing import Final

from rokuga.devtools.soak.results import SoakResults

LINE_EVERY_S: Final = 30


def rows(results: SoakResults) -> Sequence[str]:
    """Return the lines of the table."""
    now, audit = results.samples[-1], results.audit
    remaining_s = max(results.options.seconds - now.at_s, 0)
    elapsed, remaining = f"{now.at_s / 60:.1f} min", f"{remaining_s / 60:.1f} min"
    return (
        _row(("time", elapsed), ("left", remaining), ("daemon", f"{now.daemon}")),
        _row(
            ("publishers", f"{now.publishers}"), ("clients", f"{results.connections}"), ("kills", f"{now.daemon - 1}")
        ),
        _row(("files", f"{audit.files}"), ("frames", f"{audit.units:,}"), ("sync", f"{audit.worst_sync_ms:.0f} ms")),
        _row(
            ("events", f"{results.events}"), ("repeats", f"{results.repeats}"), ("FAULTS", f"{len(results.faults)}")
        ),
        _row(
            ("CPU each", f"{now.cpu_ms:.1f} ms/s"),
            ("RSS", f"{now.resident_mb:.1f} MB"),
            ("lag", f"{now.lag_ms:.0f} ms"),
        ),
    )


def _row(*cells: tuple[str, str]) -> str:
    return "  " + "   ".join(f"{name:<10} {value:>10}" for name, value in cells)


def line(results: SoakResults) -> str:
    """Return one line for a log."""
    now = results.samples[-1]
    return (
        f"{now.at_s:6.0f} s  {now.publishers} publishers  {results.audit.files} files  {results.events} events  "
        f"{len(results.faults)} faults  CPU {now.cpu_ms:.2f} ms/s each  RSS {now.resident_mb:.1f} MB  "
        f"lag {now.lag_ms:.1f} ms  missing {results.audit.missing_units}  sync {results.audit.worst_sync_ms:.1f} ms"
    )


def show(results: SoakResults, is_first: bool) -> None:
    """Write the table or a line to standard output."""
    if sys.stdout.isatty():
        lines = rows(results)
        up = "" if is_first else f"\x1b[{len(lines)}A"
        print(up + "\n".join(f"\x1b[2K{each}" for each in lines), flush=True)
    elif len(results.samples) % LINE_EVERY_S == 1:
        print(line(results), flush=True)
