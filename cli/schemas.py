"""Write the JSON Schema of every webhook body and every JSON file into a folder, and the API as openapi.json."""

import argparse
from pathlib import Path

import msgspec

from rokuga.api.targets.openapi import document
from rokuga.webhooks.schemas import json_schemas


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the .json files go")


def run(arguments: argparse.Namespace) -> int:
    """Write them; 0 once they are there. Raises OSError."""
    arguments.folder.mkdir(parents=True, exist_ok=True)
    schemas = {name: msgspec.json.encode(schema, order="deterministic") for name, schema in json_schemas().items()}
    for name, text in {**schemas, "openapi.json": msgspec.json.encode(document())}.items():
        (arguments.folder / name).write_bytes(msgspec.json.format(text, indent=2) + b"\n")
    print(f"{len(schemas)} schemas and openapi.json in {arguments.folder}")
    return 0
