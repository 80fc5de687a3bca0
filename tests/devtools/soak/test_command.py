"""`rokuga soak` as a process: a short soak with everything, its report, and invalid options."""

import asyncio
import contextlib
import sys
from pathlib import Path

import msgspec
import pytest

from rokuga.cli.__main__ import main

SHORT = ["--publishers", "4", "--minutes", "0.17", "--split", "2s", "--kill-every", "4s", "--seed", "6"]
LONG = ["--publishers", "20", "--minutes", "8", "--split", "30s", "--kill-every", "3m"]


async def soak(folder: Path, *options: str) -> tuple[int | None, str]:
    """Run the command in a process of its own; return exit code and output."""
    command = [sys.executable, "-m", "rokuga", "soak", "--churn", "--loss", "0.02", "--report", str(folder)]
    process = await asyncio.create_subprocess_exec(
        *command, *options, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        out, _ = await process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    return process.returncode, out.decode()


@pytest.mark.end_to_end
async def test_a_short_soak_finds_no_fault(tmp_path: Path) -> None:
    """Churn, loss, parts and a kill: no file and no event has a fault, and the report shows that."""
    code, out = await soak(tmp_path / "report", *SHORT)
    assert code == 0, out
    found = msgspec.json.decode((tmp_path / "report" / "report.json").read_bytes())
    assert found["summary"]["faults"] == 0
    assert found["summary"]["kills"] == 1
    assert found["summary"]["files checked"] > 5
    assert found["summary"]["of these recovered after a kill"] > 0
    assert found["summary"]["deliveries"] == found["summary"]["events"] + found["summary"]["repeats"]
    report = (tmp_path / "report" / "report.html").read_text()
    assert "No faults." in report
    assert report.count("<svg") == 5
    assert "http" not in report.replace("http-equiv", "")


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_a_soak_of_eight_minutes_finds_no_fault(tmp_path: Path) -> None:
    """The long form: twenty publishers, two kills."""
    code, out = await soak(tmp_path / "report", *LONG)
    assert code == 0, out


@pytest.mark.parametrize(
    "options",
    [
        ["--publishers", "0"],
        ["--minutes", "0"],
        ["--minutes", "nan"],
        ["--loss", "0.6"],
        ["--split", "1 day"],
        ["--kill-every", "0s"],
    ],
)
def test_invalid_options_are_refused(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["soak", *options])
    assert ended.value.code == 2
    assert options[0] in capsys.readouterr().err


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").touch()
    assert main(["soak", "--report", str(tmp_path)]) == 2
    assert "is not empty" in capsys.readouterr().out
