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


PROJECT = """
import pytest

@pytest.mark.parametrize("number", range(COUNT))
def test_a_recording_is_reported(rokuga_recorder, number):
    (FOLDER / str(rokuga_recorder._process.pid)).touch()
    rokuga_recorder.start_recording("lesson")
    rokuga_recorder.publish("lesson", seconds=0.5)
    rokuga_recorder.stop_recording("lesson")
    rokuga_recorder.wait_for_event("recording.report", channel_id="lesson")
    LAST
"""


def project(folder: Path, count: int, last: str = "") -> Path:
    """Write a project whose tests each record for half a second; give the folder where they note their processes."""
    pids = folder / "pids"
    pids.mkdir()
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "conftest.py").write_text('pytest_plugins = ["rokuga.devtools.pytest_plugin"]\n')
    text = PROJECT.replace("LAST", last).replace("COUNT", str(count)).replace("FOLDER", f"Path({str(pids)!r})")
    (folder / "test_project.py").write_text(f"import os, signal\nfrom pathlib import Path\n{text}")
    return pids


def noted(pids: Path) -> list[str]:
    """Give the ids of processes that a project has noted."""
    return [each.name for each in pids.iterdir()]


def is_ours(pid: str) -> bool:
    """Whether a process of ours has this id."""
    try:
        return b"rokuga" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


async def ended(pids: list[str]) -> None:
    """Wait until none of them is left; the test's time limit ends it."""
    while any(map(is_ours, pids)):  # noqa: ASYNC110  # they are no children of ours: nothing to wait on
        await asyncio.sleep(0.02)


@pytest.mark.end_to_end
async def test_daemons_of_parallel_workers_have_ports_of_their_own(tmp_path: Path) -> None:
    """https://github.com/dbfixtures/pytest-mysql/issues/633."""
    pids = project(tmp_path, 4)
    code, output = await run_tests(tmp_path, "-n", "4")
    assert (code, "4 passed" in output) == (0, True), output
    found = noted(pids)
    assert len(found) == 4
    await ended(found)


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    "last",
    [
        pytest.param("assert False", id="a test that fails"),
        pytest.param("os.kill(os.getpid(), signal.SIGINT)", id="Ctrl-C"),
        pytest.param("os.kill(os.getpid(), signal.SIGKILL)", id="killed"),
        pytest.param(
            "rokuga_recorder.publish_in_background();"
            " (FOLDER / str(rokuga_recorder._publishers[0].pid)).touch(); os._exit(1)",
            id="gone with a publisher",
        ),
    ],
)
async def test_no_daemon_outlives_the_test_process(tmp_path: Path, last: str) -> None:
    pids = project(tmp_path, 1, last)
    code, output = await run_tests(tmp_path)
    assert code != 0, output
    found = noted(pids)
    assert len(found) == 1 + ("publish_in_background" in last)
    await ended(found)
