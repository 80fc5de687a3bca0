"""What the README files and docs/ name exists: modules, directories and pages."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("docs", "recorder", "api", "webhooks", "devtools", "cli", "benchmarks", "tests")
PAGES = sorted([*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))])
PATH = re.compile(r"`([\w/.-]*\w\.(?:py|md|sql|toml|sh|service|yaml)|[\w-]+/(?:[\w-]+/)+)`")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[\w-]+)?\)")
HISTORY = {"CHANGELOG.md"}
"""A changelog names what is gone."""
OTHERS = {"conftest.py", "sora.conf"}
"""Files of a reader's own project."""


def exists(page: Path, name: str) -> bool:
    """Return whether a name is a path from the root or the page's directory, or of a file below that or its tests."""
    folder = page.parent
    places = [folder, ROOT / "tests" / folder.relative_to(ROOT)]
    return (ROOT / name).exists() or any(next(place.rglob(name.rstrip("/")), None) for place in places)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_path_on_a_page_exists(page: Path) -> None:
    if page.name in HISTORY:
        return
    names = {*PATH.findall(page.read_text()), *LINK.findall(page.read_text())} - OTHERS
    assert [name for name in sorted(names) if not exists(page, name)] == []
