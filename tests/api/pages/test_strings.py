"""The texts of the page exist in both languages and are used."""

import json
import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

PAGES = Path(__file__).parents[3] / "api" / "pages"


def strings(name: str = "STRINGS") -> dict[str, dict[str, str]]:
    """Return a table as the browser reads it."""
    module = json.dumps((PAGES / "strings.js").as_uri())
    code = f"import({module}).then((m) => console.log(JSON.stringify(m.{name})))"
    # Node takes a .js file for a module only where it is told to.
    command = ["node", "--no-warnings", "--experimental-default-type=module", "-e", code]
    table: dict[str, dict[str, str]] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return table


def test_both_languages_have_every_text() -> None:
    """English and Japanese have the same keys with the same placeholders, and none is empty."""
    table = strings()
    reasons = strings("REASONS")
    assert reasons["en"].keys() == reasons["ja"].keys()
    assert all(text for language in reasons.values() for text in language.values())
    assert table["en"].keys() == table["ja"].keys()
    for key, english in table["en"].items():
        japanese = table["ja"][key]
        assert japanese
        assert set(re.findall(r"\{\w+\}", english)) == set(re.findall(r"\{\w+\}", japanese)), key


def test_every_text_of_the_page_is_in_the_table() -> None:
    """Keys in index.html and in the modules exist."""
    keys = strings()["en"].keys()
    used = set(re.findall(r'data-text="(\w+)"', (PAGES / "index.html").read_text("utf-8")))
    for module in PAGES.glob("*.js"):
        used |= set(re.findall(r'\btext\("(\w+)"', module.read_text("utf-8")))
    assert used <= keys
    assert keys - used <= {
        "connected",
        "ended",
        "failed",
        "delivered",
        "pending",
        "parked",
        "dead",
        "unsent",
        "dropped",
    }
