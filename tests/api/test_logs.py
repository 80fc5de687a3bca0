"""What strangers send stays text on a console: one line, and no cursor moves."""

import subprocess
import sys

from rokuga.api.logs import printable


def test_control_and_format_characters_are_escaped() -> None:
    assert printable("日本 é 😀") == "日本 é 😀"
    assert printable("a\x1b[2Jb\r\nc\x00\x9b\u2028\u202e\ud800") == (
        "a\\x1b[2Jb\\r\\nc\\x00\\x9b\\u2028\\u202e\\ud800"
    )


def test_a_line_of_the_console_has_no_byte_that_a_terminal_obeys() -> None:
    code = (
        "from rokuga.api.logs import configure_logs; import structlog; configure_logs('console');"
        r"structlog.get_logger().info('request refused', host='\x1b[31mevil', path='\x07\n\u009b')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    line = done.stderr.decode()
    assert line.count("\n") == 1
    assert "\\x1b[31mevil" in line
    assert all(character.isprintable() for character in line.rstrip("\n"))
