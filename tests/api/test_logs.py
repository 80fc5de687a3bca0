"""Log lines at a terminal contain no escape sequences."""

import logging
import os
from collections.abc import Iterator

import pytest
import structlog

from rokuga.api.logs import configure_logs, printable

ATTACKS = ["\x1b[2J\x1b[1;31mroot", "a\nb", "a\rb", "\x9b31m", "\x07", "a\u202eb", "a\u2028b", "\x7f", "\ud800"]


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize("said", ATTACKS)
@pytest.mark.parametrize("log_format", ["console", "json"])
def test_untrusted_text_is_escaped(said: str, log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(log_format)
    log = structlog.get_logger()
    log.warning("request refused", host=said, path=f"/{said} x", several=[said])
    logging.getLogger("other").warning("said %s", said)
    lines = capsys.readouterr().err.split("\n")
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_traceback_keeps_its_lines_and_nothing_else(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(log_format)
    try:
        os.environ["\x1b[2J\n"]
    except KeyError:
        structlog.get_logger().exception("failed")
    text = capsys.readouterr().err
    assert "KeyError" in text
    assert all(line.isprintable() for line in text.split("\n"))


def test_text_in_other_scripts_is_unchanged() -> None:
    assert printable("録画 é 😀 \\x1b") == "録画 é 😀 \\x1b"
    assert printable("あ\x1b") == "あ\\x1b"
