"""Write the JSON Schema of every webhook body and every JSON file into a folder."""

import argparse
from pathlib import Path

import msgspec

from rokuga.webhooks.schemas import json_schemas


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the .json files go")


def run(arguments: argparse.Namespace) -> int:
    """Write them; 0 once they are there. Raises OSError."""
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name, schema in json_schemas().items():
        text = msgspec.json.format(msgspec.json.encode(schema, order="deterministic"), indent=2)
        (arguments.folder / name).write_bytes(text + b"\n")
    print(f"{len(json_schemas())} schemas in {arguments.folder}")
    return 0
