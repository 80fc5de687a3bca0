"""The pytest plugin: the tests of a consumer's author pass with it, and fail where the consumer is wrong."""

import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "tests" / "example_consumer"


async def run_tests(folder: Path, *options: str) -> tuple[int | None, str]:
    """Run the tests in a folder as its author does: its own root, its own configuration, this product installed."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    environment = {"PYTHONPATH": str(ROOT)} | os.environ
    process = await asyncio.create_subprocess_exec(
        *command, *options, cwd=folder, env=environment, stdout=asyncio.subprocess.PIPE
    )
    output = (await process.communicate())[0].decode()
    return process.returncode, output


@pytest.mark.end_to_end
async def test_the_example_in_the_documentation_passes() -> None:
    """A recording through a real daemon, and rehearsed scenarios, without network, browser or WebRTC knowledge."""
    code, output = await run_tests(EXAMPLE)
    assert code == 0, output
    assert "4 passed" in output


@pytest.mark.end_to_end
async def test_a_consumer_that_does_not_know_repetitions_is_found_out(tmp_path: Path) -> None:
    """Without its memory of ids the same consumer fails where events come twice."""
    shutil.copytree(EXAMPLE, tmp_path / "consumer")
    file = tmp_path / "consumer" / "consumer.py"
    file.write_text(file.read_text().replace('if event["id"] in self._seen', "if False"))
    code, output = await run_tests(tmp_path / "consumer", "-k", "duplicate")
    assert code == 1, output
    assert "1 failed" in output
