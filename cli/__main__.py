"""The command line: `rokuga run`, `rokuga demo` and so on, one row each."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Final

from rokuga.api.compiled import is_compiled

COMMANDS: Final = (
    ("run", "start the daemon", "rokuga.cli.run"),
    ("demo", "record a clip over real WebRTC, from start to webhook", "rokuga.devtools.demo"),
    ("publish", "publish a WebM clip to a channel", "rokuga.devtools.publisher.command"),
    ("soak", "record many publishers for long, and check every file and event", "rokuga.devtools.soak.command"),
    ("check-config", "read the configuration and say what it means", "rokuga.cli.check_config"),
    ("webhooks", "look at and act on undelivered events", "rokuga.cli.webhooks"),
    ("repair", "finish files that a crash left, and replace a damaged database", "rokuga.cli.repair"),
    ("sink", "be a webhook consumer that checks everything, and misbehaves if it is told to", "rokuga.devtools.sink"),
    ("rehearse", "post a scenario's events, with real files and without WebRTC", "rokuga.devtools.simulate.command"),
    ("schemas", "write the JSON Schemas of webhooks and files, and the API's document", "rokuga.cli.schemas"),
)
"""Name, summary and module, which is imported for its own command only: most take more than a second."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; give its exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="rokuga", description="Records WebRTC to WebM, as WebRTC SFU Sora did.")
    form = " (compiled)" if is_compiled() else ""
    parser.add_argument("--version", action="version", version=f"rokuga {version('rokuga')}{form}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary, path in COMMANDS:
        command = commands.add_parser(name, help=summary)
        if name in words[:1]:
            module = import_module(path)
            command.description = module.__doc__
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    options = parser.parse_args(words)
    return int(options.run(options))


if __name__ == "__main__":
    sys.exit(main())
