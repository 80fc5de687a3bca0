"""The live table: a few lines that are written over on a terminal, one now and then elsewhere."""

import sys
from collections.abc import Sequence
from typing import Final

from rokuga.devtools.soak.figures import Figures

QUIET_EVERY_S: Final = 30


def rows(figures: Figures) -> Sequence[str]:
    """Give the table's lines."""
    now, tally = figures.samples[-1], figures.tally
    left_s = max(figures.options.seconds - now.at_s, 0)
    lived, left = f"{now.at_s / 60:.1f} min", f"{left_s / 60:.1f} min"
    return (
        _row(("time", lived), ("left", left), ("daemon", f"{now.life}")),
        _row(
            ("publishers", f"{now.publishers}"), ("clients", f"{figures.connections}"), ("kills", f"{now.life - 1}")
        ),
        _row(("files", f"{tally.files}"), ("frames", f"{tally.units:,}"), ("sync", f"{tally.worst_sync_ms:.0f} ms")),
        _row(
            ("events", f"{figures.events}"), ("repeats", f"{figures.repeats}"), ("FAULTS", f"{len(figures.faults)}")
        ),
        _row(
            ("CPU each", f"{now.cpu_ms:.1f} ms/s"),
            ("RSS", f"{now.resident_mb:.1f} MB"),
            ("lag", f"{now.lag_ms:.0f} ms"),
        ),
    )


def _row(*cells: tuple[str, str]) -> str:
    return "  " + "   ".join(f"{name:<10} {value:>10}" for name, value in cells)


def line(figures: Figures) -> str:
    """Give one line for a log."""
    now = figures.samples[-1]
    return (
        f"{now.at_s:6.0f} s  {now.publishers} publishers  {figures.tally.files} files  {figures.events} events  "
        f"{len(figures.faults)} faults  CPU {now.cpu_ms:.2f} ms/s each  RSS {now.resident_mb:.1f} MB  "
        f"lag {now.lag_ms:.1f} ms  missing {figures.tally.missing_units}  sync {figures.tally.worst_sync_ms:.1f} ms"
    )


def show(figures: Figures, is_first: bool) -> None:
    """Write it to standard output."""
    if sys.stdout.isatty():
        lines = rows(figures)
        up = "" if is_first else f"\x1b[{len(lines)}A"
        print(up + "\n".join(f"\x1b[2K{each}" for each in lines), flush=True)
    elif len(figures.samples) % QUIET_EVERY_S == 1:
        print(line(figures), flush=True)
