"""The command line, `rokuga COMMAND`: one row per command."""

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
    (
        "soak",
        "record many publishers for a long time, and check every file and event",
        "rokuga.devtools.soak.command",
    ),
    ("check-config", "check the configuration and print the effective one", "rokuga.cli.check_config"),
    ("webhooks", "list, show, retry and drop undelivered events", "rokuga.cli.webhooks"),
    ("repair", "finish files that a crash left unfinished, and replace a damaged database", "rokuga.cli.repair"),
    ("sink", "run a webhook consumer that checks every event, with optional fault injection", "rokuga.devtools.sink"),
    ("simulate", "post a scenario's events, with real files and without WebRTC", "rokuga.devtools.simulate.command"),
    ("schemas", "write the JSON Schemas of webhooks and files, and the OpenAPI document", "rokuga.cli.schemas"),
)
"""Name, summary and module, which is imported for its own command only: most need more than a second."""

FORMER_NAMES: Final = {"rehearse": "simulate"}
"""Names of version 0.1.0, which work and are not listed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    words[:1] = [FORMER_NAMES.get(name, name) for name in words[:1]]
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
