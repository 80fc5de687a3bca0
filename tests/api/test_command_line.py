"""The table of commands."""

import subprocess
import sys
from importlib.metadata import version

import pytest

from rokuga.api.compiled import is_compiled
from rokuga.cli.__main__ import COMMANDS, main

LOADED = "import sys; from rokuga.cli.__main__ import main\ntry: main({words})\nfinally: print(*sys.modules)"


@pytest.mark.system
@pytest.mark.parametrize("words", [["--help"], ["--version"], ["nonsense"]])
def test_help_loads_no_command(words: list[str]) -> None:
    """The help is quick: it imports no media, server or HTTP client."""
    told = subprocess.run([sys.executable, "-c", LOADED.format(words=words)], check=False, capture_output=True).stdout
    loaded = told.decode().split()
    assert "rokuga.cli.__main__" in loaded
    assert not {"aiortc", "av", "aiohttp", "uvicorn", "asyncio", *(path for _, _, path in COMMANDS)} & set(loaded)


@pytest.mark.parametrize(("name", "path"), [(name, path) for name, _, path in COMMANDS])
def test_every_command_has_a_help_text(name: str, path: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"rokuga {name}" in said
    assert " ".join((sys.modules[path].__doc__ or "?").split())[:60] in said


def test_the_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    """It says whether the modules of the hot path are compiled."""
    with pytest.raises(SystemExit):
        main(["--version"])
    form = " (compiled)" if is_compiled() else ""
    assert capsys.readouterr().out == f"rokuga {version('rokuga')}{form}\n"
