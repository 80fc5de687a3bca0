"""Run the daemon until SIGTERM or SIGINT."""

import argparse
import os
import sys

import structlog
import uvloop

from rokuga.api.config.arguments import add_config_argument
from rokuga.api.config.loader import ConfigError, load_config
from rokuga.api.config.security_warnings import security_warnings
from rokuga.api.daemon import run_until_signal
from rokuga.api.logs import configure_logs
from rokuga.api.open_files import open_files_warning, raise_open_files_limit
from rokuga.recorder.store import StoreError
from rokuga.recorder.webrtc.dtls.transport import AiortcError
from rokuga.recorder.webrtc.transport.addresses import AddressError

log = structlog.get_logger()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_config_argument(parser)
    parser.add_argument(
        "--end-with-stdin",
        action="store_true",
        help="end when standard input, a pipe, is closed by the process that started this one",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the daemon; return 0 after a signal, 1 if it cannot run, 2 if the configuration is invalid."""
    try:
        config, warnings = load_config(arguments.config, os.environ)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    configure_logs(config.log_format)
    lack = open_files_warning(raise_open_files_limit(), config.max_connections)
    for warning in [*warnings, *security_warnings(config), *([] if lack is None else [lack])]:
        log.warning("configuration", warning=warning)
    try:
        uvloop.run(run_until_signal(config, ends_with_stdin=arguments.end_with_stdin))
    except (OSError, StoreError, AddressError, AiortcError) as error:
        log.error("the daemon cannot run", reason=str(error))
        return 1
    return 0
