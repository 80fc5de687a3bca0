"""Command-line arguments that several commands share."""

import argparse
from pathlib import Path
from string import ascii_letters

from rokuga.api.config.values import duration_ns
from rokuga.recorder.media import NS_PER_S


def add_config_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--config FILE`."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration file in sora.conf form")


def ratio(text: str) -> float:
    """Parse a ratio from 0 to 1. Raises ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share from 0 to 1")
    return value


def pause_s(text: str) -> float:
    """Parse a time such as `2s`, `500ms` or `1 min` into seconds. Raises ArgumentTypeError."""
    number = text.rstrip(ascii_letters).strip()
    try:
        return duration_ns(f"{number} {text[len(number) :].strip()}") / NS_PER_S
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} {error}") from error
