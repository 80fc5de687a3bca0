"""Read the configuration, say every fault at once, and show what is in force."""

import argparse
import os
import sys

from rokuga.api.config.arguments import add_config_argument
from rokuga.api.config.loader import ConfigError, effective_config, load_config, sample_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_config_argument(parser)
    parser.add_argument("--sample", action="store_true", help="print a file with every key explained, and no more")


def run(arguments: argparse.Namespace) -> int:
    """Check; 0 if the daemon would start with it."""
    if arguments.sample:
        print(sample_config())
        return 0
    try:
        _, warnings = load_config(arguments.config, os.environ)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(effective_config(arguments.config, os.environ))
    return 0
