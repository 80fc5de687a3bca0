"""Check the configuration, report all faults, and print the effective values."""

import argparse
import os
import sys

from rokuga.api.config.arguments import add_config_argument
from rokuga.api.config.loader import ConfigError, effective_config, load_config, sample_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_config_argument(parser)
    parser.add_argument("--sample", action="store_true", help="print a configuration file that explains every key")


def run(arguments: argparse.Namespace) -> int:
    """Check the configuration; return 0 if the daemon would start with it, 2 otherwise."""
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
