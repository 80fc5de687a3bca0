"""Names of the source: a class name is used once, and no name is a metaphor."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("recorder", "api", "webhooks", "devtools", "cli")

METAPHORS = {
    "account", "beat", "cast", "dear", "doubt", "ease", "entrance", "front", "gatekeeper", "hasten", "heir", "house",
    "laws", "ledger", "manners", "nouns", "room", "seat", "shell", "stage", "teller", "whose",
}  # fmt: skip


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Return path and syntax tree of each module."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def defined_names(tree: ast.Module) -> Iterator[str]:
    """Return the names of all classes, functions, arguments, variables and attributes that a module defines."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.arg(arg=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name


def words(name: str) -> set[str]:
    """Return the words of a name in snake_case or CamelCase, in lower case."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def test_no_two_classes_share_a_name() -> None:
    """Private and nested classes included; a base class may differ from its subclass in the same module by `_`."""
    places = defaultdict(set)
    for path, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name.lstrip("_")].add(path)
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


def test_no_name_is_a_metaphor() -> None:
    """Of modules, classes, functions, arguments, variables and attributes."""
    found = defaultdict(set)
    for path, tree in modules():
        for name in {*Path(path).with_suffix("").parts, *defined_names(tree)}:
            if words(name) & METAPHORS:
                found[name].add(path)
    assert not found
