"""Arguments that several commands have."""

import argparse
from pathlib import Path


def add_config_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--config FILE`."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration file in sora.conf form")
