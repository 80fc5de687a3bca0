"""Write the JSON Schemas of all webhook bodies and JSON files, and the API as openapi.json, to a folder."""

import argparse
from pathlib import Path

import msgspec

from rokuga.api.targets.openapi import document
from rokuga.webhooks.schemas import json_schemas


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the .json files are written")


def run(arguments: argparse.Namespace) -> int:
    """Write the files; return 0. Raises OSError."""
    arguments.folder.mkdir(parents=True, exist_ok=True)
    schemas = {name: msgspec.json.encode(schema, order="deterministic") for name, schema in json_schemas().items()}
    for name, text in {**schemas, "openapi.json": msgspec.json.encode(document())}.items():
        (arguments.folder / name).write_bytes(msgspec.json.format(text, indent=2) + b"\n")
    print(f"{len(schemas)} schemas and openapi.json in {arguments.folder}")
    return 0
