"""Record many publishers for a long time, with loss, kills and a failing consumer; check every file and event."""

import argparse
import re
import tempfile
from pathlib import Path
from typing import Final

import uvloop

from rokuga.devtools.soak.daemon_process import DaemonError
from rokuga.devtools.soak.plan import SoakOptions
from rokuga.devtools.soak.report import summary
from rokuga.devtools.soak.run import Soak

UNITS_S: Final = {"s": 1, "m": 60, "h": 3600}
MAX_PUBLISHERS: Final = 1_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--publishers", type=_count, default=20, help="publishers at a time (default: %(default)s)")
    parser.add_argument("--minutes", type=_minutes, default=10.0, help="duration (default: %(default)s)")
    parser.add_argument(
        "--churn", action="store_true", help="publishers connect and disconnect, for 4 s to 4 min each"
    )
    parser.add_argument("--loss", type=_loss, default=0.0, help="share of datagrams to lose, both ways, 0 to 0.5")
    parser.add_argument(
        "--split", type=_seconds, default=0, metavar="60s", help="record in parts of this duration, too"
    )
    parser.add_argument(
        "--kill-every", type=_seconds, default=0, metavar="10m", help="kill the daemon at this interval"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the plan")
    parser.add_argument("--report", type=Path, metavar="DIR", help="folder for report, log and files")
    parser.add_argument("--keep", action="store_true", help="keep files without faults, too")


def run(arguments: argparse.Namespace) -> int:
    """Run a soak; return 0 without faults, 1 with faults, 2 if it cannot start."""
    options = SoakOptions(
        publishers=arguments.publishers,
        seconds=round(arguments.minutes * 60),
        churn=arguments.churn,
        loss=arguments.loss,
        split_s=arguments.split,
        kill_every_s=arguments.kill_every,
        seed=arguments.seed,
    )
    folder = (arguments.report or Path(tempfile.mkdtemp(prefix="rokuga-soak-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        print(f"{folder} is not empty")
        return 2

    async def run_soak() -> Soak:
        soak = Soak(options, folder, keep=arguments.keep)
        await soak.run()
        return soak

    try:
        results = uvloop.run(run_soak()).results
    except DaemonError as error:
        print(error)
        return 2
    for name, value in summary(results).items():
        print(f"  {name:<40} {value:>14,}")
    print(f"  {folder / 'report.html'}")
    return 0 if results.is_clean else 1


def _count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= MAX_PUBLISHERS:
        raise argparse.ArgumentTypeError(f"{text} is not from 1 to {MAX_PUBLISHERS}")
    return value


def _minutes(text: str) -> float:
    value = float(text)
    if not 0.1 <= value <= 10_000:
        raise argparse.ArgumentTypeError(f"{text} minutes")
    return value


def _loss(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 0.5:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 0.5")
    return value


def _seconds(text: str) -> int:
    found = re.fullmatch(r"(\d+)([smh]?)", text)
    value = int(found[1]) * UNITS_S[found[2] or "s"] if found else 0
    if not value:
        raise argparse.ArgumentTypeError(f"{text} is no time as 60s, 10m or 1h")
    return value
