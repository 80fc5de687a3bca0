"""The command line: `rokuga run`, `rokuga demo` and so on, one row each."""

import argparse
import sys
from collections.abc import Sequence

from rokuga.api import check_config, daemon, demo, publish, schemas_command, sink, webhooks_command
from rokuga.api.rehearse import command as rehearse
from rokuga.api.soak import command as soak

COMMANDS = (
    ("run", "start the daemon", daemon),
    ("demo", "record a clip over real WebRTC, from start to webhook", demo),
    ("publish", "publish a WebM clip to a channel", publish),
    ("soak", "record many publishers for long, and check every file and event", soak),
    ("check-config", "read the configuration and say what it means", check_config),
    ("webhooks", "look at and act on undelivered events", webhooks_command),
    ("sink", "be a webhook consumer that checks everything, and misbehaves if it is told to", sink),
    ("rehearse", "post the events of a scenario, with real files and without WebRTC", rehearse),
    ("schemas", "write the JSON Schema of every webhook and file", schemas_command),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; give its exit code."""
    parser = argparse.ArgumentParser(prog="rokuga", description="Records WebRTC to WebM, as WebRTC SFU Sora did.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary, module in COMMANDS:
        command = commands.add_parser(name, help=summary, description=module.__doc__)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    options = parser.parse_args(arguments)
    return int(options.run(options))


if __name__ == "__main__":
    sys.exit(main())
